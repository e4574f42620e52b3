//! The simulator itself: links, hosts and clocks do what they are told, and what breaks is noticed.

use std::ops::Range;
use std::time::Duration;

use mesh_proto::directory::LinkPolicy;
use mesh_proto::node::Disconnect;
use mesh_proto::run::Dest;
use mesh_proto::sim::{Churn, LinkModel, Loss, Malice, Network, Notice, Skew, Spec};
use mesh_proto::tuning::Tuning;

use crate::{millis, secs};

/// A mesh of `n` nodes that link by themselves and subscribe to one topic; each joins by way of an earlier one.
fn mesh(seed: u64, n: usize) -> Network {
    tuned(seed, n, Tuning::default())
}

fn tuned(seed: u64, n: usize, tuning: Tuning) -> Network {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut net = Network::seeded(seed).keep_deliveries(false);
    for index in 0..n {
        net.add_spec(Spec { links: LinkPolicy::Auto { min: 3, max: 5 }, tuning, ..Spec::default() });
        net.subscribe(index, "all");
        if index > 0 {
            net.join(index, rng.usize(0..index));
        }
    }
    net
}

fn broadcast(net: &mut Network, from: usize, count: usize, every: Duration) -> Range<usize> {
    let first = net.publications().len();
    for n in 0..count {
        net.publish(from, "all", &[&b"a payload of some twenty bytes"[..], &n.to_le_bytes()].concat());
        net.run(every);
    }
    first..net.publications().len()
}

fn all_reached(net: &Network, of: Range<usize>) -> bool {
    of.into_iter().all(|publication| net.unreached(publication).is_empty())
}

fn pair(model: LinkModel) -> Network {
    let mut net = Network::seeded(1).model(model);
    net.chain(2);
    net.run(secs(5));
    net
}

/// When the last of some messages from host 0 arrived at host 1, and whether they are complete and in order.
fn sent(net: &mut Network, count: usize) -> (Duration, bool) {
    let before = net.now();
    let from = net.received(1).len();
    for n in 0..count {
        net.send(0, 1, &n.to_le_bytes());
        net.run(millis(1));
    }
    net.run(secs(30));
    let got = &net.received(1)[from..];
    let is_whole = got.iter().map(|d| d.payload.to_vec()).eq((0..count).map(|n| n.to_le_bytes().to_vec()));
    (got.last().map_or(Duration::MAX, |last| last.at.since(before)), is_whole)
}

// N01, N03: a link is a reliable stream, whatever happens to its packets.
#[test]
fn loss_reordering_and_duplication_cost_time_and_bytes_and_no_message() {
    let clean = LinkModel::default();
    let (quick, _) = sent(&mut pair(clean), 100);
    let cases = [
        LinkModel { loss: Loss::Random(0.2), ..clean },
        LinkModel { loss: Loss::bursts(0.25, 40.0), ..clean },
        LinkModel { reorder: 0.3, reorder_by: millis(80), jitter: millis(50), ..clean },
        LinkModel { duplicate: 0.2, reorder: 0.2, jitter: millis(20), ..clean },
    ];
    for model in cases {
        let mut net = pair(model);
        let (took, is_whole) = sent(&mut net, 100);

        assert!(is_whole, "{model:?}");
        assert!(took > quick, "{model:?}: {took:?}");
        assert!(took < secs(10), "{model:?}: {took:?}");
        let traffic = net.traffic();
        assert!(traffic.wire_bytes > traffic.sent_bytes());
        assert!(net.breaches().is_empty(), "{model:?}: {:?}", net.breaches());
    }
}

#[test]
fn bandwidth_is_shared_out_one_frame_after_the_other() {
    let mut net = pair(LinkModel { bandwidth: 10_000, ..LinkModel::default() });
    let at = net.now();
    for _ in 0..10 {
        net.send(0, 1, &[7; 820]);
    }

    net.run(secs(10));

    // About 1,100 bytes each with head and packet.
    let last = net.received(1).last().expect("they came").at.since(at);
    assert_eq!(net.received(1).len(), 10);
    assert!((millis(800)..millis(1500)).contains(&last), "{last:?}");
}

#[test]
fn the_two_directions_of_a_link_may_differ() {
    let mut net = pair(LinkModel::default());
    net.set_model_between(0, 1, LinkModel { latency: millis(200), ..LinkModel::default() });
    let at = net.now();
    net.send(0, 1, b"slow");
    net.send(1, 0, b"quick");
    net.run(secs(1));
    assert!(net.received(1)[0].at.since(at) >= millis(200));
    assert!(net.received(0)[0].at.since(at) < millis(5));

    net.reset_models();
    let at = net.now();
    net.send(0, 1, b"quick again");
    net.run(secs(1));

    assert!(net.received(1)[1].at.since(at) < millis(5));
}

// N06: a cut that is shorter than anybody's patience costs time only.
#[test]
fn what_was_sent_into_a_short_cut_arrives_when_it_heals() {
    for one_way in [true, false] {
        let mut net = pair(LinkModel::default());
        let at = net.now();
        if one_way {
            net.cut_one_way(0, 1)
        } else {
            net.cut_silently(0, 1)
        }
        net.send(0, 1, b"held up");
        net.run(millis(400));
        assert!(net.received(1).is_empty());

        net.heal(0, 1);
        net.run(secs(1));

        assert!(net.received(1)[0].at.since(at) >= millis(400));
        assert!(net.disconnects(0).is_empty() && net.disconnects(1).is_empty(), "the link stayed");
    }
}

// N06: nobody is told of a cut in one direction; the side that hears nothing finds out.
#[test]
fn a_lasting_one_way_cut_is_found_by_silence_and_routed_around() {
    let mut net = Network::seeded(3);
    net.chain(3);
    net.join(2, 0);
    net.run(secs(5));

    net.cut_one_way(0, 2);
    net.run(secs(10));
    let at = net.now();
    net.send(0, 2, b"the long way");
    net.run(secs(2));

    assert_eq!(net.disconnects(2), [Disconnect::Silent]);
    assert!(net.peer(2, 0).is_none() && net.peer(0, 2).is_none(), "both have given up by now");
    let delivery = &net.received(2)[0];
    assert_eq!(delivery.hops, 2);
    assert!(delivery.at.since(at) < secs(1));
    net.heal(0, 2);
    net.run(secs(60));
    assert!(net.peer(2, 0).is_some());
}

#[test]
fn a_crash_is_seen_at_once_or_by_silence() {
    for silent in [false, true] {
        let mut net = pair(LinkModel::default());
        if silent {
            net.crash_silently(0)
        } else {
            net.crash(0)
        }

        net.run(millis(1));
        assert_eq!(net.peer(1, 0).is_some(), silent);
        net.run(secs(12));
        assert!(net.peer(1, 0).is_none());
        let failed = net.traffic_of(1).failed_dials;
        // A refusal comes at once and a silence takes 5 s, so that there are fewer tries.
        assert!(if silent { (1..=2).contains(&failed) } else { failed > 2 }, "{failed}");

        net.restart(0);
        net.run(secs(30));
        assert!(net.peer(1, 0).is_some());
    }
}

#[test]
fn a_wiped_disk_forgets_what_was_promised_and_a_kept_one_does_not() {
    for wipe in [false, true] {
        let mut net = Network::seeded(2);
        net.chain(2);
        net.run(secs(3));
        net.shut_down(1);
        let dest = Dest::Node(net.id(1));
        net.publish_with(0, dest, b"kept", |publish| publish.durable = true);
        net.run(secs(1));
        assert_eq!(net.accepted(0), 1);
        net.crash(0);

        if wipe {
            net.restart_blank(0)
        } else {
            net.restart(0)
        }
        net.restart(1);
        net.run(secs(30));

        assert_eq!(net.received(1).len(), usize::from(!wipe));
    }
}

// T03
#[test]
fn a_frozen_node_does_nothing_and_then_goes_on_where_it_was() {
    let mut net = pair(LinkModel::default());
    let at = net.now();
    net.freeze(1);
    for n in 0..10u8 {
        net.send(0, 1, &[n]);
        net.run(millis(30));
    }
    assert!(net.received(1).is_empty() && net.is_up(1));

    net.thaw(1);
    net.run(secs(1));

    assert_eq!(net.received(1).len(), 10);
    assert!(net.received(1)[0].at.since(at) >= millis(300));
    assert!(net.disconnects(0).is_empty() && net.breaches().is_empty());
}

// T03, I5: what is sent to a node that reads nothing is bounded by a window.
#[test]
fn a_long_freeze_fills_a_window_and_no_more() {
    let mut net = pair(LinkModel::default());
    net.freeze(1);
    let before = net.traffic_of(0);
    for _ in 0..400 {
        net.send(0, 1, &[1; 1000]);
        net.run(millis(0));
    }
    net.run(millis(500));
    let carried = net.traffic_of(0).since(&before).sent_bytes();
    assert!((60_000..80_000).contains(&carried), "{carried}");

    net.thaw(1);
    net.run(secs(2));

    assert_eq!(net.received(1).len(), 400);
}

// T01, T02, I15
#[test]
fn clocks_that_are_wrong_lose_no_message_and_no_link() {
    let mut net = Network::seeded(5);
    net.chain(3);
    net.skew(0, Skew { offset_ms: 1_200_000, drift_ppm: 200 });
    net.skew(2, Skew { offset_ms: -1_200_000, drift_ppm: -200 });
    net.run(secs(3));
    for n in 0..30u8 {
        net.send(0, 2, &[n]);
        net.send(2, 0, &[n]);
        net.run(secs(1));
        if n == 15 {
            net.step_clock(0, -2_400_000);
        }
    }
    assert_eq!((net.received(0).len(), net.received(2).len()), (30, 30));
    assert!((0..3).all(|node| net.disconnects(node).is_empty()));

    net.step_clock(0, 2_400_000);
    let dest = Dest::Node(net.id(0));
    net.publish_with(2, dest, b"a minute is long over", |publish| publish.ttl_ms = Some(60_000));
    net.run(secs(1));
    assert_eq!(net.received(0).len(), 30, "its clock is forty minutes ahead of the author's");
}

// MN-08, QM-65: frames that a broken transport loses for good are asked for elsewhere, and what nobody offers because
// that was lost as well is missed when the next message comes.
#[test]
fn lost_frames_are_grafted() {
    let model = LinkModel { frame_loss: 0.1, ..LinkModel::default() };
    for seed in 0..30 {
        let mut net = mesh(seed, 20);
        net.run(secs(20));
        net.set_model(model);

        let of = broadcast(&mut net, 0, 20, millis(200));
        net.run(secs(5));

        assert!(all_reached(&net, of.clone()), "seed {seed}");
        let carried: u64 = net.publications()[of].iter().map(|p| p.copies).sum();
        assert!(net.frames(mesh_proto::frame::RUN) > carried, "some were sent and not carried");
    }
}

// N05, I10, I11
#[test]
fn a_partition_parts_and_a_merge_joins() {
    for notice in [Notice::AtOnce, Notice::BySilence] {
        let mut net = mesh(7, 12);
        net.run(secs(20));
        assert!(net.agree_on_members() && net.connected_components().len() == 1);
        let parts = [(0..6).collect::<Vec<_>>(), (6..12).collect()];

        net.partition(&parts, notice);
        net.run(secs(20));
        assert_eq!(net.connected_components(), parts);
        assert!(!net.agree_on_members());
        net.merge();
        net.run(secs(60));

        assert_eq!(net.connected_components().len(), 1, "{notice:?}");
        assert!(net.agree_on_members(), "{notice:?}: {:?}", net.membership());
        let of = broadcast(&mut net, 3, 3, millis(500));
        net.run(secs(3));
        assert!(all_reached(&net, of));
    }
}

// G10
#[test]
fn churn_takes_down_and_brings_back_its_share() {
    let mut net = mesh(8, 20).expect_after(secs(10));
    net.run(secs(20));
    let churn =
        Churn { share_per_s: 0.05, down: secs(3), notice: Notice::AtOnce, wipe: false, spared: vec![0] };
    net.churn(Some(churn));
    let mut down = 0;
    for _ in 0..60 {
        net.run(secs(1));
        down += net.len() - net.honest_up().count();
        assert!(net.is_up(0));
    }
    // A twentieth of 17 a second for 3 s each.
    assert!((90..220).contains(&down), "{down}");

    net.churn(None);
    net.run(secs(30));

    assert_eq!(net.honest_up().count(), 20);
    assert_eq!(net.connected_components().len(), 1);
    let of = broadcast(&mut net, 0, 3, secs(1));
    net.run(secs(3));
    assert!(all_reached(&net, of));
    assert!(net.breaches().is_empty(), "{:?}", net.breaches());
}

#[test]
fn redundancy_hops_and_latency_are_those_of_the_paper() {
    let mut net = Network::seeded(9).keep_deliveries(false);
    net.chain(5);
    (0..5).for_each(|node| net.subscribe(node, "all"));
    net.run(secs(3));

    let publication = net.publish(0, "all", b"down the chain");
    net.run(secs(1));

    let of = &net.publications()[publication];
    assert_eq!((of.expected(), of.reached(), of.holders(), of.copies), (4, 4, 4, 4));
    assert_eq!((of.redundancy(), of.last_hop()), (Some(0.0), 4));
    assert!((millis(4)..millis(5)).contains(&of.last_delivery().expect("delivered")));
    let median = net.latency(publication..publication + 1, 0.5).expect("delivered");
    assert!((millis(2)..millis(3)).contains(&median));
    assert!(net.received(4).is_empty(), "payloads are not kept");
    assert_eq!(net.traffic().repeated_bytes, 0);
    assert!(net.traffic().first_bytes > 4 * 14);
}

#[test]
fn a_publication_that_was_refused_or_never_left_expects_nobody() {
    let mut net = pair(LinkModel::default());
    let empty = net.publish_with(0, Dest::Node(net.id(1)), b"", |publish| publish.payloads.clear());
    net.crash(0);
    let from_the_dead = net.send(0, 1, b"boo");
    net.run(secs(1));

    for publication in [empty, from_the_dead] {
        assert!(!net.publications()[publication].accepted);
        assert_eq!(net.publications()[publication].expected(), 0);
    }
}

/// A settled mesh of 20 of which `liars` are malicious from now on; they are not hosts 0 and 1.
fn with_liars(seed: u64, liars: usize, malice: &Malice) -> Network {
    let mut net = mesh(seed, 20);
    net.run(secs(20));
    (0..liars).for_each(|liar| net.corrupt(2 + liar, malice.clone()));
    net
}

// G03, G04, G05, G06, D01, I2, I3: whatever a fifth of the hosts does, the others deliver what is genuine, once.
#[test]
fn honest_nodes_deliver_to_each_other_whatever_the_others_do() {
    let kinds = [
        Malice::Mute,
        Malice::Censor { origin: 0 },
        Malice::Accuser { per_second: 20 },
        Malice::Poisoner { per_second: 20 },
        Malice::Forger { per_second: 20 },
        Malice::Replayer { per_second: 100 },
        Malice::LureRoutes,
    ];
    for malice in kinds {
        let mut net = with_liars(10, 4, &malice);
        let of = broadcast(&mut net, 0, 20, millis(500));
        net.run(secs(10));

        let missed: usize = of.clone().map(|publication| net.unreached(publication).len()).sum();
        assert_eq!(missed, 0, "{malice:?}");
        assert_eq!(net.breaches(), [], "{malice:?}");
        assert!(net.is_honest(0) && !net.is_honest(2));
    }
}

// G03
#[test]
fn the_mute_offer_and_send_nothing() {
    let mut net = with_liars(11, 4, &Malice::Mute);
    let before: u64 = (2..6).map(|liar| net.traffic_of(liar).run_frames).sum();
    let of = broadcast(&mut net, 0, 5, millis(500));
    net.run(secs(5));

    let tried: u64 = (2..6).map(|liar| net.traffic_of(liar).run_frames).sum();
    assert!(tried > before, "their cores would have sent");
    let from_liars = |publication: usize| net.publications()[publication].copies;
    let honest: u64 = (0..20).filter(|host| net.is_honest(*host)).map(|h| net.traffic_of(h).run_frames).sum();
    assert!(of.map(from_liars).sum::<u64>() <= honest);
}

// I3: each forgery costs its author a link, and nobody else.
#[test]
fn forgers_are_convicted_and_nobody_else_is() {
    let mut net = with_liars(12, 3, &Malice::Forger { per_second: 5 });

    net.run(secs(10));

    let offenders: Vec<usize> = net.violations().keys().map(|(_, host)| *host).collect();
    assert!(offenders.len() > 3 && offenders.iter().all(|host| (2..5).contains(host)), "{offenders:?}");
    assert!(net.violations().keys().any(|(name, _)| *name == "bad-signature"));
}

// G05: no honest node is ever taken for dead on the word of others.
#[test]
fn accusers_kill_nobody() {
    let mut net = with_liars(13, 4, &Malice::Accuser { per_second: 20 });
    let from = net.sightings().len();

    net.run(secs(30));

    let wrong = net.sightings()[from..].iter();
    let dead = wrong.filter(|s| s.was_there && s.state == mesh_proto::members::MemberState::Dead);
    assert_eq!(dead.filter(|s| net.is_honest(s.of as usize) && net.is_honest(s.by as usize)).count(), 0);
    assert!(net.agree_on_members());
}

// G06: dead ones are not brought back by their old records.
#[test]
fn the_dead_stay_dead_though_liars_tell_their_old_records() {
    let mut net = with_liars(14, 3, &Malice::Poisoner { per_second: 10 });
    net.run(secs(3));
    net.crash_silently(19);

    net.run(secs(30));

    let membership = net.membership();
    assert_eq!((membership.missing, membership.stale), (0, 0));
    assert!(membership.strangers > 0, "they are made up all the time");
}

// G01
#[test]
fn a_swarm_around_one_victim_does_not_cut_it_off() {
    for seed in [1, 15] {
        let mut net = mesh(seed, 20);
        net.run(secs(20));
        let swarm = net.add_sybils(30, 5, Tuning::default());

        net.run(secs(120));

        let honest = net.neighbours(5).into_iter().filter(|host| net.is_honest(*host)).count();
        assert!(honest >= 1, "seed {seed}: {:?}", net.neighbours(5));
        assert_eq!(net.connected_components().len(), 1, "seed {seed}");
        assert!(swarm.iter().any(|sybil| net.links(*sybil) > 0), "seed {seed}: some are linked");
    }
}

/// Faults of all kinds at random moments.
fn storm(seed: u64) -> Network {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut net = mesh(seed, 12).model(LinkModel {
        loss: Loss::bursts(0.05, 5.0),
        reorder: 0.1,
        duplicate: 0.1,
        frame_loss: 0.01,
        jitter: millis(5),
        ..LinkModel::default()
    });
    net.corrupt(10, Malice::Forger { per_second: 2 });
    net.corrupt(11, Malice::Replayer { per_second: 5 });
    net.skew(3, Skew { offset_ms: 5000, drift_ppm: 100 });
    for _ in 0..60 {
        let (a, b) = (rng.usize(0..12), rng.usize(0..12));
        match rng.u32(0..12) {
            0 => net.crash(a),
            1 => net.crash_silently(a),
            2 | 3 => net.restart(a),
            4 => net.cut_one_way(a, b),
            5 => net.cut_silently(a, b),
            6 | 7 => net.heal(a, b),
            8 => net.freeze(a),
            9 => net.thaw(a),
            10 => net.step_clock(a, 1000),
            _ => net.shut_down(a),
        }
        net.publish(b, "all", b"through the storm");
        let to = Dest::Node(net.id(b));
        net.publish_with(a, to, b"to one", |publish| publish.durable = true);
        net.run(millis(rng.u64(1..800)));
    }
    net
}

// I14, I2, I3, I5
#[test]
fn every_fault_at_once_runs_the_same_twice_and_breaks_no_promise() {
    for seed in 0..4 {
        let (once, twice) = (storm(seed), storm(seed));

        assert_eq!(once.trace_hash(), twice.trace_hash(), "seed {seed}");
        assert_eq!(once.traffic(), twice.traffic(), "seed {seed}");
        assert_eq!(once.breaches(), [], "seed {seed}");
    }
    assert_ne!(storm(0).trace_hash(), storm(1).trace_hash());
}
