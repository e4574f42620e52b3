;; Scores every candidate with the largest number that there is.
(func $misbehave (param $rows i32)
    (memory.fill (i32.const 1024) (i32.const 255) (i32.mul (local.get $rows) (i32.const 4))))
