;; Traps in a call that a link waits for.
(func $misbehave (param $rows i32)
    unreachable)
