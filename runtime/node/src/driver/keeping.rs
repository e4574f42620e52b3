//! What is installed and who may remove it: grants, pins, and collecting what nothing uses.

use std::collections::{BTreeMap, BTreeSet};

use mesh_plugin_host::{Engine, PolicySlot, Revision, SlotStatus};
use tokio::sync::oneshot;

use super::Driver;
use super::operate::silent;
use crate::api::{ApiError, CollectReport, GrantRow, OperateReport, RemoveReport, Reply, code};
use crate::handler::Job;
use crate::mesh::Answer;
use crate::plugins::granted::{names, parse, union, without};
use crate::plugins::{Installed, hex, plugin_ref};

/// Revisions that a node keeps, built-in ones not counted.
const MAX_REVISIONS: usize = 256;
/// Bytes of their components: some fifty of the largest that languages make. A start reads them all.
const MAX_INSTALLED: usize = 1 << 30;

/// What keeps a revision from being removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// It decides in this slot, or would without a quarantine.
    Slot(&'static str),
    Trial,
    /// A rollback of this slot would bring it back.
    Standby(&'static str),
}

/// Returns the command that brings a revision back; `None` for what came from no file and no registry.
fn install_line(installed: &Installed) -> Option<String> {
    let origin = &installed.origin;
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+=:@%,~".contains(c);
    let from = match origin.starts_with('/') || origin.starts_with("oci://") {
        false => return None,
        true if origin.chars().all(is_plain) => origin.clone(),
        true => format!("'{}'", origin.replace('\'', "'\\''")),
    };
    let grants = names(installed.grants);
    let grants = if grants.is_empty() { String::new() } else { format!(" --grant {}", grants.join(",")) };
    Some(format!("meshctl plugin install {from}{grants}"))
}

impl Driver {
    /// Says whether there is room for another component of this length.
    pub(super) fn check_room(&self, len: usize) -> Result<(), ApiError> {
        let kept = || self.parts.plugins.installed.values().filter(|installed| !installed.is_built_in);
        let message = if kept().count() >= MAX_REVISIONS {
            format!("{MAX_REVISIONS} plugins are installed, which is the limit")
        } else if kept().map(|installed| installed.size).sum::<usize>() + len > MAX_INSTALLED {
            format!(
                "with it, the installed plugins have more than {} MiB, which is the limit",
                MAX_INSTALLED >> 20
            )
        } else {
            return Ok(());
        };
        Err(ApiError::new(&code::PLUGIN_TOO_LARGE, message)
            .help("meshctl plugin gc")
            .help("meshctl plugin remove PLUGIN"))
    }

    /// Returns what slots use or would go back to.
    fn in_use(&self, handler: Option<&SlotStatus>) -> Result<BTreeSet<[u8; 32]>, ApiError> {
        let slots = self.slots(handler)?;
        let installed = self.parts.plugins.installed.keys();
        Ok(installed.filter(|digest| self.use_of(digest, &slots).is_some()).copied().collect())
    }

    fn slots(&self, handler: Option<&SlotStatus>) -> Result<Vec<SlotStatus>, ApiError> {
        let handler = handler.ok_or_else(silent)?.clone();
        Ok(PolicySlot::ALL
            .map(|slot| self.parts.plugins.set.status(slot))
            .into_iter()
            .chain([handler])
            .collect())
    }

    /// Returns what a revision is there for; the strongest claim, when there are several.
    fn use_of(&self, digest: &[u8; 32], slots: &[SlotStatus]) -> Option<Use> {
        let is_it = |revision: &Option<Revision>| revision.as_ref().is_some_and(|it| it.digest == *digest);
        let in_slot = slots.iter().find(|status| is_it(&status.active) || is_it(&status.quarantined));
        let bound = || {
            let kinds = crate::plugins::SLOTS.into_iter();
            let mut bound =
                kinds.filter_map(|kind| Some((kind.slot(), self.parts.plugins.bound(kind.slot())?)));
            bound.find(|(_, revision)| revision.digest == *digest).map(|(slot, _)| slot)
        };
        if let Some(slot) = in_slot.map(|status| status.slot).or_else(bound) {
            return Some(Use::Slot(slot));
        }
        if self.is_on_trial(digest) {
            return Some(Use::Trial);
        }
        let warm = slots.iter().find(|status| is_it(&status.previous)).map(|status| status.slot);
        warm.or_else(|| self.parts.plugins.next_to(digest)).map(Use::Standby)
    }

    pub(super) fn remove_plugin(
        &mut self,
        text: &str,
        standby: bool,
        dry_run: bool,
        handler: Option<&SlotStatus>,
    ) -> Result<Reply, ApiError> {
        let slots = self.slots(handler)?;
        let installed = self.parts.plugins.find(text)?;
        let (revision, freed) = (installed.revision.clone(), installed.size as u64);
        let undo = install_line(installed);
        let in_use = |why: &str| ApiError::new(&code::PLUGIN_IN_USE, format!("{revision} {why}"));
        if installed.is_built_in {
            return Err(in_use("is built in").help("meshctl plugin list"));
        }
        let used = self.use_of(&revision.digest, &slots);
        match used {
            Some(Use::Slot(slot)) => {
                let error = in_use(&format!("is in the slot {slot}"));
                return Err(error
                    .help(format!("meshctl plugin rollback {slot}"))
                    .help(format!("meshctl plugin disable {slot}")));
            }
            Some(Use::Trial) => return Err(in_use("is on trial").help("meshctl plugin list")),
            Some(Use::Standby(slot)) if !standby => {
                let error = in_use(&format!("is what a rollback of the slot {slot} would bring back"));
                return Err(error.help(format!("meshctl plugin remove {text} --standby")));
            }
            Some(Use::Standby(_)) | None => {}
        }
        if self.parts.plugins.pinned.contains(&revision.digest) {
            return Err(ApiError::new(&code::PLUGIN_PINNED, format!("{revision} is pinned"))
                .help(format!("meshctl plugin unpin {}@{}", revision.name, revision.version)));
        }
        if !dry_run {
            if used.is_some() {
                self.parts.plugins.set.forget_standby(&revision.digest);
                self.parts.plugins.handler.hand(Job::Forget { digest: revision.digest });
            }
            let writes = self.parts.plugins.remove(&revision.digest);
            self.writes.extend(writes);
        }
        Ok(Reply::Removed(RemoveReport {
            plugin: plugin_ref("", Some(&revision)),
            freed_bytes: freed,
            dry_run,
            undo: undo.filter(|_| !dry_run),
        }))
    }

    /// Removes what no slot uses or would go back to and nobody pinned, but for the newest `keep` of each name; then the
    /// compiled code of all that is not installed.
    pub(super) fn collect(&mut self, keep: u32, dry_run: bool, answer: Answer<Reply>) {
        let (collected, outcome) = oneshot::channel();
        let (told, stays) = oneshot::channel();
        self.with_handler(collected, move |driver, handler| {
            let (report, stays) = driver.collect_revisions(keep, dry_run, handler)?;
            let _ = told.send(stays);
            Ok(Reply::Collected(report))
        });
        let engine = self.parts.plugins.engine.clone();
        tokio::task::spawn(async move {
            let reply = match (outcome.await, stays.await) {
                (Ok(Ok(Reply::Collected(report))), Ok(stays)) => {
                    let clean = move || collect_code(&engine, report, &stays);
                    let report = tokio::task::spawn_blocking(clean).await;
                    report.map(Reply::Collected).map_err(|error| ApiError::new(&code::INTERNAL, error))
                }
                (Ok(reply), _) => reply,
                (Err(_), _) => Err(silent()),
            };
            let _ = answer.send(reply);
        });
    }

    /// Returns what was removed, and the digests of what stays.
    fn collect_revisions(
        &mut self,
        keep: u32,
        dry_run: bool,
        handler: Option<&SlotStatus>,
    ) -> Result<(CollectReport, BTreeSet<String>), ApiError> {
        let in_use = self.in_use(handler)?;
        let plugins = &self.parts.plugins;
        let foreign = || plugins.installed.values().filter(|installed| !installed.is_built_in);
        let is_free = |installed: &&Installed| {
            let digest = installed.revision.digest;
            !in_use.contains(&digest) && !plugins.pinned.contains(&digest)
        };
        let mut by_name: BTreeMap<&str, Vec<&Installed>> = BTreeMap::new();
        for installed in foreign().filter(is_free) {
            by_name.entry(&installed.revision.name).or_default().push(installed);
        }
        let mut gone: Vec<(Revision, u64, Option<String>)> = Vec::new();
        for revisions in by_name.values_mut() {
            revisions.sort_by_key(|installed| std::cmp::Reverse(installed.since_ms));
            let old = revisions.iter().skip(usize::try_from(keep).unwrap_or(usize::MAX));
            gone.extend(old.map(|i| (i.revision.clone(), i.size as u64, install_line(i))));
        }
        let report = CollectReport {
            removed: gone.iter().map(|(revision, ..)| plugin_ref("", Some(revision))).collect(),
            freed_bytes: gone.iter().map(|(_, size, _)| size).sum(),
            cache_entries: 0,
            cache_bytes: 0,
            pinned: foreign().filter(|i| plugins.pinned.contains(&i.revision.digest)).count() as u64,
            in_use: foreign().filter(|i| in_use.contains(&i.revision.digest)).count() as u64,
            dry_run,
            undo: match dry_run {
                true => Vec::new(),
                false => gone.iter().filter_map(|(.., undo)| undo.clone()).collect(),
            },
        };
        let goes = |digest: &[u8; 32]| gone.iter().any(|(revision, ..)| revision.digest == *digest);
        let stays = plugins.installed.keys().filter(|digest| !goes(digest)).map(hex).collect();
        if !dry_run {
            for (revision, ..) in &gone {
                let writes = self.parts.plugins.remove(&revision.digest);
                self.writes.extend(writes);
            }
        }
        Ok((report, stays))
    }

    pub(super) fn pin(&mut self, text: &str, pinned: bool, dry_run: bool) -> Result<Reply, ApiError> {
        let installed = self.parts.plugins.find(text)?;
        if installed.is_built_in {
            let message = format!("{} is built in: nothing removes it", installed.revision);
            return Err(ApiError::new(&code::BAD_VALUE, message).help("meshctl plugin list"));
        }
        let revision = installed.revision.clone();
        let is_new = self.parts.plugins.pinned.contains(&revision.digest) != pinned;
        if !dry_run {
            let write = self.parts.plugins.pin(&revision.digest, pinned);
            self.writes.push(write);
        }
        let (done, back) = if pinned { ("pinned", "unpin") } else { ("not pinned any more", "pin") };
        Ok(Reply::Operated(OperateReport {
            slot: None,
            plugin: plugin_ref("", Some(&revision)),
            done: done.to_owned(),
            decides: None,
            dry_run,
            undo: (is_new && !dry_run)
                .then(|| format!("meshctl plugin {back} {}", plugin_ref("", Some(&revision)).revision)),
        }))
    }

    /// Lists what each installed plugin may use and asks for; policies can have nothing and are left out.
    pub(super) fn grant_rows(&self, text: Option<&str>) -> Result<Reply, ApiError> {
        let one = text.map(|text| self.parts.plugins.find(text)).transpose()?;
        let shown: Vec<&Installed> = match one {
            Some(installed) => vec![installed],
            None => self.parts.plugins.installed.values().collect(),
        };
        Ok(Reply::Grants(shown.into_iter().flat_map(grants_of).collect()))
    }

    /// Changes what an installed plugin may use. What a slot needs is not taken from it.
    pub(super) fn change_grants(
        &mut self,
        text: &str,
        (give, take): (&[String], &[String]),
        dry_run: bool,
        handler: Option<&SlotStatus>,
    ) -> Result<Reply, ApiError> {
        let (give, take) = (parse(give)?, parse(take)?);
        let in_use = self.in_use(handler)?;
        let installed = self.parts.plugins.find(text)?;
        let (revision, before, asked) = (installed.revision.clone(), installed.grants, installed.asked);
        if installed.is_built_in {
            let message = format!("{revision} is built in and has what it asks for");
            return Err(ApiError::new(&code::BAD_VALUE, message).help("meshctl plugin grants show"));
        }
        let missing = names(without(give, asked));
        if !missing.is_empty() {
            let message = format!("{revision} does not ask for {}", missing.join(", "));
            return Err(ApiError::new(&code::BAD_VALUE, message)
                .fact("asks for", listed(&names(asked)))
                .help("meshctl plugin grants show"));
        }
        let after = without(union(before, give), take);
        if names(without(asked, after)).len() > names(without(asked, before)).len()
            && in_use.contains(&revision.digest)
        {
            return Err(ApiError::new(
                &code::PLUGIN_IN_USE,
                format!("{revision} is in a slot or on trial and needs it"),
            )
            .help(format!("meshctl plugin disable {}", installed.kind.slot())));
        }
        if !dry_run {
            let write = self.parts.plugins.grant(&revision.digest, after);
            self.writes.extend(write);
        }
        let undo = (!dry_run && after != before).then(|| undo_grants(&revision, before, after));
        let done = said(&names(without(after, before)), &names(without(before, after)), &names(after));
        let plugin = plugin_ref("", Some(&revision));
        Ok(Reply::Operated(OperateReport { slot: None, plugin, done, decides: None, dry_run, undo }))
    }
}

fn collect_code(engine: &Engine, report: CollectReport, stays: &BTreeSet<String>) -> CollectReport {
    let cleaned = engine.clean_cache(|digest| stays.contains(digest), report.dry_run);
    CollectReport { cache_entries: cleaned.entries, cache_bytes: cleaned.bytes, ..report }
}

/// Says what was given and taken, and what holds now.
fn said(given: &[String], taken: &[String], now: &[String]) -> String {
    let mut parts = Vec::new();
    if !given.is_empty() {
        parts.push(format!("granted {}", listed(given)));
    }
    if !taken.is_empty() {
        parts.push(format!("revoked {}", listed(taken)));
    }
    let change = if parts.is_empty() { "unchanged".to_owned() } else { parts.join(", ") };
    format!("{change}; it has {} now", listed(now))
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

fn grants_of(installed: &Installed) -> Vec<GrantRow> {
    let (asked, given) = (names(installed.asked), names(installed.grants));
    let why =
        |grant: &str| installed.wishes.iter().find(|wish| wish.name == grant).map(|wish| wish.why.clone());
    let row = |grant: &&str| GrantRow {
        plugin: plugin_ref("", Some(&installed.revision)),
        grant: (*grant).to_owned(),
        asked: asked.iter().any(|name| name == grant),
        why: why(grant).unwrap_or_default(),
        granted: given.iter().any(|name| name == grant),
    };
    let matters = |row: &GrantRow| row.asked || row.granted;
    mesh_plugin_host::Grants::NAMES.iter().map(row).filter(matters).collect()
}

fn undo_grants(
    revision: &Revision,
    before: mesh_plugin_host::Grants,
    after: mesh_plugin_host::Grants,
) -> String {
    let mut line = format!("meshctl plugin grants set {}", revision.digest_text());
    names(without(before, after)).iter().for_each(|name| line.push_str(&format!(" --grant {name}")));
    names(without(after, before)).iter().for_each(|name| line.push_str(&format!(" --revoke {name}")));
    line
}
