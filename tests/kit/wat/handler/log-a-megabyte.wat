;; Logs a line of a mebibyte.
(memory (export "memory") 40)
(func $misbehave (local $i i32)
    (memory.fill (i32.const 2048) (i32.const 0x78) (i32.const 0x100000))
    (call $log (i32.const 2) (i32.const 2048) (i32.const 0x100000)))
