//! What was acknowledged as stored survives, and takes effect once.

use mesh_proto::run::Dest;
use mesh_proto::sim::Network;

use crate::{millis, secs};

fn send(net: &mut Network, from: usize, to: usize, text: &str) {
    let dest = Dest::Node(net.id(to));
    net.publish_with(from, dest, text.as_bytes(), |publish| publish.durable = true);
}

// C03, I1, I2: whoever is killed whenever, each acknowledged message has one effect.
#[test]
fn any_node_of_a_chain_may_be_killed_at_any_time() {
    for victim in 0..3 {
        for at in 0..12 {
            let mut net = Network::seeded(at);
            net.chain(3);
            net.run(secs(3));

            for n in 0..5 {
                send(&mut net, 0, 2, &n.to_string());
            }
            net.run(millis(at));
            let acknowledged = net.accepted(0);
            net.crash(victim);
            net.run(secs(1));
            net.restart(victim);
            net.run(secs(60));

            let mut texts = net.texts(2);
            texts.sort();
            let sent = texts.len() as u64;
            texts.dedup();
            assert_eq!(texts.len() as u64, sent, "node {victim} killed after {at} ms: something came twice");
            assert!(sent >= acknowledged, "node {victim} killed after {at} ms: {sent} of {acknowledged}");
        }
    }
}

// QP-26: the author may be gone when the recipient comes.
#[test]
fn a_carrier_hands_over_what_its_author_cannot() {
    let mut net = Network::seeded(9);
    net.chain(3);
    net.run(secs(3));
    net.crash(2);
    send(&mut net, 0, 2, "from one who left");
    net.run(millis(20));
    net.crash(0);
    net.crash(1);
    net.restart(1);
    net.run(secs(5));

    net.restart(2);
    net.run(secs(60));

    assert_eq!(net.texts(2), ["from one who left"]);
}

// I1: what was acknowledged is kept, also beyond what memory holds; and no more is taken then.
#[test]
fn more_than_memory_holds_waits_in_the_store_and_is_handed_over() {
    const BATCH: u32 = 3000;
    let mut net = Network::seeded(9);
    net.chain(2);
    net.run(secs(3));
    net.crash(1);
    net.run(secs(1));
    let dest = Dest::Node(net.id(1));
    for n in 0..40 {
        net.publish_with(0, dest, b"", |publish| {
            publish.durable = true;
            publish.payloads = (0..BATCH).map(|i| (n * BATCH + i).to_le_bytes().to_vec().into()).collect();
        });
        net.run(millis(50));
    }
    let acknowledged = net.accepted(0) * u64::from(BATCH);
    assert_eq!(acknowledged, 102_000, "the batch that crossed the limit is the last");
    assert!(net.node(0).held().0 <= 100_000);

    net.restart(1);
    net.run(secs(60));

    let mut got: Vec<&[u8]> = net.received(1).iter().map(|d| &d.payload[..]).collect();
    got.sort_unstable();
    got.dedup();
    assert_eq!((got.len() as u64, net.received(1).len() as u64), (acknowledged, acknowledged), "each once");
}

#[test]
fn an_orderly_stop_keeps_what_was_not_durable_too() {
    let mut net = Network::seeded(9);
    net.chain(2);
    net.run(secs(3));
    net.shut_down(1);
    net.run(secs(1));
    net.send(0, 1, b"later");
    net.run(millis(10));

    net.shut_down(0);
    net.restart(0);
    net.restart(1);
    net.run(secs(5));

    assert_eq!(net.texts(1), ["later"]);
}
