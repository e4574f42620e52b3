;; Refuses a setting with a name of a mebibyte.
(func (export "mesh:routing/policy@0.1.0#configure") (param i32 i32) (result i32)
    (memory.fill (i32.const 1024) (i32.const 0x78) (i32.const 0x100000))
    (i32.store8 (i32.const 200) (i32.const 1))
    (i32.store8 (i32.const 204) (i32.const 0))
    (i32.store (i32.const 208) (i32.const 1024))
    (i32.store (i32.const 212) (i32.const 0x100000))
    (i32.const 200))
