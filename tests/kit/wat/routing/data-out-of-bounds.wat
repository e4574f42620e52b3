;; Brings data for an address that it does not have.
(data (i32.const 0x7fffffff) "x")
