;; Reads a key of a mebibyte.
(memory (export "memory") 40)
(func $misbehave (local $i i32)
    (memory.fill (i32.const 2048) (i32.const 0x78) (i32.const 0x100000))
    (call $get (i32.const 2048) (i32.const 0x100000) (i32.const 1024)))
