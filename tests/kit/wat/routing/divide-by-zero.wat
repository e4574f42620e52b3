;; Divides by zero.
(func $misbehave (param $rows i32)
    (drop (i32.div_u (local.get $rows) (i32.const 0))))
