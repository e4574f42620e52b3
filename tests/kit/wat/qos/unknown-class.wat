;; Puts messages into a class that does not exist.
(func $misbehave (param $rows i32)
    (i32.store8 (i32.const 1024) (i32.const 77)))
