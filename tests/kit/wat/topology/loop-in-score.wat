;; Never ends when it is asked who is a good parent.
(func $misbehave (param $rows i32)
    (loop $again (br $again)))
