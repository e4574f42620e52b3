;; Answers with a list of 2^29 scores.
(func $misbehave (param $rows i32)
    (i32.store (i32.const 20) (i32.const 0x20000000)))
