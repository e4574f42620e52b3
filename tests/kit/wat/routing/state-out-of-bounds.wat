;; Saves what is not in its memory.
(func (export "mesh:routing/policy@0.1.0#save") (result i32)
    (i32.store (i32.const 80) (i32.const 2130706432))
    (i32.store (i32.const 84) (i32.const 1000))
    (i32.const 80))
