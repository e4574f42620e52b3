;; Traps in its start function.
(func $start unreachable)
(start $start)
