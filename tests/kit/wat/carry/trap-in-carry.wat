;; Traps in a call that waiting messages wait for.
(func $misbehave (param $rows i32)
    unreachable)
