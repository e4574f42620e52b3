//! Topics.

use mesh_proto::frame::RUN;
use mesh_proto::sim::Network;

use crate::{millis, secs};

fn full_mesh(n: usize) -> Network {
    let mut net = Network::seeded(5);
    for _ in 0..n {
        net.add();
    }
    for a in 0..n {
        (0..a).for_each(|b| net.join(a, b));
    }
    net.run(secs(3));
    net
}

// QM-60
#[test]
fn only_subscribers_receive_and_the_publisher_is_one_if_it_subscribes() {
    let mut net = Network::seeded(1);
    net.chain(4);
    net.subscribe(0, "chat");
    net.subscribe(3, "chat");
    net.subscribe(2, "other");
    net.run(secs(3));

    net.publish(0, "chat", b"hi");
    net.run(secs(1));

    assert_eq!(net.texts(3), ["hi"], "by way of two nodes that did not subscribe");
    assert_eq!(net.texts(0), ["hi"]);
    assert!(net.texts(1).is_empty() && net.texts(2).is_empty());
}

// PM-97, QP-22
#[test]
fn a_ring_delivers_once_to_each() {
    let mut net = full_mesh(3);
    (0..3).for_each(|node| net.subscribe(node, "t"));
    net.run(secs(1));

    for n in 0..50 {
        net.publish(n % 3, "t", format!("{n}").as_bytes());
        net.run(millis(5));
    }
    net.run(secs(2));

    for node in 0..3 {
        let mut texts = net.texts(node);
        texts.sort_by_key(|text| text.parse::<u32>().expect("a number"));
        assert_eq!(texts, (0..50).map(|n| n.to_string()).collect::<Vec<_>>());
    }
}

// MN-07, QM-62
#[test]
fn a_tree_forms_that_sends_each_node_one_copy_and_heals_when_an_edge_is_cut() {
    let mut net = full_mesh(8);
    (0..8).for_each(|node| net.subscribe(node, "t"));
    for _ in 0..10 {
        net.publish(0, "t", b"warm up");
        net.run(millis(100));
    }
    let before = net.frames(RUN);
    for n in 0..20 {
        net.publish(0, "t", format!("{n}").as_bytes());
        net.run(millis(100));
    }
    let copies = net.frames(RUN) - before;
    assert!((20 * 7..=20 * 7 + 4).contains(&copies), "{copies} copies of 20 messages to 7 nodes");

    net.cut(0, 1);
    net.cut(0, 2);
    net.publish(0, "t", b"after");
    net.run(secs(3));

    for node in 1..8 {
        assert_eq!(net.texts(node).last().map(String::as_str), Some("after"), "node {node}");
        assert_eq!(net.received(node).len(), 31, "node {node}: each once");
    }
}

// MN-57b: an offer of what was published here is not an offer of something that is missing.
#[test]
fn many_publishers_share_one_tree_and_ask_for_nothing_of_their_own() {
    let mut net = full_mesh(8);
    (0..8).for_each(|node| net.subscribe(node, "t"));
    for n in 0..16 {
        net.publish(n % 8, "t", b"warm up");
        net.run(millis(500));
    }
    let before = net.frames(RUN);
    for n in 0..40 {
        net.publish(n % 8, "t", format!("{n}").as_bytes());
        net.run(millis(500));
    }
    net.run(secs(2));

    let copies = net.frames(RUN) - before;
    assert_eq!(copies, 40 * 7, "one copy of each message to each of the other nodes");
}

// MN-08
#[test]
fn a_lost_push_is_grafted_half_a_second_later() {
    let mut net = full_mesh(3);
    net.subscribe(2, "t");
    for _ in 0..5 {
        net.publish(0, "t", b"warm up");
        net.run(millis(200));
    }
    net.lose_next(0, 2, 1);
    let from = net.received(2).len();
    let sent = net.received(2).last().expect("warmed up").at;

    net.publish(0, "t", b"lost on the way");
    net.run(secs(2));

    let delivery = &net.received(2)[from];
    assert_eq!(&delivery.payload[..], b"lost on the way");
    assert!(delivery.at.since(sent) >= millis(500));
    assert_eq!(delivery.hops, 2, "by way of node 1");
}
