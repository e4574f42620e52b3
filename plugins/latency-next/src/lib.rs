//! The next version of `latency`: a lost packet costs ten round trips. The state is the same, so either
//! version takes over from the other.

#[path = "../../latency/src/policy.rs"]
pub mod policy;

/// Version 0.2: latency and loss.
pub type Latency = policy::Latency<10>;

mesh_sdk::routing!(Latency);

#[cfg(test)]
mod tests {
    use mesh_sdk::Class;
    use mesh_sdk::routing::{Dest, Header, Link, Routing, Verdict, View, Way};

    use super::Latency;

    #[test]
    fn a_lossy_link_loses_against_a_longer_clean_one() {
        let mut policy = Latency::default();
        let way = |via| Way { dest: 3, via, cost_us: 0, hops: 1 };

        policy.observe(&View {
            now_ms: 0,
            links: vec![
                Link { rtt_us: 10_000, loss_ppm: 100_000, queued_bytes: 0 },
                Link { rtt_us: 15_000, loss_ppm: 0, queued_bytes: 0 },
            ],
            ways: vec![way(0), way(1)],
        });

        let header = Header { now_ms: 0, dest: Dest::Node(3), ingress: None, size: 1, class: Class::Normal };
        assert_eq!(policy.route(&header), Verdict::Via(1));
    }
}
