//! Random faults, then quiet: everything acknowledged arrives once, and the same seed runs the same.

use mesh_proto::directory::LinkPolicy;
use mesh_proto::policy::native::Native;
use mesh_proto::run::Dest;
use mesh_proto::sim::Network;

use crate::{millis, secs};

const NODES: usize = 12;

/// Cuts, heals, crashes and restarts at random while durable messages go from everybody to everybody.
fn storm(seed: u64) -> Network {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut net = Network::seeded(seed);
    for n in 0..NODES {
        net.add_with(LinkPolicy::Auto { min: 3, max: 5 }, Box::new(Native::default()));
        if n > 0 {
            net.join(n, rng.usize(0..n));
        }
    }
    net.run(secs(5));
    let (mut down, mut cuts) = (Vec::new(), Vec::new());
    for step in 0..150u32 {
        match rng.u32(0..6) {
            0 if down.len() < 3 => {
                let node = rng.usize(0..NODES);
                if !down.contains(&node) {
                    net.crash(node);
                    down.push(node);
                }
            }
            1 => down.pop().into_iter().for_each(|node| net.restart(node)),
            2 => {
                let pair = (rng.usize(0..NODES), rng.usize(0..NODES));
                net.cut(pair.0, pair.1);
                cuts.push(pair);
            }
            3 => cuts.pop().into_iter().for_each(|(a, b)| net.heal(a, b)),
            _ => {}
        }
        let (from, to) = (rng.usize(0..NODES), rng.usize(0..NODES));
        if !down.contains(&from) && from != to {
            let dest = Dest::Node(net.id(to));
            net.publish_with(from, dest, &step.to_le_bytes(), |publish| {
                publish.durable = true;
                publish.hop_limit = 64; // ways turn round often here
            });
        }
        net.run(millis(rng.u64(1..300)));
    }
    down.into_iter().for_each(|node| net.restart(node));
    cuts.into_iter().for_each(|(a, b)| net.heal(a, b));
    net.run(secs(120));
    net
}

// I1, I2, I10, I11
#[test]
fn after_the_storm_every_acknowledged_message_has_arrived_once() {
    for seed in 0..6 {
        let net = storm(seed);

        let mut got: Vec<_> =
            (0..NODES).flat_map(|node| net.received(node)).map(|d| &d.payload[..]).collect();
        let total = got.len();
        got.sort_unstable();
        got.dedup();
        assert_eq!(got.len(), total, "seed {seed}: something came twice");
        let acknowledged: u64 = (0..NODES).map(|node| net.accepted(node)).sum();
        assert!(total as u64 >= acknowledged, "seed {seed}: {total} of {acknowledged}");
        for node in 0..NODES {
            assert_eq!(net.node(node).reachable().len(), NODES - 1, "seed {seed}: node {node}");
        }
    }
}

// I14
#[test]
fn the_same_seed_runs_the_same_to_the_last_byte() {
    assert_eq!(storm(3).trace_hash(), storm(3).trace_hash());
    assert_ne!(storm(3).trace_hash(), storm(4).trace_hash());
}
