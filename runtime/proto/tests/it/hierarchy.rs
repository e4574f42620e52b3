//! Levels, parents and leaders between nodes that hear of each other.

use mesh_proto::NodeId;
use mesh_proto::directory::LinkPolicy;
use mesh_proto::node::Input;
use mesh_proto::policy::native::Native;
use mesh_proto::policy::{Asker, Candidates, Load, Policies, QosBatch, RouteBatch, Shares, View};
use mesh_proto::sim::{Network, Spec};
use mesh_proto::topology::hierarchy::Verdict;
use mesh_proto::topology::{Level, PROFILE_KEY, Profile, Role, STANDING_KEY, Standing, Strategy, Weights};

use mesh_proto::tuning::Tuning;

use crate::secs;

/// A network in which each node knows the first one.
fn network(seed: u64, nodes: usize) -> Network {
    let mut net = Network::seeded(seed);
    for node in 0..nodes {
        net.add_with(LinkPolicy::default(), Box::new(Native::default()));
        if node > 0 {
            net.join(node, 0);
        }
    }
    net
}

fn set(net: &mut Network, node: usize, profile: Profile) {
    net.input(node, Input::SetProfile { profile: Some(profile), weights: Weights::default() });
}

fn squad() -> Profile {
    Profile { level: Level::Squad, ..Profile::default() }
}

fn platform() -> Profile {
    Profile { cell: "alpha".into(), ..Profile::default() }
}

fn parent(net: &Network, node: usize) -> Option<NodeId> {
    net.node(node).hierarchy().expect("it has a profile").parent()
}

fn role(net: &Network, node: usize) -> Role {
    net.node(node).hierarchy().expect("it has a profile").role()
}

fn leaders(net: &Network, nodes: impl Iterator<Item = usize>) -> Vec<usize> {
    nodes.filter(|node| role(net, *node) == Role::Leader).collect()
}

/// Two squads, the first a better one, and three platforms.
fn five(net: &mut Network) {
    set(net, 0, Profile { battery: Some(90), ..squad() });
    set(net, 1, Profile { battery: Some(80), ..squad() });
    (2..5).for_each(|node| set(net, node, platform()));
}

fn is_linked(net: &Network, a: usize, b: usize) -> bool {
    net.node(a).link_to(&net.id(b)).is_some()
}

// PM-80: five nodes; the chosen parent is killed, and its children have another within 10 s.
#[test]
fn children_of_a_parent_that_dies_have_another_and_links_to_it() {
    let mut net = network(80, 5);
    five(&mut net);
    net.run(secs(15));
    for child in 2..5 {
        assert_eq!(parent(&net, child), Some(net.id(0)), "child {child}");
        assert!(is_linked(&net, child, 0));
    }

    net.crash_silently(0);
    net.run(secs(10));

    for child in 2..5 {
        assert_eq!(parent(&net, child), Some(net.id(1)), "child {child}");
        assert!(is_linked(&net, child, 1));
        assert_eq!(net.node(child).counters().parent_changes, 2);
    }
}

// PM-80: what everybody knows of a parent is in its children's signed records.
#[test]
fn all_nodes_know_who_is_whose_child() {
    let mut net = network(81, 5);
    five(&mut net);
    net.run(secs(20));

    for (by, of) in [(1, 3), (4, 2), (0, 4)] {
        let record = net.node(by).records().find(|record| record.node == net.id(of)).expect("it is known");
        let standing = Standing::from_bytes(&record.facts.state[STANDING_KEY]);
        assert_eq!(standing.and_then(|standing| standing.parent), Some(net.id(0)));
        assert_eq!(Profile::from_bytes(&record.facts.state[PROFILE_KEY]), Some(platform()));
    }
}

// PM-80: a better node by less than 10 % causes no flap; a better one by more takes over once.
#[test]
fn only_a_clearly_better_parent_takes_over_and_only_once() {
    let mut net = network(82, 5);
    set(&mut net, 0, Profile { battery: Some(60), ..squad() });
    (2..5).for_each(|node| set(&mut net, node, platform()));
    net.run(secs(15));

    // 820 points; 900 are less than 10 % more.
    set(&mut net, 1, Profile { battery: Some(100), ..squad() });
    net.run(secs(200));
    assert_eq!(parent(&net, 2), Some(net.id(0)));
    assert_eq!(net.node(2).counters().parent_changes, 1);

    set(&mut net, 0, Profile { battery: Some(50), ..squad() });
    net.run(secs(200));
    for child in 2..5 {
        assert_eq!(parent(&net, child), Some(net.id(1)), "child {child}");
        assert_eq!(net.node(child).counters().parent_changes, 2);
    }
}

// PM-81, PM-90: the battery that a parent tells of changes who is parent, at once when it is too low.
#[test]
fn an_overloaded_parent_stops_being_a_candidate() {
    let mut net = network(90, 5);
    five(&mut net);
    net.run(secs(15));

    for (unfit, at) in
        [(Profile { cpu_used: 85, ..squad() }, 0), (Profile { battery: Some(19), ..squad() }, 1)]
    {
        set(&mut net, at, unfit);
        net.run(secs(10));

        for child in 2..5 {
            assert_ne!(parent(&net, child), Some(net.id(at)), "child {child}");
        }
    }
    let rows = net.node(2).hierarchy().expect("it has a profile").explain().candidates;
    assert_eq!(rows.iter().filter(|row| matches!(row.verdict, Verdict::Unfit(_))).count(), 2);
    assert_eq!(parent(&net, 2), None);
}

// PM-82: four equal nodes elect exactly one; it is killed, and there is exactly one other.
#[test]
fn equal_nodes_elect_exactly_one_leader_and_another_when_it_dies() {
    for seed in 0..6 {
        let mut net = network(seed, 4);
        (0..4).for_each(|node| set(&mut net, node, platform()));
        net.run(secs(15));
        let first = leaders(&net, 0..4);
        assert_eq!(first.len(), 1, "seed {seed}");
        let agreed = (0..4).all(|node| {
            net.node(node).hierarchy().expect("it has a profile").leader() == Some(net.id(first[0]))
        });
        assert!(agreed, "seed {seed}");

        net.crash_silently(first[0]);
        net.run(secs(15));

        let second = leaders(&net, (0..4).filter(|node| *node != first[0]));
        assert_eq!(second.len(), 1, "seed {seed}");
    }
}

// PM-82: a cell that was cut in two has a leader in each part, and one again when it is whole.
#[test]
fn two_leaders_become_one_when_a_partition_heals() {
    // With the second seed nobody here has a link to two of those over there.
    for seed in [7, 404] {
        let mut net = network(seed, 6);
        (0..6).for_each(|node| set(&mut net, node, platform()));
        net.run(secs(15));
        for a in 0..3 {
            (3..6).for_each(|b| net.cut(a, b));
        }
        // Those on the other side whom nobody here had a link to may be taken for living, and are passed over.
        net.run(secs(150));
        assert_eq!((leaders(&net, 0..3).len(), leaders(&net, 3..6).len()), (1, 1), "seed {seed}");

        for a in 0..3 {
            (3..6).for_each(|b| net.heal(a, b));
        }
        net.run(secs(120));

        assert_eq!(leaders(&net, 0..6).len(), 1, "seed {seed}");
    }
}

// PM-82: the strategies side by side.
#[test]
fn a_node_that_was_told_to_lead_leads_whatever_the_others_are() {
    let mut net = network(8, 4);
    let told = |strategy| Profile { strategy, battery: Some(30), ..platform() };
    set(&mut net, 0, platform());
    set(&mut net, 1, told(Strategy::Hybrid(Role::Leader)));
    set(&mut net, 2, told(Strategy::Static(Role::Standalone)));
    set(&mut net, 3, told(Strategy::Static(Role::Member)));
    net.run(secs(90));
    let roles: Vec<Role> = (0..4).map(|node| role(&net, node)).collect();
    assert_eq!(roles, [Role::Member, Role::Leader, Role::Standalone, Role::Member]);

    // It is not fit to lead any more.
    set(&mut net, 1, Profile { battery: Some(5), ..told(Strategy::Hybrid(Role::Leader)) });
    net.run(secs(90));

    assert_eq!(leaders(&net, 0..4), [0]);
}

// PM-85: without a profile nothing runs and nothing is said.
#[test]
fn a_flat_mesh_says_nothing_of_levels_and_asks_nobody() {
    let mut net = network(85, 3);
    net.run(secs(60));
    for node in 0..3 {
        assert!(net.node(node).hierarchy().is_none());
        assert!(net.node(node).own_record().facts.state.is_empty());
    }

    set(&mut net, 0, squad());
    set(&mut net, 1, platform());
    net.run(secs(15));
    assert_eq!(parent(&net, 1), Some(net.id(0)));
    net.input(0, Input::SetProfile { profile: None, weights: Weights::default() });
    net.run(secs(15));

    assert_eq!(parent(&net, 1), None);
    assert!(net.node(0).own_record().facts.state.is_empty());
}

// PM-80 in a mesh that is larger than what a node knows of it: the parent may not be in the sample.
#[test]
fn a_parent_with_a_link_stays_parent_however_the_sample_changes() {
    let mut net = Network::seeded(12);
    for node in 0..40 {
        let tuning = Tuning { members: 8, ..Tuning::default() };
        net.add_spec(Spec { links: LinkPolicy::default(), tuning, ..Spec::default() });
        if node > 0 {
            net.join(node, 0);
        }
    }
    set(&mut net, 0, Profile { max_children: 12, ..squad() });
    set(&mut net, 1, platform());
    for _ in 0..300 {
        net.run(secs(1));
        if parent(&net, 1).is_some() {
            break;
        }
    }
    net.run(secs(30));
    assert_eq!(parent(&net, 1), Some(net.id(0)));
    let changes = net.node(1).counters().parent_changes;

    net.run(secs(600));

    assert!(net.node(1).records().any(|record| record.node == net.id(0)), "neighbours are held");
    assert_eq!(parent(&net, 1), Some(net.id(0)));
    assert_eq!(net.node(1).counters().parent_changes, changes);
}

/// Scores the worst battery highest, far above what the host takes.
#[derive(Default)]
struct Upside(Native, u64);

impl Policies for Upside {
    fn observe(&mut self, now_ms: u64, view: &View) {
        self.0.observe(now_ms, view);
    }

    fn route(&mut self, now_ms: u64, batch: &RouteBatch, verdicts: &mut Vec<u32>) {
        self.0.route(now_ms, batch, verdicts);
    }

    fn classify(&mut self, now_ms: u64, batch: &QosBatch, classes: &mut Vec<u8>) {
        self.0.classify(now_ms, batch, classes);
    }

    fn divide(&mut self, now_ms: u64, load: &Load) -> Shares {
        self.0.divide(now_ms, load)
    }

    fn score(&mut self, _now_ms: u64, _asker: &Asker, candidates: &Candidates, scores: &mut Vec<u32>) {
        self.1 += 1;
        scores.clear();
        scores.extend(candidates.battery.iter().map(|battery| 900 - u32::from(*battery) * 5));
    }
}

// MN-53: explicit links stay explicit.
#[test]
fn a_node_with_explicit_links_has_a_parent_among_its_neighbours() {
    let mut net = Network::seeded(53);
    net.chain(3);
    set(&mut net, 0, squad());
    set(&mut net, 1, Profile { battery: Some(20), ..squad() });
    set(&mut net, 2, platform());

    net.run(secs(30));

    assert_eq!(parent(&net, 2), Some(net.id(1)));
    assert_eq!(net.node(2).neighbours().len(), 1);
}

// PM-81: the policy of a node decides on its parent, and an exchange of policies is acted on at once.
#[test]
fn the_policy_in_the_slot_chooses_the_parent() {
    let mut net = network(9, 3);
    set(&mut net, 0, Profile { battery: Some(90), ..squad() });
    set(&mut net, 1, Profile { battery: Some(20), ..squad() });
    set(&mut net, 2, platform());
    net.run(secs(15));
    assert_eq!(parent(&net, 2), Some(net.id(0)));

    net.swap_policies(2, Box::new(Upside::default()));
    net.input(2, Input::PoliciesChanged);
    net.run(secs(5));

    assert_eq!(parent(&net, 2), Some(net.id(1)));
}

// PM-80, PM-82: a hierarchy of four levels, with parents that are full, through crashes.
#[test]
fn a_company_keeps_its_shape_while_nodes_come_and_go() {
    let mut net = network(10, 24);
    let level = |node: usize| match node {
        0 => Level::Company,
        1..=2 => Level::Platoon,
        3..=7 => Level::Squad,
        _ => Level::Platform,
    };
    for node in 0..24 {
        let profile = Profile { level: level(node), max_children: 5, ..platform() };
        set(&mut net, node, profile);
    }
    net.run(secs(60));
    check_shape(&net, &level, 24);

    for gone in [4, 1] {
        net.crash(gone);
        net.run(secs(60));
        check_shape(&net, &level, 24);
        net.restart(gone);
        let profile = Profile { level: level(gone), max_children: 5, ..platform() };
        set(&mut net, gone, profile);
        net.run(secs(120));
        check_shape(&net, &level, 24);
    }
    assert_eq!(net.breaches(), []);
}

/// Everybody below the company has a parent that lives, one of the next level up that has a node with room, and
/// nobody has more children than it takes.
fn check_shape(net: &Network, level: &impl Fn(usize) -> Level, nodes: usize) {
    let mut children = vec![0; nodes];
    for node in (1..nodes).filter(|node| net.is_up(*node)) {
        let parent = parent(net, node).and_then(|id| net.host(&id)).unwrap_or_else(|| panic!("{node}: none"));
        assert!(net.is_up(parent), "{node} under {parent}");
        assert!(level(parent) > level(node), "{node} under {parent}");
        assert!(is_linked(net, node, parent), "{node} under {parent}");
        children[parent] += 1;
    }
    assert!(children.iter().all(|children| *children <= 5), "{children:?}");
}
