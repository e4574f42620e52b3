;; Answers a command twice.
(data (i32.const 2048) "x")
(func $misbehave (local $i i32)
    (i32.store8 (i32.const 1024) (i32.const 3)) (i32.store (i32.const 1028) (i32.const 2048)) (i32.store (i32.const 1032) (i32.const 1))
    (i32.store8 (i32.const 1052) (i32.const 3)) (i32.store (i32.const 1056) (i32.const 2048)) (i32.store (i32.const 1060) (i32.const 1))
    (i32.store (i32.const 104) (i32.const 2)))
