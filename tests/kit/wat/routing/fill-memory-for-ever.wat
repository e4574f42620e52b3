;; Never ends, and is most of the time in one instruction that fills memory.
(func $misbehave (param $rows i32)
    (loop $again (memory.fill (i32.const 1024) (i32.const 0) (i32.const 1200000)) (br $again)))
