;; Puts the bits of a float that is no number into its state.
(func $misbehave (param $rows i32)
    (i32.store (i32.const 80) (i32.const 1016))
    (i32.store (i32.const 84) (i32.const 8))
    (f64.store (i32.const 1016) (f64.div (f64.const -0) (f64.const 0))))
(func (export "mesh:routing/policy@0.1.0#save") (result i32) (i32.const 80))
