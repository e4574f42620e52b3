;; Calls itself through a table.
(table $own 1 funcref)
(elem (table $own) (i32.const 0) func $misbehave)
(func $misbehave (param $rows i32)
    (call_indirect $own (param i32) (local.get $rows) (i32.const 0))
    (drop (local.get $rows)))
