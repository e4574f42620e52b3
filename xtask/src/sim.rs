//! `cargo xtask sim`: every shipped scenario at small sizes, and what has changed since another revision.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::process::{Command, Failure, Result, cargo, root, target_dir};
use crate::setup;

/// How it is called.
const USAGE: &str = "\
cargo xtask sim [--scenario NAME,..] [--sizes 20,100] [--seeds 1..3] [--jobs 2] [--baseline REV]
                [--profile release|dev]";
/// What is compared with a baseline.
const FIGURES: [&str; 11] = [
    "delivery_ratio",
    "probe_ratio",
    "last_delivery_hops",
    "last_delivery_s",
    "redundancy",
    "latency_p99_ms",
    "bytes_per_node_per_s",
    "idle_bytes_per_node_per_s",
    "detect_all_s",
    "converge_s",
    "cpu_s",
];
/// A smaller change is told as none.
const NOTABLE: f64 = 0.01;

/// What was asked for.
struct Options {
    /// Empty for all.
    scenarios: Vec<String>,
    sizes: Vec<String>,
    seeds: String,
    jobs: String,
    baseline: Option<String>,
    profile: String,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            scenarios: Vec::new(),
            sizes: vec!["20".into(), "100".into()],
            seeds: "1..3".into(),
            jobs: "2".into(),
            baseline: None,
            profile: "release".into(),
        }
    }
}

/// Runs what `args` ask for.
pub fn run(args: &[String]) -> Result {
    play(&parse(args)?)
}

/// Runs the small sizes with two seeds each.
pub fn in_ci() -> Result {
    play(&Options { seeds: "1..2".into(), ..Options::default() })
}

fn parse(args: &[String]) -> Result<Options> {
    let mut options = Options::default();
    let mut rest = args.iter();
    while let Some(flag) = rest.next() {
        let value = rest.next().ok_or_else(|| Failure::usage(format!("{flag} needs a value")).help(USAGE))?;
        let list = || value.split(',').map(|part| part.trim().to_owned()).collect();
        match flag.as_str() {
            "--scenario" => options.scenarios = list(),
            "--sizes" => options.sizes = list(),
            "--seeds" => options.seeds.clone_from(value),
            "--jobs" => options.jobs.clone_from(value),
            "--baseline" => options.baseline = Some(value.clone()),
            "--profile" => options.profile.clone_from(value),
            other => return Err(Failure::usage(format!("there is no option '{other}'")).help(USAGE)),
        }
    }
    Ok(options)
}

fn play(options: &Options) -> Result {
    setup::guest_target()?;
    let baseline =
        options.baseline.as_deref().map(|rev| build_baseline(rev, &options.profile)).transpose()?;
    let binary = build(root(), &options.profile)?;
    let mut failed = 0;
    for scenario in scenarios(&binary, options)? {
        for size in &options.sizes {
            let own = simulate(&binary, &scenario, size, options)?;
            failed += tell(&scenario, size, &own);
            if let Some(baseline) = &baseline {
                compare(&simulate(baseline, &scenario, size, options)?, &own);
            }
        }
    }
    match failed {
        0 => Ok(()),
        failed => Err(Failure::new(format!("{failed} simulations are not as expected"))),
    }
}

/// Builds `meshctl` in a tree and returns where it is.
fn build(tree: &Path, profile: &str) -> Result<PathBuf> {
    let target = target_dir()?;
    cargo(["build", "--package", "meshctl", "--bin", "meshctl", "--profile", profile, "--manifest-path"])
        .arg(tree.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .run()?;
    let dir = if profile == "dev" { "debug" } else { profile };
    Ok(target.join(dir).join(format!("meshctl{}", std::env::consts::EXE_SUFFIX)))
}

/// Builds another revision in a tree of its own and keeps the program. What comes from outside is built once
/// for both; the program is copied before the build of this tree takes its place.
fn build_baseline(rev: &str, profile: &str) -> Result<PathBuf> {
    let dir = target_dir()?.join("sim-baseline");
    let tree = dir.join("tree");
    fs::create_dir_all(&dir)
        .map_err(|error| Failure::new(format!("cannot make {}: {error}", dir.display())))?;
    // One that an interrupted run has left.
    remove_tree(&tree);
    git(["worktree", "add", "--detach"]).arg(&tree).arg(rev).run()?;
    let built = build(&tree, profile).and_then(|binary| {
        let kept = dir.join("meshctl");
        fs::copy(&binary, &kept)
            .map_err(|error| Failure::new(format!("cannot keep the baseline: {error}")))?;
        Ok(kept)
    });
    remove_tree(&tree);
    built
}

fn remove_tree(tree: &Path) {
    // It may not be there.
    let _ = git(["worktree", "remove", "--force"]).arg(tree).succeeds();
}

fn git<const N: usize>(args: [&str; N]) -> Command {
    Command::new("git").args(args)
}

fn scenarios(binary: &Path, options: &Options) -> Result<Vec<String>> {
    if !options.scenarios.is_empty() {
        return Ok(options.scenarios.clone());
    }
    let names = Command::new(binary).args(["sim", "list", "-o", "name"]).stdout()?;
    Ok(String::from_utf8_lossy(&names).lines().map(str::to_owned).collect())
}

/// Runs one scenario of this tree with all seeds, and returns a report for each.
fn simulate(binary: &Path, scenario: &str, size: &str, options: &Options) -> Result<Vec<Value>> {
    let file = root().join("runtime/sim/scenarios").join(format!("{scenario}.toml"));
    let printed = Command::new(binary)
        .args(["sim", "run"])
        .arg(&file)
        .args(["--nodes", size, "--seed", &options.seeds, "--jobs", &options.jobs])
        .args(["--keep-going", "--json", "--quiet"])
        .args(length(scenario))
        .printed()?;
    let reports = serde_json::from_slice::<Value>(&printed).map(|envelope| envelope["data"].clone());
    match reports {
        Ok(Value::Array(reports)) => Ok(reports),
        Ok(report @ Value::Object(_)) => Ok(vec![report]),
        // It could not be run; why stands on stderr.
        _ => Err(Failure::new(format!("{scenario} with {size} nodes cannot be run"))),
    }
}

/// An hour is for releases; what is looked for would show in minutes as well.
fn length(scenario: &str) -> &'static [&'static str] {
    match scenario {
        "detection" => &["--set", "scenario.duration=6m", "--set", "fault.0.at=5m"],
        _ => &[],
    }
}

/// Prints a line for a scenario and what is wrong with it; returns how many seeds failed.
fn tell(scenario: &str, size: &str, reports: &[Value]) -> usize {
    let failed: Vec<&Value> = reports.iter().filter(|report| report["passed"] != true).collect();
    let cpu: f64 = reports.iter().filter_map(|report| report["cpu_s"].as_f64()).sum();
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    println!("{scenario:<16} {size:>6} nodes  {} seeds  {cpu:>6.1} s  {verdict}", reports.len());
    for report in &failed {
        let findings = report["expectations"].as_array().into_iter().flatten();
        for finding in findings.filter(|finding| finding["holds"] != true) {
            println!(
                "    seed {}: {} is {}, expected {}",
                report["seed"],
                text(&finding["figure"]),
                finding["value"],
                text(&finding["expected"])
            );
        }
        for breach in report["breaches"].as_array().into_iter().flatten().take(3) {
            println!("    seed {}: {} {}", report["seed"], text(&breach["invariant"]), text(&breach["what"]));
        }
    }
    failed.len()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Returns the mean of each figure that was measured.
fn means(reports: &[Value]) -> BTreeMap<&'static str, f64> {
    let mean = |figure: &&'static str| {
        let values: Vec<f64> = reports.iter().filter_map(|report| report[*figure].as_f64()).collect();
        (!values.is_empty()).then(|| (*figure, values.iter().sum::<f64>() / values.len() as f64))
    };
    FIGURES.iter().filter_map(mean).collect()
}

/// Prints what has changed from the baseline.
fn compare(baseline: &[Value], own: &[Value]) {
    let (before, after) = (means(baseline), means(own));
    let mut changed = 0;
    for figure in FIGURES {
        let (Some(&before), Some(&after)) = (before.get(figure), after.get(figure)) else { continue };
        let change = if before == 0.0 { after - before } else { (after - before) / before };
        if change.abs() >= NOTABLE {
            changed += 1;
            println!("    {figure:<28} {before:>12.4} -> {after:>12.4}  {:+.1} %", change * 100.0);
        }
    }
    if changed == 0 {
        println!("    as the baseline");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn options_are_read_and_wrong_ones_refused() {
        let parsed = |args: &[&str]| parse(&args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>());

        let options = parsed(&["--sizes", "20, 50", "--baseline", "HEAD~1", "--scenario", "idle"]).unwrap();

        assert_eq!(options.sizes, ["20", "50"]);
        assert_eq!((options.baseline.as_deref(), options.seeds.as_str()), (Some("HEAD~1"), "1..3"));
        for wrong in [&["--sizes"][..], &["--size", "20"]] {
            assert_eq!(parsed(wrong).err().map(|failure| failure.exit), Some(2), "{wrong:?}");
        }
    }

    #[test]
    fn figures_are_averaged_over_the_seeds_that_measured_them() {
        let reports = [json!({ "redundancy": 0.1, "converge_s": null }), json!({ "redundancy": 0.3 })];

        assert_eq!(means(&reports), BTreeMap::from([("redundancy", 0.2)]));
    }
}
