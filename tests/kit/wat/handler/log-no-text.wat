;; Logs what is not UTF-8.
(data (i32.const 2048) "\ff\fe\80")
(func $misbehave (local $i i32)
    (call $log (i32.const 2) (i32.const 2048) (i32.const 3)))
