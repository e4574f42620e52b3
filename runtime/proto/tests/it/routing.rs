//! Unicast over several hops, and messages for those who are away.

use mesh_proto::node::{Input, PublishError};
use mesh_proto::run::Dest;
use mesh_proto::sim::Network;

use crate::{millis, secs};

fn chain(n: usize) -> (Network, Vec<usize>) {
    let mut net = Network::seeded(7);
    let nodes = net.chain(n);
    net.run(secs(3));
    (net, nodes)
}

// PM-95, QP-14
#[test]
fn a_message_takes_two_hops_where_there_is_no_direct_link() {
    let (mut net, _) = chain(3);

    net.send(0, 2, b"hello");
    net.run(secs(1));

    let [delivery] = net.received(2) else { panic!("one delivery") };
    assert_eq!((&delivery.payload[..], delivery.hops), (&b"hello"[..], 2));
    assert_eq!(delivery.flow.origin, net.id(0));
}

// PM-95, QP-21
#[test]
fn a_hop_limit_of_one_stops_at_the_second_node() {
    let (mut net, _) = chain(3);
    let dest = Dest::Node(net.id(2));

    net.publish_with(0, dest, b"x", |publish| publish.hop_limit = 1);
    net.run(secs(1));

    assert!(net.received(2).is_empty());
    assert_eq!(net.node(1).counters().dropped_hop_limit, 1);
}

// QP-27
#[test]
fn a_way_is_withdrawn_everywhere_when_its_node_dies_and_comes_back_with_it() {
    let (mut net, _) = chain(4);
    assert_eq!(net.node(0).reachable().len(), 3);

    net.crash(3);
    net.run(secs(2));
    assert!(net.node(0).ways(&net.id(3)).is_empty());

    net.restart(3);
    net.run(secs(3));
    assert_eq!(net.node(0).ways(&net.id(3)).len(), 1);
}

// G8: convergence after a link loss, no count to infinity.
#[test]
fn a_ring_sends_the_other_way_round_after_a_cut_and_loses_nothing() {
    let (mut net, nodes) = chain(5);
    net.join(nodes[4], nodes[0]);
    net.run(secs(3));

    for n in 0..200u32 {
        net.send(0, 4, &n.to_le_bytes());
        net.run(millis(2));
        if n == 100 {
            net.cut(0, 4);
        }
    }
    net.run(secs(2));

    let got: Vec<u32> = net
        .received(4)
        .iter()
        .map(|d| u32::from_le_bytes(d.payload[..].try_into().expect("four bytes")))
        .collect();
    let mut sorted = got.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..200).collect::<Vec<_>>(), "each once");
    assert_eq!(net.received(4).last().map(|d| d.hops), Some(4));
}

// QP-23, QP-26
#[test]
fn messages_wait_for_a_node_that_comes_later_also_at_a_carrier() {
    let (mut net, _) = chain(3);
    net.shut_down(2);
    net.run(secs(1));

    net.send(0, 2, b"waits at node 0");
    net.send(1, 2, b"waits at node 1");
    net.run(secs(1));
    assert_eq!(net.node(0).held().0 + net.node(1).held().0, 2);
    net.restart(2);
    net.run(secs(5));

    let mut texts = net.texts(2);
    texts.sort();
    assert_eq!(texts, ["waits at node 0", "waits at node 1"]);
}

// QP-24, QP-25
#[test]
fn what_waits_too_long_expires_without_traffic() {
    let (mut net, _) = chain(2);
    net.shut_down(1);
    let dest = Dest::Node(net.id(1));
    net.run(secs(1));

    net.publish_with(0, dest, b"x", |publish| publish.ttl_ms = Some(3000));
    net.run(secs(5));
    net.restart(1);
    net.run(secs(3));

    assert!(net.received(1).is_empty());
    assert_eq!(net.node(0).counters().expired, 1);
    assert_eq!(net.node(0).held(), (0, 0));
}

// QP-23, B09
#[test]
fn a_full_shelf_refuses_more_for_its_recipient_and_takes_for_others() {
    let (mut net, _) = chain(3);
    net.shut_down(1);
    let absent = Dest::Node(net.id(1));
    net.run(secs(1));
    for _ in 0..101 {
        net.publish_with(0, absent, b"x", |publish| publish.payloads = vec![b"x"[..].into(); 1000]);
        net.run(millis(1));
    }

    net.send(0, 2, b"for somebody else");
    net.run(millis(10));

    assert!(matches!(net.refused(0), [PublishError::RecipientFull { messages: 100_000, .. }]));
    assert_eq!(net.node(0).held().0, 100_001);
}

// MN-79: ping works over any number of hops.
#[test]
fn a_ping_over_three_hops_measures_six_latencies() {
    let (mut net, _) = chain(4);

    net.input(0, Input::Ping { token: 1, to: net.id(3) });
    net.run(secs(1));

    let [(rtt_us, hops)] = net.pongs(0) else { panic!("one pong") };
    assert_eq!(*hops, 3);
    assert!((6_000..8_000).contains(rtt_us), "{rtt_us}");
}
