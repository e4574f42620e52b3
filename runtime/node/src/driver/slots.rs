//! Plugin calls: swap, roll back, remove, and what the slots and the handler tell.

use bytes::Bytes;
use mesh_plugin_host::handler::Effect;
use mesh_plugin_host::{
    Change, Kind, LoadError, Loaded, OnFailure, OperateError, PolicySlot, PrepareError, Revision, SlotEvent,
    SlotStatus, StartWith, SwapError, SwapReport, Terms,
};
use mesh_proto::TopicId;
use mesh_proto::node::{Input, Publish};
use mesh_proto::run::{BROADCAST_HOP_LIMIT, Dest};
use tokio::sync::oneshot;

use super::Driver;
use super::answers::Finish;
use super::clock::unix_ms;
use super::install::load_failed;
use super::operate::silent;
use super::rollback;
use super::trials;
use crate::api::{ApiError, Code, EventKind, OldState, Reply, SwapRequest, code};
use crate::fail_point::fail_point;
use crate::handler::{Job, Told};
use crate::mesh::Answer;
use crate::plugins::{Act, Candidate, Ready, ReadyError, Source, Step, kv_key, plugin_ref};
use crate::store::{Table, Write};

/// Off-thread work that came to its end.
pub(super) enum Done {
    Loaded {
        outcome: Result<Candidate, ApiError>,
        origin: String,
        dry_run: bool,
        answer: Answer<Reply>,
    },
    Ready {
        outcome: Result<(Ready, Loaded), ReadyError>,
        request: SwapRequest,
        answer: Answer<Reply>,
    },
    Trial {
        outcome: Result<trials::Prepared, ReadyError>,
        asked: trials::Asked,
    },
    HandlerStatus {
        status: Option<Box<SlotStatus>>,
        finish: Finish,
        answer: Answer<Reply>,
    },
    HandlerSwapped {
        outcome: Result<(SwapReport, Box<SlotStatus>), SwapError>,
        /// What was asked for by name; `None` for a return to what was there before.
        plugin: Option<String>,
        step: Step,
        kept: bool,
        answer: Answer<Reply>,
    },
    /// How the handler's slot is, for a rollback of it.
    HandlerRollback {
        status: Option<Box<SlotStatus>>,
        step: Step,
        dry_run: bool,
        answer: Answer<Reply>,
    },
    /// What was in a slot before and is not warm any more.
    Back {
        outcome: Result<(Ready, Loaded), ReadyError>,
        slot: Kind,
        step: Step,
        answer: Answer<Reply>,
    },
    Acted {
        act: Act,
        outcome: Result<Box<(SlotStatus, SlotStatus)>, OperateError>,
        answer: Answer<Reply>,
    },
}

impl Driver {
    pub(super) fn swap(&mut self, request: SwapRequest, answer: Answer<Reply>) {
        fail_point("swap-asked");
        let slot = match slot_named(&request.slot) {
            Ok(slot) => slot,
            Err(error) => return drop(answer.send(Err(error))),
        };
        if let (false, Err(error)) = (request.dry_run, self.check_no_trial(slot.slot())) {
            return drop(answer.send(Err(error)));
        }
        if request.plugin.starts_with("native") {
            return self.empty_slot(slot, Step::Onward, request.dry_run, answer);
        }
        let source = match self.source_for(&request) {
            Ok(source) => source,
            Err(error) => return drop(answer.send(Err(error))),
        };
        let done = self.done_sender.clone();
        tokio::task::spawn_blocking(move || {
            let outcome = source.make_ready();
            fail_point("swap-made-ready");
            let _ = done.blocking_send(Done::Ready { outcome, request, answer });
        });
    }

    /// Returns what makes the plugin of a swap ready.
    pub(super) fn source_for(&self, request: &SwapRequest) -> Result<Source, ApiError> {
        let slot = slot_named(&request.slot)?;
        let installed = self.parts.plugins.find(&request.plugin)?;
        if installed.kind != slot {
            let is = format!("{} is a {} plugin", installed.revision, installed.kind);
            let message = format!("{is}, it does not fit the slot {}", slot.slot());
            let help = format!("meshctl plugin swap {} {}", installed.kind.slot(), request.plugin);
            return Err(ApiError::new(&code::WRONG_WORLD, message).help(help));
        }
        self.parts.plugins.check_binding(installed, unix_ms(), request.allow_downgrade)?;
        let digest = installed.revision.digest;
        let on_failure = request.on_failure.map_or_else(|| OnFailure::of(slot), OnFailure::from);
        let lowered = self.parts.plugins.lowered(slot.slot(), &installed.revision.name);
        let terms = Terms { on_failure, lowered };
        let source = self.parts.plugins.source(&self.parts.store, &digest, &request.settings, terms);
        source.map_err(|error| unreadable(&error))?.ok_or_else(gone)
    }

    /// Says whether what was made ready may go into its slot. Meanwhile it may have been removed, a grant or a key
    /// taken back, a trial begun.
    pub(super) fn still_allowed(&self, loaded: &Loaded, request: &SwapRequest) -> Result<(), ApiError> {
        let revision = loaded.revision();
        self.check_candidate(revision, request)?;
        if self.parts.plugins.grants(&revision.digest) != loaded.grants() {
            let message = format!("the grants of {revision} were changed while it was made ready");
            return Err(ApiError::new(&code::GRANTS_REFUSED, message).help("meshctl plugin grants show"));
        }
        if request.dry_run { Ok(()) } else { self.check_no_trial(&request.slot) }
    }

    /// Says whether a revision is still installed and may be bound.
    pub(super) fn check_candidate(&self, revision: &Revision, request: &SwapRequest) -> Result<(), ApiError> {
        let plugins = &self.parts.plugins;
        let installed = plugins.installed.get(&revision.digest).ok_or_else(|| {
            ApiError::new(&code::NO_SUCH_PLUGIN, format!("{revision} is not installed any more"))
                .help("meshctl plugin list")
        })?;
        plugins.check_binding(installed, unix_ms(), request.allow_downgrade)
    }

    pub(super) fn on_done(&mut self, done: Done) {
        match done {
            Done::Loaded { outcome, origin, dry_run, answer } => {
                let reply = outcome.and_then(|candidate| self.on_loaded(candidate, &origin, dry_run));
                self.answer_when_kept(reply, answer);
            }
            Done::Ready { outcome, request, answer } => {
                let failed = |error: ReadyError| not_ready(&error).filled("PLUGIN", &request.plugin);
                let ready = outcome.map_err(failed).and_then(|(ready, loaded)| {
                    self.still_allowed(&loaded, &request)?;
                    self.parts.plugins.remember(loaded);
                    Ok(ready)
                });
                match ready {
                    Ok(ready) => self.switch(ready, request, answer),
                    Err(error) => drop(answer.send(Err(error))),
                }
            }
            Done::Trial { outcome, asked } => self.on_trial_ready(outcome, asked),
            Done::HandlerStatus { status, finish, answer } => {
                let reply = finish(self, status.as_deref());
                match self.writes.is_empty() {
                    true => drop(answer.send(reply)),
                    false => self.answer_when_kept(reply, answer),
                }
            }
            Done::HandlerSwapped { outcome, plugin, step, kept, answer } => {
                let plugin = plugin.as_deref().unwrap_or("PLUGIN");
                let slot = Kind::Handler.slot();
                if let (Err(SwapError::NoPlugin), Step::Onward) = (&outcome, step) {
                    return drop(answer.send(Ok(native_already(slot, false))));
                }
                let reply = outcome
                    .map_err(|error| swap_failed(&error, slot).filled("SLOT", slot).filled("PLUGIN", plugin))
                    .map(|(report, status)| self.switched(&report, Some(&status), step, kept));
                self.answer_when_kept(reply, answer);
            }
            Done::HandlerRollback { status, step, dry_run, answer } => match status {
                Some(status) => self.roll_back_from(Kind::Handler, &status, step, dry_run, answer),
                None => drop(answer.send(Err(silent()))),
            },
            Done::Back { outcome, slot, step, answer } => self.on_back_ready(outcome, slot, step, answer),
            Done::Acted { act, outcome, answer } => {
                let reply = self.acted(act, outcome.map(|statuses| *statuses), false, Kind::Handler);
                self.answer_when_kept(reply, answer);
            }
        }
    }

    fn switch(&mut self, ready: Ready, request: SwapRequest, answer: Answer<Reply>) {
        fail_point("swap-allowed");
        let start_with = start_with(&request);
        let outcome = match ready {
            Ready::Handler(prepared) => {
                let dry_run = request.dry_run;
                let (swapped, outcome) = oneshot::channel();
                self.parts.plugins.handler.hand(Job::Swap { prepared, start_with, dry_run, answer: swapped });
                let plugin = Some(request.plugin);
                return self.await_handler(outcome, plugin, Step::Onward, !dry_run, answer);
            }
            policy => self.swap_policy(policy, &request),
        };
        let failed = |error: SwapError| {
            swap_failed(&error, &request.slot).filled("SLOT", &request.slot).filled("PLUGIN", &request.plugin)
        };
        let reply = outcome
            .map_err(failed)
            .map(|report| self.switched(&report, None, Step::Onward, !request.dry_run));
        self.answer_when_kept(reply, answer);
    }

    /// Hands a policy slot over, or rehearses it.
    pub(super) fn swap_policy(
        &mut self,
        ready: Ready,
        request: &SwapRequest,
    ) -> Result<SwapReport, SwapError> {
        let (now_ms, dry_run, start_with) = (unix_ms(), request.dry_run, start_with(request));
        let set = &mut self.parts.plugins.set;
        match ready {
            Ready::Policy(prepared) if dry_run => set.rehearse(*prepared, now_ms, start_with),
            Ready::Policy(prepared) => set.swap(*prepared, now_ms, start_with),
            Ready::Handler(_) => unreachable!("a handler's slot is its thread's"),
        }
    }

    pub(super) fn empty_slot(&mut self, slot: Kind, step: Step, dry_run: bool, answer: Answer<Reply>) {
        let Some(policy) = policy_slot(slot) else {
            if dry_run {
                return self.with_handler(answer, |_, status| rehearsed_removal(status.ok_or_else(silent)?));
            }
            let (swapped, outcome) = oneshot::channel();
            self.parts.plugins.handler.hand(Job::Remove { answer: swapped });
            return self.await_handler(outcome, None, step, true, answer);
        };
        if dry_run {
            let status = self.parts.plugins.set.status(policy);
            return drop(answer.send(rehearsed_removal(&status)));
        }
        let reply = match self.parts.plugins.set.remove(policy, unix_ms()) {
            Err(SwapError::NoPlugin) if step == Step::Onward => Ok(native_already(policy.name(), false)),
            outcome => outcome
                .map_err(|error| swap_failed(&error, policy.name()))
                .map(|report| self.switched(&report, None, step, true)),
        };
        self.answer_when_kept(reply, answer);
    }

    pub(super) fn await_handler(
        &self,
        outcome: oneshot::Receiver<Result<(SwapReport, Box<SlotStatus>), SwapError>>,
        plugin: Option<String>,
        step: Step,
        kept: bool,
        answer: Answer<Reply>,
    ) {
        let done = self.done_sender.clone();
        tokio::spawn(async move {
            match outcome.await {
                Ok(outcome) => {
                    drop(done.send(Done::HandlerSwapped { outcome, plugin, step, kept, answer }).await);
                }
                Err(_) => {
                    drop(answer.send(Err(ApiError::new(&code::HANDLER_FAILED, "the handler is overloaded"))))
                }
            }
        });
    }

    /// A slot was switched, or the switch rehearsed: notes it for the next start and says so. `told` is how the
    /// handler's slot is now.
    pub(super) fn switched(
        &mut self,
        report: &SwapReport,
        told: Option<&SlotStatus>,
        step: Step,
        kept: bool,
    ) -> Reply {
        fail_point("swap-switched");
        let is_changed = kept && report.change != Change::Nothing;
        if is_changed {
            if let Some(status) = self.status_of(report.slot, told) {
                self.note_binding(&status, step);
            }
            if let (Some(policy), Some(old)) = (PolicySlot::from_name(report.slot), &report.old) {
                let left = self.parts.plugins.keep_left(policy, old);
                self.writes.extend(left);
            }
            let version = report.new.as_ref().and_then(|new| self.parts.plugins.note_bound(new));
            self.writes.extend(version);
            fail_point("swap-noted");
        }
        // What was there before a new instance of the same is gone.
        let has_undo = is_changed && report.change != Change::Restarted;
        Reply::Swapped(crate::api::SwapReport {
            slot: report.slot.to_owned(),
            change: report.change.into(),
            old: plugin_ref(report.slot, report.old.as_ref()),
            new: plugin_ref(report.slot, report.new.as_ref()),
            state_bytes: report.state_bytes as u64,
            state_carried: report.state_carried,
            state_restored: report.state_restored,
            pause_us: report.pause.as_nanos() as f64 / 1000.0,
            at_decision: report.at_decision,
            dry_run: !kept,
            undo: has_undo.then(|| rollback::undo_of(report.slot, step)),
        })
    }

    /// Answers once what was written so far is on disk.
    pub(super) fn answer_when_kept(&mut self, reply: Result<Reply, ApiError>, answer: Answer<Reply>) {
        let is_kept = self.writes.is_empty() && self.submitted.is_empty();
        match reply {
            Ok(reply) if is_kept => drop(answer.send(Ok(reply))),
            Ok(reply) => self.then.push(Box::new(move || {
                fail_point("reply-kept");
                drop(answer.send(Ok(reply)));
                fail_point("reply-sent");
            })),
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    /// Returns the bytes of an installed component.
    pub(super) fn component(&self, digest: &[u8; 32]) -> Result<Bytes, ApiError> {
        let bytes =
            self.parts.plugins.bytes(&self.parts.store, digest).map_err(|error| unreadable(&error))?;
        bytes.ok_or_else(gone)
    }

    /// Passes on what happened in the policy slots.
    pub(super) fn tell_slot_events(&mut self) {
        for event in self.parts.plugins.set.take_events() {
            self.on_slot_event(event, None);
        }
    }

    fn on_slot_event(&mut self, event: SlotEvent, told: Option<&SlotStatus>) {
        match event {
            SlotEvent::Swapped(report) => {
                let plugin = plugin_ref(report.slot, report.new.as_ref());
                let pause_us = report.pause.as_nanos() as f64 / 1000.0;
                self.tell(EventKind::PluginSwapped { slot: report.slot.to_owned(), plugin, pause_us });
            }
            SlotEvent::RolledBack(report) => {
                let plugin = plugin_ref(report.slot, report.new.as_ref());
                self.tell(EventKind::PluginRolledBack {
                    slot: report.slot.to_owned(),
                    plugin,
                    automatic: false,
                });
            }
            SlotEvent::Struck { slot, revision, fault, strikes } => {
                let plugin = plugin_ref(slot, Some(&revision));
                let strikes = u32::try_from(strikes).unwrap_or(u32::MAX);
                self.tell(EventKind::PluginStruck {
                    slot: slot.to_owned(),
                    plugin,
                    reason: fault.to_string(),
                    strikes,
                });
                // What a closed failure has held is decided on again by the fresh instance.
                self.inputs.push(Input::PoliciesChanged);
            }
            SlotEvent::Resumed { slot, revision, automatic } => {
                let plugin = plugin_ref(slot, Some(&revision));
                self.tell(EventKind::PluginResumed { slot: slot.to_owned(), plugin, automatic });
                if let Some(status) = self.status_of(slot, told) {
                    self.note_binding(&status, Step::Onward);
                }
            }
            SlotEvent::Quarantined { slot, revision, successor, mode, .. } => {
                let plugin = plugin_ref(slot, Some(&revision));
                let next = plugin_ref(slot, successor.as_ref());
                let is_vacant = successor.is_none() && mode != OnFailure::Fallback;
                self.tell(EventKind::PluginQuarantined {
                    slot: slot.to_owned(),
                    plugin,
                    successor: if is_vacant { format!("nobody ({mode})") } else { next.to_string() },
                });
                if !is_vacant {
                    let slot = slot.to_owned();
                    self.tell(EventKind::PluginRolledBack { slot, plugin: next, automatic: true });
                }
                // After a restart the good one runs, not the one that failed.
                if let Some(status) = self.status_of(slot, told) {
                    self.note_binding(&status, Step::Onward);
                }
            }
        }
    }

    /// Does what the handler asks for.
    pub(super) fn on_told(&mut self, told: Told) {
        let mut topics = Vec::new();
        for effect in told.effects {
            match effect {
                Effect::Subscribe(topic) => topics.push(topic),
                Effect::Publish { topic, class, ttl_ms, payload } => {
                    self.inputs.push(Input::Publish(Publish {
                        token: 0,
                        dest: Dest::Topic(TopicId::of(&topic)),
                        class,
                        ttl_ms: Some(ttl_ms.into()),
                        hop_limit: BROADCAST_HOP_LIMIT,
                        durable: false,
                        want_ids: false,
                        payloads: vec![payload.into()],
                    }))
                }
                Effect::Notify { kind, payload } => self.notify(&kind, &payload),
                Effect::Put { key, value } => {
                    self.writes.push(Write::Put {
                        table: Table::Meta,
                        key: kv_key(&key),
                        value: value.into(),
                    });
                }
                Effect::Forget(key) => {
                    self.writes.push(Write::Delete { table: Table::Meta, key: kv_key(&key) });
                }
                // The thread has answered and set its timers itself.
                Effect::Reply(_) | Effect::SetTimer { .. } => {}
            }
        }
        self.handler_wants(topics, told.restarted);
        let status = told.status.as_deref();
        told.events.into_iter().for_each(|event| self.on_slot_event(event, status));
        if let Some(withdrawn) = told.withdrawn {
            self.on_withdrawn(&withdrawn, status);
        }
    }

    fn notify(&self, kind: &str, payload: &[u8]) {
        #[derive(serde::Deserialize)]
        struct Notice {
            node: String,
            #[serde(default)]
            name: Option<String>,
            #[serde(default)]
            geohash: String,
        }
        match serde_json::from_slice::<Notice>(payload) {
            Ok(notice) => {
                if let Ok(node) = notice.node.parse() {
                    let change = kind.strip_prefix("beacon-").unwrap_or(kind).to_owned();
                    let name = notice.name.filter(|name| !name.is_empty());
                    self.tell(EventKind::Beacon { node, name, change, geohash: notice.geohash });
                }
            }
            Err(error) => tracing::debug!(kind, %error, "a notice of the handler says nothing known"),
        }
    }
}

/// Says what giving a slot back to the native built-in would do.
fn rehearsed_removal(status: &SlotStatus) -> Result<Reply, ApiError> {
    let is_native = status.active.is_none() && status.quarantined.is_none();
    if is_native && status.on_failure == OnFailure::Fallback {
        return Ok(native_already(status.slot, true));
    }
    Ok(rehearsed(status, Change::Switched, status.active.as_ref(), None))
}

/// Says that the native built-in has a slot already.
fn native_already(slot: &str, dry_run: bool) -> Reply {
    Reply::Swapped(crate::api::SwapReport {
        slot: slot.to_owned(),
        change: Change::Nothing.into(),
        old: plugin_ref(slot, None),
        new: plugin_ref(slot, None),
        state_bytes: 0,
        state_carried: false,
        state_restored: false,
        pause_us: 0.0,
        at_decision: 0,
        dry_run,
        undo: None,
    })
}

pub(super) fn rehearsed(
    status: &SlotStatus,
    change: Change,
    old: Option<&Revision>,
    new: Option<&Revision>,
) -> Reply {
    Reply::Swapped(crate::api::SwapReport {
        slot: status.slot.to_owned(),
        change: change.into(),
        old: plugin_ref(status.slot, old),
        new: plugin_ref(status.slot, new),
        state_bytes: 0,
        state_carried: false,
        state_restored: false,
        pause_us: 0.0,
        at_decision: status.messages,
        dry_run: true,
        undo: None,
    })
}

pub(super) fn slot_named(text: &str) -> Result<Kind, ApiError> {
    crate::plugins::SLOTS.into_iter().find(|kind| kind.slot() == text).ok_or_else(|| {
        ApiError::new(&code::NO_SUCH_SLOT, format!("there is no slot '{text}'"))
            .fact("slots", crate::plugins::SLOTS.map(Kind::slot).join(", "))
            .help("meshctl plugin list")
    })
}

pub(super) fn policy_slot(kind: Kind) -> Option<PolicySlot> {
    PolicySlot::from_name(kind.slot())
}

fn start_with(request: &SwapRequest) -> StartWith {
    match request.old_state {
        OldState::Inherit => StartWith::Inherit,
        OldState::Keep => StartWith::Keep,
        OldState::Reset => StartWith::Reset,
    }
}

pub(super) fn coded(id: &str) -> &'static Code {
    code::find(id).unwrap_or(&code::INTERNAL)
}

pub(super) fn not_ready(error: &ReadyError) -> ApiError {
    match error {
        // It is installed: what it lacks is given to it where it lies.
        ReadyError::Load(error @ LoadError::NotGranted { grant, .. }) => {
            let failed = ApiError::new(coded(error.code()), error).help(error.hint());
            failed.help(format!("meshctl plugin grants set PLUGIN --grant {grant}"))
        }
        ReadyError::Load(error) => load_failed(error),
        ReadyError::Prepare(error) => prepare_failed(error),
        ReadyError::Exchanged => {
            ApiError::new(&code::NOT_AS_SIGNED, error).help("meshctl plugin remove it, and install it again")
        }
    }
}

fn prepare_failed(error: &PrepareError) -> ApiError {
    let failed = ApiError::new(coded(error.code()), error);
    match failed.is(&code::SETTINGS_REFUSED) {
        true => failed.help("meshctl plugin show PLUGIN    lists the settings that it takes"),
        false => failed.help("meshctl plugin list"),
    }
}

pub(super) fn swap_failed(error: &SwapError, slot: &str) -> ApiError {
    let failed = ApiError::new(coded(error.code()), error);
    match error {
        SwapError::StateRefused(_) => failed.help("meshctl plugin swap SLOT PLUGIN --reset-state"),
        SwapError::Failed(_) | SwapError::OldFailed(_) => failed.help("meshctl plugin list"),
        SwapError::NoPrevious => failed
            .help(format!("meshctl plugin disable {slot}       to give the slot to the native built-in"))
            .help("meshctl plugin list"),
        SwapError::NoPlugin => failed.help(format!("meshctl plugin enable {slot} PLUGIN")),
    }
}

pub(super) fn gone() -> ApiError {
    unreadable(&"its bytes are gone")
}

pub(super) fn unreadable(error: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(&code::STORE_DAMAGED, format!("the plugin cannot be read: {error}"))
}
