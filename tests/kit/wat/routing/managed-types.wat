;; Brings types for a garbage collector.
(type $node (struct (field (mut i32))))
(func (result (ref $node)) (struct.new $node (i32.const 1)))
