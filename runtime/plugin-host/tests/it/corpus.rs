//! What was built against a released interface still loads and answers as it did. PM-152.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use mesh_plugin_host::handler::{Effect, Event, Outcome};
use mesh_plugin_host::{
    Grants, HandlerSlot, Kind, Kv, Loaded, PolicySet, PolicySlot, StartWith, inspect, load,
    prepare_admission, prepare_carry, prepare_handler, prepare_qos, prepare_routing, prepare_topology,
};
use mesh_proto::policy::{Candidates, Class, Load, Policies, QosBatch, Shares};

use crate::guests::{ask, counter, engine, hostile, settings, view};
use crate::topology::{ASKER, candidates};
use crate::{admission, carry};

/// The texts of the interfaces that have been released, by BLAKE3: they never change again, not even a comment. A
/// change is a new version in a directory of its own.
const RELEASED: [(&str, &str); 7] = [
    ("types/types.wit", "d0ddb2ba1ac6d2006fa7df8f7aa0d133825ddb58cb74dc4346dc660c5a4efa21"),
    ("routing/routing.wit", "6195307a5f4722558b5041326a634a1506296270fe8244d42825fdbddd03e206"),
    ("qos/qos.wit", "4ebb4a8b8099ede9a7ac9e64e34237c9a5cbf108537f2d38759e192cd18fdba9"),
    ("topology/topology.wit", "866f9b222760b31691c4ab4f7489301109a6a0954071252ff9cde7830285934a"),
    ("admission/admission.wit", "22b90b61b011a6fbda32716e9673e67b909e2cecef23df686264ebd8a70a0ce7"),
    ("carry/carry.wit", "b25d1566897a1e0bb66a2e9ff03204b65cc63a63a480d8aa302713de5d2555e2"),
    ("handler/handler.wit", "4e2835c2a0c19f70d04d40591196875a61e3ad29107e6557b7f54bd9169ae5f6"),
];

/// Components that are kept, with the guest that each was built from.
const KEPT: [(&str, &str); 6] = [
    ("routing@0.1.0", "routing"),
    ("qos@0.1.0", "qos"),
    ("topology@0.1.0", "topology"),
    ("admission@0.1.0", "admission"),
    ("carry@0.1.0", "carry"),
    ("handler@0.1.0", "handler"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn file(name: &str) -> PathBuf {
    root().join("tests/corpus").join(format!("{name}.wasm"))
}

fn kept(name: &str) -> Loaded {
    let bytes = fs::read(file(name)).expect(name);
    load(&engine(), &bytes, Grants::ALL).expect(name)
}

#[test]
fn a_released_interface_never_changes() {
    let digest = |path: &str| {
        let text = fs::read_to_string(root().join("wit").join(path)).expect(path);
        // As it is in the repository, whatever a checkout makes of its line ends.
        blake3::hash(text.replace("\r\n", "\n").as_bytes()).to_hex().to_string()
    };

    let now: BTreeMap<&str, String> = RELEASED.iter().map(|(path, _)| (*path, digest(path))).collect();

    let recorded: BTreeMap<&str, String> =
        RELEASED.iter().map(|(path, hash)| (*path, (*hash).into())).collect();
    assert_eq!(now, recorded);
}

#[test]
fn every_slot_has_a_component_of_each_version_and_all_are_named_here() {
    let dir = fs::read_dir(root().join("tests/corpus")).expect("the corpus");
    let names = dir.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut found: Vec<String> =
        names.filter_map(|name| Some(name.strip_suffix(".wasm")?.to_owned())).collect();
    found.sort();

    let mut named: Vec<&str> = KEPT.iter().map(|(name, _)| *name).collect();
    named.sort_unstable();
    assert_eq!(found, named);
    for kind in Kind::ALL {
        let world = kind.world().strip_prefix("mesh:").expect("our own");
        let bytes = fs::read(file(world)).unwrap_or_else(|_| panic!("nothing of {world} is kept"));
        assert_eq!(inspect(&bytes).expect(world).kind, Some(kind));
    }
}

#[test]
fn the_routing_policy_that_was_kept_answers_row_0_and_counts_in_its_state() {
    let mut set = PolicySet::new(&engine());
    set.observe(0, &view());
    set.swap(prepare_routing(&kept("routing@0.1.0"), &settings([])).unwrap(), 0, StartWith::Reset).unwrap();

    assert_eq!([ask(&mut set, 1, 4), ask(&mut set, 2, 5)], [0, 0]);

    assert_eq!(counter(&mut set), 9);
    assert_eq!(set.status(PolicySlot::Route).faults, 0);
    set.swap(prepare_routing(&kept("routing@0.1.0"), &settings([])).unwrap(), 3, StartWith::Keep).unwrap();
    assert_eq!(counter(&mut set), 9, "its state is taken over");
}

#[test]
fn the_qos_policy_that_was_kept_leaves_classes_and_divides_as_it_did() {
    let mut set = PolicySet::new(&engine());
    set.swap(prepare_qos(&kept("qos@0.1.0"), &settings([])).unwrap(), 0, StartWith::Reset).unwrap();
    let mut batch = QosBatch::default();
    for class in Class::ALL {
        batch.push(class, 256, 0, 0);
    }
    let mut classes = Vec::new();

    set.classify(1, &batch, &mut classes);

    assert_eq!(classes, [0, 1, 2, 3, 4]);
    let shares = Shares { guaranteed: [20, 30, 20, 15, 5], burst: [80, 60, 40, 30, 20] };
    assert_eq!(set.divide(2, &Load::default()), shares);
    assert_eq!(set.status(PolicySlot::Qos).faults, 0);
}

#[test]
fn the_topology_policy_that_was_kept_scores_the_battery() {
    let mut set = PolicySet::new(&engine());
    set.swap(prepare_topology(&kept("topology@0.1.0"), &settings([])).unwrap(), 0, StartWith::Reset).unwrap();
    let candidates = Candidates { battery: vec![42, 255], ..candidates() };
    let mut scores = Vec::new();

    set.score(1, &ASKER, &candidates, &mut scores);

    assert_eq!(scores, [42, 255]);
    assert_eq!(set.status(PolicySlot::Topology).faults, 0);
}

#[test]
fn the_admission_policy_that_was_kept_lets_even_keys_in_and_counts_in_its_state() {
    let mut set = PolicySet::new(&engine());
    let kept = kept("admission@0.1.0");
    set.swap(prepare_admission(&kept, &settings([])).unwrap(), 0, StartWith::Reset).unwrap();

    assert_eq!(admission::ask(&mut set, 1), admission::BEHAVES);

    let state = set.peek_state(PolicySlot::Admission).unwrap().unwrap();
    assert_eq!((state.version, state.bytes), (1, 5u32.to_le_bytes().to_vec()));
    assert_eq!(set.status(PolicySlot::Admission).faults, 0);
}

#[test]
fn the_carry_policy_that_was_kept_goes_by_classes_and_counts_in_its_state() {
    let mut set = PolicySet::new(&engine());
    let kept = kept("carry@0.1.0");
    set.swap(prepare_carry(&kept, &settings([])).unwrap(), 0, StartWith::Reset).unwrap();

    assert_eq!(carry::ask(&mut set, 1), carry::BEHAVES);

    let state = set.peek_state(PolicySlot::Carry).unwrap().unwrap();
    assert_eq!((state.version, state.bytes), (1, 5u32.to_le_bytes().to_vec()));
    assert_eq!(set.status(PolicySlot::Carry).faults, 0);
}

#[test]
fn the_handler_that_was_kept_subscribes_puts_and_reads() {
    let mut slot = HandlerSlot::new(&engine(), [1; 32], "ada", Kv::new());
    let prepared = prepare_handler(&kept("handler@0.1.0"), slot.identity(), &settings([])).unwrap();
    let (_, effects) = slot.swap(prepared, 0, StartWith::Keep).unwrap();
    assert_eq!(effects, [Effect::Subscribe("hostile".into())]);
    let mut done = |name: &str, payload: &[u8]| {
        let event = Event::Command { name: name.into(), payload: payload.to_vec() };
        slot.handle(1, 1, event).outcome
    };

    let put = Effect::Put { key: "key".into(), value: vec![7; 3] };
    assert_eq!(done("put", b""), Outcome::Done(vec![put, Effect::Reply(Vec::new())]));
    assert_eq!(done("get", b""), Outcome::Done(vec![Effect::Reply(vec![7; 3])]));
    assert_eq!(done("echo", b"as it was"), Outcome::Done(vec![Effect::Reply(b"as it was".to_vec())]));
}

#[test]
fn every_released_interface_has_a_component_that_was_built_against_it() {
    if let Some((name, guest)) = KEPT.into_iter().find(|(name, _)| !file(name).exists()) {
        let built = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.wasm"));
        fs::write(&built, hostile(guest)).expect(name);
        panic!("nothing is kept of {name}: cp {} {}", built.display(), file(name).display());
    }
}
