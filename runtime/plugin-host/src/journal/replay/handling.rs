//! A handler's events taken in again.

use super::{EXAMPLES, Example, Player, ReplayError};
use crate::journal::{By, Came, Entry, Handled};

impl<'a> Player<'a> {
    pub(super) fn on_event(&mut self, entry: &'a Entry, call: &Handled) -> Result<(), ReplayError> {
        if call.is_hidden() {
            return Err(ReplayError::Hidden(entry.number));
        }
        let is_asked = call.told.by != By::FallbackAbsent;
        let event = call.event();
        let (Some(playing), Some(event), true) = (&mut self.playing, &event, is_asked) else {
            self.report.skipped += 1;
            if is_asked && self.is_recorded() {
                // It was larger than a journal keeps: what the handler made of it is not known.
                self.playing = None;
            }
            return Ok(());
        };
        let made = playing.handle(entry.now_ms, call.seed, event);
        let failed_before = call.told.by == By::FallbackFault && self.is_recorded();
        self.report.calls += 1;
        self.report.decisions += 1;
        let replayed = made.as_ref().unwrap_or(&Came::Nothing);
        if let Some((row, recorded, replayed)) = call.came.parts_from(replayed) {
            self.report.differing += 1;
            self.report.differing_calls += 1;
            if self.report.examples.len() < EXAMPLES {
                let inputs = entry.event.inputs(row);
                let (number, now_ms) = (entry.number, entry.now_ms);
                self.report.examples.push(Example { number, now_ms, row, inputs, recorded, replayed });
            }
        }
        match made {
            Err(fault) if !failed_before => self.on_fault(entry.number, &fault),
            Err(_) => {
                self.playing = None;
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }
}
