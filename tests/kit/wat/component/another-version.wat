;; Is built for a version of the interface that does not exist.
(component
    (instance $policy)
    (export "mesh:routing/policy@9.9.9" (instance $policy)))
