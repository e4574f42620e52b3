;; Calls the host when it may free its answer.
(global $armed (mut i32) (i32.const 0))
(func $misbehave (local $i i32)
    (global.set $armed (i32.const 1)))
(func (export "cabi_post_mesh:handler/events@0.1.0#handle") (param i32)
    (if (global.get $armed) (then (call $log (i32.const 2) (i32.const 2048) (i32.const 1)))))
