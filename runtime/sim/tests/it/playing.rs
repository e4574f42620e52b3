//! What a run measures, and that it can be repeated.

use std::ops::ControlFlow;
use std::time::Duration;

use mesh_sim::run::{Phase, RunError, run};
use mesh_sim::{Plugins, SavedRun, Scenario};

use crate::{play, play_shipped};

/// Faults of every kind, so that nothing that is repeated is repeated by chance.
const STORM: &str = r#"
[scenario]
name = "storm"
nodes = 16
warm_up = "8s"
duration = "30s"
quiet = "20s"

[links]
loss = "5%"
duplication = "5%"
reordering = "5%"

[[traffic]]
kind = "broadcast"
senders = "all"
count = 40
every = "700ms"

[[traffic]]
kind = "unicast"
pairs = 4
count = 40
every = "500ms"
durable = true

[[fault]]
kind = "crash"
at = "3s"
count = 2
for = "6s"
store = "lose"

[[fault]]
kind = "partition"
at = "10s"
for = "5s"

[[fault]]
kind = "freeze"
at = "16s"
for = "3s"
count = 2

[[fault]]
kind = "churn"
at = "20s"
for = "8s"
rate = "3%/s"
down = "3s"

[[fault]]
kind = "clock"
at = "5s"
count = 3
step = "-10m"
drift_ppm = 300

[[fault]]
kind = "cut"
at = "12s"
for = "6s"
from = 1
to = 2

[[malicious]]
kind = "mute"
count = 1
from = "9s"
"#;

/// I14: one seed, one run; and the checkpoints agree on the way.
#[test]
fn a_seed_gives_the_same_run_each_time_and_another_seed_another() {
    let first = play(STORM, &[]);
    let again = play(STORM, &[]);
    let other = play(STORM, &["scenario.seed=2"]);

    assert_eq!(first.report.trace_hash, again.report.trace_hash);
    assert_eq!(first.checkpoints, again.checkpoints);
    assert_eq!(first.timeline, again.timeline);
    assert_ne!(first.report.trace_hash, other.report.trace_hash);
}

/// A replay of a changed run names the interval in which it goes another way.
#[test]
fn a_replay_tells_where_a_changed_run_parts_from_the_saved_one() {
    let saved = SavedRun { outcome: play_shipped("crash-10", &["scenario.nodes=12"]), ..SavedRun::default() };
    let later = play_shipped("crash-10", &["scenario.nodes=12", "fault.0.at=15s"]);

    assert_eq!(saved.parting(&saved.outcome), None);
    let parting = saved.parting(&later).unwrap();

    // The warm-up has 20 s, and the crash came after 10 s more.
    assert_eq!((parting.equal_until_s, parting.differs_at_s), (30.0, 31.0));
}

#[test]
fn a_message_that_cannot_arrive_is_counted_as_lost() {
    let text = r#"
[scenario]
name = "lost"
nodes = 6
warm_up = "8s"
duration = "20s"
quiet = "0s"

[links]
frame_loss = "100%"

[[traffic]]
kind = "broadcast"
count = 4

[expect]
delivery_ratio = ">= 99%"
"#;
    let report = play(text, &[]).report;

    assert_eq!((report.expected, report.delivered, report.delivery_ratio), (20, 0, 0.0));
    assert!(!report.passed);
    assert_eq!(
        report.findings().map(|finding| finding.figure.as_str()).collect::<Vec<_>>(),
        ["delivery_ratio"]
    );

    let of_fewer = play(text, &["scenario.expect_up_to=5"]).report;
    assert_eq!((of_fewer.expected_up_to, of_fewer.expectations.len()), (Some(5), 0));
    let of_so_many = play(text, &["scenario.expect_up_to=6"]).report;
    assert_eq!((of_so_many.expected_up_to, of_so_many.expectations.len()), (None, 1));
}

/// I10, I11: a mesh that does not come together breaks an invariant, whatever the scenario expects.
#[test]
fn a_mesh_that_stays_apart_breaks_an_invariant() {
    let text = r#"
[scenario]
name = "apart"
nodes = 6
warm_up = "8s"
duration = "30s"
quiet = "10s"

[[fault]]
kind = "cut"
at = "1s"
for = "28s"
from = 0
to = 1

# As the fault before, but nothing takes it back.
[[fault]]
kind = "links"
at = "29s"
loss = "100%"
"#;
    let report = play(text, &[]).report;

    let invariants: Vec<&str> = report.breaches.iter().map(|breach| breach.invariant.as_str()).collect();
    assert!(invariants.contains(&"I10") && invariants.contains(&"I11"), "{invariants:?}");
    assert!(!report.passed && report.violations >= 2);
    assert_eq!(report.converge_s, None);
}

#[test]
fn what_is_gone_is_seen_and_nobody_is_wronged() {
    let report = play_shipped("silent-node", &["scenario.nodes=10"]).report;

    let (first, all) = (report.detect_first_s.unwrap(), report.detect_all_s.unwrap());
    assert!(first > 0.5 && first <= all && all < 10.0, "{first} {all}");
    assert_eq!((report.up, report.false_alarms, report.isolated), (9, 0, 0));
}

#[test]
fn a_run_is_watched_through_its_phases_and_can_be_stopped() {
    let text = "[scenario]\nname = \"x\"\nnodes = 3\nwarm_up = \"2s\"\nduration = \"2s\"\nquiet = \"2s\"";
    let scenario = Scenario::parse("x.toml", text, &[]).unwrap();
    let mut seen: Vec<(Phase, Duration)> = Vec::new();

    let stopped = run(&scenario, &Plugins::default(), &mut |progress| {
        seen.push((progress.phase, progress.at));
        if progress.at == Duration::from_secs(5) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });

    assert!(matches!(stopped, Err(RunError::Stopped)));
    let whole: Vec<_> = seen.into_iter().filter(|(_, at)| at.subsec_nanos() == 0).collect();
    let want = [Phase::WarmUp, Phase::Main, Phase::Main, Phase::Quiet, Phase::Quiet];
    assert_eq!(whole.iter().map(|(phase, _)| *phase).collect::<Vec<_>>(), want);
}

#[test]
fn the_course_of_a_run_shows_the_fault_and_what_it_did() {
    let outcome = play_shipped("crash-50", &["scenario.nodes=12"]);

    let band = &outcome.timeline.bands[0];
    assert_eq!((band.from_s, band.to_s, band.label.as_str()), (30.0, 30.0, "crash 50 %"));
    let up_at = |at: f64| outcome.timeline.points.iter().find(|point| point.at_s == at).unwrap().up;
    assert_eq!((up_at(29.0), up_at(31.0)), (12, 6));
    assert_eq!(outcome.timeline.latency.last().unwrap().1, 1.0);
    let nodes: u64 = outcome.report.links.iter().map(|count| count.nodes).sum();
    assert_eq!(nodes, 6);
}
