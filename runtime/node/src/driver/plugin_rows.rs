//! What is said of plugins: the rows of lists, and one plugin in detail.

use std::collections::BTreeMap;
use std::time::Instant;

use mesh_plugin_host::{Counted, FaultRecord, Kind, PolicySlot, Revision, SlotStatus};

use super::Driver;
use super::answers::age_s;
use super::clock::unix_ms;
use super::operate::{beside, retry_s, state_of, vacancy};
use super::slots::{policy_slot, slot_named};
use crate::api::{
    ApiError, PluginDetail, PluginRef, PluginRow, PluginState, PolicyState, Reply, RevisionRow, Time, code,
};
use crate::plugins::claims;
use crate::plugins::granted::names;
use crate::plugins::{Binding, Installed, Step, newest_first, plugin_ref};

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

    /// The row of what a slot is left to: the active plugin, the native built-in, or who is away and leaves nobody in its
    /// place.
    fn active_row(&self, status: &SlotStatus) -> PluginRow {
        let revision = bound(status);
        let plugin = self.bound_ref(status);
        let counted = counted_of([status], revision);
        let took_over = status.quarantined.as_ref().filter(|_| status.has_stand_in());
        let note = vacancy(status).map(|vacancy| match last_fault(status, revision) {
            Some(fault) => format!("{vacancy}; {fault}"),
            None => vacancy.to_owned(),
        });
        PluginRow {
            slot: Some(status.slot.to_owned()),
            plugin: plugin.plugin,
            version: plugin.version,
            state: state_of(status),
            grants: revision.map(|bound| names(self.parts.plugins.grants(&bound.digest))).unwrap_or_default(),
            on_failure: is_plugins(status).then(|| status.on_failure.into()),
            retry_s: retry_s(status).filter(|_| took_over.is_none()),
            calls_per_s: self.rates.per_s.get(status.slot).copied(),
            p99_s: p99_s(&counted),
            fallbacks: counted.fallbacks,
            traps: counted.faults,
            // What was never switched has been there since the node began.
            since_s: age_s(status.since_ms).min(self.parts.began.elapsed().as_secs_f64()),
            revision: plugin.revision,
            rollbacks: None,
            note: self
                .trial_note(status.slot)
                .or(note)
                .or_else(|| took_over.map(|failed| format!("took over from {failed}"))),
        }
    }

    /// Names what a slot is left to, as lists show it.
    pub(super) fn bound_ref(&self, status: &SlotStatus) -> PluginRef {
        let away = || self.parts.plugins.bound(status.slot);
        let revision = bound(status).or_else(|| away().filter(|_| state_of(status) == PluginState::Vacant));
        match revision {
            None if state_of(status) == PluginState::Vacant => {
                PluginRef { plugin: "nobody".into(), ..plugin_ref(status.slot, None) }
            }
            revision => plugin_ref(status.slot, revision),
        }
    }

    pub(super) fn plugin_rows(&self, handler: Option<&SlotStatus>) -> Vec<PluginRow> {
        let policies = PolicySlot::ALL.map(|slot| self.parts.plugins.set.status(slot));
        let statuses: Vec<&SlotStatus> = policies.iter().chain(handler).collect();
        let mut rows = Vec::new();
        let mut shown: Vec<[u8; 32]> = Vec::new();
        for status in &statuses {
            rows.push(self.active_row(status));
            shown.extend(bound(status).map(|revision| revision.digest));
            for (revision, state) in beside(status) {
                if !shown.contains(&revision.digest) {
                    shown.push(revision.digest);
                    rows.push(PluginRow {
                        note: last_fault(status, Some(revision)),
                        retry_s: retry_s(status).filter(|_| state == PluginState::Quarantined),
                        ..self.idle_row(Some(status.slot), revision, state, status.since_ms, &statuses)
                    });
                }
            }
            // After a restart, nothing is warm, and the next step is no further away for that.
            for (revision, left_ms) in self.next_steps(status) {
                if !shown.contains(&revision.digest) {
                    shown.push(revision.digest);
                    let (slot, state) = (Some(status.slot), PluginState::Standby);
                    rows.push(self.idle_row(slot, revision, state, left_ms, &statuses));
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
                ..self.idle_row(
                    None,
                    &installed.revision,
                    PluginState::Installed,
                    installed.since_ms,
                    &statuses,
                )
            });
        }
        rows
    }

    fn idle_row(
        &self,
        slot: Option<&str>,
        revision: &Revision,
        state: PluginState,
        since_ms: u64,
        statuses: &[&SlotStatus],
    ) -> PluginRow {
        let counted = counted_of(statuses.iter().copied(), Some(revision));
        PluginRow {
            slot: slot.map(str::to_owned),
            plugin: revision.name.clone(),
            version: revision.version.clone(),
            state,
            grants: names(self.parts.plugins.grants(&revision.digest)),
            on_failure: None,
            retry_s: None,
            calls_per_s: None,
            p99_s: p99_s(&counted),
            fallbacks: counted.fallbacks,
            traps: counted.faults,
            since_s: age_s(since_ms),
            revision: revision.digest_text(),
            note: None,
            rollbacks: self
                .parts
                .plugins
                .installed
                .get(&revision.digest)
                .and_then(|installed| self.rollbacks_to(&revision.digest, installed.kind)),
        }
    }

    pub(super) fn show_plugin(&self, text: &str, handler: Option<&SlotStatus>) -> Result<Reply, ApiError> {
        let rows = self.plugin_rows(handler);
        let (row, kind) = match slot_named(text) {
            Ok(kind) => {
                // The first row of a slot is that of what it is left to.
                (rows.iter().find(|row| row.slot.as_deref() == Some(text)).cloned(), kind)
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
            traps: status.as_ref().map_or_else(Vec::new, |status| {
                let line = |fault: &FaultRecord| {
                    format!("{} {}: {}", Time(fault.at_ms), fault.revision, fault.fault)
                };
                // A slot shows all of its own, each with its plugin; a plugin those that are its.
                let is_shown = |fault: &&FaultRecord| {
                    text == status.slot || fault.revision.digest_text() == row.revision
                };
                status.last_faults.iter().filter(is_shown).map(line).collect()
            }),
            history: own.map_or_else(Vec::new, |_| self.history(kind)),
            trial: self
                .trial_report(kind.slot())
                .filter(|trial| row.slot.is_some() || trial.candidate.revision == row.revision)
                .map(Box::new),
            row,
        })))
    }

    /// Returns where rollbacks of a slot lead, the nearest first, then where taking them back does.
    fn history(&self, kind: Kind) -> Vec<RevisionRow> {
        let plugins = &self.parts.plugins;
        let side = |step| plugins.steps(kind, step).zip(1..).map(move |(left, at)| (step, left, at));
        let rows = side(Step::Back).chain(side(Step::Forward));
        rows.map(|(step, left, rollbacks)| RevisionRow {
            plugin: plugin_ref(kind.slot(), plugins.revision_of(&left.binding)),
            at: Time(left.at_ms),
            left: Some(left.by.clone()),
            settings: left.binding.settings().clone(),
            rollbacks,
            forward: step == Step::Forward,
        })
        .collect()
    }

    /// Returns where a rollback of a slot leads, and taking one back, with the time when each left.
    fn next_steps(&self, status: &SlotStatus) -> impl Iterator<Item = (&Revision, u64)> {
        let plugins = &self.parts.plugins;
        let kind = slot_named(status.slot).ok().into_iter();
        let steps =
            kind.flat_map(|kind| [Step::Back, Step::Forward].map(|step| plugins.steps(kind, step).next()));
        steps.flatten().filter_map(|left| Some((plugins.revision_of(&left.binding)?, left.at_ms)))
    }

    /// Says how many rollbacks of its slot bring a revision back.
    fn rollbacks_to(&self, digest: &[u8; 32], kind: Kind) -> Option<u32> {
        let plugins = &self.parts.plugins;
        let leads = |binding: &Binding| plugins.revision_of(binding).is_some_and(|r| r.digest == *digest);
        let mut steps = plugins.steps(kind, Step::Back).zip(1..);
        steps.find(|(left, _)| leads(&left.binding)).map(|(_, at)| at)
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

/// Returns what was counted of a revision in whichever slot it was; of the native built-in in the one slot that is meant.
pub(super) fn counted_of<'a>(
    statuses: impl IntoIterator<Item = &'a SlotStatus>,
    revision: Option<&Revision>,
) -> Counted {
    statuses.into_iter().find_map(|status| status.counted_of(revision)).cloned().unwrap_or_default()
}

/// Returns the revision that a slot belongs to now: the active one, or the one in quarantine that leaves nobody in its
/// place.
pub(super) fn bound(status: &SlotStatus) -> Option<&Revision> {
    let away = || status.quarantined.as_ref().filter(|_| !status.has_stand_in());
    status.active.as_ref().or_else(away)
}

/// Says whether a slot is a plugin's, also while that is away: then who answers is its operator's choice.
fn is_plugins(status: &SlotStatus) -> bool {
    status.active.is_some() || matches!(state_of(status), PluginState::Quarantined | PluginState::Vacant)
}

fn last_fault(status: &SlotStatus, revision: Option<&Revision>) -> Option<String> {
    let is_its = |fault: &&FaultRecord| Some(fault.revision.digest) == revision.map(|of| of.digest);
    status.last_faults.iter().find(is_its).map(|fault| fault.fault.to_string())
}

fn p99_s(counted: &Counted) -> Option<f64> {
    (counted.p99_ns > 0).then(|| counted.p99_ns as f64 / 1e9)
}
