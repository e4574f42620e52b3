;; Answers with a list of 2^32 - 1 rows.
(func $misbehave (param $rows i32)
    (i32.store (i32.const 20) (i32.const -1)))
