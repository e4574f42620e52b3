;; Lends the host the address 0 for everything.
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))
