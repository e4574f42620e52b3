;; Takes all memory that it gets, and goes on.
(func $misbehave (param $rows i32)
    (if (i32.ne (memory.grow (i32.const 65000)) (i32.const -1)) (then unreachable))
    (loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
    ;; 16 MiB are the limit.
    (if (i32.gt_u (memory.size) (i32.const 256)) (then unreachable)))
