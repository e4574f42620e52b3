;; Is a policy and imports what only handlers may have.
(component
    (import "mesh:handler/kv@0.1.0" (instance (export "get" (func))))
    (instance $policy)
    (export "mesh:qos/policy@0.1.0" (instance $policy)))
