//! How a transfer looks while it goes on.

use mesh_node::oci::{Phase, Progress};

use crate::output::bar::{Bar, cells};
use crate::output::human;

/// Tells how far it is.
pub(super) fn tell(bar: &mut Bar<'_>, progress: Progress) {
    bar.tell(word(progress.phase), |title, _| line(title, progress));
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
    let (bar, total) = (cells(share), human::bytes(progress.total));
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
