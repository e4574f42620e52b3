//! What is kept for nodes that cannot be reached: what the policy says, and what the host holds on to.

use std::cell::RefCell;
use std::rc::Rc;

use mesh_proto::directory::LinkPolicy;
use mesh_proto::policy::native::Native;
use mesh_proto::policy::{
    CarryBatch, Clamp, Class, HOLD, Load, Overrule, Policies, QosBatch, REFUSE, Room, RouteBatch, Shares,
    View,
};
use mesh_proto::run::{Dest, MAX_PAYLOAD};
use mesh_proto::sim::Network;

use crate::{millis, secs};

#[derive(Default)]
struct Heard {
    rows: CarryBatch,
    room: Room,
    calls: usize,
    clamps: Vec<Clamp>,
}

/// Lets nothing pass, if `holds`, and answers for what waits with `worth` of its bytes.
struct Keeper {
    native: Native,
    holds: bool,
    worth: fn(u32) -> u8,
    heard: Rc<RefCell<Heard>>,
}

impl Keeper {
    fn boxed(holds: bool, worth: fn(u32) -> u8) -> (Box<Keeper>, Rc<RefCell<Heard>>) {
        let heard = Rc::<RefCell<Heard>>::default();
        (Box::new(Keeper { native: Native::default(), holds, worth, heard: heard.clone() }), heard)
    }
}

impl Policies for Keeper {
    fn observe(&mut self, now_ms: u64, view: &View) {
        self.native.observe(now_ms, view);
    }

    fn route(&mut self, now_ms: u64, batch: &RouteBatch, verdicts: &mut Vec<u32>) {
        self.native.route(now_ms, batch, verdicts);
        if self.holds {
            verdicts.fill(HOLD);
        }
    }

    fn classify(&mut self, now_ms: u64, batch: &QosBatch, classes: &mut Vec<u8>) {
        self.native.classify(now_ms, batch, classes);
    }

    fn divide(&mut self, now_ms: u64, load: &Load) -> Shares {
        self.native.divide(now_ms, load)
    }

    fn carry(&mut self, _: u64, room: &Room, batch: &CarryBatch, worths: &mut Vec<u8>) {
        let mut heard = self.heard.borrow_mut();
        (heard.room, heard.calls) = (*room, heard.calls + 1);
        heard.rows.clone_from(batch);
        worths.clear();
        worths.extend(batch.bytes.iter().map(|bytes| (self.worth)(*bytes)));
    }

    fn clamped(&mut self, _: u64, clamps: &[Clamp]) {
        self.heard.borrow_mut().clamps.extend_from_slice(clamps);
    }
}

/// A chain of three, whose middle one keeps what `worth` says and passes nothing on.
fn dam(worth: fn(u32) -> u8) -> (Network, Rc<RefCell<Heard>>) {
    let (keeper, heard) = Keeper::boxed(true, worth);
    let mut net = Network::seeded(9);
    net.add();
    net.add_with(LinkPolicy::Explicit, keeper);
    net.add();
    net.join(1, 0);
    net.join(2, 1);
    net.run(secs(3));
    (net, heard)
}

/// Two nodes of which the second is away; the first one keeps by size.
fn alone() -> (Network, Rc<RefCell<Heard>>) {
    let (keeper, heard) = Keeper::boxed(false, |bytes| bytes as u8);
    let mut net = Network::seeded(9);
    net.add_with(LinkPolicy::Explicit, keeper);
    net.add();
    net.join(1, 0);
    net.run(secs(3));
    net.crash(1);
    net.run(secs(1));
    (net, heard)
}

fn send(net: &mut Network, from: usize, to: usize, class: Class, durable: bool, text: &str) {
    let dest = Dest::Node(net.id(to));
    net.publish_with(from, dest, text.as_bytes(), |publish| {
        (publish.class, publish.durable) = (class, durable);
    });
    net.run(millis(1));
}

#[test]
fn a_refusal_frees_the_sender_and_is_counted() {
    let (mut net, heard) = dam(|_| REFUSE);
    // Four times what may be under way without acknowledgement.
    for _ in 0..32 {
        let dest = Dest::Node(net.id(2));
        net.publish_with(0, dest, &vec![0; MAX_PAYLOAD], |_| {});
    }
    net.run(secs(20));

    assert_eq!(net.node(1).counters().not_carried, 32);
    assert_eq!(net.node(1).held(), (0, 0));
    assert_eq!(net.node(0).neighbours()[0].queued_bytes, [0; 5]);
    let heard = heard.borrow();
    assert_eq!((&heard.clamps[..], heard.room.messages), (&[][..], 0));
}

#[test]
fn what_is_own_durable_or_critical_is_never_refused() {
    let (mut net, heard) = dam(|_| REFUSE);
    send(&mut net, 0, 2, Class::Normal, false, "refused");
    send(&mut net, 0, 2, Class::Normal, true, "durable");
    send(&mut net, 0, 2, Class::Critical, false, "critical");
    send(&mut net, 1, 2, Class::Bulk, false, "own");
    net.run(millis(500));

    assert_eq!(net.node(1).held().0, 3);
    assert_eq!(net.node(1).counters().not_carried, 1);
    assert!(net.node(1).counters().clamped >= 3);
    assert!(!heard.borrow().clamps.is_empty());
    assert!(heard.borrow().clamps.iter().all(|clamp| clamp.applied == Overrule::Worth(1)));

    net.swap_policies(1, Box::new(Native::default()));
    net.run(secs(2));
    let mut texts = net.texts(2);
    texts.sort();
    assert_eq!(texts, ["critical", "durable", "own"]);
}

#[test]
fn the_policy_is_told_what_waits_and_is_asked_only_when_something_does() {
    let (mut net, heard) = alone();
    assert_eq!(heard.borrow().calls, 0);

    send(&mut net, 0, 1, Class::Low, true, "12345");
    send(&mut net, 0, 1, Class::Normal, false, "1234567");

    let heard = heard.borrow();
    let rows = &heard.rows;
    assert_eq!((heard.calls, heard.room.messages, heard.room.bytes), (2, 1, 5));
    assert_eq!((rows.class[0], rows.messages[0], rows.bytes[0]), (Class::Normal as u8, 1, 7));
    assert_eq!((rows.is_own[0], rows.is_durable[0]), (1, 0));
    assert_eq!((rows.waiting_messages[0], rows.waiting_bytes[0]), (1, 5));
    assert!(rows.left_ms[0] > 3_000_000);
}

#[test]
fn the_flow_of_what_is_worth_most_goes_first_and_each_flow_as_it_came() {
    let (mut net, _) = dam(|bytes| bytes as u8);
    for (from, text) in [(1, "b"), (0, "aa"), (1, "c"), (0, "dddd"), (0, "bb")] {
        send(&mut net, from, 2, Class::Normal, false, text);
        net.run(millis(200));
    }

    net.swap_policies(1, Box::new(Native::default()));
    net.run(secs(2));

    assert_eq!(net.texts(2), ["aa", "dddd", "bb", "b", "c"]);
}

#[test]
fn durable_messages_are_judged_again_after_a_restart() {
    let (mut net, heard) = alone();
    for text in ["b", "dddd", "aa"] {
        send(&mut net, 0, 1, Class::Normal, true, text);
    }
    net.run(secs(1));
    net.crash(0);
    heard.borrow_mut().calls = 0;
    net.restart(0);
    net.run(secs(1));
    assert!(heard.borrow().calls > 0);

    net.restart(1);
    net.run(secs(30));

    assert_eq!(net.texts(1), ["b", "dddd", "aa"]);
}

#[test]
fn without_a_plugin_each_class_of_a_flow_stays_in_order() {
    let mut net = Network::seeded(9);
    net.chain(2);
    net.run(secs(3));
    net.crash(1);
    net.run(secs(1));
    for n in 0..50 {
        let class = Class::ALL[n * 7 % 5];
        send(&mut net, 0, 1, class, false, &format!("{} {n:02}", class.name()));
    }

    net.restart(1);
    net.run(secs(5));

    for class in Class::ALL {
        let texts = net.texts(1).into_iter();
        let own: Vec<String> = texts.filter(|text| text.starts_with(class.name())).collect();
        assert_eq!(own.len(), 10);
        assert!(own.is_sorted(), "{own:?}");
    }
}
