//! What a slot is bound to and how it is run, as the store keeps it over a restart.

use std::time::Duration;

use mesh_plugin_host::{Kind, Lowered, Revision, Sentence, Settings, SlotStatus, Terms};
use serde::{Deserialize, Serialize};

use super::history::{History, Step};
use super::{Plugins, hex, plugin_ref};
use crate::api::{self, BindingRow, OnFailure};

/// One slot's binding.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Binding {
    /// The digest in hex; `None` for the native built-in.
    pub(super) digest: Option<String>,
    /// Its name. Another build of the program has another digest of the same built-in plugin.
    #[serde(default)]
    pub(super) plugin: Option<String>,
    pub(super) settings: api::Settings,
    #[serde(default)]
    on_failure: OnFailure,
    #[serde(default)]
    deadline_ms: Option<u64>,
    #[serde(default)]
    memory_bytes: Option<u64>,
    #[serde(default)]
    log_lines: Option<u32>,
    #[serde(default)]
    pub(super) paused: bool,
    /// What is in quarantine, which a restart does not end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) aside: Option<Box<Aside>>,
    /// What the slot was bound to before.
    #[serde(default, skip_serializing_if = "History::is_empty")]
    pub(super) history: History,
}

/// A revision in quarantine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Aside {
    /// How it was bound.
    pub(super) binding: Binding,
    /// Quarantines in a row.
    round: u32,
    /// Milliseconds since 1970; `None` when only an operator ends it.
    retry_at_ms: Option<u64>,
}

impl Aside {
    fn of(status: &SlotStatus) -> Option<Aside> {
        let revision = status.quarantined.as_ref()?;
        Some(Aside {
            binding: Binding::with(Some(revision), &status.quarantined_settings, status.quarantined_terms),
            round: status.quarantine_round,
            retry_at_ms: status.retry_at_ms,
        })
    }

    pub(super) fn sentence(&self) -> Sentence {
        Sentence { round: self.round, retry_at_ms: self.retry_at_ms }
    }
}

impl Binding {
    /// Returns the first binding of a slot.
    pub(super) fn first(revision: Option<&Revision>) -> Binding {
        Binding {
            digest: revision.map(|revision| hex(&revision.digest)),
            plugin: revision.map(|revision| revision.name.clone()),
            ..Binding::default()
        }
    }

    /// Stands for one that is damaged: the slot is left to whom its kind leaves it.
    pub(super) fn unreadable(kind: Kind) -> Binding {
        Binding { on_failure: mesh_plugin_host::OnFailure::of(kind).into(), ..Binding::default() }
    }

    /// A plugin in quarantine that is to have no fallback stays bound: the native built-in must not answer in its place
    /// after a restart either.
    pub(super) fn of(status: &SlotStatus) -> Binding {
        let aside = Aside::of(status).map(Box::new);
        let terms = Terms { on_failure: status.on_failure, lowered: status.lowered };
        let bound = match &aside {
            Some(aside) if !status.has_stand_in() => aside.binding.clone(),
            _ => Binding::with(status.active.as_ref(), &status.settings, terms),
        };
        Binding { paused: status.paused, aside, ..bound }
    }

    fn with(revision: Option<&Revision>, settings: &Settings, terms: Terms) -> Binding {
        let Lowered { deadline, memory, log_lines } = terms.lowered;
        Binding {
            digest: revision.map(|revision| hex(&revision.digest)),
            plugin: revision.map(|revision| revision.name.clone()),
            settings: settings_of(settings),
            on_failure: terms.on_failure.into(),
            deadline_ms: deadline.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
            memory_bytes: memory.map(|bytes| bytes as u64),
            log_lines,
            paused: false,
            aside: None,
            history: History::default(),
        }
    }

    /// Returns what is bound and on which terms, as a slot can have it again.
    pub(super) fn alone(&self) -> Binding {
        Binding { paused: false, aside: None, history: History::default(), ..self.clone() }
    }

    /// Says whether the same is bound with the same settings. Limits are set at a plugin that runs and are no step.
    pub(super) fn is_as(&self, other: &Binding) -> bool {
        self.digest == other.digest && self.settings == other.settings && self.on_failure == other.on_failure
    }

    /// Says whether what is bound is what is in quarantine: without a fallback nobody else is.
    pub(super) fn is_closed(&self) -> bool {
        self.aside.as_ref().is_some_and(|aside| aside.binding.on_failure != OnFailure::Fallback)
    }

    pub(crate) fn settings(&self) -> &api::Settings {
        &self.settings
    }

    /// Returns how the plugin is to be run.
    pub(crate) fn terms(&self) -> Terms {
        let lowered = Lowered {
            deadline: self.deadline_ms.map(Duration::from_millis),
            memory: self.memory_bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
            log_lines: self.log_lines,
        };
        Terms { on_failure: self.on_failure.into(), lowered }
    }
}

impl Plugins {
    /// Returns the settings that a slot was bound with.
    pub(crate) fn settings(&self, slot: &str) -> api::Settings {
        self.bindings.get(slot).map(|binding| binding.settings.clone()).unwrap_or_default()
    }

    /// Returns what a slot is bound to now, as it would be after a restart.
    pub(crate) fn binding_row(&self, status: &SlotStatus) -> BindingRow {
        let binding = Binding::of(status);
        let mut is_it = self.installed.values().map(|installed| &installed.revision);
        let revision = binding.digest.and_then(|digest| is_it.find(|r| hex(&r.digest) == digest));
        let back = Kind::ALL.into_iter().find(|kind| kind.slot() == status.slot);
        let back = back.and_then(|kind| self.steps(kind, Step::Back).next()).map(|left| &left.binding);
        let previous = back
            .and_then(|back| Some((&self.installed_as(back.digest.as_deref()?)?.revision, &back.settings)));
        BindingRow {
            slot: status.slot.to_owned(),
            plugin: plugin_ref(status.slot, revision),
            settings: binding.settings,
            on_failure: binding.on_failure,
            deadline_ms: binding.deadline_ms,
            memory_bytes: binding.memory_bytes,
            log_rate: binding.log_lines.map(u64::from),
            paused: binding.paused,
            previous: previous.map(|(revision, _)| plugin_ref(status.slot, Some(revision))),
            previous_settings: previous.map(|(_, settings)| settings.clone()).unwrap_or_default(),
        }
    }

    /// Returns the limits that a plugin of this name begins with in a slot: what its operator lowered holds for its next
    /// version too, on trial and after it. Another plugin begins with the host's own.
    pub(crate) fn lowered(&self, slot: &str, name: &str) -> Lowered {
        let binding = self.bindings.get(slot).filter(|_| self.bound(slot).is_some_and(|r| r.name == name));
        binding.map(|binding| binding.terms().lowered).unwrap_or_default()
    }

    /// Lets a binding to a built-in plugin that came with an earlier program mean the one that came with this: what a
    /// node does must not change because the program was built anew.
    pub(super) fn with_built_in_of_now(&self, mut binding: Binding) -> Binding {
        let is_here = |digest: &String| self.installed_as(digest).is_some();
        if !binding.digest.as_ref().is_none_or(is_here)
            && let Some(name) = &binding.plugin
            && let Some(successor) =
                self.installed.values().find(|i| i.is_built_in && i.revision.name == *name)
        {
            tracing::info!(
                plugin = name,
                "the built-in plugin of this program is bound in place of an earlier one"
            );
            binding.digest = Some(hex(&successor.revision.digest));
        }
        binding.aside = binding.aside.map(|mut aside| {
            aside.binding = self.with_built_in_of_now(aside.binding);
            aside
        });
        binding.history = binding.history.map(|earlier| self.with_built_in_of_now(earlier));
        binding
    }

    /// Returns what a slot is bound to; `None` is the native built-in.
    pub(crate) fn bound(&self, slot: &str) -> Option<&Revision> {
        let digest = self.bindings.get(slot)?.digest.as_ref()?;
        self.installed.values().map(|installed| &installed.revision).find(|r| hex(&r.digest) == *digest)
    }
}

pub(super) fn settings_of(settings: &Settings) -> api::Settings {
    let setting = |value: &mesh_plugin_host::Value| match value {
        mesh_plugin_host::Value::Flag(flag) => api::Setting::Flag(*flag),
        mesh_plugin_host::Value::Integer(integer) => api::Setting::Integer(*integer),
        mesh_plugin_host::Value::Number(number) => api::Setting::Number(*number),
        mesh_plugin_host::Value::Text(text) => api::Setting::Text(text.clone()),
    };
    settings.iter().map(|(name, value)| (name.clone(), setting(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_of_an_earlier_version_reads_as_one_without_terms() {
        let binding: Binding =
            serde_json::from_str(r#"{"digest": "ab", "settings": {"x": 1}}"#).expect("it parses");

        assert_eq!((binding.terms(), binding.paused), (Terms::default(), false));
        let text = serde_json::to_string(&binding).expect("it prints");
        assert_eq!(serde_json::from_str::<Binding>(&text).expect("it parses"), binding);
    }
}
