;; Answers with a list at an odd address.
(func $misbehave (param $rows i32)
    (i32.store (i32.const 16) (i32.const 1025)))
