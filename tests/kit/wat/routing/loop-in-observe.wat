;; Never ends while it is told what changed around the node.
(func (export "mesh:routing/policy@0.1.0#observe")
    (param i64 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)
    (loop $again (br $again)))
