//! The test vectors of docs/wire.md, which other implementations are built against: each one must be what
//! this one writes, and must be read as what it says.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use mesh_proto::accusation::Accusation;
use mesh_proto::frame::{Control, Offer, Parting, Route, Violation};
use mesh_proto::policy::Class;
use mesh_proto::record::{Facts, Record};
use mesh_proto::run::{Dest, Draft, Flow, Head, Run, seal};
use mesh_proto::{NodeId, TopicId};

const DOC: &str = include_str!("../../../../docs/wire.md");

/// Returns the blocks that start with three backticks, `hex` and a name.
fn vectors() -> BTreeMap<&'static str, Bytes> {
    let mut out = BTreeMap::new();
    for block in DOC.split("```hex ").skip(1) {
        let (name, rest) = block.split_once('\n').expect("a block has lines");
        let (digits, _) = rest.split_once("```").expect("a block ends");
        let bytes = unhex(digits).unwrap_or_else(|| panic!("{name} is not hex"));
        assert!(out.insert(name, bytes).is_none(), "{name} stands there twice");
    }
    out
}

fn unhex(text: &str) -> Option<Bytes> {
    let digit = |c: char| c.to_digit(16).map(|digit| digit as u8);
    let digits: Vec<u8> = text.chars().filter(|c| !c.is_whitespace()).map(digit).collect::<Option<_>>()?;
    let (pairs, odd) = digits.as_chunks::<2>();
    odd.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

fn hex(bytes: &[u8]) -> String {
    let lines =
        bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    lines.collect::<Vec<_>>().join("\n")
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn controls() -> Vec<(&'static str, Control)> {
    let node = NodeId([3; 32]);
    let topic = TopicId::of("chat");
    let offer = Offer { origin: node, epoch: 1_790_000_000_000, first: 5, count: 7, hops: 2 };
    let mut facts = Facts {
        epoch: 1_790_000_000_000,
        left: false,
        name: "ada".into(),
        addrs: vec!["quic://192.0.2.1:4747".into()],
        neighbours: vec![node],
        ..Facts::default()
    };
    facts.set("load", Some(vec![42])).expect("short");
    let record = Arc::new(Record::sign(&key(), 1_790_000_000_123, facts));
    vec![
        ("hello", Control::Hello { epoch: 1_790_000_000_000, heartbeat_ms: 500, samples: false }),
        ("ping", Control::Ping { nonce: 0x0102_0304_0506_0708 }),
        ("pong", Control::Pong { nonce: 0x0102_0304_0506_0708 }),
        ("ack", Control::Ack { runs: [1, 2, 3, 4, 500] }),
        ("records", Control::Records(vec![record.clone()])),
        ("shuffle", Control::Shuffle(vec![record])),
        ("routes", Control::Routes(vec![Route { node, seqno: 9, cost_us: 1500, hops: 2 }])),
        ("seqno-request", Control::SeqnoRequest { node, seqno: 10, hops: 32 }),
        ("prune", Control::Prune { topic }),
        ("graft", Control::Graft { topic, once: false, offers: vec![offer] }),
        ("ihave", Control::IHave { topic, offers: vec![offer] }),
        ("goodbye", Control::Goodbye),
        ("digest", Control::Digest(std::array::from_fn(|n| n as u64))),
        ("versions", Control::Versions { first: NodeId([0; 32]), last: node, rows: vec![(node, 7)] }),
        ("want", Control::Want(vec![node])),
        ("part", Control::Part(Parting::Full)),
        ("links", Control::Links(vec![node])),
        ("heartbeat", Control::Heartbeat { count: 9 }),
        ("accusations", Control::Accusations(vec![Accusation::sign(&key(), node, 1_790_000_000_123)])),
        ("way-request", Control::WayRequest { node, hops: 32 }),
        ("introduce", Control::Introduce { node }),
    ]
}

/// One flush: three messages to a topic, and one to a node.
fn flush() -> Vec<Run> {
    let head = |dest, class, durable| Head {
        flow: Flow { origin: NodeId(key().verifying_key().to_bytes()), epoch: 1_790_000_000_000, dest },
        seq_base: 0,
        sent_ms: 1_790_000_001_000,
        expiry_ms: 1_790_003_601_000,
        class,
        hop_limit: 10,
        durable,
        internal: false,
    };
    let topic = head(Dest::Topic(TopicId::of("chat")), Class::Normal, false);
    let node = head(Dest::Node(NodeId([3; 32])), Class::High, true);
    let payloads = ["hello", "", "mesh"].map(|text| Bytes::from_static(text.as_bytes())).to_vec();
    seal(
        &key(),
        vec![
            Draft { head: topic, first_seq: 5, payloads },
            Draft { head: node, first_seq: 0, payloads: vec![Bytes::from_static(b"hi")] },
        ],
    )
}

fn runs() -> Vec<(&'static str, Run, u8)> {
    let [topic, node] = <[Run; 2]>::try_from(flush()).expect("two destinations are two runs");
    let part = topic.part(1..3);
    vec![("run-topic", topic, 0), ("run-node", node, 1), ("run-part", part, 2)]
}

/// Everything that must stand in the document, as this implementation writes it.
fn written() -> BTreeMap<&'static str, Bytes> {
    let mut out = BTreeMap::new();
    out.extend(controls().into_iter().map(|(name, control)| (name, control.encode())));
    for (name, run, hops) in runs() {
        out.insert(name, run.encode(hops).concat().into());
    }
    let (_, run, _) = &runs()[0];
    out.insert("topic-id", Bytes::copy_from_slice(&TopicId::of("chat").0));
    out.insert("message-id", Bytes::copy_from_slice(&run.message_id(2).0));
    out
}

// MN-20
#[test]
fn the_document_has_what_this_implementation_writes() {
    let documented = vectors();
    let written = written();

    let differ = |(name, bytes): &(&&str, &Bytes)| documented.get(**name) != Some(*bytes);
    let wrong: Vec<String> = written
        .iter()
        .filter(differ)
        .map(|(name, bytes)| format!("```hex {name}\n{}\n```", hex(bytes)))
        .collect();

    assert!(wrong.is_empty(), "docs/wire.md should have:\n{}", wrong.join("\n"));
    assert!(documented.keys().eq(written.keys()), "a vector that nothing checks: {:?}", documented.keys());
}

#[test]
fn documented_control_frames_are_read_as_what_they_say() {
    let documented = vectors();

    for (name, control) in controls() {
        assert_eq!(Control::decode(&documented[name].slice(4..)), Ok(Some(control)), "{name}");
    }
}

#[test]
fn documented_runs_verify_and_have_what_they_say() {
    let documented = vectors();

    for (name, run, hops) in runs() {
        let (read, told) = Run::from_bytes(&documented[name].slice(4..)).expect(name);

        assert_eq!((read.head(), told, read.batch_len()), (run.head(), hops, 4), "{name}");
        assert!(read.messages().eq(run.messages()), "{name}");
        let ids = |run: &Run| (0..run.len()).map(|at| run.message_id(at)).collect::<Vec<_>>();
        assert_eq!(ids(&read), ids(&run), "{name}");
    }
    let (part, _) = Run::from_bytes(&documented["run-part"].slice(4..)).expect("verifies");
    assert_eq!(part.message_id(1).0, documented["message-id"][..], "the same by whatever way it came");
}

#[test]
fn a_documented_run_with_another_payload_is_refused() {
    let mut bytes = vectors()["run-topic"].to_vec();
    *bytes.last_mut().expect("not empty") ^= 1;

    let refused = Run::from_bytes(&Bytes::from(bytes).slice(4..)).map(|_| ());

    assert_eq!(refused, Err(Violation::BadSignature));
}
