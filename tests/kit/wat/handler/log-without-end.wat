;; Logs for ever.
(data (i32.const 2048) "x")
(func $misbehave (local $i i32)
    (loop $again (call $log (i32.const 2) (i32.const 2048) (i32.const 1)) (br $again)))
