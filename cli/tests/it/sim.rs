//! Simulations from the command line: reports, figures, saved runs, and what is refused.

use std::fs;

use crate::harness::{Place, Ran};

const SMALL: [&str; 6] = ["--nodes", "8", "--set", "scenario.duration=10s", "--set", "traffic.0.count=6"];

fn steady(place: &Place, more: &[&str]) -> Ran {
    place.run(&[&["sim", "run", "steady"], &SMALL[..], more].concat())
}

#[test]
fn a_run_prints_its_figures_and_what_was_expected_of_them() {
    let place = Place::new();

    let ran = steady(&place, &["--set", "expect.redundancy=<= 5"]);

    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    for line in [
        "scenario           steady, 8 nodes, seed 1",
        "delivered          100 % (42 of 42)",
        "violations         0",
    ] {
        assert!(ran.stdout.contains(line), "{line}\n{}", ran.stdout);
    }
    assert!(ran.stdout.contains("delivery_ratio      == 100%  1.0000  ok"), "{}", ran.stdout);
    assert_eq!(
        ran.stderr,
        "steady seed 1: warming up\nsteady seed 1: traffic and faults\nsteady seed 1: quiet time\n"
    );
}

#[test]
fn with_json_the_report_has_the_figures_by_name() {
    let place = Place::new();

    let report =
        place.json(&[&["sim", "run", "steady"], &SMALL[..], &["--set", "expect.redundancy=<= 5"]].concat());

    for figure in [
        "delivery_ratio",
        "last_delivery_hops",
        "redundancy",
        "latency_p50_ms",
        "latency_p99_ms",
        "bytes_per_node_per_s",
        "converge_s",
        "detect_all_s",
        "cpu_s",
        "wall_s",
        "simulated_s",
        "violations",
    ] {
        let value = &report[figure];
        assert!(value.is_number() || (value.is_null() && report.get(figure).is_some()), "{figure}: {value}");
    }
    assert_eq!(report["trace_hash"].as_str().unwrap().len(), 64);
    assert_eq!((report["delivery_ratio"].as_f64(), report["passed"].as_bool()), (Some(1.0), Some(true)));
}

#[test]
fn an_expectation_that_does_not_hold_is_a_finding_with_its_own_exit_code() {
    let place = Place::new();

    let ran = steady(&place, &["--set", "expect.redundancy=<= 5", "--set", "expect.links_max=< 1", "-q"]);

    assert_eq!(ran.code, Some(11));
    assert!(ran.stdout.contains("links_max           < 1"), "the report is printed all the same");
    assert!(ran.stderr.starts_with("error[MESH-A112]: steady: 1 expectations do not hold\n  links_max"));
    assert!(ran.stderr.contains("help: meshctl sim run steady --nodes 8 --seed 1\n"), "{}", ran.stderr);
}

#[test]
fn several_seeds_run_on_several_threads_in_the_order_of_the_seeds() {
    let place = Place::new();
    let seeds = ["--seed", "3..6", "--jobs", "2", "--set", "expect.redundancy=<= 5"];

    let reports = place.json(&[&["sim", "run", "steady"], &SMALL[..], &seeds].concat());

    let seeds: Vec<u64> = reports.as_array().unwrap().iter().map(|r| r["seed"].as_u64().unwrap()).collect();
    assert_eq!(seeds, [3, 4, 5, 6]);
    let alone = place.json(
        &[&["sim", "run", "steady"], &SMALL[..], &["--seed", "5", "--set", "expect.redundancy=<= 5"]]
            .concat(),
    );
    assert_eq!(reports[2]["trace_hash"], alone["trace_hash"], "a neighbour thread changes nothing");
}

#[test]
fn the_first_seed_that_fails_ends_the_command_unless_it_is_told_to_go_on() {
    let place = Place::new();
    let failing = ["--seed", "1..3", "--set", "expect.links_max=< 1", "-o", "name"];

    assert_eq!(steady(&place, &failing).stdout.lines().count(), 1);
    let ran = steady(&place, &[&failing[..], &["--keep-going"]].concat());

    assert_eq!((ran.stdout.lines().count(), ran.code), (3, Some(11)));
}

#[test]
fn a_saved_run_is_replayed_to_the_last_byte_and_a_changed_one_is_told() {
    let place = Place::new();
    steady(&place, &["--save", "run.json", "--plot", "run.svg", "--set", "expect.redundancy=<= 5"]);

    let same = place.json(&["sim", "replay", "run.json"]);
    let saved = fs::read_to_string(place.path().join("run.json")).unwrap();
    assert!(saved.contains("traffic.0.count=6"));
    fs::write(place.path().join("other.json"), saved.replace("traffic.0.count=6", "traffic.0.count=5"))
        .unwrap();
    let other = place.run(&["sim", "replay", "other.json", "--json"]);

    assert_eq!((same["equal"].as_bool(), &same["trace_hash"]), (Some(true), &same["expected_hash"]));
    assert_eq!(other.code, Some(1));
    let error: serde_json::Value = serde_json::from_str(&other.stderr).unwrap();
    assert_eq!(error["code"], "MESH-A114");
    // The sixth message would have been sent 2.5 s after a warm-up of 90 s.
    assert_eq!(error["message"], "the run goes another way between 92 s and 93 s");
    let svg = fs::read_to_string(place.path().join("run.svg")).unwrap();
    assert!(svg.starts_with("<svg ") && svg.contains("Delivered: 100 %"));
}

#[test]
fn two_saved_runs_and_two_plugins_are_compared_side_by_side() {
    let place = Place::new();
    steady(&place, &["--save", "a.json", "--set", "expect.redundancy=<= 5"]);
    steady(&place, &["--save", "b.json", "--set", "expect.redundancy=<= 5", "--set", "links.loss=20%"]);

    let saved = place.json(&["sim", "diff", "a.json", "b.json"]);
    let line = [
        "sim",
        "diff",
        "unicast",
        "--nodes",
        "8",
        "--duration",
        "10s",
        "--against",
        "routing=built-in/latency",
    ];
    let plugins = place.json(&line);

    assert_eq!(saved["equal"], false);
    let p99 =
        saved["figures"].as_array().unwrap().iter().find(|row| row["figure"] == "latency_p99_ms").unwrap();
    assert!(p99["change"].as_f64().unwrap() > 0.0, "{p99}");
    assert_eq!(plugins["b"]["plugins"][0], "built-in/latency 0.1.0");
    assert_eq!(plugins["a"]["plugins"].as_array().unwrap().len(), 0);
}

#[test]
fn what_cannot_be_run_is_refused_with_its_place_and_the_remedy() {
    let place = Place::new();
    fs::write(place.path().join("wrong.toml"), "[scenario]\nname = \"x\"\n\n[links]\nlatncy = \"5ms\"\n")
        .unwrap();
    fs::write(place.path().join("text.json"), "{}").unwrap();
    for (args, code, exit, message) in [
        (
            &["sim", "run", "wrong.toml"][..],
            "MESH-C105",
            2,
            "wrong.toml:5:1: there is no key 'latncy' in [links]",
        ),
        (&["sim", "run", "stedy"], "MESH-C106", 3, "no scenario is called 'stedy'"),
        (&["sim", "show", "stedy"], "MESH-C106", 3, "no scenario is called 'stedy'"),
        (&["sim", "run", "absent.toml"], "MESH-C108", 1, "cannot read absent.toml: "),
        (&["sim", "run", "steady", "--nodes", "1"], "MESH-C105", 2, "--set:1:16: nodes is 1, "),
        (
            &["sim", "run", "steady", "--plugin", "routng=x"],
            "MESH-C105",
            2,
            "--set:1:9: there is no slot 'routng'",
        ),
        (&["sim", "run", "steady", "--plugin", "routing=./no.wasm"], "MESH-P102", 3, ""),
        (&["sim", "run", "steady", "--plugin", "routing=text.json"], "MESH-P103", 7, ""),
        (&["sim", "run", "steady", "--seed", "5..3"], "MESH-C100", 2, ""),
        (&["sim", "replay", "text.json"], "MESH-C107", 2, "text.json: it is no saved run"),
        (&["sim", "diff", "steady"], "MESH-C100", 2, "there is nothing to compare with"),
    ] {
        let error = place.error(args);
        assert_eq!(
            (error["code"].as_str(), error["exit"].as_i64()),
            (Some(code), Some(exit)),
            "{args:?} {error}"
        );
        assert!(error["message"].as_str().unwrap().starts_with(message), "{args:?} {error}");
        assert!(code == "MESH-C108" || !error["help"].as_array().unwrap().is_empty(), "{args:?}");
    }
}

#[test]
fn shipped_scenarios_are_listed_shown_and_run_as_files() {
    let place = Place::new();

    let list = place.json(&["sim", "list"]);
    let names = place.run(&["sim", "list", "-o", "name"]).stdout;
    let shown = place.run(&["sim", "show", "idle"]).stdout;
    fs::write(place.path().join("mine.toml"), shown).unwrap();
    fs::write(place.path().join("steady"), "what lies in the directory is not meant").unwrap();
    let checked = place.run(&["sim", "run", "mine.toml", "--dry-run"]);
    let by_name = place.run(&["sim", "run", "steady", "--dry-run"]);

    assert_eq!(by_name.code, Some(0), "{}", by_name.stderr);
    assert!(list.as_array().unwrap().len() >= 14);
    assert_eq!(names.lines().count(), list.as_array().unwrap().len());
    assert_eq!((checked.code, checked.stdout.as_str()), (Some(0), ""));
    assert_eq!(checked.stderr, "idle: 50 nodes for 150s, and nothing is wrong with it\n");
    assert!(place.json(&["sim", "list", "--figures"]).as_array().unwrap().len() > 20);
}

/// A plugin in a simulation counts from where the command is typed, and is named with what it did.
#[test]
fn a_plugin_from_a_file_runs_in_every_node() {
    let place = Place::new();
    fs::write(place.path().join("mine.wasm"), mesh_plugin_host::builtin::FAULTY).unwrap();
    fs::create_dir(place.path().join("dir")).unwrap();
    fs::write(place.path().join("dir/s.toml"), "[scenario]\nname = \"x\"\nnodes = 6\nduration = \"5s\"")
        .unwrap();

    let report = place.json(&["sim", "run", "dir/s.toml", "--plugin", "routing=mine.wasm"]);

    assert_eq!(report["plugins"][0]["plugin"], "built-in/faulty");
    assert_eq!(report["plugins"][0]["nodes"], 6);
}

/// features.md part 4, number 5: a policy that loses messages is found before anybody installs it, a good one passes, and
/// either comes out the same each time.
#[test]
fn a_policy_that_drops_everything_does_not_pass_where_a_good_one_does() {
    let place = Place::new();
    fs::write(place.path().join("hole.wasm"), mesh_hostile::Hostile::DropEverything.component()).unwrap();
    fs::write(place.path().join("good.wasm"), mesh_plugin_host::builtin::LATENCY).unwrap();
    let ran = |plugin: &str| {
        let plugin = format!("route={plugin}");
        let size = ["--nodes", "8", "--set", "scenario.duration=10s"];
        let ran =
            place.run(&[&["sim", "run", "unicast", "--json", "-q", "--plugin", &plugin][..], &size].concat());
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        (ran.code, report["data"]["passed"].as_bool(), report["data"]["trace_hash"].to_string())
    };

    let [hole, good] = ["hole.wasm", "good.wasm"].map(ran);

    assert_eq!((hole.0, hole.1), (Some(1), Some(false)));
    assert_eq!((good.0, good.1), (Some(0), Some(true)));
    assert_eq!([ran("hole.wasm"), ran("good.wasm")], [hole, good]);
}
