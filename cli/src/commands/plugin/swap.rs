//! `meshctl plugin swap`: a plugin into a slot, at once or after a trial.

use clap::Args;
use mesh_node::api::{
    ApiError, OldState, OnFailure, RemoveReport, Request, Setting, Settings, SwapReport, SwapRequest,
    TrialReport,
};

use super::install::{self, Aim, Wish};
use super::{Context, oci, operate, setting, trial};

/// Put a plugin into a slot while traffic flows.
#[derive(Debug, Args)]
pub struct Swap {
    #[arg(help = super::SLOT)]
    slot: String,
    /// A name or the last part of one, NAME@VERSION, the first digits of a digest, built-in/NAME, or a file.
    plugin: String,
    /// A setting of the plugin.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<(String, Setting)>,
    /// The successor takes the state over though it is another plugin. Another version of the same one does so by default.
    #[arg(long, conflicts_with = "reset_state")]
    keep_state: bool,
    /// The successor starts afresh, as another plugin does by default.
    #[arg(long)]
    reset_state: bool,
    /// Take a lower version than the node had of this plugin before.
    #[arg(long)]
    allow_downgrade: bool,
    /// Who answers when it fails: fallback (the native built-in, the default), fail-closed (the default
    /// of admission) or fail-open.
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
}

/// What came of a swap.
#[expect(clippy::large_enum_variant, reason = "there is one, and it is printed at once")]
enum Swapped {
    AtOnce(SwapReport),
    Tried(Box<TrialReport>),
}

impl Swap {
    /// Swaps, or rehearses it, and prints.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let dry_run = context.globals.dry_run;
        let spec = self.trial.spec(dry_run)?;
        let mut node = context.connect().await?;
        let aim = if dry_run { Aim::Rehearse } else { Aim::Install };
        let wish = Wish { aim, grants: &self.grants, allow_large: self.allow_large };
        let typed = self.plugin.clone();
        let (plugin, is_new) = install::named(&mut node, context, self.plugin, (wish, &self.fetch)).await?;
        let rehearsed = plugin.clone();
        let swap = SwapRequest {
            slot: self.slot,
            plugin,
            settings: Settings::from_iter(self.settings),
            old_state: match (self.keep_state, self.reset_state) {
                (true, _) => OldState::Keep,
                (false, true) => OldState::Reset,
                (false, false) => OldState::Inherit,
            },
            dry_run,
            allow_downgrade: self.allow_downgrade,
            on_failure: self.on_failure,
        };
        let outcome = match spec {
            Some(spec) => {
                let tried = self.trial.run(&mut node, context, swap, spec).await;
                tried.map(|report| Swapped::Tried(Box::new(report)))
            }
            None => node.call(&Request::PluginSwap(swap)).await.map(Swapped::AtOnce),
        };
        let mut removed = Ok(());
        if dry_run && is_new {
            // It was installed for the rehearsal only.
            let request = Request::PluginRemove { plugin: rehearsed.clone(), standby: false, dry_run: false };
            removed = node.call(&request).await.map(|_: RemoveReport| ());
        }
        // What was there for a moment is told by the name that stays.
        let outcome = match dry_run && is_new {
            true => outcome.map_err(|error| named_as_typed(error, &rehearsed, &typed)),
            false => outcome,
        }?;
        removed?;
        match outcome {
            Swapped::Tried(report) => context.out.print(node.node, &*report),
            Swapped::AtOnce(report) => context.out.print(node.node, &report),
        }
    }
}

fn named_as_typed(mut error: ApiError, revision: &str, typed: &str) -> ApiError {
    for line in &mut error.help {
        *line = line.replace(&format!("plugin show {revision}"), &format!("plugin inspect {typed}"));
        *line = line.replace(revision, typed);
    }
    error
}
