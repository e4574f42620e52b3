;; Makes every message critical.
(func $misbehave (param $rows i32)
    (memory.fill (i32.const 1024) (i32.const 0) (local.get $rows)))
