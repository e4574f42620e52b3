//! The list of keys: what it says, how it changes, and what a revocation takes out of the slots.

use mesh_plugin_host::sign::PublicKey;
use mesh_plugin_host::trust::{ChangeError, Entry, Pattern, TrustList};
use mesh_plugin_host::{Kind, OnFailure, Revision, SlotStatus, Withdrawn};

use super::Driver;
use super::clock::unix_ms;
use crate::api::{ApiError, EventKind, PluginRef, Reply, Time, TrustChange, TrustReport, TrustRow, code};
use crate::handler::Job;
use crate::mesh::Answer;
use crate::plugins::{SLOTS, Step, plugin_ref};

impl Driver {
    pub(super) fn trust_rows(&self) -> Reply {
        Reply::Trust(self.parts.plugins.trust.list.entries().map(|(key, entry)| row(key, entry)).collect())
    }

    /// Changes the list; the answer follows the write, so that a revocation that was confirmed is on disk.
    pub(super) fn change_trust(
        &mut self,
        key: &str,
        change: &TrustChange,
        dry_run: bool,
        answer: Answer<Reply>,
    ) {
        let reply = self.changed_trust(key, change, dry_run);
        self.answer_when_kept(reply.map(Reply::Trusted), answer);
    }

    fn changed_trust(
        &mut self,
        key: &str,
        change: &TrustChange,
        dry_run: bool,
    ) -> Result<TrustReport, ApiError> {
        let key: PublicKey =
            key.parse().map_err(|error| ApiError::new(&code::BAD_SIGNING_KEY, error).fact("key", key))?;
        // On a copy, so that a rehearsal goes exactly as far as the real thing.
        let mut list = self.parts.plugins.trust.list.clone();
        let before = list.entry(&key).cloned();
        let after = apply(&mut list, key, change)?;
        let bound = self.bound_by(&key);
        let is_revocation = matches!(change, TrustChange::Revoke { .. });
        if !dry_run {
            self.parts.plugins.trust.list = list;
            self.writes.push(self.parts.plugins.trust.kept(&key));
            if is_revocation {
                self.withdraw_revoked();
            }
        }
        let (withdrawn, bound) = if is_revocation { (bound, Vec::new()) } else { (Vec::new(), bound) };
        let undo = undo(&key, change, before.as_ref()).filter(|_| !dry_run);
        let is_addition = matches!(change, TrustChange::Add { .. });
        let replaces = before.as_ref().filter(|_| is_addition).map(|entry| row(&key, entry));
        let done = if replaces.is_some() { "replaced" } else { done(change) };
        Ok(TrustReport { done: done.to_owned(), replaces, key: after, withdrawn, bound, dry_run, undo })
    }

    /// Returns what is in a slot and was signed by this key.
    fn bound_by(&self, key: &PublicKey) -> Vec<PluginRef> {
        let plugins = &self.parts.plugins;
        let bound = SLOTS.into_iter().filter_map(|kind| Some((kind.slot(), plugins.bound(kind.slot())?)));
        let signed = bound.filter(|(_, revision)| plugins.has_signed(key, &revision.digest));
        signed.map(|(slot, revision)| plugin_ref(slot, Some(revision))).collect()
    }

    fn withdraw_revoked(&mut self) {
        let digests = self.parts.plugins.revoked();
        let is_revoked = |revision: &Revision| digests.contains(&revision.digest);
        for withdrawn in self.parts.plugins.set.withdraw(&is_revoked, unix_ms()) {
            self.on_withdrawn(&withdrawn, None);
        }
        self.parts.plugins.handler.hand(Job::Withdraw { digests });
    }

    /// A revision left its slot because its signer was revoked.
    pub(super) fn on_withdrawn(&mut self, withdrawn: &Withdrawn, told: Option<&SlotStatus>) {
        let Withdrawn { slot, revision, successor } = withdrawn;
        let status = self.status_of(slot, told);
        let vacant = status.as_ref().filter(|_| successor.is_none()).map(|status| status.on_failure);
        let closed = vacant.filter(|mode| *mode != OnFailure::Fallback);
        let next = plugin_ref(slot, successor.as_ref());
        self.tell(EventKind::PluginRevoked {
            slot: (*slot).to_owned(),
            plugin: plugin_ref(slot, Some(revision)),
            key: self.revoked_signer(revision).map(|key| key.to_string()).unwrap_or_default(),
            successor: closed.map_or_else(|| next.to_string(), |mode| format!("nobody ({mode})")),
        });
        if closed.is_none() {
            self.tell(EventKind::PluginRolledBack {
                slot: (*slot).to_owned(),
                plugin: next,
                automatic: true,
            });
        }
        if let Some(status) = status {
            self.note_binding(&status, Step::Withdrawn);
        }
    }

    fn revoked_signer(&self, revision: &Revision) -> Option<PublicKey> {
        let plugins = &self.parts.plugins;
        let signatures = &plugins.installed.get(&revision.digest)?.signatures;
        plugins.trust.list.check_revoked(signatures).err().map(|distrust| distrust.key())
    }
}

fn apply(list: &mut TrustList, key: PublicKey, change: &TrustChange) -> Result<TrustRow, ApiError> {
    let now_ms = unix_ms();
    match change {
        TrustChange::Add { patterns, slots } => {
            let parsed = patterns.iter().map(|text| parse_pattern(text)).collect::<Result<Vec<_>, _>>()?;
            if parsed.is_empty() {
                return Err(ApiError::new(&code::BAD_VALUE, "a key is trusted for at least one name")
                    .help(format!("meshctl plugin trust add {key} --for 'author/*'")));
            }
            let entry = list.add(key, parsed, slots.clone(), now_ms).map_err(|error| refused(&error))?;
            Ok(row(&key, entry))
        }
        TrustChange::Remove => {
            list.remove(&key).map(|entry| row(&key, &entry)).map_err(|error| refused(&error))
        }
        TrustChange::Revoke { reason } => {
            let entry = list.revoke(key, reason, now_ms).map_err(|error| refused(&error))?;
            Ok(row(&key, entry))
        }
    }
}

fn parse_pattern(text: &str) -> Result<Pattern, ApiError> {
    text.parse().map_err(|error| {
        let help = "put it in quotes, so that the shell leaves the star alone: --for 'author/*'";
        ApiError::new(&code::BAD_VALUE, error).fact("pattern", text).help(help)
    })
}

fn done(change: &TrustChange) -> &'static str {
    match change {
        TrustChange::Add { .. } => "added",
        TrustChange::Remove => "removed",
        TrustChange::Revoke { .. } => "revoked",
    }
}

/// Returns the command that brings back what the list had of the key.
fn undo(key: &PublicKey, change: &TrustChange, before: Option<&Entry>) -> Option<String> {
    match (change, before) {
        (TrustChange::Revoke { .. }, _) => None,
        (_, Some(entry)) => {
            let mut line = format!("meshctl plugin trust add {key}");
            entry.patterns.iter().for_each(|pattern| line.push_str(&format!(" --for '{pattern}'")));
            entry.slots.iter().for_each(|slot| line.push_str(&format!(" --slot {slot}")));
            Some(line)
        }
        (_, None) => Some(format!("meshctl plugin trust remove {key}")),
    }
}

fn row(key: &PublicKey, entry: &Entry) -> TrustRow {
    TrustRow {
        key: key.to_string(),
        patterns: entry.patterns.iter().map(ToString::to_string).collect(),
        slots: entry.slots.clone(),
        since: Time(entry.since_ms),
        revoked_at: entry.revoked.as_ref().map(|revoked| Time(revoked.at_ms)),
        reason: entry.revoked.as_ref().map(|revoked| revoked.reason.clone()),
    }
}

fn refused(error: &ChangeError) -> ApiError {
    let code = match error {
        ChangeError::Revoked { .. } => &code::SIGNER_REVOKED,
        ChangeError::Unknown { .. } => &code::NO_SUCH_KEY,
        ChangeError::TooMany { .. } => &code::BAD_VALUE,
        ChangeError::NoSuchSlot { .. } => &code::NO_SUCH_SLOT,
    };
    let refused = ApiError::new(code, error).help("meshctl plugin trust list");
    match error {
        ChangeError::NoSuchSlot { .. } => refused.fact("slots", Kind::ALL.map(Kind::slot).join(", ")),
        _ => refused,
    }
}
