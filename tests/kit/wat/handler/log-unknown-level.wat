;; Logs at a level that does not exist.
(func $misbehave (local $i i32)
    (call $log (i32.const 9) (i32.const 2048) (i32.const 1)))
