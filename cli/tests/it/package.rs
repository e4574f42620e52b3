//! Packages, signatures and trust between real processes. W16, H10, ADV10.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::sync::mpsc;

use mesh_plugin_host::{Package, builtin, inspect};
use serde_json::Value;

use crate::harness::{DEADLINE, Place, active, refusal, write};

/// A built-in component under another name: another manifest takes the place of its own.
pub fn component(built_in: &[u8], name: &str, version: &str) -> Vec<u8> {
    let manifest = inspect(built_in).unwrap().manifest_bytes.unwrap();
    let text = String::from_utf8(manifest).unwrap();
    let mut is_named = false;
    let lines = text.lines().map(|line| match line.split(' ').next() {
        // Grants have names too, further down.
        Some("name") if !std::mem::replace(&mut is_named, true) => format!("name = \"{name}\""),
        Some("version") => format!("version = \"{version}\""),
        _ => line.to_owned(),
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let content = [&[15][..], b"meshwork:plugin", text.as_bytes()].concat();
    assert_eq!(b"meshwork:plugin".len(), 15);
    let (low, high) = (content.len() as u8 & 0x7f | 0x80, (content.len() >> 7) as u8);
    assert!(content.len() < 1 << 14, "two digits of the length are enough");
    [&without_manifest(built_in)[..], &[0, low, high], &content].concat()
}

/// A component without its section of that name.
fn without_manifest(component: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (component[..8].to_vec(), 8);
    while at < component.len() {
        let (mut size, mut digits) = (0, 0);
        loop {
            let digit = component[at + 1 + digits];
            size |= usize::from(digit & 0x7f) << (7 * digits);
            digits += 1;
            if digit & 0x80 == 0 {
                break;
            }
        }
        let (content, end) = (at + 1 + digits, at + 1 + digits + size);
        if component[at] != 0 || !component[content..end].starts_with(b"\x0fmeshwork:plugin") {
            out.extend_from_slice(&component[at..end]);
        }
        at = end;
    }
    out
}

/// Makes a key file and returns the public key.
pub fn key(place: &Place, file: &str) -> String {
    let made = place.json(&["plugin", "key", "new", "--out", file]);
    made["key"].as_str().unwrap().to_owned()
}

pub fn sign(place: &Place, file: &str, key: &str, out: &str) -> Value {
    place.json(&["plugin", "sign", file, "--key", key, "--out", out])
}

#[test]
fn a_key_is_made_once_and_for_its_owner_only() {
    let place = Place::new();

    let public = key(&place, "acme.key");

    assert!(public.starts_with("ed25519:") && public.len() == 72, "{public}");
    let file = place.path().join("acme.key");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    let before = fs::read(&file).unwrap();
    let again = place.error(&["plugin", "key", "new", "--out", "acme.key"]);
    assert_eq!((again["code"].as_str(), again["exit"].as_i64()), (Some("MESH-P130"), Some(2)));
    assert_eq!(fs::read(&file).unwrap(), before);
    assert_eq!(place.run(&["plugin", "key", "show", "acme.key", "-o", "name"]).stdout, format!("{public}\n"));
    place.json(&["plugin", "key", "new", "--out", "other.key", "--dry-run"]);
    assert!(!place.path().join("other.key").exists());

    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let open = place.error(&["plugin", "key", "show", "acme.key"]);
    assert_eq!(open["help"][0], "chmod 600 acme.key");
}

#[test]
fn the_default_key_lies_with_the_configuration_of_its_user() {
    let place = Place::new();
    place.json(&["plugin", "key", "new"]);
    assert!(place.path().join(".config/mesh/plugin-signing.key").is_file());
    write(&place, "fast.wasm", &component(builtin::LATENCY, "acme/fast", "1.0.0"));

    place.json(&["plugin", "sign", "fast.wasm"]);

    assert!(place.path().join("fast.meshpkg").is_file());
}

#[test]
fn inspect_says_who_signed_and_whether_it_verifies_without_a_node() {
    let place = Place::new();
    let (acme, reviewer) = (key(&place, "acme.key"), key(&place, "reviewer.key"));
    write(&place, "fast.wasm", &component(builtin::LATENCY, "acme/fast", "1.0.0"));
    let rehearsed = place.json(&["plugin", "sign", "fast.wasm", "--key", "acme.key", "--dry-run"]);
    assert_eq!((rehearsed["slot"].as_str(), &rehearsed["undo"]), (Some("route"), &Value::Null));
    assert!(!place.path().join("fast.meshpkg").exists());

    sign(&place, "fast.wasm", "acme.key", "one.meshpkg");
    let args = [
        "plugin",
        "sign",
        "one.meshpkg",
        "--key",
        "reviewer.key",
        "--expires",
        "90d",
        "--out",
        "two.meshpkg",
    ];
    let signed = place.json(&args);
    assert_eq!((&signed["signatures"], &signed["undo"]), (&2.into(), &"rm two.meshpkg".into()));
    assert_eq!(place.json(&args)["undo"], Value::Null, "what stood there is gone");

    let report = place.json(&["plugin", "inspect", "two.meshpkg"]);
    let signers = report["signers"].as_array().unwrap();
    let mut keys: Vec<&str> = signers.iter().map(|signer| signer["key"].as_str().unwrap()).collect();
    keys.sort_unstable();
    let mut want = [&*acme, &*reviewer];
    want.sort_unstable();
    assert_eq!(keys, want);
    assert!(signers.iter().all(|signer| signer["state"] == "verified"), "{report}");
    assert_eq!(signers.iter().filter(|signer| signer["expires_at"].is_string()).count(), 1);
    assert_eq!(report["findings"].as_array().unwrap().len(), 0);
    assert_eq!(report["plugin"], "acme/fast");
    let unsigned = place.run(&["plugin", "inspect", "fast.wasm"]);
    assert!(unsigned.stdout.contains("nobody: it is unsigned"), "{}", unsigned.stdout);

    let mut forged = fs::read(place.path().join("one.meshpkg")).unwrap();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    write(&place, "forged.meshpkg", &forged);
    let report = place.json(&["plugin", "inspect", "forged.meshpkg"]);
    assert_eq!(report["signers"][0]["state"], "invalid");
    assert!(report["findings"][0].as_str().unwrap().starts_with("MESH-P122"), "{report}");

    write(&place, "core.wasm", b"\0asm\x01\0\0\0");
    assert_eq!(place.error(&["plugin", "sign", "core.wasm", "--key", "acme.key"])["code"], "MESH-P103");
    write(&place, "empty.wasm", b"\0asm\x0d\0\x01\0");
    let error = place.error(&["plugin", "sign", "empty.wasm", "--key", "acme.key"]);
    assert_eq!((&error["code"], &error["exit"]), (&"MESH-P131".into(), &7.into()));
}

/// W16: wrong key, other name, other slot, expired, forged, exchanged, other manifest, damaged: each refused with
/// its own code, exit 6, and what to do; nothing is installed.
#[test]
fn each_way_in_which_a_signature_is_not_enough_has_its_code() {
    let mut place = Place::new();
    let acme = key(&place, "acme.key");
    write(&place, "fast.wasm", &component(builtin::LATENCY, "acme/fast", "1.0.0"));
    write(&place, "fair.wasm", &component(builtin::CLASS_FAIR, "acme/fair", "1.0.0"));
    sign(&place, "fast.wasm", "acme.key", "fast.meshpkg");
    sign(&place, "fair.wasm", "acme.key", "fair.meshpkg");
    place.json(&[
        "plugin",
        "sign",
        "fast.wasm",
        "--key",
        "acme.key",
        "--expires",
        "1s",
        "--out",
        "brief.meshpkg",
    ]);
    let signed = fs::read(place.path().join("fast.meshpkg")).unwrap();
    let package = Package::decode(&signed).unwrap();
    let other = component(builtin::LATENCY_NEXT, "acme/fast", "1.0.0");
    let other_manifest = inspect(&other).unwrap().manifest_bytes.unwrap();
    let exchanged = Package { manifest: &other_manifest, component: &other, ..package.clone() };
    write(&place, "exchanged.meshpkg", &exchanged.encode().unwrap());
    let relabelled = Package { manifest: &other_manifest, ..package.clone() };
    write(&place, "relabelled.meshpkg", &relabelled.encode().unwrap());
    let mut forged = signed.clone();
    *forged.last_mut().unwrap() ^= 1;
    write(&place, "forged.meshpkg", &forged);
    write(&place, "torn.meshpkg", &signed[..signed.len() - 1]);
    place.up("bob", &[]);
    let install = |file| refusal(&place, &["plugin", "install", file]);
    let six = |code: &str| (code.to_owned(), 6);

    assert_eq!(install("fast.meshpkg"), six("MESH-P119"));
    place.json(&["plugin", "trust", "add", &acme, "--for", "acme/slow", "--slot", "route"]);
    assert_eq!(install("fast.meshpkg"), six("MESH-P120"));
    place.json(&["plugin", "trust", "add", &acme, "--for", "acme/*", "--slot", "route"]);
    assert_eq!(install("fair.meshpkg"), six("MESH-P121"));
    assert_eq!(install("forged.meshpkg"), six("MESH-P122"));
    place.until(&["plugin", "inspect", "brief.meshpkg"], |_| {
        place.run(&["plugin", "install", "brief.meshpkg", "--dry-run"]).code == Some(6)
    });
    assert_eq!(install("brief.meshpkg"), six("MESH-P123"));
    assert_eq!(install("exchanged.meshpkg"), six("MESH-P125"));
    assert_eq!(install("relabelled.meshpkg"), six("MESH-P126"));
    assert_eq!(install("torn.meshpkg"), six("MESH-P127"));
    let rows = place.json(&["plugin", "list"]);
    assert!(rows.as_array().unwrap().iter().all(|row| row["plugin"] != "acme/fast"), "{rows}");

    let installed = place.json(&["plugin", "install", "fast.meshpkg"]);
    assert_eq!(
        (&installed["signers"][0]["state"], &installed["signers"][0]["key"]),
        (&"trusted".into(), &acme.into())
    );
    let undo = installed["undo"].as_str().unwrap().to_owned();
    assert!(undo.starts_with("meshctl plugin remove blake3:"), "{undo}");
    let ran = place.run(&undo.split(' ').skip(1).collect::<Vec<_>>());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

#[test]
fn unsigned_plugins_are_taken_with_a_note_unless_signatures_are_required() {
    let mut place = Place::new();
    let acme = key(&place, "acme.key");
    write(&place, "fast.wasm", &component(builtin::LATENCY, "acme/fast", "1.0.0"));
    sign(&place, "fast.wasm", "acme.key", "fast.meshpkg");
    place.up("bob", &[]);
    let would = place.json(&["plugin", "swap", "route", "./fast.wasm", "--dry-run"]);
    assert_eq!((&would["new"]["plugin"], &would["undo"]), (&"acme/fast".into(), &Value::Null));
    assert_eq!(
        place.error(&["plugin", "show", "acme/fast"])["code"],
        "MESH-P102",
        "a rehearsal leaves nothing"
    );
    let ran = place.run(&["plugin", "install", "fast.wasm"]);
    assert!(
        ran.code == Some(0) && ran.stdout.contains("nobody: it is unsigned"),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    place.json(&["plugin", "swap", "route", "acme/fast"]);
    place.kill("bob");

    place.up("bob", &["--require-signed-plugins"]);

    assert_eq!(active(&place, "route"), "native/fastest", "what nobody signed is not bound again");
    assert_eq!(active(&place, "qos"), "built-in/class-fair", "what is built in needs no signature");
    assert_eq!(refusal(&place, &["plugin", "swap", "route", "acme/fast"]), ("MESH-P118".to_owned(), 6));
    assert_eq!(refusal(&place, &["plugin", "install", "fast.wasm"]), ("MESH-P118".to_owned(), 6));
    place.json(&["plugin", "trust", "add", &acme, "--for", "acme/*"]);
    place.json(&["plugin", "install", "fast.meshpkg"]);
    place.json(&["plugin", "swap", "route", "acme/fast"]);
    assert_eq!(active(&place, "route"), "acme/fast");
}

/// What is installed without a grant is rehearsed without it, and has it no more than before.
#[test]
fn a_rehearsed_swap_of_a_file_grants_nothing() {
    let mut place = Place::new();
    write(&place, "here.wasm", &component(builtin::BEACON, "acme/here", "1.0.0"));
    place.up("bob", &[]);
    let would = place.json(&["plugin", "swap", "beacon", "./here.wasm", "--reset-state", "--dry-run"]);
    assert_eq!(would["new"]["plugin"], "acme/here");
    assert_eq!(place.error(&["plugin", "show", "acme/here"])["code"], "MESH-P102", "it leaves nothing");
    place.json(&["plugin", "install", "here.wasm", "--grant", "log,kv"]);
    place.json(&["plugin", "grants", "set", "acme/here", "--revoke", "kv"]);

    let refused = refusal(&place, &["plugin", "swap", "beacon", "./here.wasm", "--reset-state", "--dry-run"]);

    assert_eq!(refused, ("MESH-P117".to_owned(), 5));
    let rows = place.json(&["plugin", "grants", "show", "acme/here"]);
    let kv = rows.as_array().unwrap().iter().find(|row| row["grant"] == "kv").unwrap();
    assert_eq!(kv["granted"], false);
}

/// W16, ADV10: a revocation takes out what runs, is told, survives a restart, and beats what comes later.
#[test]
fn a_revoked_key_loses_its_slots_at_once_and_for_ever() {
    let mut place = Place::new();
    let acme = key(&place, "acme.key");
    write(&place, "fast.wasm", &component(builtin::LATENCY, "acme/fast", "1.0.0"));
    write(&place, "here.wasm", &component(builtin::BEACON, "acme/here", "1.0.0"));
    sign(&place, "fast.wasm", "acme.key", "fast.meshpkg");
    sign(&place, "here.wasm", "acme.key", "here.meshpkg");
    place.up("bob", &[]);
    let added = place.json(&["plugin", "trust", "add", &acme, "--for", "acme/*"]);
    assert_eq!(added["undo"], format!("meshctl plugin trust remove {acme}"));
    place.json(&["plugin", "swap", "route", "./fast.meshpkg"]);
    place.json(&["plugin", "swap", "beacon", "./here.meshpkg", "--reset-state", "--yes"]);
    place.json(&["plugin", "swap", "route", "./fast.meshpkg", "--dry-run"]);
    assert_eq!(active(&place, "route"), "acme/fast", "a rehearsal takes away nothing");
    let rehearsed = place.json(&["plugin", "trust", "revoke", &acme, "--dry-run"]);
    assert_eq!(rehearsed["withdrawn"].as_array().unwrap().len(), 2);
    assert_eq!(active(&place, "route"), "acme/fast");
    let mut events = Events::of(&place);

    let report = place.json(&["plugin", "trust", "revoke", &acme, "--reason", "laptop stolen"]);

    assert_eq!((&report["undo"], &report["key"]["reason"]), (&Value::Null, &"laptop stolen".into()));
    assert_eq!(active(&place, "route"), "built-in/latency", "its predecessor decides");
    place.until(&["plugin", "show", "beacon"], |shown| shown["row"]["plugin"] == "built-in/beacon");
    let told = [events.next("plugin-revoked"), events.next("plugin-revoked")];
    assert!(told.iter().all(|event| event["key"] == *acme), "{told:?}");
    let p124 = ("MESH-P124".to_owned(), 6);
    assert_eq!(refusal(&place, &["plugin", "swap", "route", "acme/fast"]), p124);
    assert_eq!(refusal(&place, &["plugin", "install", "fast.meshpkg"]), p124);
    assert_eq!(refusal(&place, &["plugin", "install", "fast.wasm"]), p124, "its signature is not forgotten");
    assert_eq!(refusal(&place, &["plugin", "trust", "add", &acme, "--for", "acme/*"]), p124);
    assert_eq!(refusal(&place, &["plugin", "trust", "remove", &acme]), p124);
    let rollback = place.error(&["plugin", "rollback", "route"]);
    assert_eq!(rollback["code"], "MESH-P109", "nor does a rollback bring it back");

    place.kill("bob");
    place.up("bob", &[]);
    assert_eq!(active(&place, "route"), "built-in/latency");
    assert_eq!(refusal(&place, &["plugin", "swap", "route", "acme/fast"]), p124);
    place.json(&["plugin", "remove", "acme/fast"]);
    assert_eq!(
        refusal(&place, &["plugin", "install", "fast.wasm"]),
        p124,
        "nor when it is removed in between"
    );
    let rows = place.json(&["plugin", "trust", "list"]);
    assert_eq!((&rows[0]["key"], &rows[0]["reason"]), (&acme.into(), &"laptop stolen".into()));
}

#[test]
fn a_key_that_is_added_again_is_trusted_for_that_alone_and_it_is_said() {
    let mut place = Place::new();
    let acme = key(&place, "acme.key");
    place.up("bob", &[]);
    place.json(&["plugin", "trust", "add", &acme, "--for", "acme/*"]);

    let replaced = place.json(&["plugin", "trust", "add", &acme, "--for", "you/*", "--slot", "qos"]);

    assert_eq!(replaced["done"], "replaced");
    assert_eq!(replaced["replaces"]["patterns"], serde_json::json!(["acme/*"]));
    assert_eq!(replaced["undo"], format!("meshctl plugin trust add {acme} --for 'acme/*'"));
    place.json(&["plugin", "trust", "add", &acme, "--for", "acme/*"]);
    let rows = place.json(&["plugin", "trust", "list"]);
    assert_eq!(
        (&rows[0]["patterns"], &rows[0]["slots"]),
        (&serde_json::json!(["acme/*"]), &serde_json::json!([]))
    );
}

#[test]
fn a_removed_key_leaves_its_plugins_in_their_slots() {
    let mut place = Place::new();
    let acme = key(&place, "acme.key");
    write(&place, "fast.wasm", &component(builtin::LATENCY, "acme/fast", "1.0.0"));
    sign(&place, "fast.wasm", "acme.key", "fast.meshpkg");
    place.up("bob", &[]);
    assert_eq!(refusal(&place, &["plugin", "trust", "remove", &acme]), ("MESH-P129".to_owned(), 3));
    assert_eq!(
        refusal(&place, &["plugin", "trust", "add", &acme, "--for", "acme"]),
        ("MESH-C103".to_owned(), 2)
    );
    place.json(&["plugin", "trust", "add", &acme, "--for", "acme/*", "--slot", "route"]);
    place.json(&["plugin", "swap", "route", "./fast.meshpkg"]);

    let removed = place.json(&["plugin", "trust", "remove", &acme]);

    assert_eq!(removed["undo"], format!("meshctl plugin trust add {acme} --for 'acme/*' --slot route"));
    assert_eq!(removed["bound"][0]["plugin"], "acme/fast");
    assert_eq!(active(&place, "route"), "acme/fast");
    assert_eq!(place.json(&["plugin", "trust", "list"]).as_array().unwrap().len(), 0);
}

#[test]
fn what_is_built_in_stays_whoever_signed_it_and_was_revoked() {
    let mut place = Place::new();
    let acme = key(&place, "acme.key");
    write(&place, "latency.wasm", builtin::LATENCY);
    sign(&place, "latency.wasm", "acme.key", "latency.meshpkg");
    place.up("bob", &[]);
    place.json(&["plugin", "trust", "add", &acme, "--for", "built-in/*"]);
    place.json(&["plugin", "install", "latency.meshpkg"]);

    let revoked = place.json(&["plugin", "trust", "revoke", &acme]);

    assert_eq!(revoked["withdrawn"].as_array().map(Vec::len), Some(0), "{revoked}");
    assert_eq!(active(&place, "route"), "built-in/latency");
}

/// H10: an older version, however well signed, comes back only when the operator says so.
#[test]
fn an_older_version_is_bound_only_when_asked_for() {
    let mut place = Place::new();
    let acme = key(&place, "acme.key");
    for (built_in, version) in [(builtin::LATENCY, "1.9.0"), (builtin::LATENCY_NEXT, "1.10.0")] {
        write(&place, "fast.wasm", &component(built_in, "acme/fast", version));
        sign(&place, "fast.wasm", "acme.key", &format!("{version}.meshpkg"));
    }
    place.up("bob", &[]);
    place.json(&["plugin", "trust", "add", &acme, "--for", "acme/*"]);
    place.json(&["plugin", "swap", "route", "./1.9.0.meshpkg"]);
    place.json(&["plugin", "swap", "route", "./1.10.0.meshpkg"]);
    place.json(&["plugin", "rollback", "route"]);
    place.json(&["plugin", "swap", "route", "acme/fast@1.10.0"]);
    place.json(&["plugin", "swap", "route", "native"]);
    place.kill("bob");
    place.up("bob", &[]);

    let refused = refusal(&place, &["plugin", "swap", "route", "acme/fast@1.9.0"]);

    assert_eq!(refused, ("MESH-P128".to_owned(), 6));
    assert_eq!(active(&place, "route"), "native/fastest");
    place.json(&["plugin", "swap", "route", "acme/fast@1.9.0", "--allow-downgrade"]);
    assert_eq!(active(&place, "route"), "acme/fast");
}

/// W16: what lies in the store is run only if it is what was verified when it came.
#[test]
fn a_component_that_was_exchanged_in_the_store_is_not_run() {
    use mesh_node::store::{DataDir, Store, StoreConfig, Table, Write};
    let mut place = Place::new();
    write(&place, "fast.wasm", &component(builtin::LATENCY, "acme/fast", "1.0.0"));
    place.up("bob", &[]);
    place.json(&["plugin", "swap", "route", "./fast.wasm"]);
    place.kill("bob");
    let dir = DataDir::lock(&place.data_dir("bob")).unwrap();
    let (store, events) = Store::open(&dir, StoreConfig::default()).unwrap();
    let (key, value) = store.load(Table::Revisions, 1 << 20).unwrap().rows.remove(0);
    let at = value.windows(9).position(|bytes| bytes == b"acme/fast").unwrap();
    let mut exchanged = value.to_vec();
    exchanged[at] = b'z';
    let put = Write::Put { table: Table::Revisions, key, value: exchanged.into() };
    store.submit(1, vec![put]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(store.close(events)).unwrap(), Some(1));
    drop(dir);

    place.up("bob", &[]);

    assert_eq!(active(&place, "route"), "native/fastest");
    let rows = place.json(&["plugin", "list"]);
    let names: Vec<&str> =
        rows.as_array().unwrap().iter().map(|row| row["plugin"].as_str().unwrap()).collect();
    assert!(
        names.iter().all(|name| name.starts_with("built-in/") || name.starts_with("native/")),
        "{names:?}"
    );
}

/// A routing policy with one more module in it: `functions` of them, each of `len` additions. It is never
/// instantiated, and compiled all the same.
fn bloated(version: &str, functions: u32, len: usize) -> Vec<u8> {
    let mut body = [&[0][..], &[0x41, 1], &[0x41, 1, 0x6a].repeat(len), &[0x1a, 0x0b]].concat();
    body = [leb(body.len() as u32), body].concat();
    let count = leb(functions);
    let kinds = vec![0; functions as usize];
    let section = |id: u8, content: Vec<u8>| [vec![id], leb(content.len() as u32), content].concat();
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, vec![1, 0x60, 0, 0]),
        section(3, [count.clone(), kinds].concat()),
        section(10, [count, body.repeat(functions as usize)].concat()),
    ];
    [component(builtin::LATENCY, "acme/fast", version), section(1, module.concat())].concat()
}

fn leb(mut number: u32) -> Vec<u8> {
    let mut out = Vec::new();
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
    out
}

/// W15: what compiles for ever is stopped in a process of its own, and the node goes on.
#[test]
fn a_component_that_takes_too_long_to_compile_is_refused() {
    let mut place = Place::new();
    // Another one each time, so that no cache knows it.
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let version = format!("1.{}.{}", since.as_secs() % 1_000_000_000, since.subsec_nanos());
    write(&place, "bomb.wasm", &bloated(&version, 140_000, 0));
    write(&place, "fast.wasm", &bloated(&version, 3, 0));
    place.up("bob", &[]);

    // Two seconds of CPU are more than ten of time where others compile too.
    let error = place.error(&["plugin", "install", "bomb.wasm", "--timeout", "60s"]);

    assert_eq!((&error["code"], &error["exit"]), (&"MESH-P106".into(), &13.into()));
    assert!(
        error["message"].as_str().unwrap().contains("compiling it takes more than 2 s of CPU"),
        "{error}"
    );
    assert_eq!(active(&place, "route"), "built-in/latency");
    let installed = place.json(&["plugin", "install", "fast.wasm"]);
    assert_eq!(installed["cached"], false, "the same with less in it is compiled by the child");
    place.json(&["plugin", "swap", "route", "acme/fast"]);
    assert_eq!(active(&place, "route"), "acme/fast");
}

/// What `meshctl events` prints, line by line.
struct Events {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Events {
    /// Returns once the node is heard: until then it gets something to tell.
    fn of(place: &Place) -> Events {
        let mut child = place.command(&["events", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (told, lines) = mpsc::channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
        let events = Events { child, lines };
        place.until(&["plugin", "install", "fast.meshpkg"], |_| events.lines.try_recv().is_ok());
        events
    }

    #[track_caller]
    fn next(&mut self, kind: &str) -> Value {
        loop {
            let line = self.lines.recv_timeout(DEADLINE).expect("an event comes");
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["event"] == kind {
                return event;
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A build of acme/fast that differs in nothing but a word of its manifest.
fn build_of(version: &str, word: &str) -> Vec<u8> {
    let text = format!(
        "[plugin]\nname = \"acme/fast\"\nversion = \"{version}\"\ndescription = \"{word}\"\n[state]\nschema = 1\n"
    );
    mesh_plugin_host::package::attach(builtin::LATENCY, &text).unwrap()
}

#[test]
fn what_a_name_leaves_open_is_told_newest_first_by_a_word_that_decides() {
    let mut place = Place::new();
    for (file, version, word) in [("a", "0.1.0", "one"), ("b", "0.1.0", "two"), ("c", "0.2.0", "three")] {
        write(&place, &format!("{file}.wasm"), &build_of(version, word));
    }
    place.up("bob", &[]);
    let digits = |file: &str| {
        let installed = place.json(&["plugin", "install", file]);
        installed["revision"].as_str().unwrap()["blake3:".len()..][..8].to_owned()
    };
    let (first, second) = (digits("a.wasm"), digits("b.wasm"));

    let twins = place.error(&["plugin", "show", "acme/fast@0.1.0"]);

    assert_eq!(twins["code"], "MESH-P113");
    let help = twins["help"][0].as_str().unwrap().to_owned();
    assert!(twins["facts"].as_object().unwrap().contains_key(&first), "{twins}");
    assert!(help.contains(&second) && help.ends_with("is the newest"), "{twins}");
    assert_eq!(place.json(&["plugin", "show", &second])["row"]["version"], "0.1.0");
    let newer = digits("c.wasm");
    let open = place.error(&["plugin", "show", "acme/fast"]);
    assert!(open["help"][0].as_str().unwrap().contains("acme/fast@0.2.0 is the newest"), "{open}");
    let rows = place.json(&["plugin", "list"]);
    let listed: Vec<&str> = rows
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["plugin"] == "acme/fast")
        .map(|row| &row["revision"].as_str().unwrap()["blake3:".len()..][..8])
        .collect();
    assert_eq!(listed, [&newer, &second, &first]);
}

#[test]
fn what_has_expired_is_not_said_to_be_installable_and_not_published() {
    let place = Place::new();
    write(&place, "fast.wasm", &build_of("1.0.0", "fast"));
    key(&place, "acme.key");
    place.json(&["plugin", "sign", "fast.wasm", "--key", "acme.key", "--expires", "1s"]);

    let ended = place
        .until(&["plugin", "inspect", "fast.meshpkg"], |report| report["findings"] != serde_json::json!([]));

    assert!(ended["findings"][0].as_str().unwrap().starts_with("MESH-P123"), "{ended}");
    assert_eq!(ended["signers"][0]["state"], "expired");
    let said = place.run(&["plugin", "inspect", "fast.meshpkg"]).stdout;
    assert!(said.contains("has expired, at ") && !said.contains("would install it"), "{said}");
    let publish = ["plugin", "publish", "fast.meshpkg", "oci://127.0.0.1:1/acme/fast", "--dry-run"];
    assert!(place.error(&publish)["message"].as_str().unwrap().contains("MESH-P123"));
    place.json(&["plugin", "sign", "fast.meshpkg", "--key", "acme.key"]);
    assert_eq!(place.json(&["plugin", "inspect", "fast.meshpkg"])["findings"], serde_json::json!([]));
}

#[test]
fn a_file_and_an_installed_plugin_say_which_settings_they_take() {
    let mut place = Place::new();
    write(&place, "fair.wasm", &component(builtin::CLASS_FAIR, "acme/fair", "1.0.0"));
    place.up("bob", &[]);

    let inspected = place.json(&["plugin", "inspect", "fair.wasm"]);
    let shown = place.json(&["plugin", "show", "qos"]);

    let settings = &inspected["manifest"]["settings"];
    assert_eq!(settings, &shown["takes"]);
    let large = settings.as_array().unwrap().iter().find(|row| row["name"] == "large_bytes").unwrap();
    assert_eq!(large["type"], "integer", "{large}");
    assert_eq!((&inspected["lowest_host"], &inspected["has_names"]), (&"0.1.0".into(), &true.into()));
    assert!(inspected["sections"].to_string().contains("meshwork:plugin"), "{inspected}");
    let text = place.run(&["plugin", "inspect", "fair.wasm"]).stdout;
    assert!(text.contains("large_bytes: a whole number"), "{text}");
    let swap = ["plugin", "swap", "qos", "built-in/class-fair", "--set", "large_bytes=abc"];
    let refused = place.error(&swap);
    assert!(refused["message"].as_str().unwrap().ends_with("should be a whole number"), "{refused}");
    assert_eq!(
        refused["help"][0].as_str().unwrap().split("    ").next(),
        Some("meshctl plugin show built-in/class-fair")
    );
}

#[test]
fn rehearsals_say_what_would_be_and_name_no_next_step() {
    let mut place = Place::new();
    write(&place, "fast.wasm", &build_of("1.0.0", "fast"));
    place.up("bob", &[]);

    for (args, would) in [
        (&["plugin", "install", "fast.wasm", "--dry-run"][..], "would be installed"),
        (&["plugin", "swap", "route", "fast.wasm", "--dry-run"], "would pause"),
        (&["plugin", "publish", "fast.wasm", "oci://127.0.0.1:1/acme/fast", "--dry-run"], "nothing was sent"),
    ] {
        let ran = place.run(args);

        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(ran.stdout.contains(would) && !ran.stdout.contains("next:"), "{}", ran.stdout);
    }
}

#[test]
fn a_grant_that_does_not_exist_or_was_not_asked_for_is_not_given() {
    let mut place = Place::new();
    write(&place, "fast.wasm", &build_of("1.0.0", "fast"));
    let manifest = "[plugin]\nname = \"acme/net\"\nversion = \"1.0.0\"\n[[grants]]\nname = \"net\"\n";
    write(&place, "net.toml", manifest.as_bytes());
    place.up("bob", &[]);

    let unasked = place.error(&["plugin", "install", "fast.wasm", "--grant", "log"]);
    let build = ["plugin", "build", "fast.wasm", "--manifest", "net.toml", "--out", "net.wasm"];
    let unknown = place.error(&build);

    assert_eq!((&unasked["code"], &unasked["facts"]["asks for"]), (&"MESH-C103".into(), &"nothing".into()));
    assert!(unknown["message"].as_str().unwrap().contains("there are log and kv"), "{unknown}");
    let acme = key(&place, "acme.key");
    let slots = place.error(&["plugin", "trust", "add", &acme, "--for", "*", "--slot", "nope"]);
    assert!(slots["facts"]["slots"].as_str().unwrap().starts_with("route, qos"), "{slots}");
}

#[test]
fn a_state_of_another_version_than_the_manifest_says_is_found() {
    let place = Place::new();
    let text = "[plugin]\nname = \"acme/fast\"\nversion = \"1.0.0\"\n[state]\nschema = 2\n";
    let component = mesh_plugin_host::package::attach(builtin::LATENCY, text).unwrap();
    write(&place, "fast.wasm", &component);

    let ran = place.run(&["plugin", "check", "fast.wasm"]);

    assert_eq!(ran.code, Some(11), "{}", ran.stderr);
    let said = "its code saves state of version 1, and its manifest says 2";
    assert!(ran.stdout.contains(said), "{}", ran.stdout);
}
