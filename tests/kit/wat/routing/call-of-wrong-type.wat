;; Calls a function of the table as another type.
(table $own 1 funcref)
(elem (table $own) (i32.const 0) func $misbehave)
(func $misbehave (param $rows i32)
    (drop (call_indirect $own (param i64) (result i64) (i64.const 1) (i32.const 0))))
