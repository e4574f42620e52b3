//! The command line: global options, the command tree, and values that need parsing.

use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::builder::styling::{AnsiColor, Styles};
use clap::{ArgAction, Args, Parser, Subcommand};

use crate::commands::{
    beacon, bench, completions, demo, down, events, explain, id, man, members, peers, ping, plugin, route,
    send, sim, status, sub, topology, trace, up, version,
};
use crate::output::Format;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// A peer-to-peer mesh node whose rules are WebAssembly plugins, and its client.
#[derive(Debug, Parser)]
#[command(
    name = "meshctl",
    version,
    styles = STYLES,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = "Start with 'meshctl up', or watch everything at once with 'meshctl demo'.",
    after_long_help = "\
Examples:
  meshctl up                              start a node in this terminal
  meshctl up --detach                     start it in the background
  meshctl demo                            three nodes, a policy swapped under load, nothing lost
  meshctl -N alice send bob \"hello\"       talk to the node 'alice' on this machine
  meshctl peers --json                    the same for programs
  meshctl explain MESH-N101               what an error means

Exit codes:
  0 done · 1 failed · 2 usage · 3 not found · 4 node not running · 5 not authorised · 6 verification failed
  7 incompatible · 8 timed out · 9 partial · 10 rolled back · 11 findings · 13 limit · 130 interrupted
  143 terminated

Every option has an environment twin, such as MESH_NODE for --node."
)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub globals: Globals,

    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// The node to talk to: a local name, an id prefix, or the path of a control socket.
    ///
    /// Not needed while exactly one node of this user runs on this machine.
    #[arg(short = 'N', long, global = true, env = "MESH_NODE", value_name = "NAME", hide_env = true)]
    pub node: Option<String>,

    /// The form of the output.
    #[arg(
        short,
        long,
        global = true,
        env = "MESH_OUTPUT",
        value_enum,
        default_value = "human",
        hide_env = true,
        hide_possible_values = true,
        value_name = "human|json|name",
        hide_default_value = true
    )]
    pub output: Format,

    /// Print JSON; the same as -o json.
    #[arg(long, global = true, env = "MESH_JSON", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new(), hide_env = true)]
    pub json: bool,

    /// Only these columns or JSON members, in this order.
    #[arg(
        long,
        global = true,
        env = "MESH_FIELDS",
        value_delimiter = ',',
        value_name = "A,B",
        hide_env = true
    )]
    pub fields: Vec<String>,

    /// All columns, however narrow the terminal is.
    #[arg(long, global = true, env = "MESH_WIDE", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new(), hide_env = true)]
    pub wide: bool,

    /// No narration on stderr.
    #[arg(short, long, global = true, env = "MESH_QUIET", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new(), hide_env = true)]
    pub quiet: bool,

    /// More in the log: -v for debug, -vv for trace.
    #[arg(short, long, global = true, env = "MESH_VERBOSE", action = ArgAction::Count, hide_env = true)]
    pub verbose: u8,

    /// Colours: auto, always or never. NO_COLOR is honoured.
    #[arg(
        long,
        global = true,
        env = "MESH_COLOR",
        value_enum,
        default_value = "auto",
        hide_env = true,
        hide_possible_values = true,
        value_name = "WHEN",
        hide_default_value = true
    )]
    pub color: Color,

    /// Never ask.
    #[arg(long, global = true, env = "MESH_NO_INPUT", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new(), hide_env = true)]
    pub no_input: bool,

    /// Answer every question with yes.
    #[arg(short, long, global = true, env = "MESH_YES", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new(), hide_env = true)]
    pub yes: bool,

    /// Say what would happen and change nothing.
    #[arg(long, global = true, env = "MESH_DRY_RUN", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new(), hide_env = true)]
    pub dry_run: bool,

    /// Ask no registry, neither of plugins nor, in a build, of packages: only what was fetched before is used.
    #[arg(long, global = true, env = "MESH_OFFLINE", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new(), hide_env = true)]
    pub offline: bool,

    /// How long to wait for the node, such as 500ms, 10s or 2m.
    #[arg(
        long,
        global = true,
        env = "MESH_TIMEOUT",
        value_parser = duration,
        default_value = "10s",
        hide_env = true,
        value_name = "TIME"
    )]
    pub timeout: Duration,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal that can.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl From<Color> for anstream::ColorChoice {
    fn from(color: Color) -> anstream::ColorChoice {
        match color {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
        }
    }
}

/// The command tree.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a node.
    Up(Box<up::Up>),
    /// Stop a node; its data is kept.
    Down(down::Down),
    /// How the node is, problems first.
    Status(status::Status),
    /// The neighbours and the nodes known.
    #[command(alias = "peer")]
    Peers(peers::Peers),
    /// Who is in the mesh, and whether it lives.
    #[command(alias = "member")]
    Members(members::Members),
    /// Round trips to a node, and who chose the way.
    Ping(ping::Ping),
    /// The node's identity.
    Id(id::Id),
    /// Send a message to a node.
    Send(send::Send),
    /// Publish a message on a topic.
    Pub(send::Pub),
    /// Print messages as they arrive.
    Sub(sub::Sub),
    /// The mesh as this node knows it.
    Topology(topology::Topology),
    /// Ways through the mesh.
    Route(route::Route),
    /// What became of a message, and why.
    Trace(trace::Trace),
    /// Policies and handlers: install, swap, roll back.
    #[command(alias = "plugins")]
    Plugin(plugin::Plugin),
    /// Positions: where this node and others are.
    Beacon(beacon::Beacon),
    /// Print what happens, as it happens.
    Events(events::Events),
    /// Three nodes, a policy swapped under load, nothing lost: in one minute.
    Demo(demo::Demo),
    /// Simulated meshes: thousands of nodes, seeded, repeatable to the bit.
    Sim(sim::Sim),
    /// Measure this machine.
    Bench(bench::Bench),
    /// What an error code means.
    Explain(explain::Explain),
    /// The version of this program.
    Version(version::Version),
    /// The script that completes commands in a shell.
    Completions(completions::Completions),
    /// The manual pages.
    Man(man::Man),
}

/// Reads a length of time such as `500ms`, `10s`, `2m`, `1h` or `1d`; a bare number is seconds.
///
/// # Errors
/// A sentence for the user.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 =
        number.parse().map_err(|_| "a time is a number and a unit, such as 500ms, 10s or 2m")?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "" | "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86_400.0,
        _ => {
            let near = near_unit(unit).map(|near| format!("; did you mean {number}{near}?"));
            return Err(format!(
                "the unit '{unit}' is not one of ms, s, m, h, d{}",
                near.unwrap_or_default()
            ));
        }
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| "the time is too long".to_owned())
}

/// Reads a size such as `4MiB`, `64KiB` or `500000B`.
///
/// # Errors
/// A sentence for the user.
pub fn size(text: &str) -> Result<u64, String> {
    const WRONG: &str = "a size is a whole number and a unit: B, KiB, MiB or GiB";
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_start() {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(WRONG.to_owned()),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    bytes.ok_or_else(|| WRONG.to_owned())
}

/// Returns the unit that was probably meant.
fn near_unit(unit: &str) -> Option<&'static str> {
    let unit = unit.trim().to_ascii_lowercase();
    let starts = [("ms", "ms"), ("mil", "ms"), ("mi", "m"), ("m", "m"), ("s", "s"), ("h", "h"), ("d", "d")];
    starts.into_iter().find(|(start, _)| unit.starts_with(start)).map(|(_, near)| near)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples_in_its_long_help() {
        fn check(command: &clap::Command) {
            for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
                let help = sub.get_after_long_help().map(ToString::to_string).unwrap_or_default();
                let grouping = sub.has_subcommands();
                assert!(grouping || help.contains("Examples:\n  meshctl "), "{}", sub.get_name());
                check(sub);
            }
        }
        check(&Cli::command());
    }

    #[test]
    fn every_global_option_has_an_environment_twin() {
        for arg in Cli::command().get_arguments().filter(|arg| arg.is_global_set()) {
            let twin = format!("MESH_{}", arg.get_id().as_str().to_uppercase());
            assert_eq!(arg.get_env().and_then(|env| env.to_str()), Some(twin.as_str()));
        }
    }

    #[test]
    fn a_wrong_unit_names_the_nearest_right_form() {
        for (text, near) in [
            ("500msec", "500ms"),
            ("500 ms", "500ms"),
            ("2sec", "2s"),
            ("1.5MIN", "1.5m"),
            ("3hours", "3h"),
            ("3months", "3m"),
        ] {
            let told = duration(text).unwrap_err();
            assert!(told.ends_with(&format!("did you mean {near}?")), "{text}: {told}");
        }
        assert_eq!(duration("1y").unwrap_err(), "the unit 'y' is not one of ms, s, m, h, d");
    }

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, want) in [
            ("500000B", Some(500_000)),
            ("64KiB", Some(64 << 10)),
            ("2 MiB", Some(2 << 20)),
            ("1GiB", Some(1 << 30)),
            ("7", None),
            ("4MB", None),
            ("-1B", None),
            ("KiB", None),
            ("", None),
            ("99999999999999GiB", None),
        ] {
            assert_eq!(size(text).ok(), want, "{text}");
        }
    }

    #[test]
    fn durations_are_read_with_their_units() {
        for (text, want) in [
            ("500ms", Some(Duration::from_millis(500))),
            ("1.5s", Some(Duration::from_millis(1500))),
            ("2m", Some(Duration::from_secs(120))),
            ("3", Some(Duration::from_secs(3))),
            ("1d", Some(Duration::from_secs(86_400))),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1y", None),
            ("1e300s", None),
        ] {
            assert_eq!(duration(text).ok(), want, "{text}");
        }
    }
}
