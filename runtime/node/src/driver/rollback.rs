//! Rollbacks: step by step to what a slot was bound to before, or forward again. Which step is next is for the plugins to
//! say; what is still warm is switched at once, the rest is made ready on another thread.

use mesh_plugin_host::{Change, Kind, Loaded, SlotStatus, SwapError, Toward};
use tokio::sync::oneshot;

use super::Driver;
use super::clock::unix_ms;
use super::slots::{Done, gone, not_ready, policy_slot, rehearsed, slot_named, swap_failed, unreadable};
use crate::api::{ApiError, Reply, code};
use crate::handler::Job;
use crate::mesh::Answer;
use crate::plugins::{Binding, Plugins, Ready, ReadyError, Step};

impl Driver {
    pub(super) fn roll_back(&mut self, slot: &str, step: Step, dry_run: bool, answer: Answer<Reply>) {
        let slot = match slot_named(slot) {
            Ok(slot) => slot,
            Err(error) => return drop(answer.send(Err(error))),
        };
        let Some(policy) = policy_slot(slot) else {
            return self.ask_handler(answer, move |status, answer| Done::HandlerRollback {
                status,
                step,
                dry_run,
                answer,
            });
        };
        if step == Step::Forward
            && let Err(error) = self.check_no_trial(slot.slot())
        {
            return drop(answer.send(Err(error)));
        }
        if let Some(aborted) = self.abort_trial(policy, dry_run) {
            return drop(answer.send(Ok(aborted)));
        }
        let status = self.parts.plugins.set.status(policy);
        self.roll_back_from(slot, &status, step, dry_run, answer);
    }

    pub(super) fn roll_back_from(
        &mut self,
        slot: Kind,
        status: &SlotStatus,
        step: Step,
        dry_run: bool,
        answer: Answer<Reply>,
    ) {
        let settles = step == Step::Back && status.has_stand_in();
        let next = self.parts.plugins.steps(slot, step).next().map(|left| left.binding.clone());
        let Some(binding) = next.or_else(|| settles.then(Binding::default)) else {
            return drop(answer.send(Err(self.no_step(slot, step))));
        };
        if dry_run {
            let revision = self.parts.plugins.revision_of(&binding);
            let reply = match settles {
                true => {
                    rehearsed(status, Change::Settled, status.quarantined.as_ref(), status.active.as_ref())
                }
                false => rehearsed(status, Change::Switched, status.active.as_ref(), revision),
            };
            return drop(answer.send(Ok(reply)));
        }
        if settles || Plugins::is_warm(status, &binding) {
            return self.switch_back(slot, step, answer);
        }
        if self.parts.plugins.revision_of(&binding).is_none() {
            return self.empty_slot(slot, step, false, answer);
        }
        match self.parts.plugins.source_of(&self.parts.store, slot, &binding) {
            Ok(Some(source)) => {
                let done = self.done_sender.clone();
                tokio::task::spawn_blocking(move || {
                    let outcome = source.make_ready();
                    let _ = done.blocking_send(Done::Back { outcome, slot, step, answer });
                });
            }
            Ok(None) => drop(answer.send(Err(gone()))),
            Err(error) => drop(answer.send(Err(unreadable(&error)))),
        }
    }

    fn no_step(&self, slot: Kind, step: Step) -> ApiError {
        let name = slot.slot();
        if step == Step::Forward {
            let message = format!("no rollback of the slot {name} can be taken back");
            return ApiError::new(&code::NO_PREVIOUS, message).help(format!("meshctl plugin show {name}"));
        }
        let error = swap_failed(&SwapError::NoPrevious, name);
        match self.parts.plugins.steps(slot, Step::Forward).next() {
            Some(_) => error.help(format!("meshctl plugin rollback {name} --forward")),
            None => error,
        }
    }

    /// Goes back to what the slot itself keeps.
    fn switch_back(&mut self, slot: Kind, step: Step, answer: Answer<Reply>) {
        let Some(policy) = policy_slot(slot) else {
            let (swapped, outcome) = oneshot::channel();
            self.parts.plugins.handler.hand(Job::Rollback { answer: swapped });
            return self.await_handler(outcome, None, step, true, answer);
        };
        let outcome = self.parts.plugins.set.rollback(policy, unix_ms());
        let reply = outcome
            .map_err(|error| swap_failed(&error, policy.name()))
            .map(|report| self.switched(&report, None, step, true));
        self.answer_when_kept(reply, answer);
    }

    /// Goes back to what was made ready for it. Meanwhile the slot may have gone elsewhere, or the plugin away.
    pub(super) fn on_back_ready(
        &mut self,
        outcome: Result<(Ready, Loaded), ReadyError>,
        slot: Kind,
        step: Step,
        answer: Answer<Reply>,
    ) {
        let ready = outcome.map_err(|error| not_ready(&error)).and_then(|(ready, loaded)| {
            let digest = loaded.revision().digest;
            let next = self.parts.plugins.steps(slot, step).next();
            let still = next.and_then(|left| self.parts.plugins.revision_of(&left.binding));
            if still.is_none_or(|revision| revision.digest != digest) {
                let message = format!("the slot {} was changed meanwhile", slot.slot());
                return Err(ApiError::new(&code::NO_PREVIOUS, message)
                    .help(format!("meshctl plugin show {}", slot.slot())));
            }
            self.check_no_trial(slot.slot())?;
            self.parts.plugins.remember(loaded);
            Ok((ready, digest))
        });
        let (ready, digest) = match ready {
            Ok(ready) => ready,
            Err(error) => return drop(answer.send(Err(error))),
        };
        let toward = if step == Step::Forward { Toward::Later } else { Toward::Earlier };
        let outcome = match (ready, policy_slot(slot)) {
            (Ready::Policy(prepared), Some(policy)) => {
                let own = self.parts.plugins.left_state(&self.parts.store, policy, &digest);
                self.parts.plugins.set.bring_back(*prepared, own, toward, unix_ms())
            }
            (Ready::Handler(prepared), _) => {
                let (swapped, outcome) = oneshot::channel();
                self.parts.plugins.handler.hand(Job::BringBack { prepared, toward, answer: swapped });
                return self.await_handler(outcome, None, step, true, answer);
            }
            (Ready::Policy(_), None) => unreachable!("a policy's slot is no handler's"),
        };
        let reply = outcome
            .map_err(|error| swap_failed(&error, slot.slot()))
            .map(|report| self.switched(&report, None, step, true));
        self.answer_when_kept(reply, answer);
    }
}

/// Returns the command that takes a step back.
pub(super) fn undo_of(slot: &str, step: Step) -> String {
    match step {
        Step::Back => format!("meshctl plugin rollback {slot} --forward"),
        Step::Onward | Step::Forward | Step::Withdrawn => format!("meshctl plugin rollback {slot}"),
    }
}
