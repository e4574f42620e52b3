;; Wants what it reads where it has no memory.
(data (i32.const 2048) "key")
(func $misbehave (local $i i32)
    (call $get (i32.const 2048) (i32.const 3) (i32.const 0x7ffffff0)))
