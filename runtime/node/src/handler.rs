//! The thread that runs the handler slot: it may wait for a handler, the driver may not.
//!
//! Owns the slot and its timers. What a handler wants done goes to the driver as [`Told`]; nothing is
//! published or stored from here.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use mesh_plugin_host::handler::{Effect, Event, Failure, Handled, Outcome};
use mesh_plugin_host::journal::Page;
use mesh_plugin_host::{
    Change, Engine, HandlerSlot, Kv, LogLine, OperateError, PreparedHandler, Revision, Sentence, SlotEvent,
    SlotStatus, StartWith, SwapError, SwapReport, Toward, Withdrawn,
};
use tokio::sync::{mpsc, oneshot};

use crate::driver::clock::unix_ms;
use crate::driver::decisions::PAGE_BYTES;
use crate::plugins::Act;

/// Events and commands that wait for the handler; beyond it events are dropped and counted.
const JOBS: usize = 1024;
/// Answers of the handler that wait for the driver.
pub(crate) const TOLD: usize = 64;
/// Timers that a handler may have.
const MAX_TIMERS: usize = 64;
const IDLE: Duration = Duration::from_secs(60);
/// How often a handler in quarantine is looked at.
const LOOK: Duration = Duration::from_millis(500);

pub(crate) enum Job {
    Event(Event),
    Command {
        name: String,
        payload: Vec<u8>,
        answer: oneshot::Sender<Result<Vec<u8>, Declined>>,
    },
    Swap {
        prepared: Box<PreparedHandler>,
        start_with: StartWith,
        dry_run: bool,
        answer: Swapped,
    },
    /// What the slot begins with; of a failure the log tells.
    Begin {
        prepared: Box<PreparedHandler>,
        start_with: StartWith,
    },
    /// What was in quarantine when the node ended.
    PutAside {
        prepared: Box<PreparedHandler>,
        sentence: Sentence,
    },
    Rollback {
        answer: Swapped,
    },
    /// A rollback to what is not warm any more.
    BringBack {
        prepared: Box<PreparedHandler>,
        toward: Toward,
        answer: Swapped,
    },
    Remove {
        answer: Swapped,
    },
    /// Takes these out of the slot, for good.
    Withdraw {
        digests: Vec<[u8; 32]>,
    },
    /// Forgets this revision if a rollback would bring it back.
    Forget {
        digest: [u8; 32],
    },
    Status {
        answer: oneshot::Sender<Box<SlotStatus>>,
    },
    /// Answered with how the slot was and is.
    Operate {
        act: Act,
        answer: oneshot::Sender<Result<Box<(SlotStatus, SlotStatus)>, OperateError>>,
    },
    /// The log's lines after this number.
    Log {
        after: u64,
        answer: oneshot::Sender<Vec<LogLine>>,
    },
    /// A part of the journal; without `from` its end, with the state and the store written down there.
    Journal {
        from: Option<u64>,
        with_payload: bool,
        answer: oneshot::Sender<Option<Page>>,
    },
}

/// What a switch did, and how the slot is after it.
type Swapped = oneshot::Sender<Result<(SwapReport, Box<SlotStatus>), SwapError>>;

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Declined {
    #[error("{0}")]
    Failure(#[from] Failure),
    #[error("the handler failed, is paused or in quarantine; 'meshctl plugin show beacon' says which")]
    Failed,
    #[error("the handler did not answer")]
    NoReply,
}

/// What the driver is to do.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Another instance handles: its subscriptions replace all earlier ones.
    pub(crate) restarted: bool,
    pub(crate) effects: Vec<Effect>,
    pub(crate) events: Vec<SlotEvent>,
    /// What was taken out of the slot.
    pub(crate) withdrawn: Option<Withdrawn>,
    /// How the slot is after all this; there when something happened to it.
    pub(crate) status: Option<Box<SlotStatus>>,
}

/// The driver's side of the thread. Dropping it ends the thread.
pub(crate) struct HandlerThread {
    jobs: SyncSender<Job>,
    /// Events that the handler was too slow for.
    pub(crate) skipped: u64,
    /// What is to be withdrawn and found no room yet.
    withdrawal: Option<Vec<[u8; 32]>>,
}

impl HandlerThread {
    /// Starts the thread with an empty slot, and a journal of so many bytes; 0 for none.
    pub(crate) fn start(
        engine: &Engine,
        node: [u8; 32],
        name: &str,
        kv: Kv,
        journal_bytes: usize,
    ) -> (HandlerThread, mpsc::Receiver<Told>, Identity) {
        let mut slot = HandlerSlot::new(engine, node, name, kv);
        if journal_bytes > 0 {
            slot.keep_journal(journal_bytes, unix_ms());
        }
        let identity = slot.identity();
        let (jobs, receiver) = sync_channel(JOBS);
        let (told, answers) = mpsc::channel(TOLD);
        let thread = Thread { slot, timers: BTreeMap::new(), told };
        std::thread::Builder::new()
            .name("mesh-handler".to_owned())
            .spawn(|| thread.run(receiver))
            .expect("a process that starts can start one thread");
        (HandlerThread { jobs, skipped: 0, withdrawal: None }, answers, identity)
    }

    /// Hands a job over; events that find no room are dropped, a withdrawal waits for some.
    pub(crate) fn hand(&mut self, job: Job) {
        self.hand_withdrawal();
        match self.jobs.try_send(job) {
            Ok(()) => {}
            // Nothing revoked becomes good again, so a later list has what an earlier one had.
            Err(TrySendError::Full(Job::Withdraw { digests })) => self.withdrawal = Some(digests),
            // A question whose answer is dropped is answered as failed by its asker.
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.skipped += 1,
        }
    }

    /// Hands over the withdrawal that found no room, if there is some now.
    pub(crate) fn hand_withdrawal(&mut self) {
        if let Some(digests) = self.withdrawal.take()
            && let Err(TrySendError::Full(Job::Withdraw { digests })) =
                self.jobs.try_send(Job::Withdraw { digests })
        {
            self.withdrawal = Some(digests);
        }
    }
}

/// What preparing a handler needs to know of the slot.
pub(crate) type Identity = mesh_plugin_host::handler::Identity;

struct Thread {
    slot: HandlerSlot,
    timers: BTreeMap<u32, Instant>,
    told: mpsc::Sender<Told>,
}

impl Thread {
    fn run(mut self, jobs: Receiver<Job>) {
        loop {
            let due = self.timers.values().min().copied();
            let idle = if self.slot.has_retry() { LOOK } else { IDLE };
            let wait = due.map_or(idle, |due| due.saturating_duration_since(Instant::now()).min(idle));
            match jobs.recv_timeout(wait) {
                Ok(job) => self.on_job(job),
                Err(RecvTimeoutError::Timeout) => self.fire_timers(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if let Some(effects) = self.slot.look(unix_ms()) {
                self.restart(effects);
            }
        }
    }

    fn fire_timers(&mut self) {
        let now = Instant::now();
        let due: Vec<u32> = self.timers.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect();
        for id in due {
            self.timers.remove(&id);
            self.handle(Event::Timer(id), None);
        }
    }

    fn on_job(&mut self, job: Job) {
        match job {
            Job::Event(event) => self.handle(event, None),
            Job::Command { name, payload, answer } => {
                self.handle(Event::Command { name, payload }, Some(answer));
            }
            Job::Swap { prepared, start_with, dry_run, answer } => {
                if dry_run {
                    let report = self.slot.rehearse(*prepared, unix_ms(), start_with);
                    let _ = answer.send(report.map(|report| (report, Box::new(self.slot.status()))));
                    return;
                }
                let done = self.slot.swap(*prepared, unix_ms(), start_with);
                self.switched(done, answer);
            }
            Job::Begin { prepared, start_with } => match self.slot.begin(*prepared, unix_ms(), start_with) {
                Ok((_, effects)) => {
                    self.restart(effects);
                    self.tell(Told::default());
                }
                Err(error) => tracing::error!(slot = "beacon", %error, "the slot starts without its plugin"),
            },
            Job::PutAside { prepared, sentence } => self.slot.put_aside(*prepared, unix_ms(), sentence),
            Job::Rollback { answer } => {
                let done = self.slot.rollback(unix_ms());
                self.switched(done, answer);
            }
            Job::BringBack { prepared, toward, answer } => {
                let done = self.slot.bring_back(*prepared, toward, unix_ms());
                self.switched(done, answer);
            }
            Job::Remove { answer } => {
                let done = self.slot.remove(unix_ms()).map(|report| (report, Vec::new()));
                self.switched(done, answer);
            }
            Job::Withdraw { digests } => self.withdraw(&digests),
            Job::Forget { digest } => self.slot.forget_standby(&digest),
            Job::Status { answer } => drop(answer.send(Box::new(self.slot.status()))),
            Job::Operate { act, answer } => {
                let before = self.slot.status();
                let done = self.operate(act, &before).map(|()| Box::new((before, self.slot.status())));
                let _ = answer.send(done);
                self.tell(Told::default());
            }
            Job::Log { after, answer } => drop(answer.send(self.slot.log_after(after))),
            Job::Journal { from, with_payload, answer } => {
                let page = self.journal_page(from, with_payload);
                let _ = answer.send(page);
                self.tell(Told::default());
            }
        }
    }

    fn journal_page(&mut self, from: Option<u64>, with_payload: bool) -> Option<Page> {
        let from = from.or_else(|| self.slot.anchor_journal(unix_ms()))?;
        let mut page = self.slot.journal_page(from, PAGE_BYTES)?;
        if !with_payload {
            page.hide_payloads();
        }
        Some(page)
    }

    fn operate(&mut self, act: Act, before: &SlotStatus) -> Result<(), OperateError> {
        match act {
            Act::Pause => self.slot.pause(unix_ms()),
            Act::Lower(lowering) => self.slot.set_terms(unix_ms(), lowering.terms(before)),
            Act::Resume => {
                if let Some(effects) = self.slot.resume(unix_ms())? {
                    self.restart(effects);
                }
                Ok(())
            }
        }
    }

    fn switched(&mut self, done: Result<(SwapReport, Vec<Effect>), SwapError>, answer: Swapped) {
        let report = done.map(|(report, effects)| {
            // Whoever handles as before keeps its subscriptions and timers.
            if !matches!(report.change, Change::Nothing | Change::Settled) {
                self.restart(effects);
            }
            (report, Box::new(self.slot.status()))
        });
        let _ = answer.send(report);
        self.tell(Told::default());
    }

    fn handle(&mut self, event: Event, answer: Option<oneshot::Sender<Result<Vec<u8>, Declined>>>) {
        let seed = getrandom::u64().unwrap_or_default();
        let Handled { outcome, restart } = self.slot.handle(unix_ms(), seed, event);
        if let Some(effects) = restart {
            self.restart(effects);
        }
        let reply = match outcome {
            Outcome::Done(mut effects) => {
                let reply = effects.iter().position(|effect| matches!(effect, Effect::Reply(_)));
                let reply = reply.map(|at| effects.remove(at));
                self.apply(false, effects);
                match reply {
                    Some(Effect::Reply(bytes)) => Ok(bytes),
                    _ => Err(Declined::NoReply),
                }
            }
            Outcome::Declined(failure) => Err(failure.into()),
            Outcome::Failed => Err(Declined::Failed),
        };
        if let Some(answer) = answer {
            let _ = answer.send(reply);
        }
    }

    fn withdraw(&mut self, digests: &[[u8; 32]]) {
        let is_withdrawn = |revision: &Revision| digests.contains(&revision.digest);
        if let Some((withdrawn, effects)) = self.slot.withdraw(&is_withdrawn, unix_ms()) {
            self.restart(effects);
            self.tell(Told { withdrawn: Some(withdrawn), ..Told::default() });
        }
    }

    fn restart(&mut self, effects: Vec<Effect>) {
        self.timers.clear();
        self.apply(true, effects);
    }

    /// Keeps the timers here and passes everything else on.
    fn apply(&mut self, restarted: bool, effects: Vec<Effect>) {
        let now = Instant::now();
        let (timers, effects): (Vec<Effect>, Vec<Effect>) =
            effects.into_iter().partition(|effect| matches!(effect, Effect::SetTimer { .. }));
        for timer in timers {
            if let Effect::SetTimer { id, after_ms } = timer
                && (self.timers.len() < MAX_TIMERS || self.timers.contains_key(&id))
            {
                self.timers.insert(id, now + Duration::from_millis(after_ms.into()));
            }
        }
        self.tell(Told { restarted, effects, ..Told::default() });
    }

    fn tell(&mut self, mut told: Told) {
        told.events = self.slot.take_events();
        if told.withdrawn.is_some() || !told.events.is_empty() {
            told.status = Some(Box::new(self.slot.status()));
        }
        if told.withdrawn.is_some() || told.restarted || !told.effects.is_empty() || !told.events.is_empty() {
            // A driver that is gone needs nothing any more.
            let _ = self.told.blocking_send(told);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_withdrawal_is_handed_over_once_the_handler_has_room() {
        let (jobs, queue) = sync_channel(1);
        let mut thread = HandlerThread { jobs, skipped: 0, withdrawal: None };
        thread.hand(Job::Event(Event::Timer(1)));
        thread.hand(Job::Withdraw { digests: vec![[7; 32]] });
        thread.hand_withdrawal();
        assert!(matches!(queue.try_recv(), Ok(Job::Event(_))));

        thread.hand(Job::Event(Event::Timer(2)));

        assert!(matches!(queue.try_recv(), Ok(Job::Withdraw { digests }) if digests == [[7; 32]]));
        assert_eq!((queue.try_recv().is_err(), thread.skipped), (true, 1), "the event found no room");
    }
}
