//! Prefers parents that are near and have room, and the present one a little.

use mesh_sdk::topology::{Asker, Candidate, Topology};
use mesh_sdk::{Refusal, Settings};

/// How many points room and nearness can bring.
const ROOM: u64 = 600;
const NEARNESS: u64 = 400;

/// What the present parent gets on top.
pub struct Policy {
    stay: u32,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { stay: 50 }
    }
}

impl Topology for Policy {
    fn configure(&mut self, mut settings: Settings) -> Result<(), Refusal> {
        self.stay = settings.integer("stay", 50, 0..=1000)? as u32;
        settings.finish()
    }

    fn score(&mut self, asker: &Asker, candidate: &Candidate) -> u32 {
        let free = candidate.max_children.saturating_sub(candidate.children);
        let room = part(ROOM, free, candidate.max_children);
        let nearness = match (asker.max_distance_m, candidate.distance_m) {
            (Some(most), Some(distance)) => part(NEARNESS, most.saturating_sub(distance), most),
            _ => 0,
        };
        let stay = if candidate.is_parent { self.stay } else { 0 };
        (room + nearness + stay).min(1000)
    }
}

/// That part of `whole` which `some` is of `all`.
fn part(whole: u64, some: u32, all: u32) -> u32 {
    (whole * u64::from(some)).checked_div(u64::from(all)).unwrap_or(0) as u32
}

mesh_sdk::topology!(Policy);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_and_nearness_add_up() {
        let asker = Asker { max_distance_m: Some(1_000), ..Asker::default() };
        let candidate = |distance_m, children| Candidate {
            distance_m,
            children,
            max_children: 10,
            ..Candidate::default()
        };
        for (distance_m, children, want) in
            [(Some(0), 0, 1000), (Some(500), 5, 500), (Some(2_000), 5, 300), (None, 10, 0)]
        {
            let got = Policy::default().score(&asker, &candidate(distance_m, children));

            assert_eq!(got, want, "{distance_m:?} m, {children} children");
        }
    }

    #[test]
    fn the_present_parent_has_an_advantage() {
        let one = Candidate { children: 5, max_children: 10, ..Candidate::default() };
        let parent = Candidate { is_parent: true, ..one };

        let scores = [one, parent].map(|one| Policy::default().score(&Asker::default(), &one));

        assert_eq!(scores, [300, 350]);
    }
}
