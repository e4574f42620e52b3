;; Is a QoS policy whose functions take nothing and answer nothing.
(component
    (core module $m (func (export "f")))
    (core instance $i (instantiate $m))
    (func $f (canon lift (core func $i "f")))
    (instance $policy (export "configure" (func $f)) (export "classify" (func $f)) (export "divide" (func $f))
        (export "state-version" (func $f)) (export "save" (func $f)) (export "load-state" (func $f)))
    (export "mesh:qos/policy@0.1.0" (instance $policy)))
