//! One leader in each cell: every node works it out from what all say of themselves, and whoever finds itself
//! best says so. No votes are sent.
//!
//! Nodes that know different things for a moment may both say that they lead; as soon as they hear of each
//! other, the same rule picks the same one at both, and the other steps down. Whoever is best and does not say
//! so is passed over after a while: it may be cut off, or lie.

use super::score::{battery, mobility, resources};
use super::{Profile, Role, Standing, Strategy};
use crate::id::NodeId;
use crate::policy::MAINS;

/// Contenders that are looked at, at most; of more those with the lowest ids.
pub const MAX_CONTENDERS: usize = 256;
/// How much better a challenger must be than who leads, in percent (PM-80: hysteresis).
pub const MARGIN_PERCENT: u32 = 10;

/// A node that could lead a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contender {
    /// Who.
    pub node: NodeId,
    /// What its strategy is worth: a leader for good 4, one by preference 3, by election 2, a member by
    /// preference 1, who never leads 0. A higher rank goes before any score.
    pub rank: u8,
    /// [`score`].
    pub score: u32,
    /// It says that it leads.
    pub leads: bool,
}

/// Returns what an election weighs, in permille: 40 % of standing still, 40 % of free processors and memory,
/// 20 % of the battery; peat-mesh's weights (PM-82). Where a node is does not count.
pub fn score(profile: &Profile) -> u32 {
    let percent = profile.battery.unwrap_or(MAINS);
    let resources = resources([profile.cpu_used, profile.memory_used]);
    (4 * mobility(profile.mobility as u8) + 4 * resources + 2 * battery(percent)) / 10
}

impl Contender {
    /// Reads what a node says of itself; `None` when it wants no part in its cell.
    pub fn of(node: NodeId, profile: &Profile, standing: &Standing) -> Option<Contender> {
        let rank = match profile.strategy {
            Strategy::Static(Role::Standalone) => return None,
            Strategy::Static(Role::Leader) => 4,
            Strategy::Hybrid(Role::Leader) if profile.lacks().is_none() => 3,
            Strategy::Dynamic | Strategy::Hybrid(Role::Leader) => 2,
            Strategy::Hybrid(_) => 1,
            Strategy::Static(Role::Member) => 0,
        };
        let leads = standing.role == Role::Leader && rank > 0;
        Some(Contender { node, rank, score: score(profile), leads })
    }

    /// The rank, then the score, then the lower id.
    fn goes_before(&self, other: &Contender) -> bool {
        let key = |c: &Contender| (c.rank, c.score, std::cmp::Reverse(c.node));
        key(self) > key(other)
    }

    /// Says whether this one is so much better that it takes over from who leads.
    fn overtakes(&self, leader: &Contender) -> bool {
        let margin = u64::from(leader.score) * u64::from(100 + MARGIN_PERCENT);
        self.rank > leader.rank || self.rank == leader.rank && u64::from(self.score) * 100 >= margin
    }
}

/// What a node may do of its own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Its last change of role was long enough ago to take over from one who leads and lives.
    pub may_challenge: bool,
    /// How many that go before it have had their time to say that they lead, while nobody did.
    pub passed_over: usize,
}

fn best<'a>(contenders: impl Iterator<Item = &'a Contender>) -> Option<&'a Contender> {
    contenders.filter(|c| c.rank > 0).reduce(|best, c| if c.goes_before(best) { c } else { best })
}

/// Returns the role of `own` among `others`, and who leads then.
pub fn elect(own: &Contender, others: &[Contender], patience: Patience) -> (Role, Option<NodeId>) {
    if own.rank == 4 {
        return (Role::Leader, Some(own.node));
    }
    if others.is_empty() {
        return (Role::Standalone, None);
    }
    let all = || others.iter().chain([own]);
    let before = others.iter().filter(|other| other.goes_before(own)).count();
    match best(all().filter(|c| c.leads)) {
        Some(leader) if leader.node == own.node => (Role::Leader, Some(own.node)),
        Some(leader) if before == 0 && patience.may_challenge && own.overtakes(leader) => {
            (Role::Leader, Some(own.node))
        }
        Some(leader) => (Role::Member, Some(leader.node)),
        None if own.rank > 0 && before <= patience.passed_over => (Role::Leader, Some(own.node)),
        None => (Role::Member, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Mobility;

    fn contender(id: u8, score: u32, leads: bool) -> Contender {
        Contender { node: NodeId([id; 32]), rank: 2, score, leads }
    }

    const READY: Patience = Patience { may_challenge: true, passed_over: 0 };

    fn id(id: u8) -> Option<NodeId> {
        Some(NodeId([id; 32]))
    }

    /// Lets everybody decide again and again, each knowing what all said before, and returns who leads.
    fn settle(cell: &mut [Contender], rounds: usize) -> Vec<NodeId> {
        for _ in 0..rounds {
            let before = cell.to_vec();
            for own in cell.iter_mut() {
                let others: Vec<Contender> =
                    before.iter().filter(|other| other.node != own.node).copied().collect();
                own.leads = elect(own, &others, READY).0 == Role::Leader;
            }
        }
        cell.iter().filter(|c| c.leads).map(|c| c.node).collect()
    }

    // PM-82: equal nodes elect exactly one, by id.
    #[test]
    fn of_equal_nodes_the_one_with_the_lowest_id_leads() {
        let mut cell = [4, 2, 3, 9].map(|id| contender(id, 700, false));

        assert_eq!(settle(&mut cell, 1), [NodeId([2; 32])]);
        assert_eq!(settle(&mut cell, 5), [NodeId([2; 32])]);
    }

    // PM-82: after a merge two say that they lead.
    #[test]
    fn of_two_that_lead_the_same_one_steps_down_for_everybody() {
        for (a, b, want) in [(700, 700, 1), (700, 701, 2)] {
            let mut cell = [contender(1, a, true), contender(2, b, true), contender(3, 999, false)];
            cell[2].rank = 1;

            assert_eq!(settle(&mut cell, 1), [NodeId([want; 32])], "{a} against {b}");
        }
    }

    #[test]
    fn a_challenger_takes_over_only_when_it_is_a_tenth_better_and_has_waited() {
        let leader = contender(1, 500, true);
        for (score, may_challenge, want) in [(549, true, 1), (550, false, 1), (550, true, 2)] {
            let own = contender(2, score, false);

            let patience = Patience { may_challenge, passed_over: 0 };
            assert_eq!(elect(&own, &[leader], patience).1, id(want), "{score}");
        }
    }

    #[test]
    fn whoever_is_best_and_does_not_say_so_is_passed_over() {
        let (silent, next) = ([contender(1, 900, false), contender(2, 900, false)], contender(3, 900, false));
        for (passed_over, want) in [(0, None), (1, None), (2, id(3))] {
            let patience = Patience { may_challenge: false, passed_over };

            assert_eq!(elect(&next, &silent, patience).1, want, "{passed_over}");
        }
        let never = Contender { rank: 0, ..next };
        assert_eq!(elect(&never, &silent, Patience { passed_over: 9, ..READY }), (Role::Member, None));
    }

    #[test]
    fn a_rank_goes_before_any_score() {
        let dynamic = contender(1, 1000, true);
        let preferred = Contender { rank: 3, ..contender(2, 1, false) };
        let never = Contender { rank: 0, ..contender(3, 1000, false) };

        assert_eq!(elect(&preferred, &[dynamic], READY), (Role::Leader, id(2)));
        assert_eq!(elect(&never, &[contender(4, 0, false)], READY), (Role::Member, None));
        assert_eq!(elect(&never, &[], READY), (Role::Standalone, None));
    }

    #[test]
    fn a_strategy_decides_the_rank_and_a_preferred_leader_must_be_fit() {
        let of = |profile: &Profile| {
            Contender::of(NodeId([1; 32]), profile, &Standing::default()).map(|contender| contender.rank)
        };
        let with = |strategy| Profile { strategy, ..Profile::default() };
        for (strategy, want) in [
            (Strategy::Static(Role::Standalone), None),
            (Strategy::Static(Role::Member), Some(0)),
            (Strategy::Static(Role::Leader), Some(4)),
            (Strategy::Hybrid(Role::Leader), Some(3)),
            (Strategy::Dynamic, Some(2)),
            (Strategy::Hybrid(Role::Member), Some(1)),
        ] {
            assert_eq!(of(&with(strategy)), want, "{strategy:?}");
        }
        let tired = Profile { battery: Some(10), ..with(Strategy::Hybrid(Role::Leader)) };
        assert_eq!(of(&tired), Some(2));
    }

    #[test]
    fn the_weights_are_four_four_two() {
        let profile = Profile {
            mobility: Mobility::SemiMobile,
            battery: Some(50),
            cpu_used: 40,
            memory_used: 60,
            ..Profile::default()
        };

        assert_eq!(score(&profile), 240 + 200 + 100);
    }
}
