;; Throws an exception that nobody catches.
(tag $e)
(func $misbehave (param $rows i32)
    (throw $e))
