//! `meshctl demo` and `meshctl bench`, small: the whole story in real processes.

use crate::harness::Place;

// PM-95, PM-97, QP-26, part 3 G7-G9, part 4 number 1: a chain, a swap under load, a trap, an absent recipient.
#[test]
fn the_demo_loses_nothing_and_doubles_nothing() {
    let place = Place::new();

    let report = place.json(&["demo", "--no-input", "--secs", "4", "--rate", "5000", "--swaps", "20"]);

    assert_eq!((report["lost"].as_u64(), report["duplicated"].as_u64()), (Some(0), Some(0)), "{report}");
    assert_eq!((report["swaps"].as_u64(), report["rollbacks"].as_u64()), (Some(20), Some(1)), "{report}");
    assert_eq!(report["counter_continuous"].as_bool(), Some(true), "{report}");
    assert!(
        report["published"].as_u64().unwrap() > 10_000 && report["delivered"] == report["published"],
        "{report}"
    );
    assert_eq!(report["redelivered_after_restart"].as_u64(), Some(2000), "{report}");
    for latency in ["latency_before", "latency_during"] {
        let (p50, p99) =
            (report[latency]["p50_us"].as_u64().unwrap(), report[latency]["p99_us"].as_u64().unwrap());
        assert!(p50 > 0 && p99 >= p50, "{report}");
    }
}

#[test]
fn an_interrupted_demo_cleans_up() {
    use std::process::Stdio;

    use rustix::process::{Pid, Signal, kill_process};

    let place = Place::new();
    let mut demo =
        place.command(&["demo"]).env("TMPDIR", place.path()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = std::io::BufReader::new(demo.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("messages a second") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut told, &mut line).unwrap() > 0, "the demo ended early");
    }

    kill_process(Pid::from_child(&demo), Signal::INT).unwrap();

    assert_eq!(crate::harness::ended(&mut demo).code(), Some(130));
    let left: Vec<_> =
        std::fs::read_dir(place.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("mesh-demo-")), "{left:?}");
}

#[test]
fn the_network_benchmark_prints_both_sides_of_its_ratio() {
    let report = Place::new().json(&["bench", "net", "--size", "256", "--secs", "0.3", "--rounds", "1"]);

    for side in [&report, &report["baseline"]] {
        for member in ["msgs_per_s", "mb_per_s", "tx_cpu_us_per_msg", "rx_cpu_us_per_msg", "rx_peak_rss_mib"]
        {
            assert!(side[member].as_f64().unwrap() > 0.0, "{member}: {report}");
        }
        assert_eq!(side["gaps"].as_u64(), Some(0), "{report}");
    }
}
