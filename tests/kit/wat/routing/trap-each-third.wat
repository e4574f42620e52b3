;; Traps in each third call.
(global $calls (mut i32) (i32.const 0))
(func $misbehave (param $rows i32)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (if (i32.eq (global.get $calls) (i32.const 3)) (then unreachable)))
