;; Sends each message back to where it came from.
(func (export "mesh:routing/policy@0.1.0#decide") (param $now i64) (param i32 i32) (param $ingress i32) (param $rows i32)
    (param i32 i32 i32 i32) (result i32)
    (i32.store (i32.const 16) (i32.const 1024))
    (i32.store (i32.const 20) (local.get $rows))
    (memory.copy (i32.const 1024) (local.get $ingress) (i32.mul (local.get $rows) (i32.const 4)))
    (i32.const 16))
