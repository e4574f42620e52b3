;; Imports more than anybody reads.
(component
    ;; repeat 300 (import "wasi:cli/a{n}@0.2.0" (instance))
    (import "mesh:types/common@0.1.0" (instance $common
        (type $value (variant (case "flag" bool) (case "integer" s64) (case "number" f64) (case "text" string)))
        (export "value" (type $named (eq $value)))
        (type $setting (record (field "name" string) (field "value" $named)))
        (export "setting" (type (eq $setting)))
        (type $refusal (variant (case "unknown-setting" string) (case "bad-setting" string)
            (case "unknown-version" u32) (case "bad-state")))
        (export "refusal" (type (eq $refusal)))))
    (component)
    (instance $good (instantiate 0 (with "mesh:types/common@0.1.0" (instance $common))))
    (alias export $good "mesh:routing/policy@0.1.0" (instance $policy))
    (export "mesh:routing/policy@0.1.0" (instance $policy)))
