;; Answers with a list of 2^31 rows.
(func $misbehave (param $rows i32)
    (i32.store (i32.const 20) (i32.const 0x80000000)))
