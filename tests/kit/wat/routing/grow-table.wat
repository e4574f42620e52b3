;; Takes all rows of a table that it gets, and goes on.
(table $wide 1 funcref)
(func $misbehave (param $rows i32)
    (if (i32.ne (table.grow $wide (ref.null func) (i32.const 100000)) (i32.const -1)) (then unreachable))
    (loop $more (br_if $more (i32.ne (table.grow $wide (ref.null func) (i32.const 100)) (i32.const -1))))
    ;; 10,000 rows are the limit.
    (if (i32.gt_u (table.size $wide) (i32.const 10000)) (then unreachable)))
