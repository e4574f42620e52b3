//! Routes by the fewest hops, whatever they cost in time.

use std::collections::BTreeMap;

use mesh_sdk::routing::{Dest, Header, Routing, Verdict, View, Way};

/// The ways of the last view, those with the fewest hops first.
#[derive(Default)]
pub struct FewestHops(BTreeMap<u32, Vec<Way>>);

impl Routing for FewestHops {
    fn observe(&mut self, view: &View) {
        self.0.clear();
        for way in &view.ways {
            self.0.entry(way.dest).or_default().push(*way);
        }
        for ways in self.0.values_mut() {
            ways.sort_by_key(|way| (way.hops, view.cost_us(way)));
        }
    }

    fn route(&mut self, header: &Header) -> Verdict {
        let Dest::Node(dest) = header.dest else { return Verdict::Abstain };
        let mut ways = self.0.get(&dest).into_iter().flatten();
        let onward = ways.find(|way| header.ingress != Some(way.via));
        onward.map_or(Verdict::Hold, |way| Verdict::Via(way.via))
    }
}

mesh_sdk::routing!(FewestHops);

#[cfg(test)]
mod tests {
    use mesh_sdk::Class;
    use mesh_sdk::routing::Link;

    use super::*;

    #[test]
    fn a_slow_way_of_one_hop_beats_a_fast_one_of_three() {
        let link = |rtt_us| Link { rtt_us, ..Link::default() };
        let way = |via, hops| Way { dest: 7, via, cost_us: 1_000, hops };
        let mut policy = FewestHops::default();

        policy.observe(&View {
            now_ms: 0,
            links: vec![link(500), link(90_000)],
            ways: vec![way(0, 3), way(1, 1)],
        });

        let to_7 =
            |ingress| Header { now_ms: 0, dest: Dest::Node(7), ingress, size: 100, class: Class::Normal };
        assert_eq!(policy.route(&to_7(None)), Verdict::Via(1));
        assert_eq!(policy.route(&to_7(Some(1))), Verdict::Via(0));
    }
}
