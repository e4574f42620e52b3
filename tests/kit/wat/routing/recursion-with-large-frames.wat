;; Calls itself with many variables in each frame.
(func $misbehave (param $rows i32)
    ;; repeat 64 (local $v{n} i64)
    ;; repeat 64 (local.set $v{n} (i64.add (i64.extend_i32_u (local.get $rows)) (i64.load (i32.const {n}0))))
    (call $misbehave (i32.wrap_i64 (local.get $v63)))
    ;; repeat 64 (i64.store offset=2048 (i32.const {n}0) (local.get $v{n}))
)
