//! Routes by measured latency with hysteresis: a destination keeps its next hop until another way is cheaper
//! by a margin, so that two ways of about the same length do not alternate.

pub mod policy;

/// Version 0.1: latency alone.
pub type Latency = policy::Latency<0>;

mesh_sdk::routing!(Latency);

#[cfg(test)]
mod tests {
    use mesh_sdk::routing::{Dest, Header, Link, Routing, Verdict, View, Way};
    use mesh_sdk::{Class, Refusal};

    use super::Latency;

    /// Two neighbours, 1 and 2, and destination 3 behind both.
    fn diamond(rtt_us: [u32; 2]) -> View {
        let link = |rtt_us| Link { rtt_us, ..Link::default() };
        let way = |dest, via, cost_us, hops| Way { dest, via, cost_us, hops };
        View {
            now_ms: 0,
            links: rtt_us.map(link).to_vec(),
            ways: vec![way(1, 0, 0, 0), way(2, 1, 0, 0), way(3, 0, 1_000, 1), way(3, 1, 1_000, 1)],
        }
    }

    /// The same with the rows exchanged, as after a reconnection.
    fn mirrored(rtt_us: [u32; 2]) -> View {
        let mut view = diamond(rtt_us);
        view.links.reverse();
        for way in &mut view.ways {
            way.via = 1 - way.via;
        }
        view
    }

    fn to(dest: u32, ingress: Option<u32>) -> Header {
        Header { now_ms: 0, dest: Dest::Node(dest), ingress, size: 100, class: Class::Normal }
    }

    #[test]
    fn the_cheapest_way_is_taken() {
        let mut policy = Latency::default();

        policy.observe(&diamond([5_000, 9_000]));

        assert_eq!(policy.route(&to(3, None)), Verdict::Via(0));
    }

    #[test]
    fn a_slightly_better_way_changes_nothing_and_a_clearly_better_one_does() {
        let mut policy = Latency::default();
        policy.observe(&diamond([10_000, 20_000]));

        // The kept way costs 11 ms here: 2.2 ms less are asked for.
        for (other_us, want) in [(9_000, 0), (7_900, 0), (7_800, 1)] {
            policy.observe(&diamond([10_000, other_us]));

            assert_eq!(policy.route(&to(3, None)), Verdict::Via(want), "{other_us}");
        }
    }

    #[test]
    fn the_neighbour_is_kept_when_its_row_changes() {
        let mut policy = Latency::default();
        policy.observe(&diamond([10_000, 20_000]));

        policy.observe(&mirrored([10_000, 9_500]));

        assert_eq!(policy.route(&to(3, None)), Verdict::Via(1));
    }

    #[test]
    fn a_message_never_goes_back_where_it_came_from() {
        let mut policy = Latency::default();
        policy.observe(&diamond([5_000, 9_000]));

        assert_eq!(policy.route(&to(3, Some(0))), Verdict::Via(1));
        assert_eq!(policy.route(&to(1, Some(0))), Verdict::Hold);
    }

    #[test]
    fn an_unknown_destination_waits_and_a_topic_is_left_to_the_host() {
        let mut policy = Latency::default();
        policy.observe(&diamond([1, 1]));

        assert_eq!(policy.route(&to(99, None)), Verdict::Hold);
        let topic = Header { dest: Dest::Topic(7), ..to(0, None) };
        assert_eq!(policy.route(&topic), Verdict::Abstain);
    }

    #[test]
    fn a_successor_keeps_the_choice_and_the_counter() {
        let mut old = Latency::default();
        old.observe(&diamond([10_000, 20_000]));
        old.route(&to(3, None));
        let mut new = Latency::default();

        new.load(1, &old.save()).unwrap();
        new.observe(&diamond([10_000, 9_000]));

        assert_eq!(new.route(&to(3, None)), Verdict::Via(0));
        assert_eq!(new.save()[..8], 2u64.to_le_bytes());
    }

    #[test]
    fn damaged_state_is_refused_and_changes_nothing() {
        let mut policy = Latency::default();
        for (version, state, want) in [
            (2, vec![0; 8], Refusal::UnknownVersion(2)),
            (1, vec![0; 7], Refusal::BadState),
            (1, vec![0; 15], Refusal::BadState),
        ] {
            assert_eq!(policy.load(version, &state), Err(want), "{} bytes", state.len());
            assert_eq!(policy.save(), vec![0; 8]);
        }
    }

    #[test]
    fn a_setting_out_of_range_is_refused() {
        let settings = mesh_sdk::Settings::from([("margin_percent", (-1).into())]);

        let refused = Latency::default().configure(settings);

        assert_eq!(refused, Err(Refusal::BadSetting("margin_percent".into())));
    }
}
