;; Brings rows for a table that does not have them.
(table $own 1 funcref)
(func $f)
(elem (table $own) (i32.const 5) func $f)
