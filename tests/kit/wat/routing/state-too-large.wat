;; Saves a byte more than it may.
(func (export "mesh:routing/policy@0.1.0#save") (result i32)
    (i32.store (i32.const 80) (i32.const 1024))
    (i32.store (i32.const 84) (i32.const 0x100001))
    (i32.const 80))
