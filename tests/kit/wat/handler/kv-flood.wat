;; Reads its store for ever.
(data (i32.const 2048) "key")
(func $misbehave (local $i i32)
    (loop $again (call $get (i32.const 2048) (i32.const 3) (i32.const 2100)) (br $again)))
