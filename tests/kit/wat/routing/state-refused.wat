;; Refuses the state that it has saved itself.
(func (export "mesh:routing/policy@0.1.0#load-state") (param i32 i32 i32) (result i32)
    (i32.store8 (i32.const 200) (i32.const 1))
    (i32.store8 (i32.const 204) (i32.const 3))
    (i32.const 200))
