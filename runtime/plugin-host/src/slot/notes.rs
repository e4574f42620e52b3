//! What a slot writes into its journal, and when. Nothing without one.

use super::{Guest, Slot};
use crate::journal::{By, Journal, Told, With};

/// A slot's journal, and what is still to be written.
pub(super) struct Notes {
    journal: Journal,
    /// An instance has begun, or its state was saved: written behind the call in which that happened.
    due: Option<With>,
    told: Told,
}

impl<G: Guest> Slot<G> {
    /// Keeps a journal of so many bytes from now on.
    pub(crate) fn keep_journal(&mut self, bytes: usize, now_ms: u64, context: &G::Context) {
        let told = Told { by: By::Native, cost_ns: None };
        self.notes = Some(Notes { journal: Journal::new(bytes), due: None, told });
        self.begin_notes(With::Unknown);
        self.write_due(now_ms, context);
    }

    pub(crate) fn journal(&self) -> Option<&Journal> {
        self.notes.as_ref().map(|notes| &notes.journal)
    }

    pub(crate) fn journal_mut(&mut self) -> Option<&mut Journal> {
        self.notes.as_mut().map(|notes| &mut notes.journal)
    }

    /// Writes the state down, so that a replay can begin here.
    pub(crate) fn anchor(&mut self, now_ms: u64, context: &G::Context) {
        if self.notes.is_none() {
            return;
        }
        match &self.active {
            Some(_) => self.checkpoint(now_ms, context),
            None => self.begin_notes(With::Nothing),
        }
        self.write_due(now_ms, context);
    }

    /// Notes who answered the call that is under way.
    #[inline]
    pub(super) fn note_answer(&mut self, by: By, cost_ns: Option<u32>) {
        if let Some(notes) = &mut self.notes {
            notes.told = Told { by, cost_ns };
        }
    }

    /// Another instance decides, or the running one was saved.
    pub(super) fn begin_notes(&mut self, with: With) {
        let has_state = self.active.as_ref().map(|bound| bound.checkpoint.is_some());
        let Some(notes) = &mut self.notes else { return };
        notes.due = Some(match (with, has_state) {
            (_, None) | (With::State, Some(false)) => With::Nothing,
            (with, Some(_)) => with,
        });
    }

    /// Writes the call that has just been answered.
    #[inline]
    pub(crate) fn note(&mut self, now_ms: u64, context: &G::Context, write: impl FnOnce(&mut Journal, Told)) {
        let Some(notes) = &mut self.notes else { return };
        write(&mut notes.journal, notes.told);
        if notes.due.is_some() {
            self.write_due(now_ms, context);
        }
    }

    /// Writes what the policy is shown, whoever it is.
    pub(crate) fn note_shown(&mut self, now_ms: u64, context: &G::Context) {
        if let Some(notes) = &mut self.notes {
            G::show(&mut notes.journal, now_ms, context);
        }
    }

    #[cold]
    pub(super) fn write_due(&mut self, now_ms: u64, context: &G::Context) {
        let Some(notes) = &mut self.notes else { return };
        let Some(with) = notes.due.take() else { return };
        let bound = self.active.as_ref();
        let state = match with {
            With::State | With::Anchor => bound.and_then(|bound| bound.checkpoint.as_ref()),
            With::Nothing | With::Unknown => None,
        };
        let told = bound.map(|bound| (bound.revision(), &bound.origin.settings));
        notes.journal.start(now_ms, told, with, state.map(|checkpoint| &checkpoint.state));
        if with == With::Anchor {
            // Shown once more, because a replay has to show it to an instance that has only the state.
            self.update(now_ms, context);
        } else {
            self.note_shown(now_ms, context);
        }
    }
}
