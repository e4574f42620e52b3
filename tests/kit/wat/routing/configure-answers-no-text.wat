;; Refuses a setting whose name is not UTF-8.
(func (export "mesh:routing/policy@0.1.0#configure") (param i32 i32) (result i32)
    (i32.store8 (i32.const 200) (i32.const 1))
    (i32.store8 (i32.const 204) (i32.const 0))
    (i32.store16 (i32.const 300) (i32.const 0xfeff))
    (i32.store (i32.const 208) (i32.const 300))
    (i32.store (i32.const 212) (i32.const 2))
    (i32.const 200))
