;; Imports a core module, to be given code by the host.
(component
    (import "code" (core module))
    (instance $policy)
    (export "mesh:routing/policy@0.1.0" (instance $policy)))
