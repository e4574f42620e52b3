;; Reads where it has no memory.
(func $misbehave (param $rows i32)
    (drop (i32.load (i32.const -4))))
