//! The project's own commands. Each does its own set-up; what it does is told on stderr, so that stdout is
//! what the command itself prints.

mod floors;
mod lint;
mod process;
mod scan;
mod setup;
mod sim;
mod stage;
mod test;
mod wit;

use std::process::ExitCode;

use process::{Failure, Result};
use stage::Stage;

const USAGE: &str = "\
cargo xtask test [--stage NAME]   all tests, or one stage of them
cargo xtask demo [ARGS]           `meshctl demo` with ARGS, in release
cargo xtask sim [ARGS]            every shipped scenario at small sizes; --baseline REV compares
cargo xtask lint [--stage NAME]   formatting, lints, docs, floors, licences
cargo xtask wit                   write docs/plugins/wit.md from wit/
cargo xtask ci                    all of the above, the quick checks first
";

/// The quick ones first; the workspace's tests at the end, so that their count is the last thing printed.
const CI: [Stage; 12] = [
    lint::FMT,
    wit::CHECK,
    test::PURITY,
    test::PLUGINS,
    lint::DENY,
    lint::CLIPPY,
    lint::DOCS,
    Stage { name: "demo", run: || demo(&["--json".to_owned(), "--no-input".to_owned()]) },
    Stage { name: "sim", run: sim::in_ci },
    test::EXAMPLES,
    test::DOCTESTS,
    Stage { name: "workspace", run: test::workspace_in_ci },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.exit)
        }
    }
}

fn run(args: &[String]) -> Result {
    let (command, rest) = args.split_first().map_or(("help", args), |(first, rest)| (first.as_str(), rest));
    match command {
        "test" => stage::run(command, &test::STAGES, rest),
        "lint" => stage::run(command, &lint::STAGES, rest),
        "ci" => stage::run(command, &CI, rest),
        "demo" => demo(rest),
        "sim" => sim::run(rest),
        "wit" => wit::write(),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        other => Err(Failure::usage(format!("there is no command '{other}'")).help(USAGE)),
    }
}

/// Builds `meshctl` in release and runs its demo; the exit code is the demo's.
fn demo(args: &[String]) -> Result {
    setup::guest_target()?;
    process::cargo(["build", "--release", "--package", "meshctl", "--bin", "meshctl"]).run()?;
    let binary = format!("release/meshctl{}", std::env::consts::EXE_SUFFIX);
    let binary = process::target_dir()?.join(binary);
    process::Command::new(binary).arg("demo").args(args).run()
}
