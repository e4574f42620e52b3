//! `meshctl plugin pause|resume|enable|disable|pin|unpin|gc` and, below them, what an operator asks of running plugins.

use clap::Subcommand;
use mesh_node::api::{
    ApiError, Change, CollectReport, OldState, OnFailure, OperateReport, Operation, Request, Setting,
    Settings, SwapReport, SwapRequest, code,
};

use super::{Context, diff, export, grants, import, limits, logs, setting, stats, traps};
use crate::output::human::{self, DIM, styled};
use crate::output::{Pair, Show, View};

/// What an operator does to plugins that are there.
#[derive(Debug, Subcommand)]
pub enum Operate {
    /// Let the native built-in answer; the plugin stays in its slot with its state.
    #[command(after_long_help = "\
Examples:
  meshctl plugin pause route
  meshctl plugin pause route --dry-run

A pause lasts until 'plugin resume', also over a restart. Nothing is lost: a pause is a switch between two batches.
A pause of the admission slot lets everybody in.")]
    Pause {
        #[arg(help = super::SLOT)]
        slot: String,
    },
    /// End a pause, or else a quarantine.
    #[command(after_long_help = "\
Examples:
  meshctl plugin resume route
  meshctl plugin resume route --dry-run

After a pause the plugin goes on with its state. After a quarantine it starts afresh, because the state it failed with
may be why. A quarantine also ends by itself: after a minute, then after two, up to an hour, eight times in a row. To let
what stands in for the plugin stay instead: 'meshctl plugin rollback SLOT'.")]
    Resume {
        #[arg(help = super::SLOT)]
        slot: String,
    },
    /// Put an installed plugin into a slot; fetches nothing.
    #[command(after_long_help = "\
Examples:
  meshctl plugin enable route acme/fastest
  meshctl plugin enable route acme/fastest@1.4.0 --set hysteresis=0.2
  meshctl plugin enable route acme/fastest --on-failure fail-closed
  meshctl plugin enable route acme/fastest --dry-run")]
    Enable {
        #[arg(help = super::SLOT)]
        slot: String,
        /// A name, NAME@VERSION, the first digits of a digest, or built-in/NAME.
        plugin: String,
        /// A setting of the plugin.
        #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
        settings: Vec<(String, Setting)>,
        /// Start afresh instead of taking over the state of what was there.
        #[arg(long)]
        reset_state: bool,
        /// Take a lower version than the node had of this plugin before.
        #[arg(long)]
        allow_downgrade: bool,
        /// Who answers when it fails: fallback (the native built-in, the default), fail-closed (the default of admission)
        /// or fail-open.
        #[arg(long, value_name = "MODE", value_parser = on_failure)]
        on_failure: Option<OnFailure>,
    },
    /// Give a slot back to the native built-in; the plugin stays installed.
    #[command(after_long_help = "\
Examples:
  meshctl plugin disable route
  meshctl plugin disable route --dry-run

Also ends a quarantine: what is in it is not tried again. 'meshctl plugin rollback SLOT' takes it back.")]
    Disable {
        #[arg(help = super::SLOT)]
        slot: String,
    },
    Logs(logs::Logs),
    Stats(stats::Stats),
    Traps(traps::Traps),
    /// What the plugin in a slot is held to.
    #[command(subcommand)]
    Limits(limits::Limits),
    /// What installed plugins may use of the host.
    #[command(subcommand)]
    Grants(grants::Grants),
    /// Keep an installed plugin from being removed.
    #[command(after_long_help = "\
Examples:
  meshctl plugin pin acme/fastest@1.3.0
  meshctl plugin pin 9c1f04ab --dry-run")]
    Pin {
        /// A name, NAME@VERSION, or the first six or more digits of a digest.
        plugin: String,
    },
    /// Let an installed plugin be removed again.
    #[command(after_long_help = "\
Examples:
  meshctl plugin unpin acme/fastest@1.3.0")]
    Unpin {
        /// A name, NAME@VERSION, or the first six or more digits of a digest.
        plugin: String,
    },
    /// Delete the revisions that no slot uses or would go back to, and nobody pinned.
    #[command(after_long_help = "\
Examples:
  meshctl plugin gc --dry-run
  meshctl plugin gc --keep 2       the two newest of each plugin stay

The compiled code of what is not installed goes as well. All nodes of a user share one compile cache; another node that
misses an entry compiles its plugin anew. By itself the cache keeps below 512 MiB.")]
    Gc {
        /// How many unused revisions of each plugin stay, the newest first.
        #[arg(long, value_name = "N", default_value_t = 0)]
        keep: u32,
    },
    Diff(diff::Diff),
    Export(export::Export),
    Import(import::Import),
}

impl Operate {
    /// Asks the node and prints.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let operation = match self {
            Operate::Pause { slot } => Operation::Pause { slot },
            Operate::Resume { slot } => Operation::Resume { slot },
            Operate::Pin { plugin } => Operation::Pin { plugin },
            Operate::Unpin { plugin } => Operation::Unpin { plugin },
            Operate::Enable { slot, plugin, settings, reset_state, allow_downgrade, on_failure } => {
                let old_state = if reset_state { OldState::Reset } else { OldState::Inherit };
                let settings = Settings::from_iter(settings);
                let dry_run = context.globals.dry_run;
                let swap =
                    SwapRequest { slot, plugin, settings, old_state, dry_run, allow_downgrade, on_failure };
                return swapped(context, swap).await;
            }
            Operate::Disable { slot } => {
                let swap = SwapRequest {
                    slot,
                    plugin: "native".to_owned(),
                    settings: Settings::new(),
                    old_state: OldState::Inherit,
                    dry_run: context.globals.dry_run,
                    allow_downgrade: false,
                    on_failure: None,
                };
                return disabled(context, swap).await;
            }
            Operate::Gc { keep } => return collect(context, keep).await,
            Operate::Diff(diff) => return diff.run(context).await,
            Operate::Export(export) => return export.run(context).await,
            Operate::Import(import) => return import.run(context).await,
            Operate::Logs(logs) => return logs.run(context).await,
            Operate::Stats(stats) => return stats.run(context).await,
            Operate::Traps(traps) => return traps.run(context).await,
            Operate::Limits(limits) => return limits.run(context).await,
            Operate::Grants(grants) => return grants.run(context).await,
        };
        operate(context, operation).await
    }
}

/// Lets the node do it, and prints what it did.
pub async fn operate(context: &Context, operation: Operation) -> Result<(), ApiError> {
    let mut node = context.connect().await?;
    let request = Request::PluginOperate { operation, dry_run: context.globals.dry_run };
    let report: OperateReport = node.call(&request).await?;
    context.out.print(node.node, &report)
}

async fn swapped(context: &Context, swap: SwapRequest) -> Result<(), ApiError> {
    let mut node = context.connect().await?;
    let report: SwapReport = node.call(&Request::PluginSwap(swap)).await?;
    context.out.print(node.node, &report)
}

/// A swap to what is there already is fine; who takes a plugin out of a slot believes that there is one.
async fn disabled(context: &Context, swap: SwapRequest) -> Result<(), ApiError> {
    let slot = swap.slot.clone();
    let mut node = context.connect().await?;
    let report: SwapReport = node.call(&Request::PluginSwap(swap)).await?;
    if report.change == Change::Nothing {
        let message = format!("no plugin is in the slot {slot}: the native built-in has it already");
        return Err(ApiError::new(&code::NO_PLUGIN_IN_SLOT, message)
            .help(format!("meshctl plugin enable {slot} PLUGIN")));
    }
    context.out.print(node.node, &report)
}

async fn collect(context: &Context, keep: u32) -> Result<(), ApiError> {
    let mut node = context.connect().await?;
    let request = Request::PluginCollect { keep, dry_run: context.globals.dry_run };
    let report: CollectReport = node.call(&request).await?;
    context.out.print(node.node, &report)
}

/// Reads a failure mode.
pub fn on_failure(text: &str) -> Result<OnFailure, String> {
    let mode: mesh_plugin_host::OnFailure =
        text.parse().map_err(|error: mesh_plugin_host::NoSuchMode| error.to_string())?;
    Ok(mode.into())
}

impl Show for OperateReport {
    const SCHEMA: &'static str = "plugin-operate";

    fn view(&self) -> View {
        let name = format!("{} ({})", self.plugin, human::revision(&self.plugin.revision));
        let done = if self.dry_run { format!("would be {}", self.done) } else { self.done.clone() };
        let mut pairs = Vec::new();
        if let Some(slot) = &self.slot {
            pairs.push(Pair::new("slot", "slot", slot));
        }
        pairs.push(Pair::new("plugin", "plugin", human::safe(&name)));
        pairs.push(Pair::new("done", "done", done));
        if let Some(decides) = &self.decides {
            pairs.push(Pair::new("decides", "decides", human::safe(decides)));
        }
        if let Some(undo) = &self.undo {
            pairs.push(Pair::new("undo", "undo", undo));
        }
        View::Pairs(pairs)
    }

    fn names(&self) -> Vec<String> {
        vec![self.plugin.revision.clone()]
    }
}

impl Show for CollectReport {
    const SCHEMA: &'static str = "plugin-gc";

    fn view(&self) -> View {
        let verb = if self.dry_run { "would be removed" } else { "removed" };
        let mut text = String::new();
        for plugin in &self.removed {
            let name = human::safe(&plugin.to_string());
            text.push_str(&format!("{name} ({}) {verb}\n", human::revision(&plugin.revision)));
        }
        let (count, freed) = (self.removed.len(), human::bytes(self.freed_bytes));
        let stay = format!("{} in use and {} pinned stay", self.in_use, self.pinned);
        text.push_str(&format!("{count} {verb}, {freed} freed; {stay}\n"));
        if self.cache_entries > 0 {
            let (entries, bytes) = (self.cache_entries, human::bytes(self.cache_bytes));
            text.push_str(&format!(
                "compile cache: {entries} entries of nothing installed {verb}, {bytes} freed\n"
            ));
        }
        for undo in &self.undo {
            text.push_str(&format!("{}\n", styled(DIM, format!("undo: {}", human::safe(undo)))));
        }
        View::Text(text)
    }

    fn names(&self) -> Vec<String> {
        self.removed.iter().map(|plugin| plugin.revision.clone()).collect()
    }
}
