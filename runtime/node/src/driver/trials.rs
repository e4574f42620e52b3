//! Trials in the policy slots: begins them, performs what comes of them, tells how they stand. What a candidate's
//! answers are worth is for the plugin host; nothing is judged here.
//!
//! A trial belongs to the node: whoever asked for it may go. It is not kept over a restart, after which the revision
//! that was bound last decides.

use std::collections::BTreeMap;

use mesh_plugin_host::trial::{
    CanaryPlan, Candidate, End, Figures, Gates, Length, MaxP99, Plan, Stage, TrialError, TrialEvent,
    TrialStatus,
};
use mesh_plugin_host::{Loaded, PolicySlot, SwapReport, limits};

use super::Driver;
use super::clock::unix_ms;
use super::slots::{Done, not_ready, policy_slot, slot_named, swap_failed};
use crate::api::{
    ApiError, EventKind, GateSpec, OldState, P99Spec, Reply, Setting, ShadowSpec, SwapRequest, Time,
    TrialExample, TrialFigures, TrialReport, TrialSpec, TrialStage, code,
};
use crate::mesh::Answer;
use crate::plugins::{Ready, ReadyError, Step, plugin_ref};

/// Calls that a shadow run may be asked to compare.
const MAX_CALLS: u64 = 1_000_000_000;
/// The whole of a share.
const WHOLE: u32 = 10_000;

/// The trials of a node, running and over.
#[derive(Default)]
pub(super) struct Trials {
    running: BTreeMap<&'static str, Running>,
    /// The last one of each slot.
    last: BTreeMap<&'static str, TrialReport>,
    /// Decisions on which candidates differed, in trials that are over.
    pub(super) disagreements: u64,
    pub(super) begun: u64,
    pub(super) returned: u64,
}

struct Running {
    /// What the slot is handed over to.
    ready: Ready,
    request: SwapRequest,
    spec: TrialSpec,
}

/// A plugin and what a trial of it needs.
pub(super) struct Prepared {
    pub(super) ready: Ready,
    pub(super) loaded: Loaded,
    pub(super) candidates: Vec<Candidate>,
}

/// A trial that was asked for, while its plugin is made ready.
pub(super) struct Asked {
    slot: PolicySlot,
    request: SwapRequest,
    spec: TrialSpec,
    answer: Answer<Reply>,
}

impl Driver {
    /// Answers once the trial runs.
    pub(super) fn begin_trial(&mut self, request: SwapRequest, spec: TrialSpec, answer: Answer<Reply>) {
        let checked = self.check_trial(&request, &spec);
        let (slot, source) = match checked.and_then(|slot| Ok((slot, self.source_for(&request)?))) {
            Ok(checked) => checked,
            Err(error) => return drop(answer.send(Err(error))),
        };
        let stages = plan(&spec, false).stages();
        let done = self.done_sender.clone();
        let asked = Asked { slot, request, spec, answer };
        tokio::task::spawn_blocking(move || {
            let outcome = source.make_trial(stages);
            let outcome = outcome.map(|(ready, loaded, candidates)| Prepared { ready, loaded, candidates });
            // A driver that is gone has nobody to answer.
            let _ = done.blocking_send(Done::Trial { outcome, asked });
        });
    }

    fn check_trial(&self, request: &SwapRequest, spec: &TrialSpec) -> Result<PolicySlot, ApiError> {
        let kind = slot_named(&request.slot)?;
        self.check_no_trial(kind.slot())?;
        let slot = policy_slot(kind).ok_or_else(|| {
            let message = "a handler has effects, so it cannot be asked beside another one";
            ApiError::new(&code::BAD_VALUE, message).help(swap_line(request))
        })?;
        if request.plugin.starts_with("native") {
            let message = "the native built-in needs no trial: it cannot fail";
            return Err(ApiError::new(&code::BAD_VALUE, message).help(swap_line(request)));
        }
        check_spec(spec, request)?;
        Ok(slot)
    }

    /// Says whether another revision may be put into the slot now.
    pub(super) fn check_no_trial(&self, slot: &str) -> Result<(), ApiError> {
        if !self.trials.running.contains_key(slot) {
            return Ok(());
        }
        let candidate =
            self.trial_report(slot).map_or_else(|| "a plugin".to_owned(), |r| r.candidate.to_string());
        let message = format!("{candidate} is on trial in the slot {slot}");
        Err(ApiError::new(&code::TRIAL_RUNNING, message)
            .help(format!("meshctl plugin show {slot}"))
            .help(format!("meshctl plugin rollback {slot}")))
    }

    /// The plugin is ready, or cannot be.
    pub(super) fn on_trial_ready(&mut self, outcome: Result<Prepared, ReadyError>, asked: Asked) {
        let Asked { slot, request, spec, answer } = asked;
        let reply = outcome
            .map_err(|error| not_ready(&error).filled("PLUGIN", &request.plugin))
            .and_then(|prepared| self.start_trial(slot, prepared, request, spec));
        drop(answer.send(reply));
    }

    fn start_trial(
        &mut self,
        slot: PolicySlot,
        prepared: Prepared,
        request: SwapRequest,
        spec: TrialSpec,
    ) -> Result<Reply, ApiError> {
        let Prepared { ready, loaded, candidates } = prepared;
        self.still_allowed(&loaded, &request)?;
        let active = self.parts.plugins.set.status(slot).active;
        let copies_state = match request.old_state {
            OldState::Inherit => active.is_some_and(|active| active.name == loaded.revision().name),
            OldState::Keep => true,
            OldState::Reset => false,
        };
        let plan = plan(&spec, copies_state);
        let begun = self.parts.plugins.set.begin_trial(slot, candidates, plan, unix_ms());
        begun.map_err(|error| not_begun(&error, &request))?;
        self.parts.plugins.remember(loaded);
        self.trials.begun += 1;
        self.trials.running.insert(slot.name(), Running { ready, request, spec });
        let report = self.trial_report(slot.name()).expect("it has just begun");
        self.tell_trial(&report);
        Ok(Reply::Trial(Box::new(report)))
    }

    /// Brings the trials forward.
    pub(super) fn poll_trials(&mut self) {
        if self.trials.running.is_empty() {
            return;
        }
        for event in self.parts.plugins.set.poll_trials(unix_ms()) {
            match event {
                TrialEvent::CanaryBegan { slot } => {
                    if let Some(report) = self.trial_report(slot.name()) {
                        self.tell_trial(&report);
                    }
                }
                TrialEvent::Over { slot, outcome, status } => self.on_trial_over(slot, outcome, &status),
            }
        }
    }

    fn on_trial_over(&mut self, slot: PolicySlot, outcome: Result<(), End>, status: &TrialStatus) {
        let Some(Running { ready, request, spec }) = self.trials.running.remove(slot.name()) else { return };
        let dry_run = request.dry_run;
        let passed = outcome.map_err(|end| end.to_string()).and_then(|()| {
            self.check_candidate(&status.candidate, &request).map_err(|error| error.message)?;
            self.swap_policy(ready, &request).map_err(|error| swap_failed(&error, slot.name()).message)
        });
        let mut report = report_of(status, &spec, TrialStage::Returned);
        match passed {
            Ok(swapped) => {
                self.cut_over(&mut report, &swapped, dry_run);
            }
            Err(reason) => {
                tracing::warn!(slot = slot.name(), plugin = %status.candidate, reason, "the candidate did not pass");
                self.trials.returned += 1;
                report.reason = Some(reason);
            }
        }
        self.end_trial(slot, report);
    }

    fn cut_over(&mut self, report: &mut TrialReport, swapped: &SwapReport, dry_run: bool) {
        self.switched(swapped, None, Step::Onward, !dry_run);
        report.stage = if dry_run { TrialStage::Rehearsed } else { TrialStage::CutOver };
        report.at_decision = Some(swapped.at_decision);
        report.pause_us = Some(swapped.pause.as_nanos() as f64 / 1000.0);
        let is_changed = !dry_run && swapped.change != mesh_plugin_host::Change::Nothing;
        report.undo = is_changed.then(|| format!("meshctl plugin rollback {}", report.slot));
    }

    fn end_trial(&mut self, slot: PolicySlot, report: TrialReport) {
        let stages = [&report.shadow, &report.canary];
        self.trials.disagreements +=
            stages.into_iter().flatten().map(|figures| figures.differing).sum::<u64>();
        self.tell_trial(&report);
        self.trials.last.insert(slot.name(), report);
    }

    /// Ends the trial of a slot because an operator says so; `None` when there is none.
    pub(super) fn abort_trial(&mut self, slot: PolicySlot, dry_run: bool) -> Option<Reply> {
        let running = self.trials.running.get(slot.name())?;
        let (spec, again) = (running.spec.clone(), trial_line(&running.request, &running.spec));
        let set = &mut self.parts.plugins.set;
        let status = if dry_run { set.trial(slot).cloned() } else { set.abort_trial(slot) }?;
        if !dry_run {
            self.trials.running.remove(slot.name());
            self.end_trial(slot, report_of(&status, &spec, TrialStage::Aborted));
        }
        Some(Reply::Swapped(crate::api::SwapReport {
            slot: slot.name().to_owned(),
            change: crate::api::Change::Ended,
            old: plugin_ref(slot.name(), Some(&status.candidate)),
            new: plugin_ref(slot.name(), status.active.as_ref()),
            state_bytes: 0,
            state_carried: false,
            state_restored: false,
            pause_us: 0.0,
            at_decision: self.parts.plugins.set.decisions(slot),
            dry_run,
            undo: (!dry_run).then_some(again),
        }))
    }

    /// Answers how the trial of a slot stands.
    pub(super) fn show_trial(&mut self, slot: &str, answer: Answer<Reply>) {
        let report = slot_named(slot).and_then(|kind| {
            self.trial_report(kind.slot()).ok_or_else(|| {
                ApiError::new(&code::NO_TRIAL, format!("no candidate was tried in the slot {slot}"))
                    .help(format!("meshctl plugin swap {slot} PLUGIN --shadow 30s"))
            })
        });
        // A cut-over is told when it is on disk.
        self.answer_when_kept(report.map(|report| Reply::Trial(Box::new(report))), answer);
    }

    /// Returns how the trial of a slot stands, or how the last one ended.
    pub(super) fn trial_report(&self, slot: &str) -> Option<TrialReport> {
        let Some(running) = self.trials.running.get(slot) else { return self.trials.last.get(slot).cloned() };
        let status = self.parts.plugins.set.trial(PolicySlot::from_name(slot)?)?;
        let stage = match status.stage {
            Stage::Shadow => TrialStage::Shadow,
            Stage::Canary => TrialStage::Canary,
        };
        Some(report_of(status, &running.spec, stage))
    }

    /// Returns what `plugin list` says of a slot on trial.
    pub(super) fn trial_note(&self, slot: &str) -> Option<String> {
        self.trials.running.get(slot)?;
        let report = self.trial_report(slot)?;
        Some(format!("{} of {}", report.stage.name(), report.candidate))
    }

    /// Says whether a revision is on trial.
    pub(super) fn is_on_trial(&self, digest: &[u8; 32]) -> bool {
        let set = &self.parts.plugins.set;
        PolicySlot::ALL
            .iter()
            .filter_map(|slot| set.trial(*slot))
            .any(|trial| trial.candidate.digest == *digest)
    }

    fn tell_trial(&self, report: &TrialReport) {
        self.tell(EventKind::PluginTrial {
            slot: report.slot.clone(),
            plugin: report.candidate.clone(),
            stage: report.stage.name().to_owned(),
            reason: report.reason.clone(),
        });
    }
}

fn plan(spec: &TrialSpec, copies_state: bool) -> Plan {
    let GateSpec { max_traps, max_disagreement_ppm, max_p99 } = spec.gates;
    Plan {
        shadow: spec.shadow.map(|shadow| match shadow {
            ShadowSpec::Ms(ms) => Length::Ms(ms),
            ShadowSpec::Calls(calls) => Length::Calls(calls),
        }),
        canary: spec.canary.map(|canary| CanaryPlan { share: canary.share_bp, for_ms: canary.for_ms }),
        gates: Gates {
            max_traps,
            max_disagreement_ppm,
            max_p99: max_p99.map(|max| match max {
                P99Spec::Us(us) => MaxP99::Ns(us.saturating_mul(1_000)),
                P99Spec::Percent(percent) => MaxP99::Percent(percent),
            }),
        },
        copies_state,
    }
}

fn check_spec(spec: &TrialSpec, request: &SwapRequest) -> Result<(), ApiError> {
    let day = 1..=limits::TRIAL_MS;
    let shadow_fits = spec.shadow.is_none_or(|shadow| match shadow {
        ShadowSpec::Ms(ms) => day.contains(&ms),
        ShadowSpec::Calls(calls) => (1..=MAX_CALLS).contains(&calls),
    });
    let canary_fits = spec
        .canary
        .is_none_or(|canary| (1..=WHOLE).contains(&canary.share_bp) && day.contains(&canary.for_ms));
    let wrong = if spec.shadow.is_none() && spec.canary.is_none() {
        "a trial is a shadow run, a canary, or both"
    } else if !shadow_fits {
        "a shadow run takes 1 ms to a day, or 1 to 1,000,000,000 calls"
    } else if !canary_fits {
        "a canary has 0.01 % to 100 % of the flows for 1 ms to a day"
    } else if spec.canary.is_some() && request.dry_run {
        "a canary decides for real, so it cannot be rehearsed; a shadow run can"
    } else {
        return Ok(());
    };
    let help = format!("meshctl plugin swap {} {} --shadow 30s", request.slot, request.plugin);
    Err(ApiError::new(&code::BAD_VALUE, wrong).help(help))
}

/// Returns the command that asks for a swap.
fn swap_line(request: &SwapRequest) -> String {
    let mut line = format!("meshctl plugin swap {} {}", request.slot, request.plugin);
    for (name, value) in &request.settings {
        line += &match value {
            Setting::Flag(flag) => format!(" --set {name}={flag}"),
            Setting::Integer(integer) => format!(" --set {name}={integer}"),
            Setting::Number(number) => format!(" --set {name}={number}"),
            // As a shell reads it: out of the quotes, an escaped one, and in again.
            Setting::Text(text) => format!(" --set '{name}={}'", text.replace('\'', r"'\''")),
        };
    }
    if let Some(on_failure) = request.on_failure {
        line += &format!(" --on-failure {}", mesh_plugin_host::OnFailure::from(on_failure));
    }
    for (is_set, option) in [
        (request.old_state == OldState::Keep, " --keep-state"),
        (request.old_state == OldState::Reset, " --reset-state"),
        (request.allow_downgrade, " --allow-downgrade"),
        (request.dry_run, " --dry-run"),
    ] {
        line += if is_set { option } else { "" };
    }
    line
}

/// Returns the command that asks for a trial.
fn trial_line(request: &SwapRequest, spec: &TrialSpec) -> String {
    let mut line = swap_line(request);
    match spec.shadow {
        Some(ShadowSpec::Ms(ms)) => line += &format!(" --shadow {}", as_typed(ms)),
        Some(ShadowSpec::Calls(calls)) => line += &format!(" --shadow {calls}"),
        None => {}
    }
    if let Some(canary) = spec.canary {
        let percent = f64::from(canary.share_bp) / 100.0;
        line += &format!(" --canary {percent}% --canary-for {}", as_typed(canary.for_ms));
    }
    if let Some(ppm) = spec.gates.max_disagreement_ppm {
        line += &format!(" --max-disagreement {}%", f64::from(ppm) / 10_000.0);
    }
    match spec.gates.max_p99 {
        Some(P99Spec::Us(us)) => line += &format!(" --max-p99 {us}us"),
        Some(P99Spec::Percent(percent)) => line += &format!(" --max-p99 {}x", f64::from(percent) / 100.0),
        None => {}
    }
    if spec.gates.max_traps > 0 {
        line += &format!(" --max-traps {}", spec.gates.max_traps);
    }
    line
}

fn as_typed(ms: u64) -> String {
    if ms.is_multiple_of(1_000) { format!("{}s", ms / 1_000) } else { format!("{ms}ms") }
}

fn not_begun(error: &TrialError, request: &SwapRequest) -> ApiError {
    let show = format!("meshctl plugin show {}", request.slot);
    match error {
        TrialError::Start(error) => {
            swap_failed(error, &request.slot).filled("SLOT", &request.slot).filled("PLUGIN", &request.plugin)
        }
        TrialError::Running { .. } => ApiError::new(&code::TRIAL_RUNNING, error).help(show),
        TrialError::NoFlows { .. } => {
            let help = format!("meshctl plugin swap {} {} --shadow 30s", request.slot, request.plugin);
            ApiError::new(&code::BAD_VALUE, error).help(help)
        }
        TrialError::NoStage | TrialError::NoThread => ApiError::new(&code::INTERNAL, error).help(show),
    }
}

fn report_of(status: &TrialStatus, spec: &TrialSpec, stage: TrialStage) -> TrialReport {
    let slot = status.slot.name();
    let total_ms = match (status.stage, status.plan.shadow, status.plan.canary) {
        (Stage::Shadow, Some(Length::Ms(ms)), _) => Some(ms),
        (Stage::Canary, _, Some(canary)) => Some(canary.for_ms),
        _ => None,
    };
    let since_ms = unix_ms().saturating_sub(status.stage_ms);
    let left = total_ms.filter(|_| stage.is_running()).map(|ms| ms.saturating_sub(since_ms));
    TrialReport {
        slot: slot.to_owned(),
        candidate: plugin_ref(slot, Some(&status.candidate)),
        active: plugin_ref(slot, status.active.as_ref()),
        stage,
        spec: spec.clone(),
        began: Time(status.began_ms),
        left_s: left.map(|ms| ms as f64 / 1000.0),
        shadow: status.shadow.as_ref().map(figures),
        canary: status.canary.as_ref().map(figures),
        reason: None,
        at_decision: None,
        pause_us: None,
        undo: stage.is_running().then(|| format!("meshctl plugin rollback {slot}")),
    }
}

fn figures(figures: &Figures) -> TrialFigures {
    let (active, candidate) = figures.p99_ns();
    let seconds = |ns: u64| (ns > 0).then(|| ns as f64 / 1e9);
    TrialFigures {
        calls: figures.calls,
        decisions: figures.rows,
        differing: figures.differing,
        disagreement: figures.differing as f64 / figures.rows.max(1) as f64,
        skipped: figures.skipped,
        traps: figures.faults,
        last_trap: figures.last_fault.as_ref().map(ToString::to_string),
        active_p99_s: seconds(active),
        candidate_p99_s: seconds(candidate),
        examples: figures
            .examples
            .iter()
            .map(|example| TrialExample {
                input: example.input.clone(),
                active: example.active.clone(),
                candidate: example.candidate.clone(),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::OnFailure;

    #[test]
    fn a_command_to_ask_again_asks_for_the_same() {
        let request = SwapRequest {
            slot: "qos".to_owned(),
            plugin: "acme/fair".to_owned(),
            settings: [("note".to_owned(), Setting::Text("it's".to_owned()))].into(),
            old_state: OldState::Reset,
            dry_run: true,
            allow_downgrade: true,
            on_failure: Some(OnFailure::FailOpen),
        };

        assert_eq!(
            swap_line(&request),
            concat!(
                r"meshctl plugin swap qos acme/fair --set 'note=it'\''s' --on-failure fail-open",
                " --reset-state --allow-downgrade --dry-run"
            )
        );
    }
}
