;; Keeps a mebibyte of each call until there is none left.
(func $misbehave (param $rows i32)
    (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable)))
