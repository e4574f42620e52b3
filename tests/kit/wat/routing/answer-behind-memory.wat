;; Answers with an address behind its memory.
(func (export "mesh:routing/policy@0.1.0#decide") (param i64 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (i32.const 0x7ffffff8))
