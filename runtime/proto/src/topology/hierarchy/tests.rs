use super::*;
use crate::policy::native;
use crate::topology::{Mobility, Position, Strategy};

const OWN: NodeId = NodeId([100; 32]);

fn id(id: u8) -> NodeId {
    NodeId([id; 32])
}

fn at(secs: u64) -> Instant {
    Instant(secs * 1_000_000)
}

/// A squad with so much of its battery: of two that are otherwise equal, 10 % are 20 points of about 900.
fn squad(battery: u8) -> Profile {
    Profile { level: Level::Squad, battery: Some(battery), ..Profile::default() }
}

fn platform() -> Profile {
    Profile { cell: "alpha".into(), ..Profile::default() }
}

fn seen(node: u8, profile: &Profile) -> Seen<'_> {
    Seen {
        node: id(node),
        profile,
        standing: Standing::default(),
        life: Life::Alive,
        since: Instant(0),
        rtt_us: Some(1_000),
    }
}

fn hierarchy() -> Hierarchy {
    Hierarchy::new(Instant(0), OWN, platform(), Weights::default())
}

impl Hierarchy {
    fn look(&mut self, now: Instant, seen: &[Seen<'_>]) -> Vec<Change> {
        self.evaluate(now, seen, &mut native::score)
    }

    fn verdict(&self, node: u8) -> Verdict {
        self.rows.iter().find(|row| row.node == id(node)).expect("it has a row").verdict
    }
}

// PM-80, PM-81: the best is chosen, with the arithmetic that explains it.
#[test]
fn the_candidate_with_the_highest_score_is_the_parent_and_the_lower_id_of_equals() {
    let (good, better) = (squad(60), squad(80));
    let mut hierarchy = hierarchy();

    let changes = hierarchy.look(at(1), &[seen(3, &better), seen(1, &good), seen(2, &better)]);

    assert_eq!(changes, [Change::Parent { old: None, new: Some(id(2)), why: Why::First }]);
    let rows = hierarchy.explain().candidates;
    // 300 for standing still, 300 for what is free, 200 times the battery, half of 200 without positions.
    let scores: Vec<_> = rows.iter().map(|row| (row.node, row.score, row.verdict)).collect();
    let want = [(2, 860, Verdict::Parent), (3, 860, Verdict::Behind), (1, 820, Verdict::Behind)];
    assert_eq!(scores, want.map(|(node, score, verdict)| (id(node), score, verdict)));
    assert!(rows.iter().all(|row| row.parts.total(&Weights::default()) == row.score));
}

// PM-80: kill the chosen parent, and the children re-parent at once, whatever the cooldown says.
#[test]
fn a_parent_that_dies_is_replaced_at_once_and_one_that_is_suspected_is_not() {
    let squad = squad(80);
    let mut hierarchy = hierarchy();
    hierarchy.look(at(1), &[seen(1, &squad), seen(2, &squad)]);

    let suspected = Seen { life: Life::Suspect, ..seen(1, &squad) };
    assert_eq!(hierarchy.look(at(2), &[suspected, seen(2, &squad)]), []);
    let dead = Seen { life: Life::Gone, ..seen(1, &squad) };
    let changes = hierarchy.look(at(3), &[dead, seen(2, &squad)]);

    let why = Why::Lost(Verdict::NotAlive);
    assert_eq!(changes, [Change::Parent { old: Some(id(1)), new: Some(id(2)), why }]);
    assert_eq!(hierarchy.look(at(4), &[]), [Change::Parent { old: Some(id(2)), new: None, why }]);
}

// PM-80: hysteresis of 10 %, cooldown of 60 s.
#[test]
fn a_better_candidate_takes_over_only_by_the_margin_and_after_the_cooldown() {
    let (present, dies) = (squad(60), squad(100));
    let mut hierarchy = hierarchy();
    hierarchy.look(at(1), &[seen(9, &dies), seen(1, &present)]);
    hierarchy.look(at(2), &[seen(1, &present)]);
    assert_eq!(hierarchy.parent(), Some(id(1)));

    // 820 for the present one: 902 are asked for, and 100 % of the battery are 900.
    let near = squad(100);
    assert_eq!(hierarchy.look(at(100), &[seen(1, &present), seen(2, &near)]), []);
    assert_eq!(hierarchy.verdict(2), Verdict::WithinMargin);
    let tired = squad(50);
    assert_eq!(hierarchy.look(at(61), &[seen(1, &tired), seen(2, &near)]), []);
    assert_eq!(hierarchy.verdict(2), Verdict::Cooldown);

    let changes = hierarchy.look(at(62), &[seen(1, &tired), seen(2, &near)]);

    assert_eq!(changes, [Change::Parent { old: Some(id(1)), new: Some(id(2)), why: Why::Better }]);
}

// PM-90, PM-80: the host's conditions hold whatever the policy says.
#[test]
fn who_does_not_meet_the_conditions_is_never_the_parent_whatever_its_score() {
    let good = squad(20);
    let here = Some(Position { lat_e7: 0, lon_e7: 0 });
    let own = Profile { position: here, ..platform() };
    let below = Standing { parent: Some(OWN), ..Standing::default() };
    let grandchild = Standing { parent: Some(id(60)), ..Standing::default() };
    let in_a_ring = Standing { parent: Some(id(62)), ..Standing::default() };
    let has_a_child = Standing { parent: Some(id(63)), ..Standing::default() };
    let same_level = platform();
    let overloaded = Profile { cpu_used: 80, ..squad(100) };
    let alone = Profile { max_children: 1, ..squad(100) };
    let far = Profile { position: Some(Position { lat_e7: 1_000_000, lon_e7: 0 }), ..squad(100) };
    let higher = Profile { level: Level::Company, ..squad(100) };
    let mut members = vec![
        (seen(50, &same_level), Verdict::WrongLevel),
        (Seen { life: Life::Suspect, ..seen(51, &good) }, Verdict::NotAlive),
        (Seen { life: Life::Gone, ..seen(52, &good) }, Verdict::NotAlive),
        (seen(53, &overloaded), Verdict::Unfit(Lack::Cpu)),
        (seen(54, &far), Verdict::TooFar),
        (seen(55, &higher), Verdict::NearerLevel),
        (Seen { standing: below, ..seen(60, &good) }, Verdict::Loop),
        (Seen { standing: grandchild, ..seen(61, &good) }, Verdict::Loop),
        (Seen { standing: in_a_ring, ..seen(62, &good) }, Verdict::Loop),
        (seen(63, &alone), Verdict::Full),
        (Seen { standing: has_a_child, ..seen(64, &same_level) }, Verdict::WrongLevel),
    ];
    let mut hierarchy = Hierarchy::new(at(0), OWN, own, Weights::default());
    let mut asked = 0;
    let mut greedy = |_: &Asker, candidates: &Candidates, scores: &mut Vec<u32>| {
        asked = candidates.len();
        scores.clear();
        scores.resize(candidates.len(), u32::MAX);
    };
    let only: Vec<Seen<'_>> = members.iter().map(|(seen, _)| *seen).collect();
    let with_one = [only.as_slice(), &[seen(1, &good)]].concat();

    hierarchy.evaluate(at(1), &with_one, &mut greedy);

    assert_eq!(asked, 1);
    assert_eq!(hierarchy.parent(), Some(id(1)));
    members.sort_by_key(|(seen, _)| seen.node);
    for (member, want) in &members {
        let row = hierarchy.rows.iter().find(|row| row.node == member.node).expect("it has a row");
        assert_eq!((row.verdict, row.score), (*want, 0), "{:?}", member.node);
    }
    assert_eq!(hierarchy.rows[0].score, MAX_SCORE);
}

// W10: a policy that answers another number of rows has not answered.
#[test]
fn a_wrong_number_of_scores_is_answered_by_the_native_built_in() {
    let (good, better) = (squad(60), squad(80));
    let mut hierarchy = hierarchy();

    hierarchy.evaluate(at(1), &[seen(1, &good), seen(2, &better)], &mut |_, _, scores| scores.push(1));

    assert_eq!(hierarchy.parent(), Some(id(2)));
}

// PM-80: 3 retries with back-off from 1 s, then another, for 180 s.
#[test]
fn a_parent_without_a_link_is_dialed_three_times_and_then_given_up_for_a_while() {
    let (good, better) = (squad(60), squad(80));
    let unlinked = Seen { rtt_us: None, ..seen(1, &better) };
    let mut hierarchy = hierarchy();
    hierarchy.look(at(1), &[unlinked, seen(2, &good)]);
    assert_eq!(hierarchy.parent(), Some(id(1)));

    let mut dials = Vec::new();
    while hierarchy.parent() == Some(id(1)) {
        let now = hierarchy.next_due();
        let changes = hierarchy.look(now, &[unlinked, seen(2, &good)]);
        dials.extend(changes.iter().filter(|change| **change == Change::Dial(id(1))).map(|_| now));
        assert!(now < at(60), "it is never given up");
    }

    assert_eq!(dials, [at(2), at(4), at(8)]);
    assert_eq!(hierarchy.verdict(1), Verdict::Unreachable);
    hierarchy.look(at(190), &[unlinked, seen(2, &good)]);
    assert_eq!(hierarchy.verdict(1), Verdict::Unreachable);
    hierarchy.look(at(16 + 180), &[unlinked, seen(2, &good)]);
    assert_eq!(hierarchy.verdict(1), Verdict::WithinMargin);
}

// PM-80: children who came at once settle the matter alike.
#[test]
fn of_too_many_children_those_with_the_higher_ids_go() {
    let taken = Profile { max_children: 2, ..squad(80) };
    let other = squad(50);
    let leaf = platform();
    let child = |node: u8| Seen {
        standing: Standing { parent: Some(id(1)), ..Standing::default() },
        ..seen(node, &leaf)
    };
    for (siblings, want) in [([101, 102], 1), ([99, 101], 1), ([98, 99], 2)] {
        let mut hierarchy = hierarchy();
        hierarchy.look(at(1), &[seen(1, &taken), seen(2, &other)]);

        let [a, b] = siblings.map(child);
        hierarchy.look(at(2), &[seen(1, &taken), seen(2, &other), a, b]);

        assert_eq!(hierarchy.parent(), Some(id(want)), "{siblings:?}");
    }
}

// PM-82: lateral peers, nearest first and bounded.
#[test]
fn no_more_than_ten_lateral_peers_are_kept_those_with_links_first() {
    let peer = platform();
    let elsewhere = Profile { cell: "bravo".into(), ..platform() };
    let mut members: Vec<Seen<'_>> = (1..30).map(|node| Seen { rtt_us: None, ..seen(node, &peer) }).collect();
    members[20].rtt_us = Some(9);
    members.push(seen(200, &elsewhere));
    let mut hierarchy = hierarchy();

    hierarchy.look(at(1), &members);

    let lateral = hierarchy.explain().lateral;
    assert_eq!(lateral.len(), MAX_LATERAL);
    assert_eq!(lateral[..2], [id(21), id(1)]);
}

// PM-82: roles follow the election; who leads is told once.
#[test]
fn a_node_leads_until_a_better_one_that_says_so_appears() {
    let peer = Profile { mobility: Mobility::Mobile, ..platform() };
    let mut hierarchy = hierarchy();
    assert_eq!(hierarchy.look(at(1), &[]), []);
    assert_eq!(hierarchy.role(), Role::Standalone);

    let changes = hierarchy.look(at(2), &[seen(1, &peer)]);
    assert_eq!(changes, [Change::Role(Role::Leader), Change::Leader(Some(OWN))]);
    let leader = Profile { strategy: Strategy::Static(Role::Leader), ..peer.clone() };
    let says_so = Standing { role: Role::Leader, parent: None };

    let changes = hierarchy.look(at(3), &[Seen { standing: says_so, ..seen(1, &leader) }]);

    assert_eq!(changes, [Change::Role(Role::Member), Change::Leader(Some(id(1)))]);
    assert_eq!(hierarchy.explain().contenders.len(), 2);
}

#[test]
fn a_policy_is_asked_about_a_bounded_number_with_numbers_that_stay() {
    let squad = squad(80);
    let key = |n: u16| NodeId(std::array::from_fn(|at| if at < 2 { n.to_be_bytes()[at] } else { 0 }));
    let members: Vec<Seen<'_>> =
        (0..400).map(|n| Seen { node: key(n), rtt_us: None, ..seen(0, &squad) }).collect();
    let mut hierarchy = hierarchy();
    let mut asked: Vec<Vec<u32>> = Vec::new();
    for _ in 0..2 {
        hierarchy.evaluate(at(1), &members, &mut |own, candidates, scores| {
            asked.push(candidates.node.clone());
            native::score(own, candidates, scores);
        });
    }

    assert_eq!(asked[0].len(), MAX_CANDIDATES);
    assert_eq!(asked[0], asked[1]);
    assert_eq!(hierarchy.explain().candidates.len(), MAX_ROWS);
    assert!(hierarchy.gauges().iter().all(|(_, len, bound)| len <= bound));
}
