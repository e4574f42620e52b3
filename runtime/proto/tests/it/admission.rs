//! The veto on links: whoever is not wanted is no neighbour, and does not hammer on the door.

use std::cell::RefCell;
use std::rc::Rc;

use ed25519_dalek::SigningKey;
use mesh_proto::directory::LinkPolicy;
use mesh_proto::node::{Config, Disconnect, Input, Node, Output};
use mesh_proto::policy::native::Native;
use mesh_proto::policy::{Approach, Load, Place, Policies, QosBatch, RouteBatch, Shares, View, Visitor};
use mesh_proto::record::{Facts, Record};
use mesh_proto::sim::Network;
use mesh_proto::time::{Instant, Now};
use mesh_proto::{NodeId, Peer};

use crate::{millis, secs};

type Asked = Rc<RefCell<Vec<Visitor>>>;

/// Has links to whom `may` names, and remembers whom it was asked about.
struct Porter<F> {
    native: Native,
    may: F,
    asked: Asked,
}

fn porter<F: FnMut(&Visitor) -> bool>(may: F) -> Porter<F> {
    Porter { native: Native::default(), may, asked: Asked::default() }
}

impl<F: FnMut(&Visitor) -> bool> Policies for Porter<F> {
    fn observe(&mut self, now_ms: u64, view: &View) {
        self.native.observe(now_ms, view);
    }

    fn route(&mut self, now_ms: u64, batch: &RouteBatch, verdicts: &mut Vec<u32>) {
        self.native.route(now_ms, batch, verdicts);
    }

    fn classify(&mut self, now_ms: u64, batch: &QosBatch, classes: &mut Vec<u8>) {
        self.native.classify(now_ms, batch, classes);
    }

    fn divide(&mut self, now_ms: u64, load: &Load) -> Shares {
        self.native.divide(now_ms, load)
    }

    fn guards(&self) -> bool {
        true
    }

    fn admit(&mut self, _: u64, place: &Place, visitors: &[Visitor], answers: &mut Vec<bool>) {
        assert!(place.members > 0 && place.least <= place.most);
        self.asked.borrow_mut().extend_from_slice(visitors);
        answers.clear();
        answers.extend(visitors.iter().map(&mut self.may));
    }
}

/// Ids of the hosts of every network, by their numbers.
fn ids<const N: usize>(indices: [usize; N]) -> [NodeId; N] {
    let mut net = Network::seeded(1);
    net.chain(8);
    indices.map(|index| net.id(index))
}

/// Nodes that link by themselves, of which the first has links to those that `may` names.
fn mesh(nodes: usize, may: impl FnMut(&Visitor) -> bool + 'static) -> Network {
    let mut net = Network::seeded(1);
    net.add_with(LinkPolicy::Adaptive, Box::new(porter(may)));
    for _ in 1..nodes {
        net.add_with(LinkPolicy::Adaptive, Box::new(Native::default()));
    }
    net
}

fn linked(net: &Network, node: usize) -> Vec<NodeId> {
    net.node(node).neighbours().iter().map(|neighbour| neighbour.node).collect()
}

#[test]
fn who_is_not_on_the_list_is_no_neighbour_and_backs_off_and_is_reached_through_others() {
    let [guest] = ids([1]);
    let mut net = mesh(3, move |visitor| visitor.node == guest);
    net.join(1, 0);
    net.join(2, 0);
    net.join(2, 1);
    net.run(secs(60));

    assert_eq!(linked(&net, 0), [guest]);
    assert!(net.disconnects(0).contains(&Disconnect::NotAdmitted));
    let refused = net.node(0).counters().not_admitted;
    assert!(refused < 25, "{refused} times in a minute");

    net.run(secs(60));
    let more = net.node(0).counters().not_admitted - refused;
    assert!((1..10).contains(&more), "{more} times in another minute");

    net.send(2, 0, b"by way of the second");
    net.run(secs(2));
    assert_eq!(net.publications()[0].reached(), 1, "a veto on a link is none on messages");
}

#[test]
fn who_is_on_the_list_comes_in() {
    let guests = ids([1, 2]);
    let mut net = mesh(3, move |visitor| guests.contains(&visitor.node));
    net.join(1, 0);
    net.join(2, 0);
    net.run(secs(10));

    assert_eq!(linked(&net, 0).len(), 2);
    assert_eq!(net.node(0).counters().not_admitted, 0);
}

#[test]
fn who_is_refused_by_all_is_not_taken_for_dead_and_keeps_nobody_busy() {
    let [outcast] = ids([5]);
    let mut net = Network::seeded(1);
    for _ in 0..5 {
        net.add_with(LinkPolicy::Adaptive, Box::new(porter(move |visitor| visitor.node != outcast)));
    }
    net.add_with(LinkPolicy::Adaptive, Box::new(Native::default()));
    (1..6).for_each(|node| net.join(node, node - 1));
    net.run(secs(180));
    let refused = |net: &Network| -> u64 { (0..5).map(|n| net.node(n).counters().not_admitted).sum() };
    let before = refused(&net);
    net.run(secs(60));

    assert_eq!(net.node(5).neighbours().len(), 0);
    assert!((0..5).all(|node| linked(&net, node).len() >= 2));
    let more = refused(&net) - before;
    assert!((1..40).contains(&more), "it knocks at five doors, {more} times in a minute");
}

#[test]
fn nodes_whose_addresses_the_operator_gave_are_not_asked_about() {
    let nobody = porter(|_| false);
    let asked = nobody.asked.clone();
    let mut net = Network::seeded(1);
    net.add_with(LinkPolicy::Explicit, Box::new(nobody));
    net.add();
    net.join(0, 1);
    net.run(secs(10));
    net.input(1, Input::SetState { key: "label.region".into(), value: Some(b"eu".to_vec()) });
    net.run(secs(10));

    assert_eq!(linked(&net, 0), [net.id(1)]);
    assert!(asked.borrow().is_empty());
}

#[test]
fn a_link_ends_when_its_far_end_says_what_is_not_wanted() {
    let is_of_eu =
        |visitor: &Visitor| visitor.labels.iter().all(|(key, value)| key != "region" || value == "eu");
    let porter = porter(is_of_eu);
    let asked = porter.asked.clone();
    let mut net = Network::seeded(1);
    net.add_with(LinkPolicy::Explicit, Box::new(porter));
    net.add();
    net.join(1, 0);
    let say = |net: &mut Network, key: &str, value: &str| {
        net.input(1, Input::SetState { key: key.into(), value: Some(value.as_bytes().to_vec()) });
    };
    say(&mut net, "label.region", "eu");
    say(&mut net, "capability", "disk");
    net.run(secs(20));
    assert_eq!(linked(&net, 0), [net.id(1)]);

    say(&mut net, "label.region", "us");
    net.run(secs(20));

    assert_eq!(linked(&net, 0), []);
    let asked = asked.borrow();
    assert_eq!((asked[0].approach, asked[0].health), (Approach::Inbound, None));
    let eu = [("region".to_owned(), "eu".to_owned())];
    assert!(asked.iter().any(|visitor| visitor.approach == Approach::Standing && visitor.labels == eu));
}

#[test]
fn a_swap_asks_about_all_links_and_lets_in_again_who_was_refused() {
    let [guest] = ids([1]);
    let mut net = mesh(3, |_| true);
    net.join(1, 0);
    net.join(2, 0);
    net.run(secs(10));
    assert_eq!(linked(&net, 0).len(), 2);

    net.swap_policies(0, Box::new(porter(move |visitor| visitor.node == guest)));
    net.run(millis(100));
    assert_eq!(linked(&net, 0), [guest]);
    net.run(secs(60));
    assert_eq!(linked(&net, 0), [guest]);

    net.swap_policies(0, Box::new(Native::default()));
    net.run(secs(2));
    assert_eq!(linked(&net, 0).len(), 2);
}

/// What a node says to who makes a link to it; and what else it does.
fn knocked(policies: &mut dyn Policies) -> (usize, Vec<Output>) {
    let (links, tuning) = (LinkPolicy::Adaptive, Default::default());
    let now = Now { instant: Instant(0), unix_ms: 1 };
    let key = SigningKey::from_bytes(&[7; 32]);
    let mut node = Node::new(
        now,
        Config { key, name: "ada".into(), addrs: Vec::new(), epoch: 1, seed: 1, links, tuning },
    );
    let stranger = NodeId(SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes());
    let peer = Peer(1);

    node.handle(now, [Input::LinkUp { peer, node: stranger, dialed: None }], policies);

    let said = std::iter::from_fn(|| node.poll_transmit(now, peer)).count();
    (said, std::iter::from_fn(|| node.poll_output()).collect())
}

#[test]
fn who_is_not_wanted_is_sent_away_before_a_word_is_said_to_it() {
    let (said, outputs) = knocked(&mut porter(|_| false));
    let sent_away = |output: &Output| {
        matches!(output, Output::Disconnect { peer: Peer(1), reason: Disconnect::NotAdmitted })
    };
    assert!(said == 0 && outputs.iter().any(sent_away), "{said} {outputs:?}");

    let (said, outputs) = knocked(&mut porter(|_| true));
    assert!(said > 0 && !outputs.iter().any(sent_away), "{said} {outputs:?}");
}

#[test]
fn who_is_let_in_is_asked_about_once() {
    let everybody = porter(|_| true);
    let asked = everybody.asked.clone();
    let mut net = Network::seeded(1);
    net.add_with(LinkPolicy::Explicit, Box::new(everybody));
    net.add();
    net.join(1, 0);
    net.run(secs(5));

    let inbound = asked.borrow().iter().filter(|visitor| visitor.approach == Approach::Inbound).count();
    assert_eq!((linked(&net, 0).len(), inbound), (1, 1));
}

/// A node that knows a hundred others, may have links to nobody, and looks for them all the time.
#[test]
fn a_node_that_may_dial_nobody_neither_dials_nor_spins() {
    let key = SigningKey::from_bytes(&[7; 32]);
    let (links, tuning) = (LinkPolicy::Adaptive, Default::default());
    let mut now = Now { instant: Instant(0), unix_ms: 1 };
    let mut node = Node::new(
        now,
        Config { key, name: "ada".into(), addrs: Vec::new(), epoch: 1, seed: 1, links, tuning },
    );
    let mut nobody = porter(|_| false);
    let records = (100..200).map(|n| {
        let facts = Facts { addrs: vec![format!("mem:{n}")], ..Facts::default() };
        Input::RestoreRecord(Record::sign(&SigningKey::from_bytes(&[n; 32]), 1, facts).to_bytes().into())
    });
    node.handle(now, records.collect::<Vec<_>>(), &mut nobody);
    let mut turns = 0;
    while now.instant < Instant(60_000_000) {
        while let Some(output) = node.poll_output() {
            assert!(!matches!(output, Output::Dial(_)));
        }
        let at = node.poll_timeout().expect("time always passes");
        now = Now { instant: at.max(now.instant), unix_ms: 1 + at.0 / 1000 };
        node.handle(now, [], &mut nobody);
        turns += 1;
    }

    assert!(turns < 2000, "{turns} turns in a minute");
    let asked = nobody.asked.borrow();
    assert!((100..=200).contains(&asked.len()), "{} questions about a hundred nodes", asked.len());
    assert!(asked.iter().all(|visitor| visitor.approach == Approach::Outbound));
    assert_eq!(node.counters().not_dialed, asked.len() as u64);
}
