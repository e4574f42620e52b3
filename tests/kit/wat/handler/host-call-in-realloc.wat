;; Calls the host while the host lends it an argument.
(global $armed (mut i32) (i32.const 0))
(func $misbehave (local $i i32)
    (global.set $armed (i32.const 1)))
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (if (global.get $armed) (then (call $log (i32.const 2) (i32.const 2048) (i32.const 1))))
    (i32.const 65536))
