;; Never ends while the host lends it arguments, once it has decided something.
(global $decided (mut i32) (i32.const 0))
(func $misbehave (param $rows i32)
    (global.set $decided (i32.const 1)))
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (if (global.get $decided) (then (loop $again (br $again))))
    (i32.const 65536))
