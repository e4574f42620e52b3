;; Scores all candidates but the last.
(func $misbehave (param $rows i32)
    (i32.store (i32.const 20) (i32.sub (local.get $rows) (i32.const 1))))
