;; Imports HTTP.
(component
    (import "wasi:http/outgoing-handler@0.2.0" (instance))
    (instance $policy)
    (export "mesh:routing/policy@0.1.0" (instance $policy)))
