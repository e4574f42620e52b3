//! How far a transfer is: a bar on a terminal, a line a phase elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use mesh_node::oci::{Phase, Progress};

use crate::commands::Context;
use crate::output::Output;
use crate::output::human;

/// A transfer that ends sooner is not told about.
const PATIENCE: Duration = Duration::from_millis(300);
/// Time between two drawings.
const REDRAW: Duration = Duration::from_millis(100);
/// Cells of the bar.
const WIDTH: usize = 24;

/// What is told during one transfer.
pub(super) struct Bar<'a> {
    out: &'a Output,
    title: String,
    begun: Instant,
    drawn: Option<Instant>,
    phase: Option<Phase>,
    is_bar: bool,
}

impl<'a> Bar<'a> {
    /// Tells about a transfer of this name.
    pub(super) fn new(context: &'a Context, title: String) -> Bar<'a> {
        let is_bar = std::io::stderr().is_terminal() && !context.globals.quiet;
        Bar { out: &context.out, title, begun: Instant::now(), drawn: None, phase: None, is_bar }
    }

    /// Tells how far it is.
    pub(super) fn tell(&mut self, progress: Progress) {
        if self.is_bar {
            self.draw(progress);
        } else if self.phase != Some(progress.phase) {
            self.phase = Some(progress.phase);
            self.out.note(format_args!("{}: {}", self.title, word(progress.phase)));
        }
    }

    fn draw(&mut self, progress: Progress) {
        if self.begun.elapsed() < PATIENCE || self.drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW) {
            return;
        }
        self.drawn = Some(Instant::now());
        // Nothing is lost when a terminal takes no more.
        let _ = write!(anstream::stderr().lock(), "\r\x1b[2K{}", line(&self.title, progress));
    }
}

impl Drop for Bar<'_> {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let _ = write!(anstream::stderr().lock(), "\r\x1b[2K");
        }
    }
}

fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Resolving => "asking the registry",
        Phase::Fetching => "fetching the component",
        Phase::Signatures => "fetching the signatures",
        Phase::Pushing => "pushing the component",
    }
}

fn line(title: &str, progress: Progress) -> String {
    if progress.total == 0 {
        return format!("{title}  {}", word(progress.phase));
    }
    let share = (progress.done as f64 / progress.total as f64).clamp(0.0, 1.0);
    let full = (share * WIDTH as f64) as usize;
    let bar = "█".repeat(full) + &"░".repeat(WIDTH - full);
    let total = human::bytes(progress.total);
    format!("{title}  {bar}  {:.0} % of {total}, {}", share * 100.0, word(progress.phase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_says_how_far_and_of_how_much() {
        let half = Progress { phase: Phase::Fetching, done: 512 << 10, total: 1 << 20 };
        let asking = Progress { phase: Phase::Resolving, done: 0, total: 0 };

        assert!(line("oci://h/a", half).starts_with("oci://h/a  ████████████░░░░░░░░░░░░  50 % of 1"));
        assert_eq!(line("oci://h/a", asking), "oci://h/a  asking the registry");
    }
}
