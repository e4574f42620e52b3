;; Names a neighbour that does not exist.
(func $misbehave (param $rows i32)
    (i32.store (i32.const 1024) (i32.const 1000)))
