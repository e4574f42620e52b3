//! How far something is that takes long: a bar on a terminal, a line a phase elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::Output;

/// What ends sooner is not told about.
const PATIENCE: Duration = Duration::from_millis(300);
/// Time between two drawings.
const REDRAW: Duration = Duration::from_millis(100);
/// Cells of the bar.
const WIDTH: usize = 24;

/// What is told of one thing.
pub struct Bar<'a> {
    out: &'a Output,
    title: String,
    begun: Instant,
    drawn: Option<Instant>,
    phase: Option<&'static str>,
    is_bar: bool,
}

impl<'a> Bar<'a> {
    /// Tells about a thing of this name.
    pub fn new(out: &'a Output, title: String) -> Bar<'a> {
        let is_bar = std::io::stderr().is_terminal() && !out.quiet;
        Bar { out, title, begun: Instant::now(), drawn: None, phase: None, is_bar }
    }

    /// Tells which phase it is in, or draws the line that is made of its name and age.
    pub fn tell(&mut self, phase: &'static str, line: impl FnOnce(&str, Duration) -> String) {
        if self.is_bar {
            self.draw(line);
        } else if self.phase != Some(phase) {
            self.phase = Some(phase);
            self.out.note(format_args!("{}: {phase}", self.title));
        }
    }

    fn draw(&mut self, line: impl FnOnce(&str, Duration) -> String) {
        let age = self.begun.elapsed();
        if age < PATIENCE || self.drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW) {
            return;
        }
        self.drawn = Some(Instant::now());
        // Nothing is lost when a terminal takes no more.
        let _ = write!(anstream::stderr().lock(), "\r\x1b[2K{}", line(&self.title, age));
    }
}

impl Drop for Bar<'_> {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let _ = write!(anstream::stderr().lock(), "\r\x1b[2K");
        }
    }
}

/// Returns the bar itself; `share` is what is done, from 0 to 1.
pub fn cells(share: f64) -> String {
    let full = (share * WIDTH as f64) as usize;
    "█".repeat(full) + &"░".repeat(WIDTH.saturating_sub(full))
}
