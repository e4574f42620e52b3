;; Never ends in a call that traffic waits for.
(func $misbehave (param $rows i32)
    (loop $again (br $again)))
