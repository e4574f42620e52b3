//! `meshctl plugin`: policies and handlers.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use clap::{Args, Subcommand};
use mesh_node::api::{
    ApiError, InspectReport, MAX_PLUGIN_LEN, PluginDetail, PluginRow, PluginState, RemoveReport, Reply,
    Request, Setting, SwapReport, code,
};

use super::Context;
use crate::output::Show;
use crate::output::human::{BAD, DIM, GOOD, WARN, styled};

/// The slots that there are, for people.
macro_rules! slots {
    () => {
        "route, qos, topology, admission, carry or beacon"
    };
}

mod bench;
mod bindings;
mod build;
mod call;
mod check;
mod diff;
mod export;
mod grants;
mod import;
mod install;
mod limits;
mod local;
mod logs;
mod new;
mod oci;
mod operate;
mod record;
mod replay;
mod run;
mod show;
mod sign;
mod source;
mod stats;
mod stop;
mod swap;
mod test;
mod traps;
mod trial;
mod trust;
mod wit;

pub use local::{cache_dir, compiler};

use stop::unless_stopped;

/// What an argument says of itself that is a slot.
const SLOT: &str = concat!("The slot: ", slots!());

/// Policies and handlers: install, swap, roll back.
#[derive(Debug, Args)]
pub struct Plugin {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(new::New),
    Build(build::Build),
    Run(run::Run),
    Test(test::Test),
    Check(check::Check),
    /// What runs in the slots, and what stands by.
    #[command(
        visible_alias = "ls",
        after_long_help = "\
Examples:
  meshctl plugin list
  meshctl plugin list --wide
  meshctl plugin list --json --fields slot,plugin,version,state"
    )]
    List,
    /// One slot or plugin in full: settings, traps, history.
    #[command(after_long_help = "\
Examples:
  meshctl plugin show route
  meshctl plugin show acme/fastest@1.4.0 --json")]
    Show {
        /// A slot, a name, NAME@VERSION, or the first six or more digits of a digest.
        plugin: String,
    },
    /// Verify, check and compile a component or package and keep it, bound to nothing.
    #[command(after_long_help = "\
Examples:
  meshctl plugin install fastest.wasm
  meshctl plugin install fastest.meshpkg            signed; see 'meshctl plugin trust'
  meshctl plugin install geo.wasm --grant log,kv    what it may use of the host
  meshctl plugin install fastest.wasm --dry-run     only check it
  meshctl plugin install fastest.wasm -o name       print its digest
  meshctl plugin install oci://ghcr.io/acme/fastest             the newest version there
  meshctl plugin install oci://ghcr.io/acme/fastest:1.4.0
  meshctl plugin install oci://ghcr.io/acme/fastest:1.4.0 --update     the tag was moved, and that is right
  meshctl plugin install oci://ghcr.io/acme/fastest:1.4.0 --offline    what was fetched before

What a tag stands for is pinned in plugins.lock in the node's data directory when it is first installed. Credentials
are those of 'docker login'.")]
    Install(install::Install),
    /// Push a component or package to a registry, in the layout that other WebAssembly tools read.
    #[command(after_long_help = "\
Examples:
  meshctl plugin publish fastest.meshpkg oci://ghcr.io/acme/fastest        tagged with its version
  meshctl plugin publish fastest.meshpkg oci://127.0.0.1:5000/acme/fastest:edge --replace
  meshctl plugin publish fastest.meshpkg oci://ghcr.io/acme/fastest --dry-run
  meshctl plugin publish fastest.wasm oci://registry.lan:5000/fastest --plain-http

Signatures go along, as an artifact of their own that refers to the plugin: other tools pull the component as usual, and a
signature that comes later does not change the digest. Credentials are those of 'docker login'.")]
    Publish(oci::Publish),
    /// Find plugins: those that a node has, and those of a registry.
    #[command(after_long_help = "\
Examples:
  meshctl plugin search                             what is installed, and what is kept of registries
  meshctl plugin search latency
  meshctl plugin search route --in oci://ghcr.io/acme        and the newest of each repository below acme
  meshctl plugin search --in oci://127.0.0.1:5000 -o name    references, for 'meshctl plugin install'

A registry is asked for its catalogue; one that shows none, as ghcr.io, is asked for the repository of that name. What
stands there is what those say who pushed it: 'meshctl plugin install' verifies, and asks what a plugin may use.")]
    Search(oci::Search),
    /// Put a plugin into a slot while traffic flows.
    #[command(after_long_help = "\
Examples:
  meshctl plugin swap route acme/fastest
  meshctl plugin swap route 9c1f04ab --set hysteresis=0.2
  meshctl plugin swap qos ./my-qos.wasm             installs it first, as it does with oci://HOST/REPOSITORY:TAG
  meshctl plugin swap route acme/fastest --reset-state
  meshctl plugin swap route acme/fastest --on-failure fail-closed
  meshctl plugin swap route acme/fastest --dry-run  everything but the switch
  meshctl plugin swap route acme/fastest --shadow 30s --max-disagreement 5%
  meshctl plugin swap route acme/fastest --shadow 500 --dry-run      only compare
  meshctl plugin swap route acme/fastest --canary 10% --canary-for 5m --max-p99 2x --no-wait

The successor takes over the predecessor's state, and the switch lies between two batches of messages: none is
lost, none is decided twice. If anything fails before the switch, the old one goes on. A swap to what is active already,
with the same settings, changes nothing.

In a shadow run the plugin is asked what the active one is asked, and its answers are only compared. As a canary it
decides for a share of the flows. When the gates hold, it takes over; if not, the old one decides on everything again
and the exit code is 10. The node does that by itself: Ctrl-C ends the waiting, not the trial. 'meshctl plugin rollback
SLOT' ends the trial.")]
    Swap(Box<swap::Swap>),
    /// Return a slot to what was there before, step by step; or end the trial that runs in it.
    #[command(after_long_help = "\
Examples:
  meshctl plugin rollback route
  meshctl plugin rollback route --dry-run
  meshctl plugin rollback route --forward    take it back

Each rollback goes a step further back, up to eight, also over a restart; 'meshctl plugin show SLOT' lists them. While
something stands in for a plugin in quarantine, a rollback lets that stay: the plugin is not tried again. What a node starts
with has nothing before it; 'meshctl plugin disable SLOT' takes it out.")]
    Rollback {
        #[arg(help = SLOT)]
        slot: String,
        /// Take the last rollback back instead.
        #[arg(long)]
        forward: bool,
    },
    /// Delete a revision that no slot uses.
    #[command(
        visible_alias = "rm",
        after_long_help = "\
Examples:
  meshctl plugin remove acme/fastest@1.3.0
  meshctl plugin remove 9c1f04ab --dry-run"
    )]
    Remove {
        /// A name, NAME@VERSION, or the first six or more digits of a digest.
        plugin: String,
        /// Also when a slot keeps it for a rollback, which then has nothing to go back to.
        #[arg(long)]
        standby: bool,
    },
    /// What a component or package is: imports, exports, size, signers. Needs no node for a file.
    #[command(after_long_help = "\
Examples:
  meshctl plugin inspect fastest.wasm
  meshctl plugin inspect acme/fastest               an installed one
  meshctl plugin inspect fastest.wasm --json --fields kind,pure,findings")]
    Inspect {
        /// A file, or an installed plugin.
        plugin: String,
    },
    /// Sign a component or package, and write a package.
    #[command(after_long_help = "\
Examples:
  meshctl plugin sign                                       what was built of the project here
  meshctl plugin sign fastest.wasm                          writes fastest.meshpkg
  meshctl plugin sign fastest.wasm --key acme.key --expires 90d --out fastest-1.4.0.meshpkg
  meshctl plugin sign fastest.meshpkg --key reviewer.key    adds a second signature
  meshctl plugin sign fastest.wasm --dry-run                say what would be signed

What is signed: digest, name, version, world, slot, grants and limits of the component, until when, and by whom.")]
    Sign(sign::Sign),
    /// Keys that sign plugins.
    #[command(subcommand)]
    Key(sign::Key),
    /// Call a function of a component with arguments as text, in the real host with its limits. Needs no node.
    #[command(after_long_help = "\
Examples:
  meshctl plugin call my.wasm                               what can be called
  meshctl plugin call my.wasm state-version
  meshctl plugin call built-in/class-fair classify 7 '{class: [2], size: [900000], age-ms: [0], tag: [0]}'
  meshctl plugin call my.wasm --set margin_us=500 \\
    --first 'observe(0, {rtt-us: [500], loss-ppm: [0], queued-bytes: [0]}, {dest: [7], via: [0], cost-us: [0], hops: [0]})' \\
    decide 1 '{dest: [7], ingress: [4294967295], size: [100], class: [2]}'

Values are written in WAVE, the notation of the component model. 'configure' is called first, with the settings of
--set, unless you call it yourself.")]
    Call(call::Call),
    /// Measure a plugin's calls against what its slot has without it. Needs no node.
    #[command(after_long_help = "\
Examples:
  meshctl plugin bench                                      what was built of the project here
  meshctl plugin bench my.wasm
  meshctl plugin bench built-in/latency --json
  meshctl plugin bench my.wasm --set max_queue_kib=64

For each call and size of batch: calls a second, the median and the 99th percentile of single calls, the instructions
(fuel) of one, and the same from the native built-in of the slot, which a handler has not: it is compared with
built-in/beacon. 'meshctl bench plugin' measures the built-in plugins of all slots and a swap.")]
    Bench(bench::Bench),
    /// Print the interfaces of a slot, or of a component. Needs no node.
    #[command(after_long_help = "\
Examples:
  meshctl plugin wit                                        all packages
  meshctl plugin wit route
  meshctl plugin wit route --out wit                        as build tools expect it
  meshctl plugin wit my.wasm")]
    Wit(wit::Wit),
    #[command(flatten)]
    Operate(operate::Operate),
    /// Record the decisions of a slot as they are made.
    #[command(after_long_help = "\
Examples:
  meshctl plugin record route --for 30s
  meshctl plugin record qos --for 5m --out qos.jsonl
  meshctl plugin record beacon --for 30s --with-payload         a handler, with what it is told and answers
  meshctl plugin record route --dry-run

Each line of the file is one call with everything that the plugin was shown, its answer, what the host made of it, and
what it cost. 'meshctl plugin replay' makes the decisions again. Policies see no payload, so that --with-payload adds
nothing to their recordings. What a handler is told, answers, remembers and puts aside is written as lengths and BLAKE3
hashes, and can then not be replayed, unless --with-payload is given.")]
    Record(record::Record),
    /// Make recorded decisions again, by the same revision or by another. Needs no node.
    #[command(after_long_help = "\
Examples:
  meshctl plugin replay route-trace.jsonl                        the same revision: equal to the bit, or exit 11
  meshctl plugin replay route-trace.jsonl --with ./candidate.wasm
  meshctl plugin replay beacon-trace.jsonl                       a handler, recorded with --with-payload
  meshctl plugin replay route-trace.jsonl --with built-in/latency@0.2.0 --set margin_percent=5 --json

The real host makes them, with its limits. A recorded revision that did not come with this program is fetched from a
running node that has it.")]
    Replay(replay::Replay),
    /// Started by a node: compiles stdin to stdout under limits.
    #[command(hide = true)]
    CompileStdin,
    /// Whose plugins this node takes.
    #[command(subcommand)]
    Trust(trust::Trust),
}

impl Plugin {
    /// Asks and prints.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let dry_run = context.globals.dry_run;
        match self.command {
            Command::CompileStdin => {
                mesh_plugin_host::compile_stdin().map_err(|error| ApiError::new(&code::INTERNAL, error))
            }
            Command::New(new) => new.run(context),
            Command::Build(build) => unless_stopped(build.run(context)).await,
            Command::Run(run) => run.run(context).await,
            Command::Test(test) => unless_stopped(test.run(context)).await,
            Command::Check(check) => unless_stopped(check.run(context)).await,
            Command::List => ask::<Vec<PluginRow>>(context, &Request::PluginList).await,
            Command::Show { plugin } => ask::<PluginDetail>(context, &Request::PluginShow { plugin }).await,
            Command::Install(install) => install.run(context).await,
            Command::Publish(publish) => publish.run(context).await,
            Command::Search(search) => search.run(context).await,
            Command::Swap(swap) => swap.run(context).await,
            Command::Rollback { slot, forward } => {
                ask::<SwapReport>(context, &Request::PluginRollback { slot, forward, dry_run }).await
            }
            Command::Remove { plugin, standby } => {
                ask::<RemoveReport>(context, &Request::PluginRemove { plugin, standby, dry_run }).await
            }
            Command::Inspect { plugin } if Path::new(&plugin).is_file() => {
                let report = mesh_node::inspect_report(&read_plugin(Path::new(&plugin))?)?;
                context.out.print(None, &report)
            }
            Command::Inspect { plugin } => {
                ask::<InspectReport>(context, &Request::PluginInspect { plugin: Some(plugin) }).await
            }
            Command::Sign(sign) => sign.run(context),
            Command::Key(key) => key.run(context),
            Command::Call(call) => call.run(context),
            Command::Bench(bench) => bench.run(context),
            Command::Wit(wit) => wit.run(context),
            Command::Operate(operate) => operate.run(context).await,
            Command::Record(record) => record.run(context).await,
            Command::Replay(replay) => replay.run(context).await,
            Command::Trust(trust) => trust.run(context).await,
        }
    }
}

/// Asks the node one thing and prints the answer.
async fn ask<R>(context: &Context, request: &Request) -> Result<(), ApiError>
where
    R: TryFrom<Reply, Error = ApiError> + Show,
{
    let mut node = context.connect().await?;
    let answer: R = node.call(request).await?;
    context.out.print(node.node, &answer)
}

fn read_plugin(path: &Path) -> Result<Vec<u8>, ApiError> {
    let failed = |error: std::io::Error| {
        let code = if error.kind() == std::io::ErrorKind::NotFound {
            &code::NO_SUCH_PLUGIN
        } else {
            &code::BAD_VALUE
        };
        ApiError::new(code, format!("the file cannot be read: {error}")).fact("file", path.display())
    };
    let mut bytes = Vec::new();
    let limit = MAX_PLUGIN_LEN as u64;
    let file = File::open(path).map_err(failed)?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        let error = ApiError::new(&code::PLUGIN_TOO_LARGE, format!("a plugin has at most {limit} bytes"));
        return Err(error.fact("file", path.display()));
    }
    Ok(bytes)
}

fn setting(text: &str) -> Result<(String, Setting), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), Setting::parse(value))),
        _ => Err("a setting is NAME=VALUE".to_owned()),
    }
}

/// Returns the word for what a plugin does in its slot.
pub fn state_word(state: PluginState) -> String {
    match state {
        PluginState::Active => styled(GOOD, "active"),
        PluginState::Paused => styled(WARN, "paused"),
        PluginState::Standby => styled(DIM, "standby"),
        PluginState::Quarantined => styled(BAD, "quarantined"),
        PluginState::Installed => styled(WARN, "installed"),
        PluginState::Vacant => styled(BAD, "vacant"),
    }
}

#[cfg(test)]
mod tests {
    use mesh_plugin_host::Kind;

    use super::SLOT;

    #[test]
    fn help_names_every_slot_in_the_order_of_the_kinds() {
        let [others @ .., last] = Kind::ALL.map(Kind::slot);

        assert_eq!(SLOT, format!("The slot: {} or {last}", others.join(", ")));
    }
}
