;; Answers with scores that begin behind the end of its memory.
(func $misbehave (param $rows i32)
    (i32.store (i32.const 16) (i32.const 0x7ffffff0)))
