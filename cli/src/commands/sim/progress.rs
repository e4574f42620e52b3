//! How a simulation looks while it runs.

use std::ops::ControlFlow;
use std::time::Duration;

use mesh_sim::run::Progress;

use crate::output::bar::{Bar, cells};
use crate::output::human::{self, DIM, styled};

/// Tells how far it is.
pub(super) fn tell(bar: &mut Bar<'_>, progress: &Progress) -> ControlFlow<()> {
    bar.tell(progress.phase.name(), |title, age| line(title, progress, age));
    ControlFlow::Continue(())
}

/// Returns what a bar looks like.
fn line(title: &str, progress: &Progress, elapsed: Duration) -> String {
    let (at, total) = (progress.at.as_secs_f64(), progress.total.as_secs_f64().max(1e-9));
    let share = (at / total).clamp(0.0, 1.0);
    let speed = at / elapsed.as_secs_f64().max(1e-9);
    let left = (total - at) / speed.max(1e-9);
    let facts = format!(
        "{at:.0} of {total:.0} s simulated, {speed:.0}x, {} left, {}",
        human::duration(left),
        progress.phase.name()
    );
    format!("{title}  {}  {:.0} %  {}", cells(share), share * 100.0, styled(DIM, facts))
}

#[cfg(test)]
mod tests {
    use mesh_sim::run::Phase;

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
