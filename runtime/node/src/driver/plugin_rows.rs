//! What is said of plugins: the rows of lists, and one plugin in detail.

use std::collections::BTreeMap;
use std::time::Instant;

use mesh_plugin_host::{PolicySlot, SlotStatus};

use super::Driver;
use super::answers::age_s;
use super::clock::unix_ms;
use super::operate::{retry_s, state_of, vacancy};
use super::slots::{policy_slot, slot_named};
use crate::api::{
    ApiError, PluginDetail, PluginRow, PluginState, PolicyState, Reply, RevisionRow, Time, code,
};
use crate::plugins::claims;
use crate::plugins::granted::names;
use crate::plugins::{Installed, newest_first, plugin_ref};

/// Calls per second of the slots, over the last looks.
#[derive(Default)]
pub(super) struct Rates {
    last: BTreeMap<&'static str, (u64, Instant)>,
    per_s: BTreeMap<&'static str, f64>,
}

impl Driver {
    /// Notes how many calls the slots had since the last look.
    pub(super) fn look_at_rates(&mut self) {
        for slot in PolicySlot::ALL {
            let calls = self.parts.plugins.set.status(slot).calls;
            let now = Instant::now();
            if let Some((before, at)) = self.rates.last.insert(slot.name(), (calls, now)) {
                let seconds = now.duration_since(at).as_secs_f64().max(1e-3);
                self.rates.per_s.insert(slot.name(), calls.saturating_sub(before) as f64 / seconds);
            }
        }
    }

    pub(super) fn calls_per_s(&self, slot: &str) -> Option<f64> {
        self.rates.per_s.get(slot).copied()
    }

    pub(super) fn slot_rows(&self, handler: Option<&SlotStatus>) -> Vec<PluginRow> {
        let policies = PolicySlot::ALL.map(|slot| self.parts.plugins.set.status(slot));
        policies.iter().chain(handler).map(|status| self.active_row(status)).collect()
    }

    fn active_row(&self, status: &SlotStatus) -> PluginRow {
        let plugin = plugin_ref(status.slot, status.active.as_ref());
        let grants = status.active.as_ref().map(|active| self.parts.plugins.grants(&active.digest));
        PluginRow {
            slot: Some(status.slot.to_owned()),
            plugin: plugin.plugin,
            version: plugin.version,
            state: state_of(status),
            grants: grants.map(names).unwrap_or_default(),
            on_failure: status.active.as_ref().map(|_| status.on_failure.into()),
            retry_s: None,
            calls_per_s: self.rates.per_s.get(status.slot).copied(),
            p99_s: (status.p99_ns > 0).then(|| status.p99_ns as f64 / 1e9),
            fallbacks: status.fallbacks,
            traps: status.faults,
            // What was never switched has been there since the node began.
            since_s: age_s(status.since_ms).min(self.parts.began.elapsed().as_secs_f64()),
            revision: plugin.revision,
            note: self
                .trial_note(status.slot)
                .or_else(|| vacancy(status).map(str::to_owned))
                .or_else(|| status.quarantined.as_ref().map(|failed| format!("took over from {failed}"))),
        }
    }

    pub(super) fn plugin_rows(&self, handler: Option<&SlotStatus>) -> Vec<PluginRow> {
        let policies = PolicySlot::ALL.map(|slot| self.parts.plugins.set.status(slot));
        let statuses: Vec<&SlotStatus> = policies.iter().chain(handler).collect();
        let mut rows = Vec::new();
        let mut shown: Vec<[u8; 32]> = Vec::new();
        for status in &statuses {
            rows.push(self.active_row(status));
            shown.extend(status.active.as_ref().map(|revision| revision.digest));
            let beside =
                [(&status.quarantined, PluginState::Quarantined), (&status.previous, PluginState::Standby)];
            for (revision, state) in beside {
                if let Some(revision) = revision.as_ref().filter(|revision| !shown.contains(&revision.digest))
                {
                    shown.push(revision.digest);
                    let fault =
                        status.last_faults.iter().find(|fault| fault.revision.digest == revision.digest);
                    rows.push(PluginRow {
                        note: fault.map(|fault| fault.fault.to_string()),
                        retry_s: retry_s(status).filter(|_| state == PluginState::Quarantined),
                        ..self.idle_row(Some(status.slot), revision, state, status.since_ms)
                    });
                }
            }
        }
        let is_idle = |i: &&Installed| !shown.contains(&i.revision.digest);
        let mut idle: Vec<&Installed> = self.parts.plugins.installed.values().filter(is_idle).collect();
        idle.sort_by(|a, b| a.revision.name.cmp(&b.revision.name).then_with(|| newest_first(a, b)));
        for installed in idle {
            let revoked = self.parts.plugins.trust.list.check_revoked(&installed.signatures).err();
            rows.push(PluginRow {
                note: revoked.map(|revoked| format!("{}: {revoked}", revoked.code())),
                ..self.idle_row(None, &installed.revision, PluginState::Installed, installed.since_ms)
            });
        }
        rows
    }

    fn idle_row(
        &self,
        slot: Option<&str>,
        revision: &mesh_plugin_host::Revision,
        state: PluginState,
        since_ms: u64,
    ) -> PluginRow {
        PluginRow {
            slot: slot.map(str::to_owned),
            plugin: revision.name.clone(),
            version: revision.version.clone(),
            state,
            grants: names(self.parts.plugins.grants(&revision.digest)),
            on_failure: None,
            retry_s: None,
            calls_per_s: None,
            p99_s: None,
            fallbacks: 0,
            traps: 0,
            since_s: age_s(since_ms),
            revision: revision.digest_text(),
            note: None,
        }
    }

    pub(super) fn show_plugin(&self, text: &str, handler: Option<&SlotStatus>) -> Result<Reply, ApiError> {
        let rows = self.plugin_rows(handler);
        let (row, kind) = match slot_named(text) {
            Ok(kind) => {
                let is_there = |state| matches!(state, PluginState::Active | PluginState::Paused);
                let active = |row: &&PluginRow| row.slot.as_deref() == Some(text) && is_there(row.state);
                (rows.iter().find(active).cloned(), kind)
            }
            Err(_) => {
                let installed = self.parts.plugins.find(text)?;
                let revision = installed.revision.digest_text();
                (rows.iter().find(|row| row.revision == revision).cloned(), installed.kind)
            }
        };
        let row =
            row.ok_or_else(|| ApiError::new(&code::NO_SUCH_PLUGIN, "the handler did not answer in time"))?;
        let status = match policy_slot(kind) {
            Some(slot) => Some(self.parts.plugins.set.status(slot)),
            None => handler.cloned(),
        };
        let installed =
            self.parts.plugins.installed.values().find(|i| i.revision.digest_text() == row.revision);
        let own = |status: &&SlotStatus| status.slot == row.slot.as_deref().unwrap_or_default();
        let own = status.as_ref().filter(own);
        Ok(Reply::Plugin(Box::new(PluginDetail {
            settings: self.parts.plugins.settings(kind.slot()),
            takes: installed.map_or_else(Vec::new, |installed| claims::settings(&installed.config)),
            kind: kind.name().to_owned(),
            world: kind.world().to_owned(),
            size_bytes: installed.map_or(0, |installed| installed.size as u64),
            origin: installed.map_or("native code", |installed| &installed.origin).to_owned(),
            signers: installed.map_or_else(Vec::new, |i| {
                let trust = &self.parts.plugins.trust;
                trust.signers(&i.signatures, &i.revision.name, i.kind, unix_ms())
            }),
            traps: own.map_or_else(Vec::new, |status| {
                let line = |fault: &mesh_plugin_host::FaultRecord| {
                    format!("{} {}: {}", Time(fault.at_ms), fault.revision, fault.fault)
                };
                status.last_faults.iter().map(line).collect()
            }),
            history: own
                .and_then(|status| status.previous.as_ref().map(|previous| (status, previous)))
                .map_or_else(Vec::new, |(status, previous)| {
                    let plugin = plugin_ref(status.slot, Some(previous));
                    vec![RevisionRow { plugin, at: Time(status.since_ms), left: Some("swap".to_owned()) }]
                }),
            trial: self
                .trial_report(kind.slot())
                .filter(|trial| row.slot.is_some() || trial.candidate.revision == row.revision)
                .map(Box::new),
            row,
        })))
    }

    pub(super) fn policy_state(&mut self, text: &str) -> Result<Reply, ApiError> {
        let kind = slot_named(text)?;
        let Some(slot) = policy_slot(kind) else {
            return Err(ApiError::new(&code::BAD_VALUE, "the state of a handler is its own affair")
                .help("meshctl plugin show beacon"));
        };
        let status = self.parts.plugins.set.status(slot);
        let state = self.parts.plugins.set.peek_state(slot);
        let state = state.map_err(|fault| ApiError::new(&code::SWAP_FAILED, fault))?;
        let counter = state.as_ref().and_then(|state| state.bytes.first_chunk::<8>());
        Ok(Reply::PolicyState(PolicyState {
            slot: text.to_owned(),
            revision: plugin_ref(text, status.active.as_ref()).revision,
            state_version: state.as_ref().map_or(0, |state| state.version),
            state_bytes: state.as_ref().map_or(0, |state| state.bytes.len() as u64),
            counter: counter.map(|bytes| u64::from_le_bytes(*bytes)),
            state_messages: status.state_messages,
        }))
    }
}
