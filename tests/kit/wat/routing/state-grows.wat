;; Saves more after each call.
(global $len (mut i32) (i32.const 65536))
(func $misbehave (param $rows i32)
    (global.set $len (i32.mul (global.get $len) (i32.const 32))))
(func (export "mesh:routing/policy@0.1.0#save") (result i32)
    (i32.store (i32.const 80) (i32.const 0))
    (i32.store (i32.const 84) (global.get $len))
    (i32.const 80))
