//! What is refused before it runs, and what is said about it.

use mesh_plugin_host::inspect::NotAComponent;
use mesh_plugin_host::{
    Fault, Grants, Kind, LoadError, ManifestError, builtin, inspect, limits, load, package, prepare_qos,
    prepare_routing,
};

use crate::guests::{core, engine, hostile, settings, text, wat};

fn refused(bytes: &[u8]) -> LoadError {
    load(&engine(), bytes, Grants::ALL).expect_err("it must not load")
}

#[test]
fn junk_truncated_files_and_core_modules_are_told_apart() {
    let component = builtin::LATENCY;
    let half = &component[..component.len() / 2];

    assert_eq!(refused(b""), NotAComponent::NotWasm.into());
    assert_eq!(refused(&[0xff; 4096]), NotAComponent::NotWasm.into());
    assert_eq!(refused(&wat("(module)")), NotAComponent::CoreModule.into());
    assert!(matches!(refused(half), LoadError::NotAComponent(NotAComponent::Damaged { .. })));
    assert_eq!(refused(half).code(), "MESH-P103");
}

/// Every bit of the file counts or does not matter, but nothing makes the host panic.
#[test]
fn a_component_with_flipped_bytes_is_refused_or_runs_and_never_breaks_the_host() {
    let engine = engine();
    let mut refused = 0;
    for at in (8..builtin::CLASS_FAIR.len()).step_by(509) {
        let mut bytes = builtin::CLASS_FAIR.to_vec();
        bytes[at] ^= 0x55;

        match load(&engine, &bytes, Grants::NONE) {
            Ok(loaded) => drop(prepare_qos(&loaded, &settings([]))),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 10, "only {refused} were refused");
}

#[test]
fn a_file_above_the_limit_is_refused_before_it_is_read() {
    let bytes = vec![0; limits::COMPONENT_BYTES + 1];

    assert!(matches!(refused(&bytes), LoadError::TooLarge { .. }));
    assert_eq!(refused(&bytes).code(), "MESH-P106");
    assert!(inspect(&bytes).is_err());
}

/// W12.
#[test]
fn an_import_that_no_plugin_can_have_is_refused_by_name() {
    for import in ["wasi:http/outgoing-handler@0.2.0", "wasi:random/random@0.3.0", "acme:net/sockets@1.0.0"] {
        let component = wat(&format!(
            "(component
                (import \"{import}\" (instance (export \"get\" (func))))
                (instance $policy)
                (export \"mesh:routing/policy@0.1.0\" (instance $policy)))"
        ));

        let error = refused(&component);

        assert_eq!(
            error,
            LoadError::ForbiddenImport { import: import.into(), kind: Kind::Routing },
            "{import}"
        );
        assert_eq!(error.code(), "MESH-P104");
        assert_eq!(error.hint().contains("rustup target add"), import.starts_with("wasi:"));
    }
}

/// W12: a policy stays pure even where a handler could have the import.
#[test]
fn a_policy_cannot_have_what_handlers_are_granted() {
    let component = wat("(component
            (import \"mesh:handler/kv@0.1.0\" (instance (export \"get\" (func))))
            (instance $policy)
            (export \"mesh:qos/policy@0.1.0\" (instance $policy)))");

    let import = "mesh:handler/kv@0.1.0".into();
    assert_eq!(refused(&component), LoadError::ForbiddenImport { import, kind: Kind::Qos });
}

#[test]
fn a_handler_without_its_grant_is_refused_with_the_grant_it_needs() {
    let engine = engine();

    let refused = load(&engine, builtin::BEACON, Grants { log: true, kv: false }).expect_err("kv is missing");

    assert_eq!(refused, LoadError::NotGranted { import: "mesh:handler/kv@0.1.0".into(), grant: "kv" });
    assert!(load(&engine, builtin::BEACON, Grants::ALL).is_ok());
}

#[test]
fn a_component_that_fits_no_slot_is_refused_with_what_it_exports() {
    let other = wat("(component (instance $x) (export \"acme:door/bell@1.0.0\" (instance $x)))");

    assert_eq!(refused(&other), LoadError::WrongWorld { exports: "acme:door/bell@1.0.0".into() });
    assert_eq!(refused(&wat("(component)")), LoadError::WrongWorld { exports: "nothing".into() });
    assert_eq!(refused(&other).code(), "MESH-P105");
}

#[test]
fn an_interface_of_another_version_is_refused_with_both_versions() {
    for version in ["0.2.0", "1.0.0", "0.1.1"] {
        let other = wat(&format!(
            "(component (instance $x) (export \"mesh:routing/policy@{version}\" (instance $x)))"
        ));

        let error = refused(&other);

        let interface = "mesh:routing/policy".into();
        assert_eq!(error, LoadError::WrongVersion { interface, found: version.into() });
        assert_eq!(error.code(), "MESH-P107");
        assert!(error.to_string().contains("0.1.0") && error.to_string().contains(version), "{error}");
    }
}

#[test]
fn the_right_name_with_other_functions_is_refused() {
    let hollow = wat("(component (instance $x) (export \"mesh:routing/policy@0.1.0\" (instance $x)))");

    assert!(matches!(refused(&hollow), LoadError::WrongShape { .. }), "{}", refused(&hollow));
}

#[test]
fn a_function_of_another_type_is_refused() {
    let functions = ["configure", "observe", "decide", "state-version", "save", "load-state"]
        .map(|name| format!("(export \"{name}\" (func $f))"))
        .join(" ");
    let component = wat(&format!(
        "(component
            (core module $m (func (export \"f\")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i \"f\")))
            (instance $policy {functions})
            (export \"mesh:routing/policy@0.1.0\" (instance $policy)))"
    ));

    assert!(matches!(refused(&component), LoadError::WrongShape { .. }), "{}", refused(&component));
}

/// W05.
#[test]
fn a_component_that_asks_for_more_memory_than_there_is_is_refused_at_load() {
    let error = refused(&hostile("large"));

    assert!(matches!(error, LoadError::OverLimit { .. }), "{error:?}");
    assert_eq!(error.code(), "MESH-P106");
}

/// W02.
#[test]
fn a_start_function_that_never_ends_is_refused_within_its_time() {
    let begun = std::time::Instant::now();

    let error = refused(&hostile("start"));

    assert_eq!(error, LoadError::Start(Fault::Deadline { limit: limits::SETUP }));
    assert_eq!(error.code(), "MESH-P112");
    assert!(begun.elapsed() < limits::SETUP * 30, "it was stopped");
}

#[test]
fn a_manifest_is_refused_where_it_is_wrong() {
    let encode = |manifest: &str| match package::encode(&[], manifest) {
        Err(package::EncodeError::Manifest(error)) => error,
        other => panic!("{other:?}"),
    };
    let good = "[plugin]\nname = \"acme/x\"\nversion = \"1.0.0\"\n";

    let unknown_key = encode(&format!("{good}colour = \"red\"\n"));
    assert!(
        matches!(&unknown_key, ManifestError::Syntax { line: 4, reason, .. } if reason.contains("colour"))
    );
    assert!(matches!(encode("[plugin]\nname = 1\n"), ManifestError::Syntax { line: 2, .. }));
    for (from, to) in
        [("acme/x", "acme"), ("acme/x", "Acme/x"), ("acme/x", "a/b/c"), ("1.0.0", "1.0"), ("1.0.0", "v1.0.0")]
    {
        let error = encode(&good.replace(from, to));
        assert!(matches!(error, ManifestError::Value { .. }), "{to}: {error}");
    }
    assert_eq!(encode(&"#".repeat(70_000)), ManifestError::TooLarge { len: 70_000 });
}

#[test]
fn a_manifest_that_claims_what_the_component_is_not_is_refused() {
    let component = |claim: &str| {
        let manifest = format!("[plugin]\nname = \"acme/x\"\nversion = \"1.0.0\"\n{claim}");
        package::encode(&core("handler"), &manifest).unwrap()
    };

    for claim in ["world = \"mesh:qos@0.1.0\"", "pure = true"] {
        assert_eq!(refused(&component(claim)).code(), "MESH-P116", "{claim}");
    }
    assert_eq!(refused(&component("min_host = \"99.0\"")).code(), "MESH-P107");
    let true_claims = "world = \"mesh:handler@0.1.0\"\nmin_host = \"0.1\"";
    assert!(load(&engine(), &component(true_claims), Grants::ALL).is_ok());
}

#[test]
fn settings_are_checked_against_the_manifest_before_the_plugin_is_asked() {
    let latency = load(&engine(), builtin::LATENCY, Grants::NONE).unwrap();
    for (name, value, want) in [
        ("margin", 5.into(), "there is no setting \"margin\"; known are margin_percent, margin_us"),
        ("margin_percent", text("5"), "margin_percent = \"5\" should be a whole number"),
        ("margin_percent", 1001.into(), "margin_percent = 1001 is not between 0 and 1000"),
    ] {
        let error = prepare_routing(&latency, &settings([(name, value)])).expect_err("it is refused");

        assert_eq!((error.code(), error.to_string().as_str()), ("MESH-P111", want));
    }
    assert!(prepare_routing(&latency, &settings([("margin_percent", 1000.into())])).is_ok());
}

#[test]
fn a_plugin_is_not_prepared_for_the_slot_of_another_kind() {
    let qos = load(&engine(), builtin::CLASS_FAIR, Grants::NONE).unwrap();

    let error = prepare_routing(&qos, &settings([])).expect_err("it is refused");

    assert_eq!(error.code(), "MESH-P105");
}

#[test]
fn inspection_tells_kind_imports_manifest_and_purity() {
    let latency = inspect(builtin::LATENCY).unwrap();
    let beacon = inspect(builtin::BEACON).unwrap();

    assert_eq!(latency.kind, Some(Kind::Routing));
    assert!(latency.is_pure && !beacon.is_pure);
    assert_eq!(latency.exports, ["mesh:routing/policy@0.1.0"]);
    assert_eq!(latency.manifest.as_ref().unwrap().plugin.name, "built-in/latency");
    assert!(latency.custom_sections.iter().any(|(name, _)| name == "meshwork:plugin"));
    let imports: Vec<&str> = beacon.imports.iter().map(|import| import.name.as_str()).collect();
    assert!(
        imports.contains(&"mesh:handler/kv@0.1.0") && imports.contains(&"mesh:handler/log@0.1.0"),
        "{imports:?}"
    );
    assert_eq!(beacon.findings(Grants::NONE).len(), 2);
    assert!(beacon.findings(Grants::ALL).is_empty());
}
