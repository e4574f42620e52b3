;; Takes all memory that it gets for each of its memories in turn, and goes on.
(memory $m0 1)
(memory $m1 1)
(memory $m2 1)
(memory $m3 1)
(func $misbehave (param $rows i32)
    (loop $more0 (br_if $more0 (i32.ne (memory.grow $m0 (i32.const 1)) (i32.const -1))))
    (loop $more1 (br_if $more1 (i32.ne (memory.grow $m1 (i32.const 1)) (i32.const -1))))
    (loop $more2 (br_if $more2 (i32.ne (memory.grow $m2 (i32.const 1)) (i32.const -1))))
    (loop $more3 (br_if $more3 (i32.ne (memory.grow $m3 (i32.const 1)) (i32.const -1))))
    ;; 16 MiB are the limit of all together.
    (if (i32.gt_u
            (i32.add (i32.add (memory.size $m0) (memory.size $m1)) (i32.add (memory.size $m2) (memory.size $m3)))
            (i32.const 256))
        (then unreachable)))
