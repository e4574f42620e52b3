;; Answers a row more than was asked.
(func $misbehave (param $rows i32)
    (i32.store (i32.const 20) (i32.add (local.get $rows) (i32.const 1))))
