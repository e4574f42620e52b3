//! Who finds whom.

use mesh_proto::directory::LinkPolicy;
use mesh_proto::node::Disconnect;
use mesh_proto::policy::native::Native;
use mesh_proto::sim::Network;

use crate::secs;

// MN-01, MN-12: the third node knows one address and lists both others.
#[test]
fn one_known_address_is_enough_to_find_all() {
    let mut net = Network::seeded(2);
    for n in 0..5 {
        net.add_with(LinkPolicy::default(), Box::new(Native::default()));
        if n > 0 {
            net.join(n, n - 1);
        }
    }

    net.run(secs(10));

    for node in 0..5 {
        assert_eq!(net.node(node).records().count(), 4);
        let links = net.node(node).neighbours().len();
        assert!((2..=3).contains(&links), "node {node} has {links} links");
        assert_eq!(net.node(node).reachable().len(), 4);
    }
}

#[test]
fn two_that_dial_each_other_keep_one_link() {
    let mut net = Network::seeded(3);
    let (a, b) = (net.add(), net.add());
    net.join(a, b);
    net.join(b, a);

    net.run(secs(10));

    assert_eq!((net.node(a).neighbours().len(), net.node(b).neighbours().len()), (1, 1));
    assert!(
        net.disconnects(a).iter().chain(net.disconnects(b)).all(|reason| *reason == Disconnect::Duplicate)
    );
}

#[test]
fn a_node_that_crashed_is_linked_again_soon_after_it_is_back() {
    let mut net = Network::seeded(4);
    let nodes = net.chain(2);
    net.run(secs(2));
    net.crash(nodes[1]);
    net.run(secs(60));

    net.restart(nodes[1]);
    net.run(secs(3));

    assert_eq!(net.node(0).neighbours().len(), 1);
}

// HyParView's join: a newcomer is taken in and another neighbour gives way, which has heard of others.
#[test]
fn everybody_may_join_one_node_and_it_does_not_become_a_hub() {
    let mut net = Network::seeded(6);
    for n in 0..40 {
        net.add_with(LinkPolicy::Auto { min: 3, max: 5 }, Box::new(Native::default()));
        if n > 0 {
            net.join(n, 0);
            net.subscribe(n, "all");
        }
    }
    net.run(secs(60));

    net.publish(0, "all", b"hi");
    net.run(secs(3));

    for node in 1..40 {
        assert_eq!(net.texts(node), ["hi"], "node {node}");
        assert_eq!(net.node(node).reachable().len(), 39, "node {node}");
    }
    for _ in 0..6 {
        let mut d: Vec<usize> = (0..40).map(|n| net.node(n).neighbours().len()).collect();
        d.sort();
        eprintln!("DEG {d:?}");
        net.run(secs(30));
    }
    assert!((0..40).all(|node| net.node(node).neighbours().len() <= 6));
}
