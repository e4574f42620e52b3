//! `meshctl plugin`: policies and handlers.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use mesh_node::api::{
    ApiError, InspectReport, MAX_PLUGIN_LEN, OldState, OnFailure, PluginDetail, PluginRow, PluginState,
    RemoveReport, Request, Setting, Settings, SwapReport, SwapRequest, TrialReport, code,
};
use mesh_node::oci::Reference;

use super::Context;
use crate::output::human::{BAD, DIM, GOOD, WARN, styled};

mod bench;
mod build;
mod call;
mod check;
mod grants;
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
mod test;
mod traps;
mod trial;
mod trust;
mod wit;

pub use local::compiler;

use install::{Aim, Wish};
use stop::unless_stopped;

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
  meshctl plugin install oci://ghcr.io/acme/fastest:1.4.0
  meshctl plugin install oci://ghcr.io/acme/fastest:1.4.0 --update     the tag was moved, and that is right
  meshctl plugin install oci://ghcr.io/acme/fastest:1.4.0 --offline    what was fetched before

What a tag stands for is pinned in plugins.lock in the node's data directory when it is first installed. Credentials
are those of 'docker login'.")]
    Install {
        /// The component or package, or oci://HOST/REPOSITORY with :TAG or @sha256:… behind it.
        file: PathBuf,
        /// Let it use this of the host, such as log or kv, without asking. May be given several times.
        #[arg(long = "grant", value_name = "NAME", value_delimiter = ',')]
        grants: Vec<String>,
        /// Take a component above 4 MiB, such as one in Python: compiling it takes a core for up to a minute.
        #[arg(long)]
        allow_large: bool,
        #[command(flatten)]
        fetch: oci::Fetch,
    },
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
    /// Put a plugin into a slot while traffic flows.
    #[command(after_long_help = "\
Examples:
  meshctl plugin swap route acme/fastest
  meshctl plugin swap route 9c1f04ab --set hysteresis=0.2
  meshctl plugin swap qos ./my-qos.wasm             installs it first, as it does with oci://HOST/REPOSITORY:TAG
  meshctl plugin swap route built-in/latency --reset-state
  meshctl plugin swap route acme/fastest --on-failure fail-closed
  meshctl plugin swap route acme/fastest --dry-run  everything but the switch
  meshctl plugin swap route acme/fastest --shadow 30s --max-disagreement 5%
  meshctl plugin swap route acme/fastest --shadow 500 --dry-run      only compare
  meshctl plugin swap route acme/fastest --canary 10% --canary-for 5m --max-p99 2x --no-wait

The successor takes over the predecessor's state, and the switch lies between two batches of messages: none is
lost, none is decided twice. If anything fails before the switch, the old one goes on.

In a shadow run the plugin is asked what the active one is asked, and its answers are only compared. As a canary it
decides for a share of the flows. When the gates hold, it takes over; if not, the old one decides on everything again
and the exit code is 10. The node does that by itself: Ctrl-C ends the waiting, not the trial. 'meshctl plugin rollback
SLOT' ends the trial.")]
    Swap {
        /// The slot: route, qos, topology or beacon.
        slot: String,
        /// A name, NAME@VERSION, the first digits of a digest, built-in/NAME, or a file.
        plugin: String,
        /// A setting of the plugin.
        #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
        settings: Vec<(String, Setting)>,
        /// The successor takes the state over (the default).
        #[arg(long, conflicts_with = "reset_state")]
        keep_state: bool,
        /// The successor starts afresh.
        #[arg(long)]
        reset_state: bool,
        /// Take a lower version than the node had of this plugin before.
        #[arg(long)]
        allow_downgrade: bool,
        /// Who answers when it fails: fallback (the native built-in), fail-closed (nobody) or fail-open.
        #[arg(long, value_name = "MODE", value_parser = operate::on_failure)]
        on_failure: Option<OnFailure>,
        /// With a file: let it use this of the host, as 'plugin install' does.
        #[arg(long = "grant", value_name = "NAME", value_delimiter = ',')]
        grants: Vec<String>,
        /// With a file: take a component above 4 MiB, as 'plugin install' does.
        #[arg(long)]
        allow_large: bool,
        #[command(flatten)]
        fetch: oci::Fetch,
        #[command(flatten)]
        trial: trial::Options,
    },
    /// Return a slot to its previous revision, or end the trial that runs in it.
    #[command(after_long_help = "\
Examples:
  meshctl plugin rollback route
  meshctl plugin rollback route --dry-run")]
    Rollback {
        /// The slot: route, qos, topology or beacon.
        slot: String,
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
  meshctl plugin record route --dry-run

Each line of the file is one call with everything that the policy was shown, its answer, what the host made of it, and
what it cost. Policies see numbers only: no payload, no name. 'meshctl plugin replay' makes the decisions again.")]
    Record(record::Record),
    /// Make recorded decisions again, by the same revision or by another. Needs no node.
    #[command(after_long_help = "\
Examples:
  meshctl plugin replay route-trace.jsonl                        the same revision: equal to the bit, or exit 1
  meshctl plugin replay route-trace.jsonl --with ./candidate.wasm
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
        if let Command::Inspect { plugin } = &self.command
            && Path::new(plugin).is_file()
        {
            let report = mesh_node::inspect_report(&read_plugin(Path::new(plugin))?)?;
            return context.out.print(None, &report);
        }
        let command = match self.command {
            Command::CompileStdin => {
                return mesh_plugin_host::compile_stdin()
                    .map_err(|error| ApiError::new(&code::INTERNAL, error));
            }
            Command::New(new) => return new.run(context),
            Command::Build(build) => return unless_stopped(build.run(context)).await,
            Command::Run(run) => return run.run(context).await,
            Command::Test(test) => return unless_stopped(test.run(context)).await,
            Command::Check(check) => return unless_stopped(check.run(context)).await,
            Command::Sign(sign) => return sign.run(context),
            Command::Call(call) => return call.run(context),
            Command::Wit(wit) => return wit.run(context),
            Command::Bench(bench) => return bench.run(context),
            Command::Publish(publish) => return publish.run(context).await,
            Command::Record(record) => return record.run(context).await,
            Command::Replay(replay) => return replay.run(context).await,
            Command::Key(key) => return key.run(context),
            Command::Trust(trust) => return trust.run(context).await,
            Command::Operate(operate) => return operate.run(context).await,
            other => other,
        };
        let mut node = context.connect().await?;
        let dry_run = context.globals.dry_run;
        match command {
            Command::New(_)
            | Command::Build(_)
            | Command::Run(_)
            | Command::Test(_)
            | Command::Check(_)
            | Command::Sign(_)
            | Command::Publish(_)
            | Command::Key(_)
            | Command::Trust(_)
            | Command::Operate(_)
            | Command::CompileStdin => Ok(()),
            Command::Call(_) | Command::Wit(_) | Command::Bench(_) => Ok(()),
            Command::Record(_) | Command::Replay(_) => Ok(()),
            Command::List => {
                let rows: Vec<PluginRow> = node.call(&Request::PluginList).await?;
                context.out.print(node.node, &rows)
            }
            Command::Show { plugin } => {
                let detail: PluginDetail = node.call(&Request::PluginShow { plugin }).await?;
                context.out.print(node.node, &detail)
            }
            Command::Install { file, grants, allow_large, fetch }
                if Reference::is_meant(&file.to_string_lossy()) =>
            {
                let reference = file.to_string_lossy();
                let aim = if dry_run { Aim::Check } else { Aim::Install };
                let wish = Wish { aim, grants: &grants, allow_large };
                let (report, warnings) = fetch.install(&mut node, context, &reference, wish).await?;
                context.out.print_with(node.node, &report, &warnings)
            }
            Command::Install { file, grants, allow_large, .. } => {
                let aim = if dry_run { Aim::Check } else { Aim::Install };
                let wish = Wish { aim, grants: &grants, allow_large };
                let report = install::file(&mut node, context, &file, wish).await?;
                context.out.print(node.node, &report)
            }
            Command::Swap {
                slot,
                plugin,
                settings,
                reset_state,
                allow_downgrade,
                on_failure,
                grants,
                allow_large,
                fetch,
                trial,
                ..
            } => {
                let spec = trial.spec(dry_run)?;
                let aim = if dry_run { Aim::Rehearse } else { Aim::Install };
                let wish = Wish { aim, grants: &grants, allow_large };
                let (plugin, is_new) = install::named(&mut node, context, plugin, (wish, &fetch)).await?;
                let rehearsed = plugin.clone();
                let old_state = if reset_state { OldState::Reset } else { OldState::Keep };
                let settings = Settings::from_iter(settings);
                let swap =
                    SwapRequest { slot, plugin, settings, old_state, dry_run, allow_downgrade, on_failure };
                let outcome = match spec {
                    Some(spec) => trial
                        .run(&mut node, context, swap, spec)
                        .await
                        .map(|report| Swapped::Tried(Box::new(report))),
                    None => node.call(&Request::PluginSwap(swap)).await.map(Swapped::AtOnce),
                };
                let mut removed = Ok(());
                if dry_run && is_new {
                    // It was installed for the rehearsal only.
                    let request = Request::PluginRemove { plugin: rehearsed, dry_run: false };
                    removed = node.call(&request).await.map(|_: RemoveReport| ());
                }
                let outcome = outcome?;
                removed?;
                match outcome {
                    Swapped::Tried(report) => context.out.print(node.node, &*report),
                    Swapped::AtOnce(report) => context.out.print(node.node, &report),
                }
            }
            Command::Rollback { slot } => {
                let report: SwapReport = node.call(&Request::PluginRollback { slot, dry_run }).await?;
                context.out.print(node.node, &report)
            }
            Command::Remove { plugin } => {
                let report: RemoveReport = node.call(&Request::PluginRemove { plugin, dry_run }).await?;
                context.out.print(node.node, &report)
            }
            Command::Inspect { plugin } => {
                let request = Request::PluginInspect { plugin: Some(plugin) };
                let report: InspectReport = node.call(&request).await?;
                context.out.print(node.node, &report)
            }
        }
    }
}

/// What came of a swap.
#[expect(clippy::large_enum_variant, reason = "there is one, and it is printed at once")]
enum Swapped {
    AtOnce(SwapReport),
    Tried(Box<TrialReport>),
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
    }
}
