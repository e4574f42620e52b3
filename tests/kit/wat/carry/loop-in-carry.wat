;; Never ends in a call that waiting messages wait for.
(func $misbehave (param $rows i32)
    (loop $again (br $again)))
