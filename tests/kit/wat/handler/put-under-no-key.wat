;; Puts a value under an empty key.
(func $misbehave (local $i i32)
    (i32.store8 (i32.const 1024) (i32.const 5))
    (i32.store (i32.const 1028) (i32.const 2048))
    (i32.store (i32.const 1032) (i32.const 0))
    (i32.store (i32.const 1036) (i32.const 2048))
    (i32.store (i32.const 1040) (i32.const 3))
    (i32.store (i32.const 104) (i32.const 1)))
