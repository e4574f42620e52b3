;; Drops all messages.
(func $misbehave (param $rows i32)
    (local $at i32)
    (loop $next
        (i32.store (i32.add (i32.const 1024) (i32.mul (local.get $at) (i32.const 4))) (i32.const -1))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $at) (local.get $rows)))))
