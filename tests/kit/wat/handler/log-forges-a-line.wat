;; Logs a line break and what looks like a line of the host.
(data (i32.const 2048) "x\0aERROR the host is lost\1b[31m")
(func $misbehave (local $i i32)
    (call $log (i32.const 2) (i32.const 2048) (i32.const 29)))
