;; Imports a component, to be given code by the host.
(component
    (import "code" (component))
    (instance $policy)
    (export "mesh:routing/policy@0.1.0" (instance $policy)))
