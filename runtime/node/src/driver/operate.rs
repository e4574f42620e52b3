//! What an operator does to running plugins, and what he asks of them: pause, resume, limits, logs, traps, figures.

use mesh_plugin_host::journal::Extent;
use mesh_plugin_host::{
    Bounds, Counted, FaultRecord, Kind, LogLine, OperateError, PolicySlot, Revision, SlotState, SlotStatus,
};
use mesh_proto::node::Input;
use tokio::sync::oneshot;

use super::Driver;
use super::clock::unix_ms;
use super::plugin_rows::{bound, counted_of};
use super::slots::{Done, coded, policy_slot, slot_named};
use crate::api::{
    ApiError, EventKind, JournalExtent, LimitReport, LimitRow, LogRow, OnFailure, OperateReport, Operation,
    PluginState, Reply, StatsRow, Time, TimeClass, TrapReport, TrapRow, code,
};
use crate::handler::Job;
use crate::mesh::Answer;
use crate::plugins::{Act, Lowering, Step, hex, plugin_ref};

impl Driver {
    pub(super) fn operate(&mut self, operation: Operation, dry_run: bool, answer: Answer<Reply>) {
        match operation {
            Operation::Pause { slot } => self.act(&slot, Act::Pause, dry_run, answer),
            Operation::Resume { slot } => self.act(&slot, Act::Resume, dry_run, answer),
            Operation::Limit { slot, deadline_ms, memory_bytes, log_rate } => {
                let lowering = Lowering { deadline: deadline_ms, memory: memory_bytes, log_lines: log_rate };
                self.act(&slot, Act::Lower(lowering), dry_run, answer);
            }
            Operation::Grant { plugin, give, take } => {
                self.with_handler(answer, move |driver, handler| {
                    driver.change_grants(&plugin, (&give, &take), dry_run, handler)
                });
            }
            Operation::Pin { plugin } => {
                let reply = self.pin(&plugin, true, dry_run);
                self.answer_when_kept(reply, answer);
            }
            Operation::Unpin { plugin } => {
                let reply = self.pin(&plugin, false, dry_run);
                self.answer_when_kept(reply, answer);
            }
        }
    }

    fn act(&mut self, slot: &str, act: Act, dry_run: bool, answer: Answer<Reply>) {
        let kind = match slot_named(slot) {
            Ok(kind) => kind,
            Err(error) => return drop(answer.send(Err(error))),
        };
        let Some(policy) = policy_slot(kind) else { return self.act_on_handler(act, dry_run, answer) };
        // A candidate that passes is bound, and would run where nothing was to run.
        if let (Act::Pause, Err(error)) = (act, self.check_no_trial(kind.slot())) {
            return drop(answer.send(Err(error)));
        }
        let before = self.parts.plugins.set.status(policy);
        let outcome = act.check(kind, &before).and_then(|()| match dry_run {
            true => Ok(before.clone()),
            false => self.perform(policy, act, &before),
        });
        let reply = self.acted(act, outcome.map(|after| (before, after)), dry_run, kind);
        self.answer_when_kept(reply, answer);
    }

    fn perform(
        &mut self,
        slot: PolicySlot,
        act: Act,
        before: &SlotStatus,
    ) -> Result<SlotStatus, OperateError> {
        let set = &mut self.parts.plugins.set;
        match act {
            Act::Pause => set.pause(slot, unix_ms()),
            Act::Resume => set.resume(slot, unix_ms()),
            Act::Lower(lowering) => set.set_terms(slot, unix_ms(), lowering.terms(before)),
        }?;
        Ok(set.status(slot))
    }

    fn act_on_handler(&mut self, act: Act, dry_run: bool, answer: Answer<Reply>) {
        if dry_run {
            return self.with_handler(answer, move |driver, handler| {
                let before = handler.ok_or_else(silent)?.clone();
                let outcome = act.check(Kind::Handler, &before);
                driver.acted(act, outcome.map(|()| (before.clone(), before)), true, Kind::Handler)
            });
        }
        let (done, outcome) = oneshot::channel();
        self.parts.plugins.handler.hand(Job::Operate { act, answer: done });
        let done = self.done_sender.clone();
        tokio::spawn(async move {
            match outcome.await {
                Ok(outcome) => drop(done.send(Done::Acted { act, outcome, answer }).await),
                Err(_) => drop(answer.send(Err(silent()))),
            }
        });
    }

    /// Notes what was done for the next start, and says it.
    pub(super) fn acted(
        &mut self,
        act: Act,
        outcome: Result<(SlotStatus, SlotStatus), OperateError>,
        dry_run: bool,
        kind: Kind,
    ) -> Result<Reply, ApiError> {
        let (before, after) = outcome.map_err(|error| refused(&error, kind.slot()))?;
        let of = if before.paused || before.quarantined.is_none() {
            before.active.as_ref()
        } else {
            before.quarantined.as_ref()
        };
        let plugin =
            plugin_ref(before.slot, if matches!(act, Act::Resume) { of } else { before.active.as_ref() });
        if !dry_run {
            self.note_binding(&after, Step::Onward);
            if matches!(act, Act::Pause) {
                let slot = before.slot.to_owned();
                self.tell(EventKind::PluginPaused { slot, plugin: plugin.clone() });
            }
        }
        let would_decide = match act {
            Act::Pause => plugin_ref(before.slot, None).to_string(),
            Act::Resume | Act::Lower(_) => plugin.to_string(),
        };
        Ok(Reply::Operated(OperateReport {
            slot: Some(before.slot.to_owned()),
            done: match act {
                Act::Lower(lowering) if dry_run => in_force(&lowering.terms(&before).lowered.bounds(kind)),
                Act::Lower(_) => in_force(&after.lowered.bounds(kind)),
                Act::Pause | Act::Resume => act.done().to_owned(),
            },
            decides: Some(would_decide),
            dry_run,
            undo: (!dry_run).then(|| act.undo(&before)),
            plugin,
        }))
    }

    /// Keeps how a slot is bound now, and lets the core ask anew.
    pub(super) fn note_binding(&mut self, status: &SlotStatus, step: Step) {
        let writes = self.parts.plugins.bind(status, step);
        self.writes.extend(writes);
        self.inputs.push(Input::PoliciesChanged);
        if status.slot == PolicySlot::Admission.name() {
            self.inputs.push(Input::AdmissionChanged);
        }
    }

    /// Returns how a slot is: the policies' own, or what the handler's thread told.
    pub(super) fn status_of(&self, slot: &str, told: Option<&SlotStatus>) -> Option<SlotStatus> {
        match PolicySlot::from_name(slot) {
            Some(slot) => Some(self.parts.plugins.set.status(slot)),
            None => told.cloned(),
        }
    }

    pub(super) fn traps(&self, slot: &str, handler: Option<&SlotStatus>) -> Result<Reply, ApiError> {
        let kind = slot_named(slot)?;
        let status = self.status_of(kind.slot(), handler).ok_or_else(silent)?;
        let traps = status.last_faults.iter().map(|fault| trap_row(status.slot, fault)).collect();
        Ok(Reply::Traps(TrapReport { slot: status.slot.to_owned(), total: status.faults, traps }))
    }

    pub(super) fn log(&mut self, slot: &str, after: u64, answer: Answer<Reply>) {
        match slot_named(slot).map(policy_slot) {
            Err(error) => drop(answer.send(Err(error))),
            Ok(Some(policy)) => {
                let lines = self.parts.plugins.set.log_after(policy, after);
                drop(answer.send(Ok(log_rows(lines))));
            }
            Ok(None) => {
                let (reply, lines) = oneshot::channel();
                self.parts.plugins.handler.hand(Job::Log { after, answer: reply });
                tokio::spawn(async move {
                    let lines = lines.await.map(log_rows).map_err(|_| silent());
                    let _ = answer.send(lines);
                });
            }
        }
    }

    pub(super) fn stats(&self, slot: Option<&str>, handler: Option<&SlotStatus>) -> Result<Reply, ApiError> {
        let wanted = slot.map(slot_named).transpose()?;
        let kinds = crate::plugins::SLOTS.into_iter().filter(|kind| wanted.is_none_or(|w| w == *kind));
        let statuses = kinds.filter_map(|kind| self.status_of(kind.slot(), handler));
        Ok(Reply::Stats(statuses.flat_map(|status| self.stats_rows(&status)).collect()))
    }

    /// A row for what is in a slot, and one for each revision that stands by or is in quarantine.
    fn stats_rows(&self, status: &SlotStatus) -> Vec<StatsRow> {
        let first = bound(status);
        let mut rows = vec![StatsRow {
            calls_per_s: self.calls_per_s(status.slot),
            plugin: self.bound_ref(status),
            ..stats_row(status, first, state_of(status))
        }];
        for (revision, state) in beside(status) {
            if Some(revision.digest) != first.map(|first| first.digest) {
                rows.push(stats_row(status, Some(revision), state));
            }
        }
        rows
    }

    pub(super) fn limits(&self, slot: &str, handler: Option<&SlotStatus>) -> Result<Reply, ApiError> {
        let kind = slot_named(slot)?;
        let status = self.status_of(kind.slot(), handler).ok_or_else(silent)?;
        if status.active.is_none() {
            return Err(refused(&OperateError::NoPlugin, slot));
        }
        let (bounds, host) = (status.lowered.bounds(kind), Bounds::caps(kind));
        let counted = counted_of([&status], status.active.as_ref());
        Ok(Reply::Limits(LimitReport {
            slot: status.slot.to_owned(),
            plugin: plugin_ref(status.slot, status.active.as_ref()),
            limits: vec![
                deadline_row(&counted, bounds, host),
                memory_row(&counted, bounds, host),
                limit_row("log-rate", "lines/s", bounds.log_lines.into(), host.log_lines.into()),
            ],
        }))
    }
}

/// Returns the revisions that a slot has beside the active one.
pub(super) fn beside(status: &SlotStatus) -> impl Iterator<Item = (&Revision, PluginState)> {
    let quarantined = status.quarantined.iter().map(|revision| (revision, PluginState::Quarantined));
    quarantined.chain(status.previous.iter().map(|revision| (revision, PluginState::Standby)))
}

fn stats_row(status: &SlotStatus, revision: Option<&Revision>, state: PluginState) -> StatsRow {
    let counted = counted_of([status], revision);
    let seconds = |ns: u64| (counted.timed_calls > 0).then_some(ns as f64 / 1e9);
    StatsRow {
        slot: status.slot.to_owned(),
        plugin: plugin_ref(status.slot, revision),
        state,
        calls: counted.calls,
        calls_per_s: None,
        messages: counted.messages,
        fallbacks: counted.fallbacks,
        traps: counted.faults,
        swaps: status.swaps,
        rollbacks: status.rollbacks,
        quarantines: status.quarantines,
        timed_calls: counted.timed_calls,
        p50_s: seconds(counted.p50_ns),
        p90_s: seconds(counted.p90_ns),
        p99_s: seconds(counted.p99_ns),
        p999_s: seconds(counted.p999_ns),
        max_s: seconds(counted.max_ns),
        histogram: counted.times.iter().map(|&(ns, count)| class(ns, count)).collect(),
        memory_bytes: counted.memory_bytes as u64,
        memory_most_bytes: counted.memory_most_bytes as u64,
        log_dropped: counted.log_dropped,
        journal: status.journal.map(extent),
    }
}

/// Returns the state of what a slot is left to, as lists show it. A slot without a plugin whose operator wants no fallback
/// is not the native built-in's.
pub(super) fn state_of(status: &SlotStatus) -> PluginState {
    match OnFailure::from(status.on_failure) {
        _ if status.paused => PluginState::Paused,
        _ if status.active.is_some() => PluginState::Active,
        OnFailure::Fallback => PluginState::Active,
        OnFailure::FailClosed | OnFailure::FailOpen if status.quarantined.is_some() => {
            PluginState::Quarantined
        }
        OnFailure::FailClosed | OnFailure::FailOpen => PluginState::Vacant,
    }
}

/// Says who answers in a slot that has no plugin, when it is not the native built-in.
pub(super) fn vacancy(status: &SlotStatus) -> Option<&'static str> {
    match OnFailure::from(status.on_failure) {
        _ if status.active.is_some() => None,
        OnFailure::Fallback => None,
        OnFailure::FailClosed => Some(match PolicySlot::from_name(status.slot) {
            Some(PolicySlot::Admission) => {
                "fail-closed: nobody answers, no link is made but those asked for by address"
            }
            Some(PolicySlot::Carry) => "fail-closed: nobody answers, what may be refused is not kept",
            _ => "fail-closed: nobody answers, messages are held",
        }),
        OnFailure::FailOpen => Some("fail-open: everything is let through"),
    }
}

/// Returns seconds until a quarantined plugin is tried again.
pub(super) fn retry_s(status: &SlotStatus) -> Option<f64> {
    let at_ms = status.retry_at_ms.filter(|_| status.state == SlotState::Quarantined)?;
    Some(at_ms.saturating_sub(unix_ms()) as f64 / 1000.0)
}

fn trap_row(slot: &str, fault: &FaultRecord) -> TrapRow {
    let dead = &fault.post_mortem;
    TrapRow {
        at: Time(fault.at_ms),
        plugin: plugin_ref(slot, Some(&fault.revision)),
        reason: fault.fault.to_string(),
        panic: dead.panic.clone(),
        frames: dead.frames.clone(),
        has_names: dead.has_names,
        input: fault.input.as_ref().map(hex),
    }
}

fn log_rows(lines: Vec<LogLine>) -> Reply {
    let row = |line: LogLine| LogRow {
        number: line.number,
        at: Time(line.at_ms),
        level: line.level.name().to_owned(),
        plugin: line.plugin,
        text: line.text,
    };
    Reply::Log(lines.into_iter().map(row).collect())
}

fn extent(journal: Extent) -> JournalExtent {
    JournalExtent {
        entries: journal.entries,
        dropped: journal.dropped,
        bytes: journal.bytes as u64,
        most_bytes: journal.most_bytes as u64,
        since: journal.since_ms.map(Time),
    }
}

fn class(ns: u64, count: u64) -> TimeClass {
    TimeClass { up_to_s: ns as f64 / 1e9, count }
}

/// Says what a plugin is held to.
fn in_force(bounds: &Bounds) -> String {
    let ms = bounds.deadline.as_secs_f64() * 1e3;
    let mib = bounds.memory as f64 / f64::from(1 << 20);
    format!("held to deadline {ms} ms, memory {mib} MiB, log {} lines/s", bounds.log_lines)
}

fn limit_row(name: &str, unit: &str, limit: f64, host: f64) -> LimitRow {
    let (name, unit) = (name.to_owned(), unit.to_owned());
    LimitRow { name, unit, limit, host, p50: None, p99: None, max: None, suggestion: None }
}

/// A suggestion is four times what nearly all calls need: a busy machine takes longer now and then.
fn deadline_row(counted: &Counted, bounds: Bounds, host: Bounds) -> LimitRow {
    const ROOM: f64 = 4.0;
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    let measured = |ns: u64| (counted.timed_calls > 0).then_some(ns as f64 / 1e6);
    let suggestion = measured(counted.p999_ns).map(|p999| (p999 * ROOM).ceil().clamp(1.0, ms(host.deadline)));
    LimitRow {
        p50: measured(counted.p50_ns),
        p99: measured(counted.p99_ns),
        max: measured(counted.max_ns),
        suggestion,
        ..limit_row("deadline", "ms", ms(bounds.deadline), ms(host.deadline))
    }
}

/// A suggestion is twice the most so far, in whole pages.
fn memory_row(counted: &Counted, bounds: Bounds, host: Bounds) -> LimitRow {
    const PAGE: usize = 64 << 10;
    let most = counted.memory_most_bytes;
    let suggestion = (most * 2).next_multiple_of(PAGE).min(host.memory);
    LimitRow {
        max: (most > 0).then_some(most as f64),
        suggestion: (most > 0).then_some(suggestion as f64),
        ..limit_row("memory", "bytes", bounds.memory as f64, host.memory as f64)
    }
}

pub(super) fn silent() -> ApiError {
    ApiError::new(&code::HANDLER_FAILED, "the handler's thread does not answer").help("meshctl plugin list")
}

fn refused(error: &OperateError, slot: &str) -> ApiError {
    let refusal = ApiError::new(coded(error.code()), format!("{slot}: {error}"));
    match error {
        OperateError::NoPlugin => refusal.help(format!("meshctl plugin enable {slot} PLUGIN")),
        OperateError::Paused => refusal.help(format!("meshctl plugin resume {slot}")),
        OperateError::NothingToResume => refusal.help(format!("meshctl plugin show {slot}")),
        OperateError::Limit(_) => refusal.help(format!("meshctl plugin limits show {slot}")),
        OperateError::Failed(_) => refusal.help(format!("meshctl plugin traps {slot}")),
    }
}
