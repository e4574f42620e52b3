;; Is a routing policy without most of its functions.
(component
    (core module $m (func (export "f")))
    (core instance $i (instantiate $m))
    (func $f (canon lift (core func $i "f")))
    (instance $policy (export "state-version" (func $f)) (export "decide" (func $f)))
    (export "mesh:routing/policy@0.1.0" (instance $policy)))
