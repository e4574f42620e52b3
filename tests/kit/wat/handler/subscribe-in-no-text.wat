;; Subscribes to a topic that is not UTF-8.
(data (i32.const 2048) "\c3\28")
(func $misbehave (local $i i32)
    (i32.store8 (i32.const 1024) (i32.const 0))
    (i32.store (i32.const 1028) (i32.const 2048))
    (i32.store (i32.const 1032) (i32.const 2))
    (i32.store (i32.const 104) (i32.const 1)))
