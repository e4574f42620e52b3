//! How fast a node beats, how much it remembers: the numbers that an operator may change.

use std::time::Duration;

/// Intervals and sizes. All nodes of a mesh may have different ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuning {
    /// How often neighbours are told that this node lives. Default 500 ms (MN-05).
    pub heartbeat: Duration,
    /// How sure the failure detector must be: 8 is one mistake in 10^8 under its model (Hayashibara et al.,
    /// The phi accrual failure detector, 2004). Lower is sooner. Default 8 (MN-06).
    pub phi: f64,
    /// How long an accused node has to speak for itself before it is taken for dead. Default 1.5 s.
    pub suspicion: Duration,
    /// How often a digest of all that is known goes to one random neighbour. Default 1 s (MN-55a).
    pub gossip: Duration,
    /// How often the number of links is looked at. Default 5 s (MN-57a).
    pub rebalance: Duration,
    /// How long an offered broadcast may take to come by itself before it is asked for. Default 500 ms
    /// (MN-57b).
    pub graft: Duration,
    /// How long offers of broadcasts are gathered before they are told, about. Default 100 ms.
    pub offer: Duration,
    /// Nodes known, at most. A larger mesh is known by a sample of this size, as HyParView's passive view, and
    /// then each node watches its neighbours only. Default 4,096.
    pub members: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            heartbeat: Duration::from_millis(500),
            phi: 8.0,
            suspicion: Duration::from_millis(1500),
            gossip: Duration::from_secs(1),
            rebalance: Duration::from_secs(5),
            graft: Duration::from_millis(500),
            offer: Duration::from_millis(100),
            members: 4096,
        }
    }
}

impl Tuning {
    /// For links of some hundred milliseconds that lose packets (MN-16): four times as patient.
    pub fn wan() -> Tuning {
        let lan = Tuning::default();
        Tuning {
            heartbeat: lan.heartbeat * 4,
            suspicion: lan.suspicion * 4,
            gossip: lan.gossip * 4,
            rebalance: lan.rebalance * 2,
            graft: lan.graft * 2,
            offer: lan.offer * 2,
            ..lan
        }
    }

    /// For thousands of nodes: known by a sample of 64, a heartbeat each 5 s.
    pub fn large() -> Tuning {
        Tuning {
            heartbeat: Duration::from_secs(5),
            gossip: Duration::from_secs(10),
            rebalance: Duration::from_secs(10),
            // Most turns of a large mesh are for offers. What was offered late need not be awaited for long.
            graft: Duration::from_millis(200),
            offer: Duration::from_secs(1),
            // HyParView paper, section 5.1: a passive view of 30 for 10 000 nodes; twice that survives 90 % of
            // them crashing at once.
            members: 64,
            ..Tuning::default()
        }
    }

    /// Returns what can be used: no interval below 10 ms, no phi below 1 or above 16, at least 8 members.
    pub fn clamped(self) -> Tuning {
        let least = |interval: Duration| interval.clamp(Duration::from_millis(10), Duration::from_secs(3600));
        Tuning {
            heartbeat: least(self.heartbeat),
            phi: if self.phi.is_finite() { self.phi.clamp(1.0, 16.0) } else { Tuning::default().phi },
            suspicion: least(self.suspicion),
            gossip: least(self.gossip),
            rebalance: least(self.rebalance),
            graft: least(self.graft),
            offer: least(self.offer),
            members: self.members.clamp(8, 65_536),
        }
    }
}
