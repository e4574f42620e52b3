//! Stages: named parts of a command that run in order, each announced and timed. The first failure ends it.

use std::time::{Duration, Instant};

use crate::process::{Failure, Result};

/// A part of a command.
#[derive(Clone, Copy)]
pub struct Stage {
    /// What it is asked for by.
    pub name: &'static str,
    /// What it does.
    pub run: fn() -> Result,
}

/// Runs the stages of a command, or the one that `args` ask for.
pub fn run(command: &str, stages: &[Stage], args: &[String]) -> Result {
    let chosen = choose(stages, args)?;
    let began = Instant::now();
    for (n, stage) in chosen.iter().enumerate() {
        eprintln!("\n=== {command} {}/{}: {}", n + 1, chosen.len(), stage.name);
        let stage_began = Instant::now();
        (stage.run)().inspect_err(|_| eprintln!("=== {} FAILED", stage.name))?;
        eprintln!("=== {} ok, {}", stage.name, seconds(stage_began.elapsed()));
    }
    eprintln!("=== {command} ok: {} stages, {}", chosen.len(), seconds(began.elapsed()));
    Ok(())
}

fn choose<'a>(stages: &'a [Stage], args: &[String]) -> Result<&'a [Stage]> {
    let [flag, name] = args else {
        return if args.is_empty() { Ok(stages) } else { Err(usage(stages, "expected --stage NAME")) };
    };
    match stages.iter().position(|stage| flag == "--stage" && stage.name == name) {
        Some(at) => Ok(&stages[at..=at]),
        None => Err(usage(stages, format!("there is no stage '{name}'"))),
    }
}

fn usage(stages: &[Stage], reason: impl Into<String>) -> Failure {
    let names: Vec<&str> = stages.iter().map(|stage| stage.name).collect();
    Failure::usage(reason).help(format!("the stages are {}", names.join(", ")))
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGES: [Stage; 2] = [Stage { name: "a", run: || Ok(()) }, Stage { name: "b", run: || Ok(()) }];

    fn names(args: &[&str]) -> Option<Vec<&'static str>> {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        choose(&STAGES, &args).ok().map(|chosen| chosen.iter().map(|stage| stage.name).collect())
    }

    #[test]
    fn a_stage_is_chosen_by_name_and_everything_else_is_refused() {
        assert_eq!(names(&[]), Some(vec!["a", "b"]));
        assert_eq!(names(&["--stage", "b"]), Some(vec!["b"]));
        for wrong in [&["--stage", "c"][..], &["--stage"], &["b"], &["--step", "b"], &["--stage", "a", "b"]] {
            assert_eq!(names(wrong), None, "{wrong:?}");
        }
    }
}
