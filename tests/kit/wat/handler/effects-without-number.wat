;; Wants 2^31 effects.
(func $misbehave (local $i i32)
    (i32.store (i32.const 104) (i32.const 0x80000000)))
