;; Traps in a call that traffic waits for.
(func $misbehave (param $rows i32)
    unreachable)
