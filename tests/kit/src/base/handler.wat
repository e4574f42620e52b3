;; for (import "mesh:handler/log
(import "mesh:handler/log@0.1.0" "write" (func $log (param i32 i32 i32)))

;; for (import "mesh:handler/kv
(import "mesh:handler/kv@0.1.0" "get" (func $get (param i32 i32 i32)))

;; for (func $misbehave
;; What follows the rehearsal, which is at 0: 96 holds 1 for a failure, 100 and 104 the list of effects.
(func $misbehave)

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

;; for "mesh:handler/events@0.1.0#configure"
(func (export "mesh:handler/events@0.1.0#configure") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 64))

;; for "mesh:handler/events@0.1.0#handle"
(func (export "mesh:handler/events@0.1.0#handle") (param $now i64) (param $seed i64) (param $case i32)
    (param i32 i32 i32 i32 i32 i32 i32 i32 i64) (result i32)
    (i32.store8 (i32.const 96) (i32.const 0))
    (i32.store (i32.const 100) (i32.const 1024))
    (i32.store (i32.const 104) (i32.const 0))
    (if (i64.gt_u (local.get $now) (i64.const 0)) (then (call $misbehave)))
    (i32.const 96))

;; for "mesh:handler/events@0.1.0#state-version"
(func (export "mesh:handler/events@0.1.0#state-version") (result i32) (i32.const 1))

;; for "mesh:handler/events@0.1.0#save"
(func (export "mesh:handler/events@0.1.0#save") (result i32) (i32.const 64))

;; for "mesh:handler/events@0.1.0#load-state"
(func (export "mesh:handler/events@0.1.0#load-state") (param i32 i32 i32) (result i32) (i32.const 64))
