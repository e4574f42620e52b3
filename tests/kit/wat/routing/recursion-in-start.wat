;; Calls itself for ever in its start function.
(func $start (call $start))
(start $start)
