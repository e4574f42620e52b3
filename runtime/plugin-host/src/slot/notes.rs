//! What a slot writes into its journal, and when. Nothing without one.

use super::{Guest, Slot};
use crate::journal::{By, Journal, Told, With};
use crate::limits;

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
        self.write_start(now_ms, context, limits::JOURNAL_KV_BYTES);
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
        let is_anchor = self.notes.as_ref().is_some_and(|notes| notes.due == Some(With::Anchor));
        let most = if is_anchor { limits::CHECKPOINT_SMALL } else { limits::JOURNAL_KV_BYTES };
        self.write_start(now_ms, context, most);
    }

    /// Writes what an instance begins with, and of a handler's store so many bytes at most.
    fn write_start(&mut self, now_ms: u64, context: &G::Context, most: usize) {
        let Some(notes) = &mut self.notes else { return };
        let Some(mut with) = notes.due.take() else { return };
        let bound = self.active.as_ref();
        let instance = bound.and_then(|bound| bound.instance.as_ref());
        if matches!(with, With::Nothing | With::State) && instance.is_some_and(|i| !i.is_as_configured()) {
            // It read its store when it was made ready, and its predecessor has written since.
            with = With::Unknown;
        }
        let state = match with {
            With::State | With::Anchor => bound.and_then(|bound| bound.checkpoint.as_ref()),
            With::Nothing | With::Unknown => None,
        };
        let told = bound.map(|bound| {
            let origin = &bound.origin;
            (bound.revision(), &origin.settings, &origin.terms.lowered)
        });
        let state = state.map(|checkpoint| &checkpoint.state);
        let room = notes.journal.room_beside(state.map_or(0, |state| state.bytes.len()));
        let beside = bound.map(|bound| G::beside_state(&bound.origin.identity, most.min(room)));
        notes.journal.start(now_ms, told, with, state, &beside.unwrap_or_default());
        if with == With::Anchor {
            // Shown once more, because a replay has to show it to an instance that has only the state.
            self.update(now_ms, context);
        } else {
            self.note_shown(now_ms, context);
        }
    }
}
