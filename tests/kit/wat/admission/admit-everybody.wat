;; Lets everybody in, with truths that are not 1.
(func $misbehave (param $rows i32)
    (memory.fill (i32.const 1024) (i32.const 0xff) (local.get $rows)))
