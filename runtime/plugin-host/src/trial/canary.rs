//! A canary: the candidate decides for a share of the flows. The active one has answered all rows already; those of
//! the share are answered again and replaced, or kept when the candidate fails.

use std::time::{Duration, Instant};

use mesh_proto::policy::{QosBatch, RouteBatch, View};

use super::candidate::Candidate;
use super::compared::{Answer, Asked, compare};
use super::figures::Figures;
use super::{CanaryPlan, Start, TrialError};
use crate::fault::Fault;
use crate::load::Revision;

/// Flow numbers are compared in steps of this many.
const WHOLE: u64 = 10_000;

/// What the candidate decided in a call, in the active one's place.
pub(crate) struct Decided {
    pub(crate) revision: Revision,
    pub(crate) rows: Vec<u32>,
    /// One for each row.
    pub(crate) answers: Vec<u32>,
}

pub(crate) struct Canary {
    candidate: Candidate,
    share: u64,
    view: View,
}

impl Canary {
    pub(super) fn start(
        mut candidate: Candidate,
        plan: CanaryPlan,
        start: Start<'_>,
    ) -> Result<Canary, TrialError> {
        let view = start.view.clone();
        candidate.begin(start)?;
        Ok(Canary { candidate, share: u64::from(plan.share), view })
    }

    pub(super) fn observe(&mut self, now_ms: u64, view: &View) -> Result<(), Fault> {
        self.view.clone_from(view);
        self.candidate.observe(now_ms, view)
    }

    /// Says whether the candidate decides for a flow; the same for as long as the share is.
    fn has(&self, flow: u32) -> bool {
        (u64::from(flow) * WHOLE) >> 32 < self.share
    }

    fn rows(&self, flows: &[u32]) -> Vec<usize> {
        let mine = |(row, flow): (usize, &u32)| self.has(*flow).then_some(row);
        flows.iter().enumerate().filter_map(mine).collect()
    }

    /// Replaces the answers of the candidate's flows. Without a flow for each row nothing is: the call is no
    /// message's.
    pub(crate) fn route(
        &mut self,
        at: At<'_>,
        batch: &RouteBatch,
        verdicts: &mut [u32],
        figures: &mut Figures,
    ) -> Option<Decided> {
        let rows = self.rows(at.flows);
        if at.flows.len() != batch.dest.len() || rows.is_empty() {
            return None;
        }
        let pick = |column: &[u32]| rows.iter().map(|&row| column[row]).collect();
        let asked = Asked::Route(RouteBatch {
            dest: pick(&batch.dest),
            ingress: pick(&batch.ingress),
            size: pick(&batch.size),
            class: rows.iter().map(|&row| batch.class[row]).collect(),
        });
        let active = Answer::Route(pick(verdicts));
        let Some(Answer::Route(answers)) = self.ask(&at, &asked, &active, figures) else { return None };
        rows.iter().zip(&answers).for_each(|(&row, &answer)| verdicts[row] = answer);
        Some(self.decided(&rows, answers))
    }

    /// As [`Canary::route`], for classes.
    pub(crate) fn classify(
        &mut self,
        at: At<'_>,
        batch: &QosBatch,
        classes: &mut [u8],
        figures: &mut Figures,
    ) -> Option<Decided> {
        let rows = self.rows(at.flows);
        if at.flows.len() != batch.class.len() || rows.is_empty() {
            return None;
        }
        let pick = |column: &[u32]| rows.iter().map(|&row| column[row]).collect();
        let asked = Asked::Classify(QosBatch {
            class: rows.iter().map(|&row| batch.class[row]).collect(),
            size: pick(&batch.size),
            age_ms: pick(&batch.age_ms),
            tag: pick(&batch.tag),
        });
        let active = Answer::Classify(rows.iter().map(|&row| classes[row]).collect());
        let Some(Answer::Classify(answers)) = self.ask(&at, &asked, &active, figures) else { return None };
        rows.iter().zip(&answers).for_each(|(&row, &answer)| classes[row] = answer);
        Some(self.decided(&rows, answers.into_iter().map(u32::from).collect()))
    }

    fn decided(&self, rows: &[usize], answers: Vec<u32>) -> Decided {
        let rows = rows.iter().map(|&row| row as u32).collect();
        Decided { revision: self.candidate.revision().clone(), rows, answers }
    }

    fn ask(&mut self, at: &At<'_>, asked: &Asked, active: &Answer, figures: &mut Figures) -> Option<Answer> {
        let begun = Instant::now();
        match self.candidate.answer(at.now_ms, &self.view, asked) {
            Ok(answer) => {
                let took = begun.elapsed();
                figures.add(compare(asked, active, &answer, figures.examples_wanted()), at.took, took);
                Some(answer)
            }
            Err(fault) => {
                figures.add_fault(fault);
                None
            }
        }
    }
}

/// The circumstances of a call.
pub(crate) struct At<'a> {
    pub(crate) now_ms: u64,
    /// How long the active one took.
    pub(crate) took: Duration,
    /// The flow of each row.
    pub(crate) flows: &'a [u32],
}
