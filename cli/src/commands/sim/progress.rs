//! How far a simulation has come: a bar on a terminal, a line a phase elsewhere.

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use mesh_sim::run::{Phase, Progress};

use crate::commands::Context;
use crate::output::Output;
use crate::output::human::{self, DIM, styled};

/// A run that ends sooner is not told about.
const PATIENCE: Duration = Duration::from_millis(300);
/// Time between two drawings.
const REDRAW: Duration = Duration::from_millis(100);
/// Cells of the bar.
const WIDTH: usize = 24;

/// What is told while one simulation runs.
pub(super) struct Teller<'a> {
    out: &'a Output,
    title: String,
    begun: Instant,
    drawn: Option<Instant>,
    phase: Option<Phase>,
    is_bar: bool,
}

impl<'a> Teller<'a> {
    /// Tells about a simulation of this name.
    pub(super) fn new(context: &'a Context, title: String) -> Teller<'a> {
        let is_bar = std::io::stderr().is_terminal() && !context.globals.quiet;
        Teller { out: &context.out, title, begun: Instant::now(), drawn: None, phase: None, is_bar }
    }

    /// Tells how far it is.
    pub(super) fn tell(&mut self, progress: &Progress) -> ControlFlow<()> {
        if self.is_bar {
            self.draw(progress);
        } else if self.phase != Some(progress.phase) {
            self.phase = Some(progress.phase);
            self.out.note(format_args!("{}: {}", self.title, progress.phase.name()));
        }
        ControlFlow::Continue(())
    }

    fn draw(&mut self, progress: &Progress) {
        let elapsed = self.begun.elapsed();
        if elapsed < PATIENCE || self.drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW) {
            return;
        }
        self.drawn = Some(Instant::now());
        let line = line(&self.title, progress, elapsed);
        // Nothing is lost when a terminal takes no more.
        let _ = write!(anstream::stderr().lock(), "\r\x1b[2K{line}");
    }
}

impl Drop for Teller<'_> {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let _ = write!(anstream::stderr().lock(), "\r\x1b[2K");
        }
    }
}

/// Returns what a bar looks like.
fn line(title: &str, progress: &Progress, elapsed: Duration) -> String {
    let (at, total) = (progress.at.as_secs_f64(), progress.total.as_secs_f64().max(1e-9));
    let share = (at / total).clamp(0.0, 1.0);
    let full = (share * WIDTH as f64) as usize;
    let bar = "█".repeat(full) + &"░".repeat(WIDTH - full);
    let speed = at / elapsed.as_secs_f64().max(1e-9);
    let left = (total - at) / speed.max(1e-9);
    let facts = format!(
        "{at:.0} of {total:.0} s simulated, {speed:.0}x, {} left, {}",
        human::duration(left),
        progress.phase.name()
    );
    format!("{title}  {bar}  {:.0} %  {}", share * 100.0, styled(DIM, facts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_says_how_far_how_fast_and_how_long_still() {
        let progress =
            Progress { phase: Phase::Main, at: Duration::from_secs(30), total: Duration::from_secs(60) };

        let text = line("steady", &progress, Duration::from_millis(500));

        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "steady  ████████████░░░░░░░░░░░░  50 %  30 of 60 s simulated, 60x, 500 ms left, traffic and faults"
        );
    }
}
