//! The host's clamps: whatever a policy answers, nothing loops and nothing comes twice.

use mesh_proto::directory::LinkPolicy;
use mesh_proto::policy::{CLASS_DROP, DROP, HOLD, Load, Policies, QosBatch, RouteBatch, Shares, View};
use mesh_proto::sim::Network;

use crate::{millis, secs};

/// Answers at random, with whatever the columns can hold.
struct Rubbish(fastrand::Rng, bool);

impl Policies for Rubbish {
    fn observe(&mut self, _: u64, _: &View) {}

    fn route(&mut self, _: u64, batch: &RouteBatch, verdicts: &mut Vec<u32>) {
        let mut any = || loop {
            let verdict = if self.0.bool() { self.0.u32(0..5) } else { self.0.u32(..) };
            let loses = verdict == DROP || verdict == HOLD;
            if self.1 || !loses {
                break verdict;
            }
        };
        verdicts.clear();
        verdicts.extend((0..batch.len()).map(|_| any()));
    }

    fn classify(&mut self, _: u64, batch: &QosBatch, classes: &mut Vec<u8>) {
        classes.clear();
        classes.extend((0..batch.len()).map(|_| self.0.u8(0..if self.1 { CLASS_DROP } else { 9 })));
    }

    fn divide(&mut self, _: u64, _: &Load) -> Shares {
        Shares {
            guaranteed: std::array::from_fn(|_| self.0.u8(..)),
            burst: std::array::from_fn(|_| self.0.u8(..)),
        }
    }
}

fn rubbish_mesh(seed: u64) -> Network {
    let mut net = Network::seeded(seed);
    for n in 0..6 {
        net.add_with(LinkPolicy::Explicit, Box::new(Rubbish(fastrand::Rng::with_seed(seed + n), false)));
    }
    for (a, b) in [(1, 0), (2, 1), (3, 2), (4, 3), (5, 4), (5, 0), (3, 0), (4, 1)] {
        net.join(a, b);
    }
    net.run(secs(5));
    net
}

// W09, W10: named neighbours that are none, the sender, detours: overruled or loop-free all the same.
#[test]
fn rubbish_answers_in_every_node_neither_lose_nor_double_nor_loop_a_message() {
    for seed in 0..5 {
        let mut net = rubbish_mesh(seed);

        for n in 0..100u32 {
            net.send(0, 3, &n.to_le_bytes());
            net.run(millis(3));
        }
        net.run(secs(5));

        let mut got: Vec<&[u8]> = net.received(3).iter().map(|d| &d.payload[..]).collect();
        got.sort_unstable();
        got.dedup();
        assert_eq!((got.len(), net.received(3).len()), (100, 100), "seed {seed}");
        assert!(net.received(3).iter().all(|d| d.hops <= 5), "no node is passed twice");
        let clamped: u64 = (0..6).map(|node| net.node(node).counters().clamped).sum();
        assert!(clamped > 0);
    }
}

#[test]
fn shares_that_a_policy_answers_are_cut_to_what_a_link_has() {
    let greedy = Shares { guaranteed: [0, 255, 255, 255, 0], burst: [0; 5] }.clamped();

    assert!(greedy.guaranteed.iter().map(|&s| u32::from(s)).sum::<u32>() <= 100);
    assert!(greedy.guaranteed[0] >= 10 && greedy.guaranteed.iter().all(|&share| share > 0));
    assert!(greedy.burst.iter().zip(greedy.guaranteed).all(|(&burst, share)| burst >= share));
    assert_eq!(Shares::default().clamped(), Shares::default());
}
