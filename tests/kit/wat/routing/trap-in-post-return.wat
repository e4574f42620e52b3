;; Traps when it may free its answer.
(global $decided (mut i32) (i32.const 0))
(func $misbehave (param $rows i32)
    (global.set $decided (i32.const 1)))
(func (export "cabi_post_mesh:routing/policy@0.1.0#decide") (param i32)
    (if (global.get $decided) (then unreachable)))
