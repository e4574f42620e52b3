//! Scores parents by how steady they are: power, standing still, time up, few failures.

use std::collections::BTreeMap;

use mesh_sdk::topology::{Asker, Candidate, Mobility, Topology};
use mesh_sdk::{Refusal, Settings};

/// Clocks and evaluations are this inexact, in seconds.
const SLACK_S: u64 = 5;
/// Failures that are remembered of one candidate; the score is 0 long before.
const MAX_FLAPS: u32 = 1_000;
const HEADER: usize = 16;
const ROW: usize = 20;

/// What is remembered of one candidate.
#[derive(Clone, Copy, Default)]
struct Memory {
    flaps: u32,
    up_s: u32,
    /// When the last failure happened or was forgiven.
    since_ms: u64,
}

/// The policy.
pub struct Steady {
    steady_after_s: u64,
    flap_penalty: u32,
    forgive_ms: u64,
    scored: u64,
    last_ms: u64,
    memory: BTreeMap<u32, Memory>,
    /// The memory came from another instance: its numbers may stand for other nodes now.
    is_handed_over: bool,
}

impl Default for Steady {
    fn default() -> Self {
        Steady {
            steady_after_s: 600,
            flap_penalty: 150,
            forgive_ms: 600_000,
            scored: 0,
            last_ms: 0,
            memory: BTreeMap::new(),
            is_handed_over: false,
        }
    }
}

impl Topology for Steady {
    const STATE_VERSION: u32 = 1;

    fn configure(&mut self, mut settings: Settings) -> Result<(), Refusal> {
        self.steady_after_s = settings.integer("steady_after_s", 600, 1..=86_400)? as u64;
        self.flap_penalty = settings.integer("flap_penalty", 150, 0..=1_000)? as u32;
        self.forgive_ms = settings.integer("forgive_s", 600, 1..=86_400)? as u64 * 1_000;
        settings.finish()
    }

    fn begin(&mut self, _asker: &Asker, candidates: &[Candidate]) {
        let mut before = std::mem::take(&mut self.memory);
        for candidate in candidates {
            let memory = before.remove(&candidate.node);
            self.memory.insert(candidate.node, self.remember(memory, candidate));
        }
        self.last_ms = candidates.first().map_or(self.last_ms, |candidate| candidate.now_ms);
        self.is_handed_over = false;
    }

    fn score(&mut self, _asker: &Asker, candidate: &Candidate) -> u32 {
        self.scored += 1;
        let still = match candidate.mobility {
            Mobility::Static => 400,
            Mobility::SemiMobile => 240,
            Mobility::Mobile => 120,
        };
        let power = candidate.battery.map_or(250, |percent| u32::from(percent.min(100)) * 2);
        let up = u64::from(candidate.up_s).min(self.steady_after_s) * 200 / self.steady_after_s;
        let flaps = self.memory.get(&candidate.node).map_or(0, |memory| memory.flaps);
        let points = still + power + up as u32 + room(candidate);
        points.saturating_sub(flaps.saturating_mul(self.flap_penalty))
    }

    fn save(&self) -> Vec<u8> {
        let mut state = Vec::with_capacity(HEADER + ROW * self.memory.len());
        state.extend(self.scored.to_le_bytes());
        state.extend(self.last_ms.to_le_bytes());
        for (node, memory) in &self.memory {
            state.extend([*node, memory.flaps, memory.up_s].iter().flat_map(|field| field.to_le_bytes()));
            state.extend(memory.since_ms.to_le_bytes());
        }
        state
    }

    fn load(&mut self, from_version: u32, state: &[u8]) -> Result<(), Refusal> {
        if from_version != Self::STATE_VERSION {
            return Err(Refusal::UnknownVersion(from_version));
        }
        let (header, rows) = state.split_first_chunk::<HEADER>().ok_or(Refusal::BadState)?;
        let (rows, []) = rows.as_chunks::<ROW>() else { return Err(Refusal::BadState) };
        self.scored = u64_at(header, 0);
        self.last_ms = u64_at(header, 8);
        let memory = |row: &[u8; ROW]| {
            let [node, flaps, up_s] = [0, 4, 8].map(|at| u32_at(row, at));
            (node, Memory { flaps: flaps.min(MAX_FLAPS), up_s, since_ms: u64_at(row, 12) })
        };
        self.memory = rows.iter().map(memory).collect();
        self.is_handed_over = true;
        Ok(())
    }
}

impl Steady {
    /// Notes a failure when the time up starts anew, and forgives one when its time has come.
    fn remember(&self, before: Option<Memory>, candidate: &Candidate) -> Memory {
        let now_ms = candidate.now_ms;
        let fresh = Memory { flaps: 0, up_s: candidate.up_s, since_ms: now_ms };
        let Some(mut memory) = before else { return fresh };
        let passed_s = now_ms.saturating_sub(self.last_ms) / 1_000;
        let expected_s = u64::from(memory.up_s) + passed_s;
        let up_s = u64::from(candidate.up_s);
        if up_s.abs_diff(expected_s) > SLACK_S && self.is_handed_over {
            return fresh;
        }
        if up_s + SLACK_S < expected_s {
            memory.flaps = (memory.flaps + 1).min(MAX_FLAPS);
            memory.since_ms = now_ms;
        }
        let forgiven = now_ms.saturating_sub(memory.since_ms) / self.forgive_ms;
        memory.flaps = memory.flaps.saturating_sub(forgiven.min(MAX_FLAPS.into()) as u32);
        memory.since_ms += forgiven * self.forgive_ms;
        Memory { up_s: candidate.up_s, ..memory }
    }
}

/// 150 points for what is free: processors, memory, places for children, a third each.
fn room(candidate: &Candidate) -> u32 {
    let free = |used: u8| 50 - u32::from(used.min(100)) / 2;
    let taken = u64::from(candidate.children.min(candidate.max_children));
    let places = 50 - taken * 50 / u64::from(candidate.max_children.max(1));
    free(candidate.cpu_used) + free(candidate.memory_used) + places as u32
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|n| bytes[at + n]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|n| bytes[at + n]))
}

mesh_sdk::topology!(Steady);

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(node: u32, now_s: u32, up_s: u32) -> Candidate {
        Candidate { node, now_ms: u64::from(now_s) * 1_000, up_s, max_children: 10, ..Candidate::default() }
    }

    fn score(policy: &mut Steady, candidates: &[Candidate]) -> Vec<u32> {
        policy.begin(&Asker::default(), candidates);
        candidates.iter().map(|candidate| policy.score(&Asker::default(), candidate)).collect()
    }

    #[test]
    fn mains_and_standing_still_go_before_a_full_battery_and_idle_processors() {
        let mains = Candidate { cpu_used: 50, memory_used: 50, ..candidate(1, 0, 600) };
        let battery = Candidate { battery: Some(100), ..candidate(2, 0, 600) };
        let mobile = Candidate { mobility: Mobility::Mobile, ..candidate(3, 0, 600) };

        let scores = score(&mut Steady::default(), &[mains, battery, mobile, candidate(4, 0, 600)]);

        assert_eq!(scores, [950, 950, 720, 1000]);
    }

    #[test]
    fn a_candidate_is_the_better_the_longer_it_is_up() {
        let scores = score(&mut Steady::default(), &[0, 300, 600, 9_000].map(|up| candidate(up, 0, up)));

        assert_eq!(scores, [800, 900, 1000, 1000]);
    }

    #[test]
    fn each_failure_costs_until_it_is_forgiven() {
        let mut policy = Steady::default();
        score(&mut policy, &[candidate(1, 0, 5_000)]);
        assert_eq!(score(&mut policy, &[candidate(1, 30, 10)]), [803 - 150]);
        assert_eq!(score(&mut policy, &[candidate(1, 60, 10)]), [803 - 300]);

        assert_eq!(score(&mut policy, &[candidate(1, 659, 609)]), [700]);
        assert_eq!(score(&mut policy, &[candidate(1, 660, 610)]), [850]);
        assert_eq!(score(&mut policy, &[candidate(1, 1_260, 1_210)]), [1000]);
    }

    #[test]
    fn a_successor_remembers_failures_and_the_counter_unless_the_numbers_stand_for_others() {
        let mut old = Steady::default();
        score(&mut old, &[candidate(1, 0, 5_000), candidate(2, 0, 5_000)]);
        score(&mut old, &[candidate(1, 30, 10), candidate(2, 30, 5_030)]);
        let mut new = Steady::default();
        new.load(1, &old.save()).unwrap();
        assert_eq!(new.save(), old.save());
        assert_eq!(new.save()[..8], 4u64.to_le_bytes());

        // Number 1 goes on where it was, number 2 is somebody else.
        let scores = score(&mut new, &[candidate(1, 40, 20), candidate(2, 40, 600)]);

        assert_eq!(scores, [806 - 150, 1000]);
    }

    #[test]
    fn damaged_state_is_refused_and_changes_nothing() {
        let mut policy = Steady::default();
        score(&mut policy, &[candidate(1, 1, 1)]);
        let before = policy.save();
        for (version, state, want) in [
            (2, vec![0; 16], Refusal::UnknownVersion(2)),
            (1, vec![0; 15], Refusal::BadState),
            (1, vec![0; 35], Refusal::BadState),
        ] {
            assert_eq!(policy.load(version, &state), Err(want), "{} bytes", state.len());
            assert_eq!(policy.save(), before);
        }
    }

    #[test]
    fn extreme_candidates_neither_trap_nor_exceed_a_thousand() {
        let most = Candidate {
            now_ms: u64::MAX,
            battery: Some(255),
            cpu_used: 255,
            memory_used: 255,
            up_s: u32::MAX,
            children: u32::MAX,
            max_children: u32::MAX,
            ..candidate(1, 0, 0)
        };
        let mut policy = Steady::default();
        policy
            .configure(Settings::from([("flap_penalty", 1_000.into()), ("forgive_s", 86_400.into())]))
            .unwrap();
        for _ in 0..3 {
            for candidate in [most, candidate(1, 0, 0), Candidate { max_children: 0, ..most }] {
                assert!(score(&mut policy, &[candidate])[0] <= 1_000);
            }
        }
    }

    #[test]
    fn a_setting_out_of_range_is_refused() {
        for name in ["steady_after_s", "forgive_s"] {
            let refused = Steady::default().configure(Settings::from([(name, 0.into())]));

            assert_eq!(refused, Err(Refusal::BadSetting(name.into())));
        }
    }
}
