;; Traps when it is asked who is a good parent.
(func $misbehave (param $rows i32)
    unreachable)
