//! What works, and fails, without a node.

use std::os::unix::fs::PermissionsExt;

use crate::harness::Place;

#[test]
fn without_a_node_the_error_says_how_to_start_one() {
    let place = Place::new();

    let ran = place.run(&["status"]);

    assert_eq!((ran.code, ran.stdout.as_str()), (Some(4), ""));
    assert_eq!(
        ran.stderr,
        "error[MESH-N101]: no node runs here\nhelp: meshctl up --detach\nmore: meshctl explain MESH-N101\n"
    );
}

#[test]
fn with_json_an_error_is_one_line_on_stderr() {
    let place = Place::new();
    for (args, code, exit) in [
        (&["status"][..], "MESH-N101", 4),
        (&["-N", "alice", "peers"], "MESH-N101", 4),
        (&["-N", "./nowhere.sock", "peers"], "MESH-N101", 4),
        (&["explain", "X999"], "MESH-A110", 3),
        (&["version", "--fields", "speed"], "MESH-C100", 2),
        (&["statsu"], "MESH-C100", 2),
        (&["ping"], "MESH-C100", 2),
        (&["ping", "bob", "--count", "0"], "MESH-C100", 2),
        (&["up", "--name", "a/b"], "MESH-C100", 2),
        (&["up", "--listen", "nowhere"], "MESH-C102", 2),
        (&["up", "--join", "nowhere"], "MESH-C102", 2),
        (&["plugin", "install", "missing.wasm"], "MESH-N101", 4),
        (&["plugin", "swap", "route", "x", "--set", "broken"], "MESH-C100", 2),
        (&["beacon", "set", "91,0"], "MESH-C100", 2),
        (&["bench", "net", "--secs", "0"], "MESH-C103", 2),
        (&["status", "--timeout", "soon"], "MESH-C100", 2),
    ] {
        let error = place.error(args);
        assert_eq!((error["code"].as_str(), error["exit"].as_i64()), (Some(code), Some(exit)), "{args:?}");
    }
}

#[test]
fn a_typo_is_told_with_what_was_meant() {
    let ran = Place::new().run(&["plugin", "instal", "x.wasm"]);

    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.starts_with("error[MESH-C100]: unrecognized subcommand 'instal'"), "{}", ran.stderr);
    assert!(ran.stderr.contains("help: did you mean 'install'?\n"), "{}", ran.stderr);
}

#[test]
fn help_goes_to_stdout_and_lists_every_command() {
    let place = Place::new();

    let ran = place.run(&["--help"]);

    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    for command in [
        "up",
        "down",
        "status",
        "peers",
        "ping",
        "id",
        "send",
        "pub",
        "sub",
        "topology",
        "route",
        "plugin",
        "beacon",
        "events",
        "demo",
        "sim",
        "bench",
        "explain",
        "version",
        "completions",
        "man",
    ] {
        assert!(ran.stdout.contains(&format!("\n  {command} ")), "{command}");
    }
    assert!(ran.stdout.contains("Exit codes:"));
}

#[test]
fn every_code_can_be_explained() {
    let place = Place::new();

    let codes = place.json(&["explain"]);

    for code in codes.as_array().unwrap() {
        let code = code["code"].as_str().unwrap();
        let ran = place.run(&["explain", code]);
        assert!(ran.code == Some(0) && ran.stdout.starts_with(&format!("{code}: ")), "{code}");
    }
}

#[test]
fn version_prints_the_envelope_of_every_command() {
    let place = Place::new();

    let ran = place.run(&["version", "--json"]);

    let envelope: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let members: Vec<&String> = envelope.as_object().unwrap().keys().collect();
    assert_eq!(members, ["at", "data", "node", "schema", "warnings"]);
    assert_eq!(envelope["schema"], "meshctl.version/v1");
    assert_eq!(envelope["data"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(place.run(&["version", "-o", "name"]).stdout, format!("{}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn fields_select_members_and_lines_alike() {
    let place = Place::new();
    assert_eq!(place.json(&["version", "--fields", "os,arch"]).as_object().unwrap().len(), 2);
    assert_eq!(place.run(&["version", "--fields", "build"]).stdout.lines().count(), 1);
}

#[test]
fn options_have_environment_twins() {
    let place = Place::new();

    let output = place.command(&["status"]).env("MESH_JSON", "1").env("MESH_NODE", "zoe").output().unwrap();

    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["message"], "no node named 'zoe' runs here");
}

#[test]
fn completions_exist_for_every_shell() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = place.run(&["completions", shell]);
        assert!(ran.code == Some(0) && ran.stdout.contains("rollback"), "{shell}");
    }
}

#[test]
fn colours_are_for_terminals_or_those_who_ask() {
    let place = Place::new();
    assert!(!place.run(&["explain", "N101"]).stdout.contains('\x1b'));
    assert!(place.run(&["explain", "N101", "--color", "always"]).stdout.contains('\x1b'));
}

#[test]
fn a_component_in_a_file_is_inspected_without_a_node() {
    let place = Place::new();
    std::fs::write(place.path().join("latency.wasm"), mesh_plugin_host::builtin::LATENCY).unwrap();

    let report = place.json(&["plugin", "inspect", "latency.wasm"]);

    assert_eq!(
        (report["plugin"].as_str(), report["kind"].as_str()),
        (Some("built-in/latency"), Some("routing"))
    );
    assert_eq!((report["pure"].as_bool(), report["findings"].as_array().unwrap().len()), (Some(true), 0));
}

#[test]
fn what_is_no_component_is_refused_with_the_remedy() {
    let place = Place::new();
    let whole = mesh_plugin_host::builtin::LATENCY;
    for (name, bytes) in [
        ("core.wasm", &b"\0asm\x01\0\0\0"[..]),
        ("text.wasm", b"hello"),
        ("empty.wasm", b""),
        ("cut.wasm", &whole[..whole.len() / 2]),
    ] {
        std::fs::write(place.path().join(name), bytes).unwrap();
        let error = place.error(&["plugin", "inspect", name]);
        assert_eq!((error["code"].as_str(), error["exit"].as_i64()), (Some("MESH-P103"), Some(7)), "{name}");
        assert!(!error["help"].as_array().unwrap().is_empty(), "{name}");
    }
}

#[test]
fn a_runtime_directory_that_others_can_enter_is_not_used() {
    let place = Place::new();
    let dir = place.path().join("run/mesh");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();

    let error = place.error(&["status"]);

    assert_eq!((error["code"].as_str(), error["facts"]["mode"].as_str()), (Some("MESH-N108"), Some("755")));
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let place = Place::new();
    let mut child = place.command(&["explain"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(crate::harness::ended(&mut child).code(), Some(0));
}

#[test]
fn every_command_has_a_manual_page() {
    let place = Place::new();

    let one = place.run(&["man", "plugin", "swap"]);
    let written = place.run(&["man", "--out", "man1"]);

    assert!(one.code == Some(0) && one.stdout.starts_with(".ie"), "{}{}", one.stdout, one.stderr);
    assert!(
        one.stdout.contains(".TH meshctl-plugin-swap 1") && one.stdout.contains("\\-\\-canary"),
        "{}",
        one.stdout
    );
    assert_eq!(written.code, Some(0), "{}", written.stderr);
    for page in ["meshctl.1", "meshctl-plugin.1", "meshctl-plugin-swap.1", "meshctl-plugin-trust-add.1"] {
        assert!(place.path().join("man1").join(page).is_file(), "{page}");
    }
    assert!(!place.path().join("man1/meshctl-plugin-compile-stdin.1").exists(), "what is hidden has no page");
    assert_eq!(place.error(&["man", "plugin", "fly"])["exit"], 2);
}
