//! Cases of topology policies: candidates in, a score each out.

use mesh_plugin_host::alone::Alone;
use mesh_plugin_host::{Loaded, PrepareError, Settings, prepare_topology};
use mesh_proto::policy::{Asker, Candidates, MAINS, UNKNOWN};
use serde::Deserialize;
use toml::Spanned;

use super::cases::{self, Check};

cases::case! {
    /// One case.
    pub struct Case {
        #[serde(default)]
        now_ms: u64,
        #[serde(default)]
        asker: AskerRow,
        #[serde(default)]
        candidates: Vec<CandidateRow>,
        /// The node that must score highest.
        best: Option<Spanned<u32>>,
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AskerRow {
    level: u8,
    mobility: u8,
    battery: Option<u8>,
    weights: Option<[u32; 4]>,
    max_distance_m: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CandidateRow {
    node: u32,
    #[serde(default = "one")]
    level: u8,
    #[serde(default)]
    same_cell: bool,
    #[serde(default)]
    is_parent: bool,
    #[serde(default)]
    mobility: u8,
    battery: Option<u8>,
    #[serde(default)]
    cpu_used: u8,
    #[serde(default)]
    memory_used: u8,
    #[serde(default)]
    cores: u32,
    #[serde(default)]
    memory_mb: u32,
    #[serde(default)]
    uplink_mbps: u32,
    distance_m: Option<u32>,
    rtt_us: Option<u32>,
    #[serde(default)]
    up_s: u32,
    #[serde(default)]
    children: u32,
    #[serde(default)]
    max_children: u32,
    expect: Option<Spanned<u32>>,
}

fn one() -> u8 {
    1
}

/// The weights of a node whose operator chose none.
const WEIGHTS: [u32; 4] = [300, 300, 200, 200];

impl cases::Case for Case {
    fn ask(&self, loaded: &Loaded, settings: &Settings, check: &mut Check<'_>) -> Result<(), PrepareError> {
        let mut policy = Alone::new(prepare_topology(loaded, settings)?);
        match policy.score(self.now_ms, &self.asker(), &self.columns()) {
            Ok(scores) => self.compare(&scores, check),
            Err(fault) => check.fault("the scores", &fault),
        }
        Ok(())
    }
}

impl Case {
    fn compare(&self, scores: &[u32], check: &mut Check<'_>) {
        let expected = self.candidates.iter().map(|candidate| &candidate.expect);
        let what = |at: usize| format!("candidate {}", self.candidates[at].node);
        check.answers(expected, scores, what, |score: u32| score.to_string());
        let Some(best) = &self.best else { return };
        let highest = self.candidates.iter().zip(scores).max_by_key(|(_, score)| **score);
        let highest = highest.map_or(0, |(candidate, _)| candidate.node);
        if highest != *best.get_ref() {
            check.differs(best.span().start, "the best", best.get_ref().to_string(), highest.to_string());
        }
    }

    fn asker(&self) -> Asker {
        let asker = &self.asker;
        Asker {
            level: asker.level,
            mobility: asker.mobility,
            battery: asker.battery.unwrap_or(MAINS),
            weights: asker.weights.unwrap_or(WEIGHTS),
            max_distance_m: asker.max_distance_m.unwrap_or(UNKNOWN),
        }
    }

    fn columns(&self) -> Candidates {
        let mut out = Candidates::default();
        for row in &self.candidates {
            out.node.push(row.node);
            out.level.push(row.level);
            out.same_cell.push(u8::from(row.same_cell));
            out.is_parent.push(u8::from(row.is_parent));
            out.mobility.push(row.mobility);
            out.battery.push(row.battery.unwrap_or(MAINS));
            out.cpu_used.push(row.cpu_used);
            out.memory_used.push(row.memory_used);
            out.cores.push(row.cores);
            out.memory_mb.push(row.memory_mb);
            out.uplink_mbps.push(row.uplink_mbps);
            out.distance_m.push(row.distance_m.unwrap_or(UNKNOWN));
            out.rtt_us.push(row.rtt_us.unwrap_or(UNKNOWN));
            out.up_s.push(row.up_s);
            out.children.push(row.children);
            out.max_children.push(row.max_children);
        }
        out
    }
}
