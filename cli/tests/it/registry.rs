//! Plugins in a real registry: Debian's docker-registry on loopback. W16, ADV10.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use mesh_node::oci::Digest;
use mesh_plugin_host::builtin;
use serde_json::{Value, json};

use crate::harness::{Place, Ran, active, refusal, write};
use crate::package::{component, key, sign};
use crate::registry_kit::{AUTH, Door, INDEX, MANIFEST, PASSWORD, Registry, http};

/// A signed package `fast.meshpkg` of acme/fast, and the key that signed it.
fn signed(place: &Place, version: &str) -> String {
    let acme = match place.path().join("acme.key").exists() {
        true => place.run(&["plugin", "key", "show", "acme.key", "-o", "name"]).stdout.trim().to_owned(),
        false => key(place, "acme.key"),
    };
    write(place, "fast.wasm", &component(builtin::LATENCY, "acme/fast", version));
    sign(place, "fast.wasm", "acme.key", "fast.meshpkg");
    acme
}

fn manifest(registry: &Registry, path: &str, accept: &str) -> (Value, Digest) {
    let answer = http(registry.addr, "GET", path, &[("Accept", accept)], b"");
    assert_eq!(answer.status, 200, "{path}");
    (serde_json::from_slice(&answer.body).unwrap(), Digest::of(&answer.body))
}

#[test]
fn what_is_published_is_installed_with_its_signatures_pinned_and_swapped() {
    let Some(registry) = Registry::start(Door::Open) else { return };
    let mut place = Place::new();
    let acme = signed(&place, "1.0.0");
    let reference = registry.reference("acme/fast");
    let rehearsed = place.json(&["plugin", "publish", "fast.meshpkg", &reference, "--dry-run"]);
    assert_eq!((&rehearsed["tag"], &rehearsed["sent_bytes"]), (&Value::Null, &0.into()));
    let published = place.json(&["plugin", "publish", "fast.meshpkg", &reference]);
    assert_eq!(published["reference"], format!("{reference}:1.0.0"), "the version is the tag");
    assert_eq!(published["digest"], rehearsed["digest"]);
    assert_eq!((&published["tag"], &published["signatures"]), (&"new".into(), &1.into()));
    place.up("bob", &["--require-signed-plugins"]);
    let tagged = format!("{reference}:1.0.0");
    assert_eq!(refusal(&place, &["plugin", "install", &tagged]), ("MESH-P119".to_owned(), 6));
    assert!(!place.data_dir("bob").join("plugins.lock").exists(), "what was refused is not pinned");
    place.json(&["plugin", "trust", "add", &acme, "--for", "acme/*"]);
    place.json(&["plugin", "install", &tagged, "--dry-run"]);
    assert!(!place.data_dir("bob").join("plugins.lock").exists(), "nor what was only checked");

    let installed = place.json(&["plugin", "install", &tagged]);

    assert_eq!(
        (&installed["plugin"], &installed["signers"][0]["state"]),
        (&"acme/fast".into(), &"trusted".into())
    );
    let exact = format!("{tagged}@{}", published["digest"].as_str().unwrap());
    assert_eq!(installed["reference"], exact);
    let lock = fs::read_to_string(installed["lock"].as_str().unwrap()).unwrap();
    assert!(lock.contains(&tagged) && lock.contains(published["digest"].as_str().unwrap()), "{lock}");
    place.json(&["plugin", "swap", "route", "acme/fast"]);
    assert_eq!(active(&place, "route"), "acme/fast");
    place.json(&["plugin", "swap", "route", "built-in/latency", "--reset-state"]);
    let again = place.json(&["plugin", "publish", "fast.meshpkg", &reference]);
    assert_eq!((&again["tag"], &again["sent_bytes"]), (&"same".into(), &0.into()), "nothing is sent twice");
    let by_digest = place.json(&["plugin", "install", &exact]);
    assert_eq!(by_digest["known"], true);
    let would = place.json(&["plugin", "swap", "route", &tagged, "--dry-run"]);
    assert_eq!(would["new"]["plugin"], "acme/fast");
}

/// The layout of the CNCF for WebAssembly, byte for byte as other tools ask for it.
#[test]
fn other_tools_find_one_layer_of_wasm_and_the_signatures_out_of_their_way() {
    let Some(registry) = Registry::start(Door::Open) else { return };
    let place = Place::new();
    signed(&place, "1.0.0");

    let published =
        place.json(&["plugin", "publish", "fast.meshpkg", &registry.reference("acme/fast:1.0.0")]);

    let (pushed, digest) = manifest(&registry, "/v2/acme/fast/manifests/1.0.0", MANIFEST);
    assert_eq!(published["digest"], digest.to_string());
    assert_eq!(pushed["mediaType"], MANIFEST);
    assert_eq!(pushed["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    assert_eq!(pushed["layers"].as_array().map(Vec::len), Some(1));
    assert_eq!(pushed["layers"][0]["mediaType"], "application/wasm");
    assert_eq!(pushed["annotations"]["org.opencontainers.image.version"], "1.0.0");
    let blob = |descriptor: &Value| {
        let path = format!("/v2/acme/fast/blobs/{}", descriptor["digest"].as_str().unwrap());
        http(registry.addr, "GET", &path, &[], b"").body
    };
    assert_eq!(blob(&pushed["layers"][0]), fs::read(place.path().join("fast.wasm")).unwrap());
    let config: Value = serde_json::from_slice(&blob(&pushed["config"])).unwrap();
    assert_eq!(config["layerDigests"], json!([pushed["layers"][0]["digest"]]));
    assert_eq!((&config["architecture"], &config["os"]), (&"wasm".into(), &"wasip2".into()));
    assert!(config["component"]["exports"][0].as_str().unwrap().starts_with("mesh:routing/"));
    assert!(config["meshwork"]["manifest"].as_str().unwrap().contains("acme/fast"));
    assert_eq!(published["fallback_tag"], true, "this registry knows no referrers");
    let tag = format!("/v2/acme/fast/manifests/sha256-{}", digest.hex());
    let (index, _) = manifest(&registry, &tag, INDEX);
    let entry = &index["manifests"][0];
    assert_eq!(entry["artifactType"], "application/vnd.meshwork.plugin.signatures.v1");
    let path = format!("/v2/acme/fast/manifests/{}", entry["digest"].as_str().unwrap());
    let (beside, _) = manifest(&registry, &path, MANIFEST);
    assert_eq!(beside["subject"]["digest"], digest.to_string());
    assert_eq!(beside["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
}

/// `wkg` itself, where it is installed (`cargo install wkg`): it takes from us what it gives us. It is hundreds of
/// crates, too many to build for one test; the tests around this one hold the layout byte for byte.
#[test]
fn wkg_pulls_what_we_publish_and_we_install_what_it_pushes() {
    let Some(registry) = Registry::start(Door::Open) else { return };
    let mut place = Place::new();
    signed(&place, "1.0.0");
    place.json(&["plugin", "publish", "fast.meshpkg", &registry.reference("acme/fast")]);
    let at = registry.addr.to_string();
    let wkg = |args: &[&str]| {
        let mut command = Command::new("wkg");
        command.arg("oci").args(args).args(["--insecure", &at]).current_dir(place.path());
        command.env("HOME", place.path()).env_remove("DOCKER_CONFIG").output()
    };

    let pulled = match wkg(&["pull", "--output", "pulled.wasm", &format!("{at}/acme/fast:1.0.0")]) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return eprintln!("NOT TESTED: wkg is not installed (cargo install wkg)");
        }
        ran => ran.unwrap(),
    };

    assert!(pulled.status.success(), "{pulled:?}");
    let ours = fs::read(place.path().join("fast.wasm")).unwrap();
    assert_eq!(
        fs::read(place.path().join("pulled.wasm")).unwrap(),
        ours,
        "without the signatures, as published"
    );
    let pushed = wkg(&["push", &format!("{at}/acme/by-wkg:1.0.0"), "fast.wasm"]).unwrap();
    assert!(pushed.status.success(), "{pushed:?}");
    place.up("bob", &[]);
    let installed = place.json(&["plugin", "install", &registry.reference("acme/by-wkg:1.0.0")]);
    assert_eq!((&installed["plugin"], &installed["version"]), (&"acme/fast".into(), &"1.0.0".into()));
}

/// What `wkg` pushes: the same layout, without our manifest in the config, with annotations of its own.
#[test]
fn what_another_tool_pushed_is_installed() {
    let Some(registry) = Registry::start(Door::Open) else { return };
    let mut place = Place::new();
    let wasm = component(builtin::LATENCY, "acme/fast", "1.2.0");
    let config = json!({
        "created": "2026-11-21T10:41:07.123456789Z", "author": null, "architecture": "wasm", "os": "wasip2",
        "layerDigests": [Digest::of(&wasm).to_string()],
        "component": { "exports": ["mesh:routing/policy@0.1.0"], "imports": [], "target": null },
    });
    let config = config.to_string().into_bytes();
    let pushed = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": { "mediaType": "application/vnd.wasm.config.v0+json", "digest": upload(&registry, &config), "size": config.len() },
        "layers": [{
            "mediaType": "application/wasm", "digest": upload(&registry, &wasm), "size": wasm.len(),
            "annotations": { "org.opencontainers.image.title": "fast.wasm" },
        }],
        "annotations": { "org.opencontainers.image.version": "1.2.0" },
    });
    let headers = [("Content-Type", MANIFEST)];
    let put =
        http(registry.addr, "PUT", "/v2/acme/fast/manifests/1.2.0", &headers, pushed.to_string().as_bytes());
    assert_eq!(put.status, 201);
    place.up("bob", &[]);

    let installed = place.json(&["plugin", "install", &registry.reference("acme/fast:1.2.0")]);

    assert_eq!((&installed["plugin"], &installed["version"]), (&"acme/fast".into(), &"1.2.0".into()));
    assert_eq!(installed["signers"], json!([]));
    let removed = installed["undo"].as_str().unwrap().split(' ').skip(1).collect::<Vec<_>>();
    let undone = place.json(&removed);
    assert!(undone["undo"].as_str().unwrap().contains("oci://"), "{undone}");
}

fn upload(registry: &Registry, blob: &[u8]) -> String {
    let begun = http(registry.addr, "POST", "/v2/acme/fast/blobs/uploads/", &[], b"");
    let location = begun.headers.iter().find(|(name, _)| name == "location").unwrap().1.clone();
    let path =
        location.trim_start_matches("http://").trim_start_matches(&registry.addr.to_string()).to_owned();
    let digest = Digest::of(blob).to_string();
    let headers = [("Content-Type", "application/octet-stream")];
    assert_eq!(http(registry.addr, "PUT", &format!("{path}&digest={digest}"), &headers, blob).status, 201);
    digest
}

/// ADV10: a tag that was pinned cannot be exchanged behind the operator's back.
#[test]
fn a_tag_that_was_moved_is_refused_until_the_operator_takes_it() {
    let Some(registry) = Registry::start(Door::Open) else { return };
    let mut place = Place::new();
    signed(&place, "1.0.0");
    let edge = registry.reference("acme/fast:edge");
    place.json(&["plugin", "publish", "fast.wasm", &edge]);
    place.up("bob", &[]);
    let first = place.json(&["plugin", "install", &edge]);
    signed(&place, "1.1.0");
    assert_eq!(refusal(&place, &["plugin", "publish", "fast.wasm", &edge]), ("MESH-P182".to_owned(), 6));
    let moved = place.json(&["plugin", "publish", "fast.wasm", &edge, "--replace"]);
    assert_eq!((&moved["tag"], &moved["replaced"]), (&"moved".into(), &first["digest"]));

    let error = place.error(&["plugin", "install", &edge]);

    assert_eq!((&error["code"], &error["exit"]), (&"MESH-P177".into(), &6.into()));
    assert_eq!(error["facts"]["now"], moved["digest"]);
    let stay = error["help"][1].as_str().unwrap().split_once("    ").unwrap().0.to_owned();
    let stayed = place.json(&stay.split(' ').skip(1).collect::<Vec<_>>());
    assert_eq!(stayed["version"], "1.0.0", "what is pinned can still be had");
    let taken = place.json(&["plugin", "install", &edge, "--update"]);
    assert_eq!((&taken["version"], &taken["digest"]), (&"1.1.0".into(), &moved["digest"]));
    assert_eq!(place.json(&["plugin", "install", &edge])["known"], true, "it is what is pinned now");
}

#[test]
fn without_a_network_what_was_fetched_before_is_installed_again() {
    let Some(registry) = Registry::start(Door::Open) else { return };
    let mut place = Place::new();
    let acme = signed(&place, "1.0.0");
    let (known, other) = (registry.reference("acme/fast:1.0.0"), registry.reference("acme/fast:2.0.0"));
    place.json(&["plugin", "publish", "fast.meshpkg", &known]);
    place.up("bob", &["--require-signed-plugins"]);
    place.json(&["plugin", "trust", "add", &acme, "--for", "acme/*"]);
    let first = place.json(&["plugin", "install", &known]);
    place.json(&["plugin", "remove", "acme/fast"]);
    drop(registry);
    assert_eq!(refusal(&place, &["plugin", "install", &known]), ("MESH-P170".to_owned(), 1));

    let again = place.json(&["plugin", "install", &known, "--offline"]);

    assert_eq!((&again["digest"], &again["offline"]), (&first["digest"], &true.into()));
    assert_eq!(again["signers"][0]["state"], "trusted", "its signatures were kept too");
    assert_eq!(refusal(&place, &["plugin", "install", &other, "--offline"]), ("MESH-P178".to_owned(), 3));
    let kept = fs::read_dir(place.data_dir("bob").join("registry")).unwrap().next().unwrap().unwrap().path();
    let mut changed = fs::read(&kept).unwrap();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    fs::write(&kept, changed).unwrap();
    assert_eq!(refusal(&place, &["plugin", "install", &known, "--offline"]), ("MESH-P181".to_owned(), 1));
}

#[test]
fn a_registry_with_a_password_takes_dockers_credentials_and_nothing_shows_them() {
    let Some(registry) = Registry::start(Door::Password) else { return };
    let mut place = Place::new();
    let acme = signed(&place, "1.0.0");
    let reference = registry.reference("acme/fast:1.0.0");
    let publish = ["plugin", "publish", "fast.meshpkg", &reference, "-vv"];
    let install = ["plugin", "install", &reference, "-vv"];
    let docker = place.path().join(".docker");
    fs::create_dir_all(&docker).unwrap();
    let login = |json: Value| fs::write(docker.join("config.json"), json.to_string()).unwrap();
    place.up("bob", &[]);
    place.json(&["plugin", "trust", "add", &acme, "--for", "acme/*"]);
    assert_eq!(refusal(&place, &publish), ("MESH-P171".to_owned(), 5));
    login(json!({ "auths": { (registry.addr.to_string()): { "auth": "YWRhOndyb25n" } } }));
    let error = place.error(&publish);
    assert_eq!(error["code"], "MESH-P171");
    assert!(error["message"].as_str().unwrap().contains("refuses the credentials"), "{error}");
    login(json!({ "auths": { "other.example.org": { "auth": AUTH } } }));
    assert_eq!(refusal(&place, &publish), ("MESH-P171".to_owned(), 5), "others' credentials are not sent");

    login(json!({ "auths": { (registry.addr.to_string()): { "auth": AUTH } } }));
    let mut ran = vec![place.run(&publish), place.run(&install)];
    login(json!({ "credHelpers": { (registry.addr.to_string()): "test" } }));
    ran.push(with_helper(&place, &install, &format!(r#"{{"Username":"ada","Secret":"{PASSWORD}"}}"#)));
    login(json!({ "credsStore": "test" }));
    ran.push(with_helper(&place, &install, &format!(r#"{{"Username":"ada","Secret":"{PASSWORD}"}}"#)));

    for ran in ran {
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(!(ran.stdout + &ran.stderr).contains("s3cret"), "no output shows the password");
    }
    let failed = with_helper(&place, &install, "no json with s3cret");
    assert_eq!(failed.code, Some(5));
    assert!(failed.stderr.contains("MESH-P180") && !failed.stderr.contains("s3cret"), "{}", failed.stderr);
    assert_eq!(fs::read_to_string(place.path().join("asked")).unwrap(), registry.addr.to_string());
}

/// Runs with a credential helper in the PATH that answers this, and notes what it was asked for.
fn with_helper(place: &Place, args: &[&str], answer: &str) -> Ran {
    let bin = place.path().join("bin");
    fs::create_dir_all(&bin).unwrap();
    let asked = place.path().join("asked");
    let script = format!("#!/bin/sh\ncat > {}\ncat <<'E'\n{answer}\nE\n", asked.display());
    let helper = bin.join("docker-credential-test");
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    Ran::of(place.command(args).env("PATH", path).output().unwrap())
}

/// A reviewer signs later: the digest stays, and both signatures come with it.
#[test]
fn a_second_signature_joins_the_first_without_moving_the_tag() {
    let Some(registry) = Registry::start(Door::Open) else { return };
    let mut place = Place::new();
    signed(&place, "1.0.0");
    let reviewer = key(&place, "reviewer.key");
    sign(&place, "fast.wasm", "reviewer.key", "reviewed.meshpkg");
    let reference = registry.reference("acme/fast:1.0.0");
    let first = place.json(&["plugin", "publish", "fast.meshpkg", &reference]);

    let second = place.json(&["plugin", "publish", "reviewed.meshpkg", &reference]);

    assert_eq!((&second["digest"], &second["tag"]), (&first["digest"], &"same".into()));
    place.up("bob", &["--require-signed-plugins"]);
    place.json(&["plugin", "trust", "add", &reviewer, "--for", "acme/*"]);
    let installed = place.json(&["plugin", "install", &reference]);
    assert_eq!(installed["signers"].as_array().unwrap().len(), 2, "{installed}");
}

#[test]
fn a_registry_elsewhere_is_spoken_to_over_tls_with_the_roots_of_the_system() {
    let (Some(secure), Some(plain)) = (Registry::start(Door::Tls), Registry::start(Door::Open)) else {
        return;
    };
    let place = Place::new();
    signed(&place, "1.0.0");
    let reference = secure.distant_reference("acme/fast:1.0.0");
    let publish = ["plugin", "publish", "fast.meshpkg", &reference, "--json"];
    let error = place.error(&publish[..4]);
    assert_eq!((&error["code"], &error["exit"]), (&"MESH-P170".into(), &1.into()));
    assert!(error["message"].as_str().unwrap().contains("certificate"), "{error}");

    let trusting = Ran::of(place.command(&publish).env("SSL_CERT_FILE", secure.roots()).output().unwrap());

    assert_eq!(trusting.code, Some(0), "{}", trusting.stderr);
    let reference = plain.distant_reference("acme/fast:1.0.0");
    let publish = ["plugin", "publish", "fast.meshpkg", &reference];
    assert_eq!(refusal(&place, &publish), ("MESH-P170".to_owned(), 1), "never in the clear by itself");
    let published = place.run(&[&publish[..], &["--plain-http"]].concat());
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    assert!(published.stderr.contains("in the clear"), "{}", published.stderr);
}

#[test]
fn without_a_tag_the_newest_version_is_installed_as_it_is_published() {
    let Some(registry) = Registry::start(Door::Open) else { return };
    let mut place = Place::new();
    let reference = registry.reference("acme/fast");
    for version in ["1.9.0", "1.10.0", "1.2.0"] {
        signed(&place, version);
        place.json(&["plugin", "publish", "fast.meshpkg", &reference]);
    }
    place.json(&["plugin", "publish", "fast.meshpkg", &registry.reference("acme/fast:edge")]);
    place.json(&["plugin", "publish", "fast.meshpkg", &registry.reference("acme/edge-only:latest")]);
    let acme = signed(&place, "1.2.0");
    place.up("bob", &[]);
    place.json(&["plugin", "trust", "add", &acme, "--for", "acme/*"]);

    let ran = place.run(&["plugin", "install", &reference]);
    let again = place.json(&["plugin", "install", &reference, "--offline"]);
    let latest = place.json(&["plugin", "install", &registry.reference("acme/edge-only")]);

    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("so it is {reference}:1.10.0")), "{}", ran.stderr);
    assert_eq!(again["version"], "1.10.0");
    assert!(latest["reference"].as_str().unwrap().contains(":latest@"), "{latest}");
}

/// What a registry has is found by name, slot and description; what is no plugin is left out, and `--offline` asks nobody.
#[test]
fn plugins_are_found_here_and_in_a_part_of_a_registry() {
    let Some(registry) = Registry::start(Door::Open) else { return };
    let mut place = Place::new();
    let mut acme = String::new();
    for version in ["1.0.0", "1.2.0"] {
        acme = signed(&place, version);
        place.json(&["plugin", "publish", "fast.meshpkg", &registry.reference("acme/fast")]);
    }
    place.json(&["plugin", "publish", "fast.meshpkg", &registry.reference("other/fast")]);
    let (host, part) = (format!("oci://{}", registry.addr), registry.reference("acme"));
    let found = |place: &Place, args: &[&str]| {
        let rows = place.json(&[&["plugin", "search"], args].concat());
        let row =
            |row: &Value| format!("{} {}", row["place"].as_str().unwrap(), row["from"].as_str().unwrap());
        rows.as_array().unwrap().iter().map(row).collect::<Vec<_>>()
    };
    let newest = |path: &str| format!("registry {}", registry.reference(&format!("{path}:1.2.0")));

    // No node runs: the registry is enough.
    assert_eq!(found(&place, &["--in", &host]), [newest("acme/fast"), newest("other/fast")]);
    assert_eq!(found(&place, &["HYSTERESIS", "route", "--in", &part]), [newest("acme/fast")]);
    assert_eq!(found(&place, &["colour", "--in", &host]), [""; 0]);
    assert_eq!(place.error(&["plugin", "search", "fast"])["code"], "MESH-N101");

    place.up("bob", &[]);
    place.json(&["plugin", "trust", "add", &acme, "--for", "acme/*"]);
    place.json(&["plugin", "install", &registry.reference("acme/fast:1.0.0")]);
    let here = found(&place, &["acme"]);
    assert!(here.len() == 2 && here[0].starts_with("installed blake3:"), "{here:?}");
    assert_eq!(here[1], format!("pinned {}", registry.reference("acme/fast:1.0.0")));
    let asked = place.run(&["plugin", "search", "acme", "--in", &part, "--offline", "--json"]);
    assert!(
        asked.stdout.contains("because of --offline") && !asked.stdout.contains("\"registry\""),
        "{}",
        asked.stdout
    );
    place.up("carl", &[]);
    assert_eq!(found(&place, &["fast", "--in", &part]), [newest("acme/fast")], "neither node was meant");
    let asked = place.run(&["plugin", "search", "fast", "--in", &part]);
    assert!(asked.stderr.contains("-N says which one"), "{}", asked.stderr);
    let refused = place.error(&["plugin", "search", "--in", &registry.reference("acme/fast:1.0.0")]);
    assert_eq!((&refused["code"], &refused["exit"]), (&"MESH-P179".into(), &2.into()));
}
