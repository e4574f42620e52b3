//! What is wrong with a scenario is told with line, column and remedy.

use std::time::Duration;

use mesh_sim::scenario::{FaultKind, Lie, Store, TrafficKind, Who};
use mesh_sim::{Scenario, ScenarioError};

const HEAD: &str = "[scenario]\nname = \"x\"\n";

fn parse(rest: &str) -> Result<Scenario, ScenarioError> {
    Scenario::parse("x.toml", &format!("{HEAD}{rest}"), &[])
}

#[test]
fn a_mistake_is_told_with_its_place_and_what_was_meant() {
    for (rest, want) in [
        ("nods = 5", "x.toml:3:1: there is no key 'nods' in [scenario] (did you mean 'nodes'?)"),
        ("nodes = 1", "x.toml:3:9: nodes is 1, which is not within 2 and 100000"),
        ("nodes = \"5\"", "x.toml:3:9: nodes is a whole number, not the text \"5\""),
        ("nodes = 5.5", "x.toml:3:9: nodes is a whole number, not the number 5.5"),
        (
            "duration = 5",
            "x.toml:3:12: duration: the number 5 has no unit (write \"250ms\", \"5s\", \"2m\" or \"1h\")",
        ),
        (
            "duration = \"5 parsecs\"",
            "x.toml:3:12: duration: 'parsecs' is not a unit of a time (write \"250ms\", \"5s\", \"2m\" or \"1h\")",
        ),
        ("duration = \"0s\"", "x.toml:3:12: duration must be longer than nothing"),
        (
            "duration = \"5s\"\n[measure]\nsteady_from = \"5s\"",
            "x.toml:5:15: no broadcast counts: that is not before the end of the duration",
        ),
        ("duration = \"8d\"", "x.toml:3:12: duration is longer than seven days"),
        (
            "latency = \"5ms\"",
            "x.toml:3:1: there is no key 'latency' in [scenario] ('latency' belongs to [links])",
        ),
        ("[linsk]\nloss = \"1%\"", "x.toml:3:2: there is no section 'linsk' (did you mean 'links'?)"),
        (
            "[links]\nlatncy = \"5ms\"",
            "x.toml:4:1: there is no key 'latncy' in [links] (did you mean 'latency'?)",
        ),
        ("[links]\nloss = \"110%\"", "x.toml:4:8: loss is more than 100%"),
        ("[links]\nloss = 0.1", "x.toml:4:8: loss: the number 0.1 has no unit (write \"10%\")"),
        ("[links]\nloss = \"-1%\"", "x.toml:4:8: loss: '-1%' is negative (write \"10%\")"),
        (
            "[links]\nbandwidth = \"1MB\"",
            "x.toml:4:13: bandwidth: 'MB' is not a unit of a bandwidth (write \"256kbit/s\", \"1Mbit/s\" or \
             \"10MB/s\")",
        ),
        (
            "[links]\nbandwidth = \"1bit/s\"",
            "x.toml:4:13: nothing can be carried with so little (at least 800bit/s)",
        ),
        ("[links]\nburst_length = 5", "x.toml:4:16: burst_length needs burst_loss"),
        (
            "links = 5",
            "x.toml:3:1: there is no key 'links' in [scenario] ('links' is a section: write [links])",
        ),
        (
            "[traffic]\nkind = \"broadcast\"",
            "x.toml:3:1: traffic is a list of sections, not a table (write [[traffic]] before each)",
        ),
        ("[[traffic]]\ncount = 5", "x.toml:3:1: traffic has no kind (write kind = \"broadcast\")"),
        (
            "[[traffic]]\nkind = \"broadcats\"",
            "x.toml:4:8: kind cannot be \"broadcats\" (did you mean \"broadcast\"?)",
        ),
        (
            "[[traffic]]\nkind = \"unicast\"\nsenders = 3",
            "x.toml:5:1: there is no key 'senders' in [traffic] (known are class, classes, count, durable, \
             every, kind, lifetime, pairs, size, start)",
        ),
        (
            "[[traffic]]\nkind = \"broadcast\"\nsize = \"2B\"",
            "x.toml:5:8: size is 2 bytes, which is not within 16 and 1000000",
        ),
        (
            "[[traffic]]\nkind = \"broadcast\"\nclass = \"urgent\"",
            "x.toml:5:9: class cannot be \"urgent\" (one of critical, high, normal, low, bulk)",
        ),
        (
            "[[fault]]\nkind = \"crsh\"\nat = \"5s\"",
            "x.toml:4:8: kind cannot be \"crsh\" (did you mean \"crash\"?)",
        ),
        ("[[fault]]\nkind = \"ring\"\nfor = \"5s\"", "x.toml:3:1: a fault has no time (write at = \"10s\")"),
        (
            "[[fault]]\nkind = \"crash\"\nat = \"5s\"",
            "x.toml:3:1: nothing says which nodes (write share = \"10%\", count = 3 or nodes = [0, 4])",
        ),
        (
            "[[fault]]\nkind = \"crash\"\nat = \"5s\"\ncount = 3\nshare = \"5%\"",
            "x.toml:3:1: share and count say which nodes, and one must (write share = \"10%\", count = 3 or \
             nodes = [0, 4])",
        ),
        (
            "[[fault]]\nkind = \"crash\"\nat = \"5s\"\nnodes = [0, 50]",
            "x.toml:6:13: nodes is 50, which is not within 0 and 49",
        ),
        (
            "[[fault]]\nkind = \"partition\"\nat = \"5s\"",
            "x.toml:3:1: this fault has to end: it has no 'for' (write for = \"30s\")",
        ),
        (
            "[[fault]]\nkind = \"partition\"\nat = \"50s\"\nfor = \"20s\"",
            "x.toml:5:6: it is over after 70s, and the duration is 60s (make the duration longer)",
        ),
        (
            "[[fault]]\nkind = \"cut\"\nat = \"5s\"\nfor = \"5s\"\nfrom = 3\nto = 3",
            "x.toml:8:6: a cut lies between two nodes",
        ),
        (
            "[[fault]]\nkind = \"churn\"\nat = \"5s\"\nfor = \"5s\"\nrate = \"1%\"",
            "x.toml:7:8: rate: '%' is not a unit of a pace (write \"1%/s\")",
        ),
        (
            "[[fault]]\nkind = \"ring\"\nat = \"5s\"\nfor = \"5s\"\nrepeat = 3",
            "x.toml:7:10: what is repeated needs 'every'",
        ),
        (
            "[[malicious]]\nkind = \"mut\"\ncount = 1",
            "x.toml:4:8: kind cannot be \"mut\" (did you mean \"mute\"?)",
        ),
        ("[mesh]\nmin_links = 5\nmax_links = 3", "x.toml:5:13: max_links is 3, and min_links 5"),
        ("[mesh]\nphi = 99", "x.toml:4:7: phi is 99, which is not within 1 and 16"),
        ("[mesh]\njoin_over = \"1h\"", "x.toml:4:13: joining takes longer than the warm-up"),
        (
            "[plugins]\nroutng = \"built-in/latency\"",
            "x.toml:4:1: there is no slot 'routng' (did you mean 'routing'?)",
        ),
        (
            "[expect]\ndelivery_rate = \">= 1\"",
            "x.toml:4:1: no figure of the report is called 'delivery_rate' (did you mean 'delivery_ratio'?)",
        ),
        (
            "[expect]\ndelivery_ratio = \"99%\"",
            "x.toml:4:18: '99%' is no comparison: it begins with none of >=, <=, ==, > and < (write \
             delivery_ratio = \"<= 99.9%\")",
        ),
        ("nodes = 5\nnodes = 6", "x.toml:4:1: duplicate key"),
        ("nodes = [5", "x.toml:3:11: unclosed array, expected ']'"),
    ] {
        let error = parse(rest).expect_err(rest).to_string();
        assert_eq!(error, want, "{rest}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_text() {
    let error = parse("nods = 5\n[expect]\nredundancy = 1\n[links]\nloss = \"5\"").unwrap_err();

    let lines: Vec<usize> = error.problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [3, 5, 7]);
    assert_eq!(error.problems[2].excerpt, "loss = \"5\"");
}

#[test]
fn a_scenario_without_a_head_or_a_name_is_refused() {
    for (text, want) in [
        ("", "x.toml:1:1: there is no [scenario] (begin with [scenario] and its name)"),
        (
            "links = 5\n[scenario]\nname = \"x\"",
            "x.toml:1:9: links is a section, not the number 5 (write [links] and its keys below)",
        ),
        ("[scenario]\n", "x.toml:1:1: the scenario has no name (write name = \"my-case\")"),
        (
            "[scenario]\nname = \"My case\"",
            "x.toml:2:8: the name \"My case\" cannot be used (1 to 64 small letters, digits and dashes)",
        ),
    ] {
        let error = Scenario::parse("x.toml", text, &[]).unwrap_err();
        assert_eq!(error.problems[0].to_string(), want);
    }
    let huge = Scenario::parse("x.toml", &" ".repeat(300_000), &[]).unwrap_err();
    assert_eq!(huge.to_string(), "x.toml:1:1: the text has 300000 bytes, 262144 are the limit");
}

#[test]
fn an_override_is_laid_over_the_text_and_told_when_it_is_wrong() {
    let text = format!("{HEAD}[[fault]]\nkind = \"ring\"\nat = \"5s\"\nfor = \"5s\"");
    let set = |overrides: &[&str]| {
        let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
        Scenario::parse("x.toml", &text, &overrides)
    };

    let scenario =
        set(&["scenario.nodes=7", "links.loss=10%", "fault.0.at=7s", "plugins.qos=\"native\""]).unwrap();

    assert_eq!((scenario.nodes, scenario.links.loss), (7, 0.1));
    assert_eq!(scenario.faults[0].at, Duration::from_secs(7));
    assert_eq!(scenario.plugins[0].source, "native");
    for (text, want) in [
        ("links.lss=10%", "--set:1:7: there is no key 'lss' in [links] (did you mean 'loss'?)"),
        ("links.loss", "--set:1:1: 'links.loss' sets nothing (write KEY=VALUE, such as links.loss=10%)"),
        ("links.loss=much", "--set:1:12: loss: 'much' is not a share (write \"10%\")"),
        (
            "fault.3.at=5s",
            "--set:1:1: fault is a list of sections, not a table (write [[fault]] before each)",
        ),
    ] {
        assert_eq!(set(&[text]).unwrap_err().to_string(), want, "{text}");
    }
}

#[test]
fn everything_that_can_be_said_is_read() {
    let scenario = parse(
        r#"
description = "all of it"
covers = ["N01", "G09"]
nodes = 20
seed = 7
warm_up = "5s"
duration = "2m"
quiet = "20s"

[mesh]
min_links = 2
max_links = 4
join = "random"
join_over = "2s"
tuning = "wan"
phi = 6.5
members = 64

[links]
latency = "30ms"
jitter = "5ms"
loss = "2%"
burst_loss = "5%"
burst_length = 40
bandwidth = "1Mbit/s"
duplication = "1%"
reordering = "3%"
frame_loss = "10ppm"

[[traffic]]
kind = "broadcast"
senders = "all"
classes = ["critical", "bulk"]

[[traffic]]
kind = "unicast"
pairs = 3
durable = true
size = "1KiB"

[[fault]]
kind = "crash"
at = "10s"
share = "10%"
silent = false
store = "lose"
for = "5s"
repeat = 3
every = "10s"

[[fault]]
kind = "clock"
at = "1s"
nodes = [1, 2]
step = "-1h"
drift_ppm = 200

[[fault]]
kind = "swap"
at = "5s"
slot = "routing"
plugin = "built-in/latency@0.2.0"

[[malicious]]
kind = "censor"
count = 2
from = "5s"
target = 3

[plugins]
routing = "built-in/latency"

[measure]
settled = "30s"
patience = "10s"

[expect]
delivery_ratio = ">= 99.9%"
"#,
    )
    .unwrap();

    assert_eq!((scenario.total(), scenario.covers.len()), (Duration::from_secs(145), 2));
    assert_eq!((scenario.mesh.tuning.phi, scenario.mesh.tuning.members), (6.5, 64));
    assert_eq!(scenario.mesh.tuning.heartbeat, Duration::from_secs(2));
    assert_eq!((scenario.links.bandwidth, scenario.links.burst.unwrap().length), (125_000.0, 40.0));
    assert_eq!(scenario.traffic[0].kind, TrafficKind::Broadcast { senders: 0 });
    assert_eq!((scenario.traffic[0].classes.len(), scenario.traffic[1].size), (2, 1024));
    let crash = FaultKind::Crash { who: Who::Share(0.1), silent: false, store: Store::Lose };
    assert_eq!(scenario.faults[0].kind, crash);
    assert_eq!(scenario.faults[0].end(), Duration::from_secs(35));
    assert_eq!((scenario.malicious[0].lie, scenario.malicious[0].target), (Lie::Censor, Some(3)));
    assert_eq!(scenario.expect[0].bound, 0.999);
}

/// The scenario in the documentation is right, and every figure, fault and lie is written of.
#[test]
fn the_documentation_says_what_is_read() {
    let text = include_str!("../../../../docs/simulate.md");
    let scenario = text.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();

    let parsed = Scenario::parse("simulate.md", scenario, &[]).unwrap_or_else(|error| panic!("{error}"));

    assert_eq!(parsed.name, "office-moves");
    for kind in [
        "crash",
        "leave",
        "freeze",
        "churn",
        "partition",
        "cut",
        "ring",
        "links",
        "clock",
        "swap",
        "mute",
        "censor",
        "accuser",
        "poisoner",
        "forger",
        "replayer",
        "lure",
        "sybil",
    ] {
        assert!(text.contains(&format!("\n| `{kind}` |")), "{kind}");
    }
}
