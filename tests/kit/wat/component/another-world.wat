;; Is built for a slot that does not exist.
(component
    (instance $policy)
    (export "mesh:firmware/policy@0.1.0" (instance $policy)))
