;; Wants an effect that does not exist.
(func $misbehave (local $i i32)
    (i32.store8 (i32.const 1024) (i32.const 19))
    (i32.store (i32.const 104) (i32.const 1)))
