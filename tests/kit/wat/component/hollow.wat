;; Has the name of a routing policy and no function.
(component
    (instance $policy)
    (export "mesh:routing/policy@0.1.0" (instance $policy)))
