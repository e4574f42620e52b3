;; Calls itself until its stack ends.
(func $misbehave (param $rows i32)
    (call $misbehave (local.get $rows)) (drop (local.get $rows)))
