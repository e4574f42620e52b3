//! Packages, signatures and trust. W16, ADV10.

use mesh_plugin_host::package::{MAX_STATEMENTS, is_package};
use mesh_plugin_host::sign::{PublicKey, SecretKey, SignError, Signed, VerifyError};
use mesh_plugin_host::trust::{ChangeError, Distrust, MAX_KEYS, Pattern, Standing, TrustList};
use mesh_plugin_host::{
    Compiler, Grants, Inspection, Kind, Package, PackageError, PolicySlot, Revision, StartWith, Withdrawn,
    builtin, inspect, load, prepare_routing,
};

use crate::guests::{NATIVE, ask, engine, hostile, set_with, settings};

const NOW: u64 = 1_800_000_000_000;
const ACME: [u8; 32] = [7; 32];

fn acme() -> SecretKey {
    SecretKey::from_seed(&ACME)
}

fn latency() -> Inspection {
    inspect(builtin::LATENCY).unwrap()
}

fn signed_by(key: &SecretKey, component: &Inspection) -> Signed {
    Signed::new(key, component, NOW, None).unwrap()
}

fn packed(component: &[u8], signatures: Vec<Signed>) -> Vec<u8> {
    let manifest = inspect(component).unwrap().manifest_bytes.unwrap();
    Package { manifest: &manifest, component, signatures }.encode().unwrap()
}

fn trusting(key: &SecretKey, patterns: &[&str], slots: &[&str]) -> TrustList {
    let mut list = TrustList::default();
    let patterns = patterns.iter().map(|pattern| pattern.parse().unwrap()).collect();
    let slots = slots.iter().map(|slot| (*slot).to_owned()).collect();
    list.add(key.public(), patterns, slots, NOW).unwrap();
    list
}

#[test]
fn a_package_decodes_to_what_was_encoded_and_encodes_to_the_same_bytes() {
    let other = SecretKey::from_seed(&[9; 32]);
    let signatures = vec![signed_by(&other, &latency()), signed_by(&acme(), &latency())];

    let bytes = packed(builtin::LATENCY, signatures);
    let package = Package::decode(&bytes).unwrap();

    assert!(is_package(&bytes) && !is_package(builtin::LATENCY));
    assert_eq!(package.component, builtin::LATENCY);
    assert_eq!(package.signatures.len(), 2);
    assert_eq!(package.encode().unwrap(), bytes);
    package.check_manifest(&latency()).unwrap();
    for signed in &package.signatures {
        signed.verify(&latency()).unwrap();
    }
}

/// W16: whatever is changed in a package, it decodes to something that is refused, or does not decode.
#[test]
fn no_mutation_of_a_package_passes_for_what_was_signed() {
    let whole = packed(builtin::CLASS_FAIR, vec![signed_by(&acme(), &inspect(builtin::CLASS_FAIR).unwrap())]);
    let holds = |bytes: &[u8]| {
        let Ok(package) = Package::decode(bytes) else { return false };
        assert_eq!(package.encode().as_deref(), Ok(bytes), "one encoding");
        let Ok(inspection) = inspect(package.component) else { return false };
        package.check_manifest(&inspection).is_ok()
            && package.signatures.len() == 1
            && package.signatures[0].verify(&inspection).is_ok()
    };
    assert!(holds(&whole));

    let head_and_tail = (0..20).chain(whole.len() - 300..whole.len());
    for at in head_and_tail.chain((20..whole.len()).step_by(97)) {
        for change in [1, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[at] ^= change;
            assert!(!holds(&changed), "byte {at} ^ {change}");
        }
    }
    for len in (0..64).chain((64..whole.len()).step_by(211)) {
        assert!(!holds(&whole[..len]), "the first {len} bytes");
    }
    assert!(!holds(&[&whole[..], b"\0"].concat()), "a byte more");
}

#[test]
fn random_edits_neither_panic_nor_decode_to_another_encoding() {
    let whole = packed(builtin::CLASS_FAIR, vec![signed_by(&acme(), &inspect(builtin::CLASS_FAIR).unwrap())]);
    let small = [&whole[..20], &whole[whole.len() - 280..]].concat();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    for _ in 0..50_000 {
        let mut bytes = small.clone();
        for _ in 0..=next() % 4 {
            let at = next() % bytes.len();
            bytes[at] = next() as u8;
        }
        bytes.truncate(next() % (small.len() + 1));
        if let Ok(package) = Package::decode(&bytes) {
            assert_eq!(package.encode().as_deref(), Ok(&bytes[..]));
        }
        if let Ok(signed) = Signed::decode(&bytes, &[0; 64]) {
            assert_eq!(signed.statement().encode(), bytes);
        }
    }
}

#[test]
fn lengths_are_refused_before_they_are_believed() {
    let head = |manifest: u32, component: u32, count: u32| {
        [b"meshpkg\x01".as_slice(), &manifest.to_le_bytes(), &component.to_le_bytes(), &count.to_le_bytes()]
            .concat()
    };
    for (bytes, want) in [
        (head(u32::MAX, 1, 0), "its manifest has 4294967295 bytes, 1 to 65536 are possible"),
        (head(0, 1, 0), "its manifest has 0 bytes, 1 to 65536 are possible"),
        (head(1, u32::MAX, 0), "its component has 4294967295 bytes, 1 to 33554432 are possible"),
        (head(1, 1, u32::MAX), "it has 4294967295 statements, 8 are the limit"),
        (head(1, 1 << 25, 0), "it has 20 bytes, and its parts 21"),
        (b"meshpkg\x02".to_vec(), "its layout has version 2, this host reads 1"),
        (b"meshpkg".to_vec(), "it has 7 bytes, and its parts 8"),
        (b"PK\x03\x04".to_vec(), "it is no package"),
    ] {
        assert_eq!(Package::decode(&bytes).unwrap_err().to_string(), want);
    }
    let many: Vec<Signed> = (1..=MAX_STATEMENTS as u8 + 1)
        .map(|n| signed_by(&SecretKey::from_seed(&[n; 32]), &latency()))
        .collect();
    let too_many = Package { manifest: b"x", component: b"x", signatures: many };
    assert_eq!(too_many.encode(), Err(PackageError::TooMany { count: 9 }));
}

/// ADV10: what stands outside the component is what people read, so it must be what is inside.
#[test]
fn a_manifest_that_differs_outside_is_refused() {
    let whole = packed(builtin::LATENCY, Vec::new());
    let at = whole.windows(5).position(|bytes| bytes == b"0.1.0").unwrap();
    let mut changed = whole.clone();
    changed[at] = b'9';

    let package = Package::decode(&changed).unwrap();

    assert_eq!(package.check_manifest(&latency()), Err(PackageError::ManifestDiffers));
}

/// W16: the signature covers each field, and each field is compared with the component.
#[test]
fn a_statement_holds_for_the_very_component_only() {
    let signed = signed_by(&acme(), &latency());
    let (key, about) = (acme().public(), latency());
    signed.verify(&about).unwrap();

    let mut wrong_version = latency();
    wrong_version.manifest.as_mut().unwrap().plugin.version = "0.1.1".into();
    let mut wrong_name = latency();
    wrong_name.manifest.as_mut().unwrap().plugin.name = "acme/latency".into();
    let mut wrong_limits = latency();
    wrong_limits.manifest.as_mut().unwrap().limits.fuel = Some(1);
    let mut wrong_world = latency();
    wrong_world.kind = Some(Kind::Qos);
    let mut wrong_grants = latency();
    wrong_grants.imports = inspect(builtin::BEACON).unwrap().imports;
    for (component, field) in [
        (inspect(builtin::LATENCY_NEXT).unwrap(), "digest"),
        (wrong_name, "name"),
        (wrong_version, "version"),
        (wrong_world, "world"),
        (wrong_grants, "grants"),
        (wrong_limits, "limits"),
    ] {
        assert_eq!(signed.verify(&component), Err(VerifyError::Differs { key, field }));
    }

    let forged = Signed::decode(&signed.statement().encode(), &[1; 64]).unwrap();
    assert_eq!(forged.verify(&about), Err(VerifyError::Signature { key }));
    let mut claimed = signed.statement().clone();
    claimed.signer = SecretKey::from_seed(&[8; 32]).public();
    let stolen = Signed::decode(&claimed.encode(), signed.signature()).unwrap();
    assert_eq!(stolen.verify(&about), Err(VerifyError::Signature { key: claimed.signer }));
}

/// A signature by the same key over the bare statement, made for another use, does not count.
#[test]
fn what_is_signed_starts_with_its_use() {
    use ed25519_dalek::Signer;
    let signed = signed_by(&acme(), &latency());
    let statement = signed.statement().encode();

    let bare = ed25519_dalek::SigningKey::from_bytes(&ACME).sign(&statement).to_bytes();

    let other_use = Signed::decode(&statement, &bare).unwrap();
    assert!(matches!(other_use.verify(&latency()), Err(VerifyError::Signature { .. })));
}

#[test]
fn a_component_without_a_name_or_a_slot_cannot_be_signed() {
    let mut nameless = latency();
    nameless.manifest = None;
    let mut slotless = latency();
    slotless.kind = None;

    assert_eq!(Signed::new(&acme(), &nameless, NOW, None), Err(SignError::NoManifest));
    assert_eq!(Signed::new(&acme(), &slotless, NOW, None), Err(SignError::NoSlot));
}

/// W16: wrong key, right key for other names or another world, expired, revoked.
#[test]
fn a_key_counts_for_its_names_and_slots_until_it_ends() {
    let (key, name) = (acme().public(), "built-in/latency");
    let forever = vec![signed_by(&acme(), &latency())];
    let brief = vec![Signed::new(&acme(), &latency(), NOW, Some(NOW + 1000)).unwrap()];
    let judge = |list: &TrustList, signatures: &[Signed], now| {
        list.judge(signatures, name, Kind::Routing, Some(now)).map_err(|distrust| distrust.code())
    };
    let trusted = Ok(Standing::Trusted(key));

    for (patterns, slots, want) in [
        (&["built-in/*"][..], &[][..], trusted),
        (&["*"], &["route"], trusted),
        (&["acme/*", "built-in/latency"], &["qos", "route"], trusted),
        (&["acme/*"], &[], Err("MESH-P120")),
        (&["built-in/late"], &[], Err("MESH-P120")),
        (&["*"], &["qos"], Err("MESH-P121")),
    ] {
        assert_eq!(judge(&trusting(&acme(), patterns, slots), &forever, NOW), want, "{patterns:?} {slots:?}");
    }
    let list = trusting(&acme(), &["*"], &[]);
    assert_eq!(judge(&list, &[], NOW), Ok(Standing::Unsigned));
    assert_eq!(judge(&TrustList::default(), &forever, NOW), Err("MESH-P119"));
    assert_eq!(judge(&list, &brief, NOW + 999), trusted);
    assert_eq!(judge(&list, &brief, NOW + 1000), Err("MESH-P123"));
    assert_eq!(
        list.judge(&brief, name, Kind::Routing, None),
        Ok(Standing::Trusted(key)),
        "no time, no expiry"
    );
}

/// W16, ADV10: one revoked signer is enough, however many others are trusted.
#[test]
fn revocation_beats_every_other_signature_and_cannot_be_taken_back() {
    let other = SecretKey::from_seed(&[9; 32]);
    let (key, bad) = (acme().public(), other.public());
    let both = vec![signed_by(&acme(), &latency()), signed_by(&other, &latency())];
    let mut list = trusting(&acme(), &["*"], &[]);
    assert_eq!(list.judge(&both, "built-in/latency", Kind::Routing, None), Ok(Standing::Trusted(key)));

    list.revoke(bad, "stolen", NOW).unwrap();

    let revoked = Distrust::Revoked { key: bad, reason: "stolen".into() };
    assert_eq!(list.judge(&both, "built-in/latency", Kind::Routing, None), Err(revoked));
    assert_eq!(list.remove(&bad), Err(ChangeError::Revoked { key: bad }));
    assert!(matches!(list.add(bad, Vec::new(), Vec::new(), NOW), Err(ChangeError::Revoked { .. })));
    assert_eq!(list.revoke(bad, "again", NOW + 1).unwrap().revoked.as_ref().unwrap().reason, "stolen");
    assert_eq!(list.remove(&key).unwrap().patterns.len(), 1);
    assert_eq!(list.remove(&key), Err(ChangeError::Unknown { key }));
}

#[test]
fn the_list_is_bounded() {
    let mut list = TrustList::default();
    for n in 0..MAX_KEYS as u64 {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&n.to_le_bytes());
        list.add(SecretKey::from_seed(&seed).public(), Vec::new(), Vec::new(), NOW).unwrap();
    }

    let full = list.add(acme().public(), Vec::new(), Vec::new(), NOW).unwrap_err();

    assert_eq!(full, ChangeError::TooMany { what: "keys", max: MAX_KEYS });
    let mut list = TrustList::default();
    let patterns = vec!["*".parse().unwrap(); 17];
    assert!(list.add(acme().public(), patterns, Vec::new(), NOW).is_err());
    let slot = "radio".to_owned();
    assert_eq!(
        list.add(acme().public(), Vec::new(), vec![slot.clone()], NOW),
        Err(ChangeError::NoSuchSlot { slot })
    );
}

#[test]
fn keys_and_patterns_have_one_text() {
    let text = acme().to_text();
    assert_eq!(SecretKey::parse(&text).unwrap().public(), acme().public());
    let public = acme().public().to_string();
    assert_eq!(public.parse::<PublicKey>(), Ok(acme().public()));
    for bad in [&public[1..], &public[..70], &public.to_uppercase(), &format!("ed25519:{}", "0".repeat(64))] {
        assert!(bad.parse::<PublicKey>().is_err(), "{bad}");
    }
    for (text, good) in [
        ("acme/*", true),
        ("acme/fastest", true),
        ("*", true),
        ("", false),
        ("acme", false),
        ("*/fastest", false),
        ("acme/f*", false),
        ("acme/a/b", false),
        ("Acme/x", false),
    ] {
        assert_eq!(text.parse::<Pattern>().is_ok(), good, "{text}");
    }
}

/// ADV10: what must not decide any more is out at once, and no rollback brings it back.
#[test]
fn a_withdrawn_revision_leaves_its_slot_to_its_predecessor_or_the_built_in() {
    let fresh = |bytes: &[u8]| {
        prepare_routing(&load(&engine(), bytes, Grants::NONE).unwrap(), &settings([])).unwrap()
    };
    let mut set = set_with(fresh(builtin::LATENCY));
    set.swap(fresh(builtin::LATENCY_NEXT), 0, StartWith::Keep).unwrap();
    ask(&mut set, 0, 5);
    let of = |bytes| inspect(bytes).unwrap().revision();
    let (old, new) = (of(builtin::LATENCY), of(builtin::LATENCY_NEXT));
    let is = |digest: [u8; 32]| move |revision: &Revision| revision.digest == digest;

    let withdrawn = set.withdraw(&is(new.digest), 1);

    let want = Withdrawn { slot: "route", revision: new, successor: Some(old.clone()) };
    assert_eq!(withdrawn, [want]);
    assert!(set.rollback(PolicySlot::Route, 2).is_err());
    ask(&mut set, 2, 5);

    let withdrawn = set.withdraw(&is(old.digest), 3);

    assert_eq!(withdrawn, [Withdrawn { slot: "route", revision: old, successor: None }]);
    assert_eq!(set.withdraw(&|_| true, 4), []);
    assert_eq!(ask(&mut set, 4, 5), NATIVE);
}

/// The predecessor is forgotten as well when it is what is withdrawn.
#[test]
fn a_withdrawn_predecessor_cannot_be_rolled_back_to() {
    let loaded = |bytes: &[u8]| load(&engine(), bytes, Grants::NONE).unwrap();
    let (old, new) = (loaded(builtin::LATENCY), loaded(builtin::LATENCY_NEXT));
    let mut set = set_with(prepare_routing(&old, &settings([])).unwrap());
    set.swap(prepare_routing(&new, &settings([])).unwrap(), 0, StartWith::Keep).unwrap();

    let withdrawn = set.withdraw(&|revision| revision == old.revision(), 1);

    assert_eq!(withdrawn, []);
    assert_eq!(set.status(PolicySlot::Route).active.as_ref(), Some(new.revision()));
    assert!(!set.status(PolicySlot::Route).can_roll_back);
}

/// W15: what is foreign is compiled by the other process or not at all; what is built in needs none.
#[test]
fn a_compiler_that_fails_is_told_and_is_not_stood_in_for() {
    let foreign = hostile("routing");
    for program in ["/nowhere/compiler", "/bin/true", "/bin/false", "/bin/cat"] {
        let engine = engine().with_compiler(Compiler::new(program, [""; 0]));

        let error = load(&engine, &foreign, Grants::NONE).unwrap_err();

        assert_eq!(error.code(), "MESH-P132", "{program}: {error}");
        load(&engine, builtin::LATENCY, Grants::NONE).unwrap();
    }
}
