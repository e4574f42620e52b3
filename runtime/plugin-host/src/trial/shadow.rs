//! A shadow run: the candidate answers on a thread of its own what the active one was asked. The thread that
//! decides gives away copies while there is room, and never waits: what does not fit is skipped and counted.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use mesh_proto::policy::View;

use super::candidate::Candidate;
use super::compared::{Compared, compare};
use super::figures::Figures;
use super::{Call, Start, TrialError};
use crate::fault::Fault;
use crate::limits;

/// The side of the thread that decides. Dropping it ends the run.
pub(super) struct Shadow {
    /// `None` when no more calls are looked at.
    samples: Option<SyncSender<Sample>>,
    outcomes: Receiver<Outcome>,
    in_flight: u64,
    rows_in_flight: u64,
    view: Arc<View>,
}

/// What has come back of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drained {
    /// More will.
    NotYet,
    /// The run was closed, and all that was given away was answered.
    Whole,
    /// Its thread ended before that.
    Died,
}

struct Sample {
    now_ms: u64,
    rows: u64,
    took: Duration,
    view: Arc<View>,
    call: Call,
}

struct Outcome {
    rows: u64,
    took: Duration,
    /// How it compares, and how long the candidate took.
    result: Result<(Compared, Duration), Fault>,
}

impl Shadow {
    pub(super) fn start(mut candidate: Candidate, start: Start<'_>) -> Result<Shadow, TrialError> {
        let view = Arc::new(start.view.clone());
        candidate.begin(start)?;
        let (samples, to_answer) = sync_channel(limits::TRIAL_CALLS);
        let (answered, outcomes) = sync_channel(limits::TRIAL_CALLS);
        let worker = Worker { candidate, view: view.clone(), debt: Duration::ZERO, worded: 0 };
        std::thread::Builder::new()
            .name("mesh-shadow".to_owned())
            .spawn(move || worker.run(&to_answer, &answered))
            .map_err(|_| TrialError::NoThread)?;
        Ok(Shadow { samples: Some(samples), outcomes, in_flight: 0, rows_in_flight: 0, view })
    }

    pub(super) fn observe(&mut self, view: &View) {
        self.view = Arc::new(view.clone());
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    pub(super) fn has_room(&self, rows: u64) -> bool {
        self.samples.is_some()
            && self.in_flight < limits::TRIAL_CALLS as u64
            && self.rows_in_flight + rows <= limits::TRIAL_ROWS
    }

    /// Hands a call to the candidate; there is room for it.
    pub(super) fn look_at(&mut self, now_ms: u64, took: Duration, rows: u64, call: Call) {
        let Some(samples) = &self.samples else { return };
        let sample = Sample { now_ms, rows, took, view: self.view.clone(), call };
        // A thread that is gone is seen when its outcomes are.
        if samples.try_send(sample).is_ok() {
            self.in_flight += 1;
            self.rows_in_flight += rows;
        }
    }

    /// No more calls are looked at; those that were given away are still answered.
    pub(super) fn close(&mut self) {
        self.samples = None;
    }

    /// Counts what came back, and says whether more will.
    pub(super) fn drain(&mut self, figures: &mut Figures) -> Drained {
        loop {
            match self.outcomes.try_recv() {
                Ok(outcome) => {
                    self.in_flight -= 1;
                    self.rows_in_flight -= outcome.rows;
                    match outcome.result {
                        Ok((compared, candidate)) => figures.add(compared, outcome.took, candidate),
                        Err(fault) => figures.add_fault(fault),
                    }
                }
                Err(TryRecvError::Empty) => return Drained::NotYet,
                Err(TryRecvError::Disconnected) => {
                    let is_whole = self.samples.is_none() && self.in_flight == 0;
                    return if is_whole { Drained::Whole } else { Drained::Died };
                }
            }
        }
    }
}

/// The side of the candidate.
struct Worker {
    candidate: Candidate,
    /// What the candidate knows.
    view: Arc<View>,
    /// What it rests for, so that it takes its share of a processor and no more.
    debt: Duration,
    /// Differences that were put into words.
    worded: usize,
}

impl Worker {
    fn run(mut self, samples: &Receiver<Sample>, outcomes: &SyncSender<Outcome>) {
        while let Ok(sample) = samples.recv() {
            let (rows, took) = (sample.rows, sample.took);
            let begun = Instant::now();
            let result = self.answer(sample);
            self.debt += begun.elapsed() * (limits::TRIAL_SHARE - 1);
            if outcomes.send(Outcome { rows, took, result }).is_err() {
                return;
            }
            self.rest();
        }
    }

    fn answer(&mut self, sample: Sample) -> Result<(Compared, Duration), Fault> {
        let Sample { now_ms, view, call, .. } = sample;
        if !Arc::ptr_eq(&view, &self.view) {
            self.candidate.observe(now_ms, &view)?;
            self.view = view;
        }
        let begun = Instant::now();
        let answer = self.candidate.answer(now_ms, &self.view, &call.asked)?;
        let took = begun.elapsed();
        let wanted = limits::TRIAL_EXAMPLES.min(limits::TRIAL_WORDED - self.worded);
        let compared = compare(&call.asked, &call.answer, &answer, wanted);
        self.worded += compared.examples.len();
        Ok((compared, took))
    }

    fn rest(&mut self) {
        // Not after every call: a rest is never shorter than the system's timer.
        const WORTH_IT: Duration = Duration::from_millis(1);
        if self.debt >= WORTH_IT {
            std::thread::sleep(std::mem::take(&mut self.debt));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_whose_thread_died_is_told_from_one_that_was_closed() {
        let (samples, _to_answer) = sync_channel(1);
        let (_, outcomes) = sync_channel(1);
        let view = Arc::new(View::default());
        let mut shadow = Shadow { samples: Some(samples), outcomes, in_flight: 0, rows_in_flight: 0, view };
        let mut figures = Figures::default();

        assert_eq!(shadow.drain(&mut figures), Drained::Died);
        shadow.close();
        assert_eq!(shadow.drain(&mut figures), Drained::Whole);
        shadow.in_flight = 1;
        assert_eq!(shadow.drain(&mut figures), Drained::Died);
    }
}
