//! The built-in plugins in their slots.

use mesh_plugin_host::manifest::Manifest;
use mesh_plugin_host::{
    Grants, PolicySet, PolicySlot, StartWith, builtin, load, prepare_qos, prepare_routing,
};
use mesh_proto::policy::{ABSTAIN, Class, HOLD, LOCAL, Load, Policies, QosBatch, RouteBatch, TOPIC_BIT};

use crate::guests::{engine, settings, text, view};

#[test]
fn every_built_in_loads_and_its_manifest_is_true() {
    let engine = engine();
    for bytes in builtin::ALL {
        let loaded = load(&engine, bytes, Grants::ALL).unwrap();
        let manifest: &Manifest = loaded.manifest().unwrap();

        assert_eq!(manifest.plugin.world, loaded.kind().world());
        assert_eq!(manifest.plugin.slots, [loaded.kind().slot()]);
        assert_eq!(manifest.plugin.pure, loaded.inspection().is_pure, "{}", loaded.revision());
        assert!(manifest.plugin.name.starts_with("built-in/"));
    }
}

/// PM-95: routing decisions come from the component.
#[test]
fn latency_routes_as_its_view_says() {
    let mut set = PolicySet::new(&engine());
    let latency = load(&engine(), builtin::LATENCY, Grants::NONE).unwrap();
    set.observe(0, &view());
    set.swap(prepare_routing(&latency, &settings([])).unwrap(), 0, StartWith::Keep).unwrap();
    let mut batch = RouteBatch::default();
    for (dest, ingress) in [(5, LOCAL), (5, 0), (5, 1), (6, LOCAL), (TOPIC_BIT | 7, LOCAL)] {
        batch.push(dest, ingress, 100, Class::Normal);
    }
    let mut verdicts = Vec::new();

    set.route(0, &batch, &mut verdicts);

    assert_eq!(verdicts, [1, 1, HOLD, HOLD, ABSTAIN]);
    assert_eq!(set.status(PolicySlot::Route).fallbacks, 0);
}

/// The five classes and their shares.
#[test]
fn class_fair_classifies_by_size_age_and_topic_and_divides_the_link() {
    let mut set = PolicySet::new(&engine());
    let fair = load(&engine(), builtin::CLASS_FAIR, Grants::NONE).unwrap();
    let rules = settings([("topic_classes", text("10=critical"))]);
    set.swap(prepare_qos(&fair, &rules).unwrap(), 0, StartWith::Keep).unwrap();
    let mut batch = QosBatch::default();
    batch.push(Class::Normal, 100, 0, 0);
    batch.push(Class::Normal, 100, 0, 0x10);
    batch.push(Class::High, 100, 5_001, 0);
    batch.push(Class::Critical, 70_000, 0, 0);
    let mut classes = Vec::new();

    set.classify(0, &batch, &mut classes);
    let shares = set.divide(0, &Load::default());

    assert_eq!(classes, [2, 0, 2, 1]);
    assert_eq!(shares, mesh_proto::policy::Shares::default());
    assert_eq!(set.status(PolicySlot::Qos).fallbacks, 0);
}

#[test]
fn the_native_built_ins_decide_in_an_empty_set() {
    let mut set = PolicySet::new(&engine());
    set.observe(0, &view());
    let mut batch = RouteBatch::default();
    batch.push(5, LOCAL, 100, Class::Normal);
    let mut verdicts = vec![9; 9];

    set.route(0, &batch, &mut verdicts);

    assert_eq!(verdicts, [1]);
    assert_eq!(set.peek_state(PolicySlot::Route), Ok(None));
}
