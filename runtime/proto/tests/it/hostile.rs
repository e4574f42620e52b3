//! Neighbours that break the protocol lose their link, and nothing else happens.

use bytes::Bytes;
use mesh_proto::NodeId;
use mesh_proto::frame::{Control, RUN, Violation};
use mesh_proto::node::{Disconnect, Input};
use mesh_proto::policy::Class;
use mesh_proto::run::{Dest, Draft, Flow, Head, seal};
use mesh_proto::sim::Network;

use crate::secs;

/// Three nodes in a chain; node 1 is sent `frames` by node 0's link.
fn after(lane: u8, frames: &[&[u8]]) -> Network {
    let mut net = Network::seeded(8);
    net.chain(3);
    net.run(secs(3));
    let peer = net.peer(1, 0).expect("linked");
    let frames = frames.iter().map(|frame| Bytes::copy_from_slice(frame)).collect();
    net.input(1, Input::Frames { peer, lane, frames });
    net.run(secs(0));
    net
}

// P03, P04, P08, I7: one violation closes that link, is counted, and the node goes on.
#[test]
fn every_kind_of_bad_frame_closes_its_link_only() {
    let hello = Control::Hello { epoch: 1, heartbeat_ms: 500, samples: false }.encode();
    let ack = Control::Ack { runs: [u32::MAX; 5] }.encode();
    let cases: [(u8, &[u8], Violation); 7] = [
        (0, b"", Violation::Truncated),
        (0, &[0x44], Violation::UnknownFrame { kind: 0x44 }),
        (0, &[0x02, 1], Violation::Truncated),
        (0, &hello[4..], Violation::NotGreeted),
        (0, &ack[4..], Violation::BadAck),
        (3, &[0x02, 0, 0, 0, 0, 0, 0, 0, 0], Violation::WrongLane),
        (3, &[RUN, 0, 0, 0], Violation::Truncated),
    ];
    for (lane, frame, violation) in cases {
        let mut net = after(lane, &[frame]);

        assert_eq!(net.disconnects(1), [Disconnect::Violation(violation.clone())]);
        assert_eq!(net.node(1).counters().violations.get(violation.name()), Some(&1));
        assert!(net.peer(1, 0).is_none() && net.peer(1, 2).is_some());
        net.run(secs(5));
        assert!(net.peer(1, 0).is_some(), "the honest node links again");
    }
}

// MN-20
#[test]
fn an_optional_frame_is_skipped_and_counted() {
    let net = after(0, &[&[0x99, 1, 2, 3]]);

    assert!(net.peer(1, 0).is_some());
    assert_eq!(net.node(1).counters().skipped_frames, 1);
}

// PM-97, QP-22, QM-63, D02: however much came in between, a replay within a message's life has no effect.
#[test]
fn a_replayed_message_is_delivered_once_also_after_ten_thousand_others() {
    let mut net = after(0, &[]);
    let author = ed25519_dalek::SigningKey::from_bytes(&[77; 32]);
    let head = |net: &Network| Head {
        flow: Flow {
            origin: NodeId(author.verifying_key().to_bytes()),
            epoch: 1,
            dest: Dest::Node(net.id(1)),
        },
        seq_base: 0,
        sent_ms: 1_800_000_000_000,
        expiry_ms: 1_800_000_900_000,
        class: Class::Normal,
        hop_limit: 10,
        durable: false,
        internal: false,
    };
    let payloads = |n: usize| (0..n).map(|i| Bytes::copy_from_slice(&i.to_le_bytes())).collect();
    let drafts = vec![Draft { head: head(&net), first_seq: 0, payloads: payloads(10_001) }];
    let frames: Vec<Bytes> = seal(&author, drafts).iter().map(|run| run.to_bytes(0)).collect();
    let peer = net.peer(1, 0).expect("linked");

    for frame in frames.iter().chain(&frames[..1]) {
        net.input(1, Input::Frames { peer, lane: 3, frames: vec![frame.clone()] });
    }
    net.run(secs(0));

    assert_eq!(net.received(1).len(), 10_001);
    assert_eq!(net.node(1).counters().duplicates, 1024, "the first run again");
}

// QP-19, I3
#[test]
fn a_forged_message_is_not_delivered_and_costs_the_link() {
    let mut net = after(0, &[]);
    let liar = ed25519_dalek::SigningKey::from_bytes(&[66; 32]);
    let head = Head {
        flow: Flow { origin: net.id(2), epoch: 1, dest: Dest::Node(net.id(1)) },
        seq_base: 0,
        sent_ms: 1_800_000_000_000,
        expiry_ms: 1_800_000_900_000,
        class: Class::Normal,
        hop_limit: 10,
        durable: false,
        internal: false,
    };
    let run = &seal(&liar, vec![Draft { head, first_seq: 0, payloads: vec![Bytes::from_static(b"lie")] }])[0];
    let peer = net.peer(1, 0).expect("linked");

    net.input(1, Input::Frames { peer, lane: 3, frames: vec![run.to_bytes(0)] });
    net.run(secs(0));

    assert!(net.received(1).is_empty());
    assert_eq!(net.disconnects(1), [Disconnect::Violation(Violation::BadSignature)]);
}
