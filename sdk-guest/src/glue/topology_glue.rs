//! Topology: columns in, a candidate a row, a column out.

use super::topology::exports::mesh::topology::policy::{self, Candidates, Guest, Refusal, Setting};
use super::{Export, Hosted, settings};
use crate::topology::{Asker, Candidate, Level, Mobility, Topology, Weights};

const MAINS: u8 = u8::MAX;
const UNKNOWN: u32 = u32::MAX;

impl<P: Topology + Hosted> Guest for Export<P> {
    fn configure(given: Vec<Setting>) -> Result<(), Refusal> {
        P::cell().with(|policy| policy.configure(settings(given)).map_err(Into::into))
    }

    fn score(now_ms: u64, given: policy::Asker, columns: Candidates) -> Vec<u32> {
        let asker = asker(&given);
        let candidates: Vec<Candidate> =
            (0..columns.node.len()).map(|row| candidate(now_ms, &columns, row)).collect();
        P::cell().with(|policy| {
            policy.begin(&asker, &candidates);
            // The answers take the place of the numbers: no further allocation.
            let mut answers = columns.node;
            for (answer, candidate) in answers.iter_mut().zip(&candidates) {
                *answer = policy.score(&asker, candidate);
            }
            answers
        })
    }

    fn state_version() -> u32 {
        P::STATE_VERSION
    }

    fn save() -> Vec<u8> {
        P::cell().with(|policy| policy.save())
    }

    fn load_state(from_version: u32, state: Vec<u8>) -> Result<(), Refusal> {
        P::cell().with(|policy| policy.load(from_version, &state).map_err(Into::into))
    }
}

fn asker(given: &policy::Asker) -> Asker {
    Asker {
        level: Level::from_u8(given.level),
        mobility: Mobility::from_u8(given.mobility),
        battery: battery(given.battery),
        weights: Weights {
            mobility: given.weight_mobility,
            resources: given.weight_resources,
            battery: given.weight_battery,
            proximity: given.weight_proximity,
        },
        max_distance_m: known(given.max_distance_m),
    }
}

fn candidate(now_ms: u64, columns: &Candidates, row: usize) -> Candidate {
    Candidate {
        now_ms,
        node: columns.node[row],
        level: Level::from_u8(columns.level[row]),
        same_cell: columns.same_cell[row] != 0,
        is_parent: columns.is_parent[row] != 0,
        mobility: Mobility::from_u8(columns.mobility[row]),
        battery: battery(columns.battery[row]),
        cpu_used: columns.cpu_used[row],
        memory_used: columns.memory_used[row],
        cores: columns.cores[row],
        memory_mb: columns.memory_mb[row],
        uplink_mbps: columns.uplink_mbps[row],
        distance_m: known(columns.distance_m[row]),
        rtt_us: known(columns.rtt_us[row]),
        up_s: columns.up_s[row],
        children: columns.children[row],
        max_children: columns.max_children[row],
    }
}

fn battery(percent: u8) -> Option<u8> {
    (percent != MAINS).then_some(percent)
}

fn known(number: u32) -> Option<u32> {
    (number != UNKNOWN).then_some(number)
}
