//! The node that a plugin is tried out in: a private one, or one that runs already.

use std::collections::VecDeque;

use mesh_node::api::{
    ApiError, InstallReport, OldState, OnFailure, PluginDetail, RemoveReport, Request, Settings, SwapReport,
    SwapRequest, code,
};
use mesh_node::control::client::Events;
use mesh_plugin_host::Kind;

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
    /// What this command has installed, the newest last.
    installed: VecDeque<String>,
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
        let installed = VecDeque::new();
        Ok(Stage { node, context, name, slot, private: Some(private), before: None, installed })
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
        let before = Some(Before { revision, settings: shown.settings, on_failure });
        let before = before.filter(|before| before.revision != "native");
        let installed = VecDeque::new();
        Ok(Stage { node, context, name: name.to_owned(), slot, private: None, before, installed })
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
        self.installed.back().cloned()
    }

    /// Returns what happens in the node.
    ///
    /// # Errors
    /// When it is gone.
    pub async fn events(&self) -> Result<Events, ApiError> {
        self.context.connect().await?.client.events().await
    }

    /// Installs a component and returns its revision.
    ///
    /// # Errors
    /// Why the node refuses it.
    pub async fn install(&mut self, component: &[u8], origin: String) -> Result<String, ApiError> {
        let grants = asked_for(component);
        let request = Request::PluginInstall { origin, grants, dry_run: false, allow_large: true };
        let report: InstallReport = self.node.call_with(&request, component).await?;
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
        let is_first = self.installed.is_empty();
        let carry = if is_first { OldState::Reset } else { OldState::Keep };
        let first = self.swap_with(revision, settings.clone(), carry, None).await;
        let (report, why) = match first {
            Err(error) if error.is(&code::STATE_REFUSED) => {
                (self.swap_with(revision, settings, OldState::Reset, None).await?, Some(error.message))
            }
            other => (other?, None),
        };
        self.installed.push_back(revision.to_owned());
        self.forget_old().await;
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
        self.node.call(&Request::PluginSwap(request)).await
    }

    // An author saves often, and nobody needs the revisions between.
    async fn forget_old(&mut self) {
        while self.installed.len() > KEPT {
            let Some(plugin) = self.installed.pop_front() else { return };
            if self.installed.contains(&plugin) {
                continue;
            }
            let gone: Result<RemoveReport, ApiError> =
                self.node.call(&Request::PluginRemove { plugin, dry_run: false }).await;
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
        let Some(before) = self.before.take().filter(|_| !self.installed.is_empty()) else { return };
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
