//! The node that a plugin is tried out in: a private one, or one that runs already.

use std::mem::replace;
use std::time::Duration;

use mesh_node::api::{
    ApiError, InstallReport, OldState, OnFailure, PluginDetail, RemoveReport, Request, Settings, SwapReport,
    SwapRequest, code,
};
use mesh_node::control::client::Events;
use mesh_plugin_host::{Kind, limits};
use tokio::task::JoinHandle;

use super::private::Private;
use super::say::{Say, Told};
use crate::commands::Context;
use crate::commands::plugin::source::Source;
use crate::connect::Connection;

/// Revisions that stay installed: the active one, and the one that a rollback brings back.
const KEPT: usize = 2;

/// What a slot had.
struct Before {
    revision: String,
    settings: Settings,
    on_failure: Option<OnFailure>,
}

/// A node with a slot, and what has been bound there.
pub struct Stage {
    pub(super) node: Connection,
    context: Context,
    name: String,
    slot: Kind,
    private: Option<Private>,
    /// What was in the slot of somebody else's node, and how.
    before: Option<Before>,
    /// A swap that was asked for, and perhaps not waited for.
    asked: Option<JoinHandle<Result<SwapReport, ApiError>>>,
    /// Whether the slot may have something else by now.
    is_touched: bool,
    /// What this command has bound last.
    live: Option<String>,
    /// What this command has brought to the node, what was bound last at the end.
    owned: Vec<String>,
}

impl Stage {
    /// Starts a private node with neighbours of its own.
    ///
    /// # Errors
    /// What keeps it from starting.
    pub async fn private(
        source: &Source,
        slot: Kind,
        traffic: u32,
        context: &Context,
    ) -> Result<Stage, ApiError> {
        let private = Private::start(source, slot, traffic).await?;
        let name = private.name().to_owned();
        let context = with_node(context, private.socket().display().to_string());
        let node = context.connect().await?;
        Ok(Stage::new(node, context, name, slot, Some(private), None))
    }

    /// Takes a node that runs.
    ///
    /// # Errors
    /// When there is none of this name.
    pub async fn attached(name: &str, slot: Kind, context: &Context) -> Result<Stage, ApiError> {
        let context = with_node(context, name.to_owned());
        let mut node = context.connect().await?;
        let shown: PluginDetail = node.call(&Request::PluginShow { plugin: slot.slot().to_owned() }).await?;
        let (revision, on_failure) = (shown.row.revision, shown.row.on_failure);
        let before = Before { revision, settings: shown.settings, on_failure };
        Ok(Stage::new(node, context, name.to_owned(), slot, None, Some(before)))
    }

    fn new(
        mut node: Connection,
        context: Context,
        name: String,
        slot: Kind,
        private: Option<Private>,
        before: Option<Before>,
    ) -> Stage {
        // An author's plugin may be a large one.
        node.extend(Duration::from_secs(limits::COMPILE_CPU_S_MOST));
        let (live, owned) = (None, Vec::new());
        Stage { node, context, name, slot, private, before, asked: None, is_touched: false, live, owned }
    }

    /// Returns what people are told about it.
    pub fn told(&self) -> Told<'_> {
        Told::Ready { node: &self.name, slot: self.slot.slot(), attached: self.private.is_none() }
    }

    /// Returns the slot's name.
    pub fn slot(&self) -> &'static str {
        self.slot.slot()
    }

    /// Returns the revision that this command has bound last.
    pub fn live(&self) -> Option<String> {
        self.live.clone()
    }

    /// Opens another connection to the node.
    ///
    /// # Errors
    /// When it is gone.
    pub async fn connect(&self) -> Result<Connection, ApiError> {
        self.context.connect().await
    }

    /// Returns what happens in the node.
    ///
    /// # Errors
    /// When it is gone.
    pub async fn events(&self) -> Result<Events, ApiError> {
        self.connect().await?.client.events().await
    }

    /// Installs a component and returns its revision.
    ///
    /// # Errors
    /// Why the node refuses it.
    pub async fn install(&mut self, component: &[u8], origin: String) -> Result<String, ApiError> {
        let grants = asked_for(component);
        let request = Request::PluginInstall { origin, grants, dry_run: false, allow_large: true };
        let report: InstallReport = self.node.call_with(&request, component).await?;
        if !report.known {
            self.owned.push(report.revision.clone());
        }
        Ok(report.revision)
    }

    /// Swaps to an installed revision with the state; one that refuses it starts afresh, and then the text says
    /// why. What the slot had from somebody else is no state of this plugin.
    ///
    /// # Errors
    /// Why the old one goes on.
    pub async fn swap(
        &mut self,
        revision: &str,
        settings: Settings,
    ) -> Result<(SwapReport, Option<String>), ApiError> {
        let start_with = if self.live.is_none() { OldState::Reset } else { OldState::Inherit };
        let was_touched = replace(&mut self.is_touched, true);
        let swapped = match self.swap_with(revision, settings.clone(), start_with, None).await {
            Err(error) if error.is(&code::STATE_REFUSED) => {
                let again = self.swap_with(revision, settings, OldState::Reset, None).await;
                again.map(|report| (report, Some(error.message)))
            }
            other => other.map(|report| (report, None)),
        };
        let (report, why) = swapped.inspect_err(|error| {
            // Without an answer the node may have done it.
            let is_open = error.is(&code::TIMED_OUT) || error.is(&code::CONNECTION_LOST);
            self.is_touched = was_touched || is_open;
        })?;
        self.live = Some(revision.to_owned());
        if let Some(place) = self.owned.iter().position(|owned| owned == revision) {
            let bound = self.owned.remove(place);
            self.owned.push(bound);
        }
        let old = self.owned.len().saturating_sub(KEPT);
        self.remove_first(old).await;
        Ok((report, why))
    }

    async fn swap_with(
        &mut self,
        revision: &str,
        settings: Settings,
        old_state: OldState,
        on_failure: Option<OnFailure>,
    ) -> Result<SwapReport, ApiError> {
        let request = SwapRequest {
            slot: self.slot.slot().to_owned(),
            plugin: revision.to_owned(),
            settings,
            old_state,
            dry_run: false,
            allow_downgrade: true,
            on_failure,
        };
        let mut node = self.connect().await?;
        let swap = async move { node.call(&Request::PluginSwap(request)).await };
        let swapped = self.asked.insert(tokio::spawn(swap)).await;
        self.asked = None;
        swapped.map_err(|error| ApiError::new(&code::INTERNAL, error))?
    }

    // An author saves often, and nobody needs the revisions between.
    async fn remove_first(&mut self, count: usize) {
        for plugin in self.owned.drain(..count) {
            let request = Request::PluginRemove { plugin, standby: true, dry_run: false };
            let gone: Result<RemoveReport, ApiError> = self.node.call(&request).await;
            // One that is in use somewhere stays, and does no harm.
            let _ = gone;
        }
    }

    /// Stops the private node, or gives the other one back what it had.
    pub async fn end(mut self, say: &Say) {
        if let Some(private) = self.private.take() {
            private.stop().await;
            let _ = say.tell(&Told::Stopped { node: &self.name, restored: None });
            return;
        }
        // A swap that is under way would undo what follows.
        if let Some(asked) = self.asked.take() {
            let _ = asked.await;
        }
        if let Some(before) = self.before.take().filter(|_| self.is_touched) {
            let Before { revision, settings, on_failure } = before;
            // The state in the slot is that of the author's plugin.
            let back = self.swap_with(&revision, settings, OldState::Reset, on_failure).await;
            let _ = match back {
                Ok(report) => {
                    let restored = Some(report.new.to_string());
                    say.tell(&Told::Stopped { node: &self.name, restored })
                }
                Err(error) => say.tell(&Told::Failed { changed: &[], error: &error }),
            };
        }
        // A rollback of this node's operator is not to bring an author's plugin back.
        self.remove_first(self.owned.len()).await;
    }
}

/// Returns what a plugin asks for: its author grants it, in development.
fn asked_for(component: &[u8]) -> Vec<String> {
    // What is wrong with the component is for the node to say.
    let Ok(report) = mesh_node::inspect_report(component) else { return Vec::new() };
    report.imports.into_iter().filter_map(|import| import.grant).collect()
}

fn with_node(context: &Context, node: String) -> Context {
    let mut context = context.clone();
    context.globals.node = Some(node);
    context
}
