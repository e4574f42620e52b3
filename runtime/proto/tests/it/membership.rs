//! Who finds whom.

use std::time::Duration;

use mesh_proto::directory::LinkPolicy;
use mesh_proto::members::MemberState;
use mesh_proto::node::{Disconnect, Input};
use mesh_proto::policy::native::Native;
use mesh_proto::sim::{Malice, Network, Sighting, Spec};
use mesh_proto::tuning::Tuning;

use crate::{millis, secs};

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
    net.run(secs(180));
    assert!((0..40).all(|node| net.node(node).neighbours().len() <= 6));
}

fn mesh(seed: u64, nodes: usize, tuning: Tuning) -> Network {
    let mut net = Network::seeded(seed);
    for n in 0..nodes {
        net.add_spec(Spec { links: LinkPolicy::default(), tuning, ..Spec::default() });
        if n > 0 {
            net.join(n, n / 2);
        }
    }
    net
}

fn state(net: &Network, at: usize, of: usize) -> Option<MemberState> {
    let node = net.id(of);
    net.node(at).members().find(|member| member.record.node == node).map(|member| member.state)
}

// MN-04, MN-35: what a node says of itself reaches all, also over links that were not there at first.
#[test]
fn what_a_node_says_of_itself_is_known_to_all_within_seconds() {
    let mut net = mesh(21, 30, Tuning::default());
    net.run(secs(10));

    net.input(7, Input::SetState { key: "label.site".into(), value: Some(b"roof".to_vec()) });
    net.run(secs(3));

    let id = net.id(7);
    for node in (0..30).filter(|node| *node != 7) {
        let record = net.node(node).records().find(|record| record.node == id).expect("all know all");
        assert_eq!(record.facts.state["label.site"], b"roof", "node {node}");
    }
}

// MN-25, PM-17: who says that it leaves has left for all at once, and is not taken for dead.
#[test]
fn who_leaves_has_left_for_all_at_once() {
    let mut net = mesh(22, 20, Tuning::default());
    net.run(secs(10));

    net.shut_down(5);
    net.run(millis(500));

    assert!((0..20).filter(|node| *node != 5).all(|node| state(&net, node, 5) == Some(MemberState::Left)));
    net.restart(5);
    net.run(secs(5));
    assert!((0..20).filter(|node| *node != 5).all(|node| state(&net, node, 5) == Some(MemberState::Alive)));
}

// MN-06, N05: a silent node is dead for all within five seconds, and nobody else is.
#[test]
fn a_silent_node_is_dead_for_all_within_five_seconds() {
    let mut net = mesh(23, 50, Tuning::default());
    net.run(secs(20));

    net.crash_silently(9);
    net.run(secs(5));

    for node in (0..50).filter(|node| *node != 9) {
        let dead: Vec<usize> =
            (0..50).filter(|of| *of != node && state(&net, node, *of) != Some(MemberState::Alive)).collect();
        assert_eq!(dead, [9], "node {node}");
    }
}

/// Nodes that join one after the other a mesh that each of them knows by a sample of 32.
fn known_by_a_sample(seed: u64, nodes: usize, heartbeat: Duration, rng: &mut fastrand::Rng) -> Network {
    let tuning = Tuning { heartbeat, members: 32, ..Tuning::large() };
    let mut net = Network::seeded(seed).keep_deliveries(false);
    for node in 0..nodes {
        net.add_spec(Spec { links: LinkPolicy::Adaptive, tuning, is_up: false, ..Spec::default() });
        if node > 0 {
            net.join(node, rng.usize(0..node));
        }
        net.restart(node);
        net.run(millis(10));
    }
    net
}

// G09, MN-13: in a mesh that each knows by a sample, whoever has just come may know none but those that go.
#[test]
fn who_has_just_joined_a_large_mesh_survives_the_loss_of_most_of_it() {
    for seed in 1..=3 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut net = known_by_a_sample(seed, 300, millis(500), &mut rng);
        net.run(secs(7));

        let mut nodes: Vec<usize> = (0..300).collect();
        rng.shuffle(&mut nodes);
        nodes[..240].iter().for_each(|node| net.crash_silently(*node));
        net.run(secs(60));

        let sizes: Vec<usize> = net.connected_components().iter().map(Vec::len).collect();
        assert_eq!(sizes, [60], "seed {seed}");
    }
}

// G09, MN-06: one silent neighbour may be late, all of them are not. A phi of 8 takes 3.8 beats for one of them.
#[test]
fn whose_neighbours_all_fall_silent_has_others_before_it_takes_any_for_dead() {
    for seed in 1..=5 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut net = known_by_a_sample(seed, 150, secs(1), &mut rng);
        net.run(secs(30));
        let node = rng.usize(1..150);
        let lost = net.neighbours(node);

        lost.iter().for_each(|other| net.crash_silently(*other));
        net.run(millis(2700));

        let found = net.neighbours(node);
        assert!(lost.iter().all(|other| found.contains(other)), "seed {seed}: some were taken for dead");
        assert!(found.iter().any(|other| !lost.contains(other)), "seed {seed}: no other was found");
    }
}

// G05: where nobody tells an accusation on, the accused cannot answer one that comes from afar.
#[test]
fn in_a_large_mesh_nobody_is_taken_for_dead_because_others_say_so() {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut net = known_by_a_sample(7, 600, secs(1), &mut rng);
    net.run(secs(10));
    (1..600).step_by(10).for_each(|node| net.corrupt(node, Malice::Accuser { per_second: 10 }));

    net.run(secs(30));

    let honest =
        |sighting: &&Sighting| net.is_honest(sighting.by as usize) && net.is_honest(sighting.of as usize);
    let gone = |sighting: &&Sighting| sighting.state == MemberState::Dead;
    assert_eq!(net.sightings().iter().filter(honest).filter(gone).count(), 0);
}

// G8, PM-95: beyond 64 nodes ways are found when there is something to send, and found again when one breaks.
#[test]
fn a_way_through_a_large_mesh_is_found_on_demand_and_again_when_it_breaks() {
    let mut net = mesh(24, 150, Tuning::default());
    net.run(secs(20));
    let far = (1..150).find(|n| net.node(0).ways(&net.id(*n)).is_empty()).expect("not all are told of");

    net.send(0, far, b"first");
    net.run(secs(2));
    assert_eq!(net.texts(far), ["first"]);

    let via = net.node(0).ways(&net.id(far)).first().map(|way| way.via).expect("it is known now");
    let via = net.host(&net.node(0).node_of(via).expect("a neighbour")).expect("a host");
    if via != far {
        net.crash(via);
    }
    net.send(0, far, b"second");
    net.run(secs(10));
    assert_eq!(net.texts(far), ["first", "second"]);
    assert!(net.node(0).gauges().rows.iter().any(|(name, size, _)| *name == "routes" && *size < 64));
}
