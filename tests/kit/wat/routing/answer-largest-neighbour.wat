;; Names the largest neighbour that there could be, just below the words for drop and hold.
(func $misbehave (param $rows i32)
    (i32.store (i32.const 1036) (i32.const 0xfffffffc)))
