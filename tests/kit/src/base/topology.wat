;; for (func $misbehave
;; What follows the rehearsal, which is at 0: the list at 16 and 20 is the answer, its rows begin at 1024.
(func $misbehave (param $rows i32))

;; for (memory (export
(memory (export "memory") 20)

;; for "cabi_realloc"
(global $next (mut i32) (i32.const 65536))
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
    ;; Round and round above 64 KiB: nothing that the host lends is kept.
    (if (i32.gt_u (i32.add (global.get $next) (local.get 3)) (i32.const 1300000))
        (then (global.set $next (i32.const 65536))))
    (local.set $at (global.get $next))
    (global.set $next (i32.and (i32.add (i32.add (global.get $next) (local.get 3)) (i32.const 15)) (i32.const -16)))
    (local.get $at))

;; for "mesh:topology/policy@0.1.0#configure"
(func (export "mesh:topology/policy@0.1.0#configure") (param i32 i32) (result i32) (i32.const 64))

;; for "mesh:topology/policy@0.1.0#score"
(func (export "mesh:topology/policy@0.1.0#score") (param $call i32) (result i32) (local $rows i32)
    ;; What is too much for parameters lies in memory: the time, who asks, and the first column at 32.
    (local.set $rows (i32.load offset=36 (local.get $call)))
    (i32.store (i32.const 16) (i32.const 1024))
    (i32.store (i32.const 20) (local.get $rows))
    (if (i64.gt_u (i64.load (local.get $call)) (i64.const 0)) (then (call $misbehave (local.get $rows))))
    (i32.const 16))

;; for "mesh:topology/policy@0.1.0#state-version"
(func (export "mesh:topology/policy@0.1.0#state-version") (result i32) (i32.const 1))

;; for "mesh:topology/policy@0.1.0#save"
(func (export "mesh:topology/policy@0.1.0#save") (result i32) (i32.const 64))

;; for "mesh:topology/policy@0.1.0#load-state"
(func (export "mesh:topology/policy@0.1.0#load-state") (param i32 i32 i32) (result i32) (i32.const 64))
