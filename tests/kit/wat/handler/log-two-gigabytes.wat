;; Logs a line of 2^31 bytes.
(func $misbehave (local $i i32)
    (call $log (i32.const 2) (i32.const 2048) (i32.const 0x80000000)))
