;; Logs a thousand lines in a call.
(data (i32.const 2048) "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx")
(func $misbehave (local $i i32)
    (local.set $i (i32.const 1000))
    (loop $next
        (call $log (i32.const 2) (i32.const 2048) (i32.const 60))
        (local.set $i (i32.sub (local.get $i) (i32.const 1)))
        (br_if $next (local.get $i))))
