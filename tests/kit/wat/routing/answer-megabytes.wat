;; Answers with more rows than any batch, all in its memory.
(memory (export "memory") 256)
(func $misbehave (param $rows i32)
    (i32.store (i32.const 20) (i32.const 0x200000)))
