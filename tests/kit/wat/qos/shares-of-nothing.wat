;; Gives no class anything.
(data (i32.const 256) "\00\00\00\00\00\00\00\00\00\00")
(func (export "mesh:qos/policy@0.1.0#divide") (param i64 i32 i32 i32 i32 i32 i32) (result i32)
    (i32.store (i32.const 32) (i32.const 256))
    (i32.store (i32.const 36) (i32.const 5))
    (i32.store (i32.const 40) (i32.const 261))
    (i32.store (i32.const 44) (i32.const 5))
    (i32.const 32))
