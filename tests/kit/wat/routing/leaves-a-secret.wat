;; Fills its memory with a secret, for others to find.
(memory (export "memory") 40)
(func $misbehave (param $rows i32)
    (memory.fill (i32.const 0x150000) (i32.const 0x53) (i32.const 0x100000)))
