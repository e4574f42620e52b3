//! Routes by the fewest hops, and around neighbours whose queues are full.

use std::collections::BTreeMap;

use mesh_sdk::routing::{Dest, Header, Routing, Verdict, View, Way};
use mesh_sdk::{Refusal, Settings};

/// The ways of the last view, the best first, and what was decided so far.
#[derive(Default)]
pub struct Policy {
    max_queue_bytes: u64,
    ways: BTreeMap<u32, Vec<Way>>,
    decided: u64,
}

impl Routing for Policy {
    const STATE_VERSION: u32 = 1;

    fn configure(&mut self, mut settings: Settings) -> Result<(), Refusal> {
        let kib = settings.integer("max_queue_kib", 256, 1..=1_048_576)?;
        self.max_queue_bytes = kib as u64 * 1024;
        settings.finish()
    }

    fn observe(&mut self, view: &View) {
        self.ways.clear();
        for way in &view.ways {
            self.ways.entry(way.dest).or_default().push(*way);
        }
        let is_full = |way: &Way| {
            let link = view.links.get(way.via as usize);
            link.is_some_and(|link| u64::from(link.queued_bytes) > self.max_queue_bytes)
        };
        for ways in self.ways.values_mut() {
            ways.sort_by_key(|way| (is_full(way), way.hops, view.cost_us(way)));
        }
    }

    fn route(&mut self, header: &Header) -> Verdict {
        self.decided += 1;
        let Dest::Node(dest) = header.dest else { return Verdict::Abstain };
        let mut ways = self.ways.get(&dest).into_iter().flatten();
        let onward = ways.find(|way| header.ingress != Some(way.via));
        onward.map_or(Verdict::Hold, |way| Verdict::Via(way.via))
    }

    // Only what outlives a view: rows of neighbours change with every one.
    fn save(&self) -> Vec<u8> {
        self.decided.to_le_bytes().to_vec()
    }

    fn load(&mut self, from_version: u32, state: &[u8]) -> Result<(), Refusal> {
        if from_version != Self::STATE_VERSION {
            return Err(Refusal::UnknownVersion(from_version));
        }
        self.decided = u64::from_le_bytes(state.try_into().map_err(|_| Refusal::BadState)?);
        Ok(())
    }
}

mesh_sdk::routing!(Policy);

#[cfg(test)]
mod tests {
    use mesh_sdk::Class;
    use mesh_sdk::routing::Link;

    use super::*;

    fn policy(links: Vec<Link>, ways: Vec<Way>) -> Policy {
        let mut policy = Policy::default();
        policy.configure(Settings::default()).unwrap();
        policy.observe(&View { now_ms: 0, links, ways });
        policy
    }

    fn to(dest: Dest, ingress: Option<u32>) -> Header {
        Header { now_ms: 0, dest, ingress, size: 100, class: Class::Normal }
    }

    #[test]
    fn fewer_hops_win_over_less_time() {
        let link = |rtt_us| Link { rtt_us, ..Link::default() };
        let way = |via, hops| Way { dest: 7, via, cost_us: 1_000, hops };
        let mut policy = policy(vec![link(500), link(90_000)], vec![way(0, 3), way(1, 1)]);

        assert_eq!(policy.route(&to(Dest::Node(7), None)), Verdict::Via(1));
        assert_eq!(policy.route(&to(Dest::Node(7), Some(1))), Verdict::Via(0));
    }

    #[test]
    fn a_full_queue_is_avoided_while_there_is_another_way() {
        let full = Link { queued_bytes: 1 << 20, ..Link::default() };
        let way = |dest, via, hops| Way { dest, via, cost_us: 1_000, hops };
        let ways = vec![way(7, 0, 0), way(7, 1, 5), way(8, 0, 0)];
        let mut policy = policy(vec![full, Link::default()], ways);

        assert_eq!(policy.route(&to(Dest::Node(7), None)), Verdict::Via(1));
        assert_eq!(policy.route(&to(Dest::Node(8), None)), Verdict::Via(0));
    }

    #[test]
    fn a_successor_goes_on_counting() {
        let mut old = policy(vec![], vec![]);
        old.route(&to(Dest::Topic(3), None));
        let mut new = Policy::default();

        new.load(1, &old.save()).unwrap();

        assert_eq!(new.decided, 1);
        assert_eq!(new.load(2, &[]), Err(Refusal::UnknownVersion(2)));
        assert_eq!(new.load(1, &[1]), Err(Refusal::BadState));
    }
}
