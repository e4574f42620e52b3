//! The node: composes links, routing, broadcast, queues and policies behind four verbs.
//!
//! `handle` takes in everything that happened, asks the policies once for the whole batch, and leaves what
//! is to be done: `poll_transmit` when a link can take more, `poll_output` for all else. `poll_timeout`
//! says when it must be called again. Nothing happens in between, and nothing is decided outside.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use ed25519_dalek::SigningKey;

use crate::broadcast::Trees;
use crate::directory::Directory;
use crate::frame::Violation;
use crate::id::{NodeId, Peer, TopicId};
use crate::members::{Member, Members};
use crate::policy::{Class, Load, Policies, QosBatch, RouteBatch, View};
use crate::queue::{HeldKey, Item, Owed, Popped, give_back};
use crate::record::{Facts, Record};
use crate::routing::{KnownWay, Table};
use crate::rumor::Rumors;
use crate::run::{Dest, Flow, Run, Verified};
use crate::seen::{Seen, Window};
use crate::time::{Instant, Now};
use crate::tuning::Tuning;

mod admission;
mod carry;
mod control;
mod decide;
mod decided;
mod gossip;
mod hierarchy;
mod hold;
mod io;
mod link;
#[cfg(feature = "sim")]
mod many;
mod neighbours;
mod publish;
mod question;
mod rebalance;
mod receive;
mod shelf;
mod tick;
mod ways;

pub use decided::{Carried, Decided, Fate, Judged};
pub use io::{Config, Counters, Disconnect, Gauges, Input, NeighbourInfo, Output, Publish, Transmit, Write};
pub use publish::PublishError;
pub use question::MAX_QUESTION;
pub use shelf::HELD_BYTES;

use link::Neighbour;
use neighbours::Neighbours;
use publish::Accepting;
use shelf::Held;

/// Links at a time, at most.
pub const MAX_LINKS: usize = 64;
/// Topics that this node subscribes to, at most.
pub const MAX_SUBSCRIPTIONS: usize = 4096;

/// A batch part on its way to a decision.
#[derive(Debug)]
struct Pending {
    run: Arc<Run>,
    from: Option<Peer>,
    hops: u8,
    owed: Option<Owed>,
    key: Option<HeldKey>,
}

/// What waits for a ticket to be on disk.
#[derive(Debug)]
enum Then {
    Acknowledge(Owed),
    Accept(Accepting),
}

/// One node of the mesh.
///
/// ```
/// use ed25519_dalek::SigningKey;
/// use mesh_proto::node::{Config, Input, Node, Output};
/// use mesh_proto::policy::native::Native;
/// use mesh_proto::time::Now;
///
/// let key = SigningKey::from_bytes(&[7; 32]);
/// let (links, tuning) = Default::default();
/// let config = Config { key, name: "ada".into(), addrs: Vec::new(), epoch: 1, seed: 1, links, tuning };
/// let mut node = Node::new(Now::default(), config);
///
/// node.handle(Now::default(), [Input::Seed("mem:bob".into())], &mut Native::default());
///
/// assert!(matches!(node.poll_output(), Some(Output::Dial(dial)) if dial.addr == "mem:bob"));
/// ```
#[derive(Debug)]
pub struct Node {
    key: SigningKey,
    id: NodeId,
    epoch: u64,
    tuning: Tuning,
    rng: fastrand::Rng,
    neighbours: Neighbours,
    by_node: BTreeMap<NodeId, Peer>,
    table: Table,
    trees: Trees,
    directory: Directory,
    members: Members,
    facts: Facts,
    record: Arc<Record>,
    started: Instant,
    /// When the own record was last written.
    renewed: Instant,
    /// When somebody was last dialed because the neighbours do not send what they offer.
    looked_elsewhere: Instant,
    /// What is to be told on.
    rumors: Rumors,
    /// Nodes that are dialed to find out whether they live, and when, if not yet.
    probes: BTreeMap<NodeId, Option<Instant>>,
    links_stale: bool,
    /// It took the mesh for one that is known by a sample at the last look.
    is_sampling: bool,
    /// Somebody has come or gone since a cut was looked for.
    is_partition_stale: bool,
    partition_looked: Instant,
    /// Members that no chain of links led to at the last look.
    orphans: BTreeSet<NodeId>,
    /// Members whose records stand in the store.
    anchors: BTreeSet<NodeId>,
    alone_since: Option<Instant>,
    /// Members that came back of late: since when, and how many.
    back: (Instant, u32),
    /// Links that were lost of late without a word: since when, and how many.
    lost: (Instant, u32),
    /// How many are away, while that is a partition.
    away: Option<usize>,
    beats: u32,
    sweeps: u32,
    /// When the last turn asked to be woken.
    wanted: Instant,
    place: Option<hierarchy::Place>,
    door: admission::Door,
    seen: Seen,
    verified: Verified,
    held: Held,
    carrying: carry::Carrying,
    subscriptions: BTreeSet<TopicId>,
    next_seq: BTreeMap<Dest, u64>,
    drafts: Vec<crate::run::Draft>,
    accepting: Vec<Accepting>,
    pending: Vec<Pending>,
    pings: BTreeMap<u64, (u64, Instant)>,
    questions: question::Questions,
    /// What became of messages in this turn, when somebody keeps it.
    decided: Option<Vec<Decided>>,
    clamps: Vec<crate::policy::Clamp>,
    view: View,
    rows: Vec<Peer>,
    view_stale: bool,
    ways_changed: bool,
    ways_wanted: bool,
    route_batch: RouteBatch,
    qos_batch: QosBatch,
    verdicts: Vec<u32>,
    classes: Vec<u8>,
    load: Load,
    shares: crate::policy::Shares,
    writes: Vec<Write>,
    then: Vec<Then>,
    tickets: VecDeque<(u64, Vec<Then>)>,
    next_ticket: u64,
    outputs: VecDeque<Output>,
    due: tick::Due,
    counters: Counters,
}

impl Node {
    /// Makes a node that knows nobody.
    pub fn new(now: Now, config: Config) -> Node {
        let id = NodeId(config.key.verifying_key().to_bytes());
        let mut rng = fastrand::Rng::with_seed(config.seed);
        // Above every counter of an earlier start: seconds, which no node outruns by announcing itself.
        let seqno = (config.epoch / 1000) as u32;
        let tuning = config.tuning.clamped();
        let facts = Facts { epoch: config.epoch, name: config.name, addrs: config.addrs, ..Facts::default() };
        let record = Arc::new(Record::sign(&config.key, config.epoch, facts.clone()));
        let mut members = Members::new(id, tuning.members);
        members.note_own(config.epoch);
        Node {
            id,
            epoch: config.epoch,
            tuning,
            neighbours: Neighbours::default(),
            by_node: BTreeMap::new(),
            table: Table::new(id, seqno),
            trees: Trees::new(tuning.graft, tuning.offer),
            directory: Directory::new(id, config.links),
            members,
            facts,
            record,
            started: now.instant,
            renewed: now.instant,
            looked_elsewhere: now.instant,
            rumors: Rumors::default(),
            probes: BTreeMap::new(),
            links_stale: false,
            is_sampling: false,
            is_partition_stale: false,
            partition_looked: now.instant,
            orphans: BTreeSet::new(),
            anchors: BTreeSet::new(),
            alone_since: None,
            back: (now.instant, 0),
            lost: (now.instant, 0),
            away: None,
            beats: 0,
            sweeps: 0,
            wanted: now.instant,
            place: None,
            door: admission::Door::default(),
            seen: Seen::default(),
            verified: Verified::default(),
            held: Held::new(now.unix_ms),
            carrying: carry::Carrying::default(),
            subscriptions: BTreeSet::new(),
            next_seq: BTreeMap::new(),
            drafts: Vec::new(),
            accepting: Vec::new(),
            pending: Vec::new(),
            pings: BTreeMap::new(),
            questions: question::Questions::default(),
            decided: None,
            clamps: Vec::new(),
            view: View::default(),
            rows: Vec::new(),
            view_stale: true,
            ways_changed: false,
            ways_wanted: false,
            route_batch: RouteBatch::default(),
            qos_batch: QosBatch::default(),
            verdicts: Vec::new(),
            classes: Vec::new(),
            load: Load::default(),
            shares: crate::policy::Shares::default(),
            writes: Vec::new(),
            then: Vec::new(),
            tickets: VecDeque::new(),
            next_ticket: 1,
            outputs: VecDeque::new(),
            due: tick::Due::new(now.instant, &tuning, &mut rng),
            counters: Counters::default(),
            rng,
            key: config.key,
        }
    }

    /// Takes in everything that happened up to `now`; asks the policies once for the whole batch.
    pub fn handle(&mut self, now: Now, inputs: impl IntoIterator<Item = Input>, policies: &mut dyn Policies) {
        self.pardon_after_sleep(now);
        self.guard(policies);
        for input in inputs {
            if self.may_enter(now, &input, policies) {
                self.on_input(now, input);
            }
        }
        self.on_time(now, policies);
        self.ask_leave(now, policies);
        self.seal_drafts(now);
        self.retry_held(now);
        self.decide(now, policies);
        self.finish_turn(now);
    }

    /// Returns what to write to `peer` next, or `None` until more arrives or is acknowledged. Messages that
    /// expired while they waited are dropped here.
    pub fn poll_transmit(&mut self, now: Now, peer: Peer) -> Option<Transmit> {
        let neighbour = self.neighbours.transmitting(peer)?;
        if let Some(frame) = neighbour.pop_control() {
            return Some(Transmit { lane: 0, chunks: [frame, Bytes::new(), Bytes::new()] });
        }
        // The class lanes may overtake the hello. The first pong says that the hello is there.
        neighbour.rtt_us()?;
        loop {
            let neighbour = self.neighbours.transmitting(peer)?;
            let popped = neighbour.queue.pop(now.unix_ms)?;
            neighbour.moved = now.instant;
            match popped {
                Popped::Send(class, item) => {
                    self.settle(item.owed);
                    self.counters.forwarded += item.run.len() as u64;
                    self.load.sent_bytes[class as usize] += item.cost() as u64;
                    return Some(Transmit { lane: class as u8 + 1, chunks: item.run.encode(item.hops) });
                }
                Popped::Expired(class, item) => self.drop_expired(class, item),
            }
        }
    }

    /// Returns a neighbour to which something may have become sendable since it was last returned. Whoever
    /// drains it after every [`Node::handle`] needs [`Node::poll_transmit`] for no other links than these and
    /// those that have just become writable.
    pub fn poll_ready(&mut self) -> Option<Peer> {
        self.neighbours.take_ready()
    }

    /// Returns the next thing to do. Drain it after every `handle`.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        give_back(&mut self.outputs);
        output
    }

    /// Returns when `handle` must be called again even without input.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let acks = self.neighbours.ack_due().into_iter();
        let others = self.trees.next_due().into_iter().chain(self.news_due()).chain(self.members.next_due());
        acks.chain(others).chain(self.hierarchy_due()).chain([self.due.first()]).min()
    }

    /// Says whether messages of this class to `dest` would be queued without holding anybody back. A
    /// publisher waits until they would.
    pub fn has_room(&self, dest: &Dest, class: Class) -> bool {
        let roomy = |peer: &Peer| self.neighbours.get(peer).is_none_or(|n| n.queue.has_room(class));
        match dest {
            Dest::Node(node) => match self.table.next_hop(node, None) {
                Some(via) => roomy(&via),
                None => true,
            },
            // One slow neighbour does not stop a topic: it is offered what it could not be sent.
            Dest::Topic(_) | Dest::Mesh => self.neighbours.is_empty() || self.neighbours.keys().any(roomy),
        }
    }

    /// Ends this node: says goodbye on every link and leaves writes that keep what was not taken over.
    /// Transmit and persist what it leaves; call nothing else afterwards.
    pub fn shutdown(&mut self, now: Now) {
        self.seal_drafts(now);
        self.facts.left = true;
        self.renew_record(now);
        self.tell_spread();
        self.say_goodbye();
        self.keep_everything(now);
        self.emit_writes();
    }

    /// Returns this node's id.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Returns what was counted since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Returns the neighbours that have said hello.
    pub fn neighbours(&self) -> Vec<NeighbourInfo> {
        let greeted = self.neighbours.iter().filter(|(_, neighbour)| neighbour.is_greeted());
        greeted
            .map(|(peer, neighbour)| NeighbourInfo {
                peer: *peer,
                node: neighbour.node,
                rtt_us: neighbour.rtt_us(),
                queued_bytes: neighbour.queue.waiting_bytes(),
                heard: neighbour.detector.heard(),
            })
            .collect()
    }

    /// Returns how suspicious a neighbour's silence is: 0 to 16, see [`crate::detector`].
    pub fn phi(&self, now: Instant, peer: Peer) -> Option<f64> {
        self.neighbours.get(&peer).map(|neighbour| neighbour.detector.phi(now))
    }

    /// Returns the link to a node, if it is a neighbour.
    pub fn link_to(&self, node: &NodeId) -> Option<Peer> {
        self.by_node.get(node).copied()
    }

    /// Returns who is at the end of a link.
    pub fn node_of(&self, peer: Peer) -> Option<NodeId> {
        self.neighbours.get(&peer).map(|neighbour| neighbour.node)
    }

    /// Returns the newest record of every node that is known, this one excepted.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.members.records().map(|record| &**record)
    }

    /// Returns the nodes that are known, this one excepted, and whether they live.
    pub fn members(&self) -> impl Iterator<Item = Member<'_>> {
        self.members.iter()
    }

    /// Says whether the mesh is larger than what this node knows of it: then [`Node::members`] is a sample.
    pub fn knows_a_sample(&self) -> bool {
        self.samples()
    }

    /// Returns how much this node keeps, beside the bounds.
    pub fn gauges(&self) -> Gauges {
        let control = self.neighbours.values().map(Neighbour::control_bytes).max().unwrap_or(0);
        let queued = self.neighbours.values().flat_map(|n| n.queue.waiting_bytes()).max().unwrap_or(0);
        let (missing, cached) = self.trees.sizes();
        let (held, held_bytes) = self.held.totals();
        let mut rows = vec![
            ("links", self.neighbours.len(), MAX_LINKS),
            ("members", self.members.len(), self.tuning.members),
            ("graves", self.members.graves(), crate::members::MAX_GRAVES),
            ("routes", self.table.len(), crate::routing::MAX_DESTS),
            ("flows", self.seen.len(), crate::seen::MAX_FLOWS),
            ("offers awaited", missing, crate::broadcast::MAX_MISSING),
            ("cached bytes", cached, crate::broadcast::CACHE_BYTES + crate::run::MAX_PAYLOAD),
            ("control bytes", control, link::CONTROL_BYTES + crate::frame::MAX_CONTROL_FRAME),
            ("queued bytes", queued, crate::queue::LANE_BYTES + crate::frame::MAX_FRAME),
            ("held messages", held, shelf::HELD_MESSAGES * self.tuning.members),
            ("held bytes", held_bytes, shelf::HELD_TOTAL_BYTES + crate::run::MAX_RUN_BYTES),
        ];
        rows.extend(self.hierarchy().into_iter().flat_map(|hierarchy| hierarchy.gauges()));
        Gauges { rows }
    }

    /// Returns what this node says of itself.
    pub fn own_record(&self) -> &Record {
        &self.record
    }

    /// Returns the ways to a node, cheapest first.
    pub fn ways(&self, node: &NodeId) -> Vec<KnownWay> {
        self.table.ways(node)
    }

    /// Returns the nodes that can be reached now.
    pub fn reachable(&self) -> Vec<NodeId> {
        self.table.destinations().filter(|node| self.table.reaches(node)).copied().collect()
    }

    /// Asks the routing policy about one message that is not there, for `route explain`: the neighbour that
    /// it would go to. Counts as a call of the policy.
    pub fn explain(&mut self, now: Now, node: &NodeId, policies: &mut dyn Policies) -> Option<Peer> {
        self.show_view(now, policies);
        let number = self.table.number(node)?;
        let mut batch = RouteBatch::default();
        batch.push(number, crate::policy::LOCAL, 0, Class::Normal);
        let mut verdicts = Vec::new();
        policies.route(now.unix_ms, &batch, &mut verdicts);
        let chosen = self.rows.get(*verdicts.first()? as usize).copied();
        chosen.filter(|via| self.table.may_use(node, *via)).or_else(|| self.table.next_hop(node, None))
    }

    /// Returns the messages and payload bytes that wait here for nodes without a way.
    pub fn held(&self) -> (usize, usize) {
        self.held.totals()
    }

    /// Returns what the policies see now.
    pub fn view(&self) -> &View {
        &self.view
    }

    fn on_input(&mut self, now: Now, input: Input) {
        match input {
            Input::LinkUp { peer, node, dialed } => self.on_link_up(now, peer, node, dialed),
            Input::LinkDown { peer } => self.on_link_lost(now, peer),
            Input::Frames { peer, lane, frames } => self.on_frames(now, peer, lane, frames),
            Input::DialFailed(dial) => self.on_dial_failed(now, &dial),
            Input::SetState { key, value } => {
                // Over its limit it stays as it was, which the caller can see.
                if !Node::is_of_hierarchy(&key)
                    && self.facts.state.get(&key) != value.as_ref()
                    && self.facts.set(&key, value).is_ok()
                {
                    self.renew_soon(now);
                }
            }
            Input::SetProfile { profile, weights } => self.on_profile(now, profile, weights),
            Input::Seed(addr) => {
                self.directory.add_seed(addr);
                self.due.dial_now(now.instant);
            }
            Input::Publish(publish) => self.on_publish(now, publish),
            Input::Subscribe(topic) => {
                if self.subscriptions.len() < MAX_SUBSCRIPTIONS {
                    self.subscriptions.insert(topic);
                }
            }
            Input::Unsubscribe(topic) => {
                self.subscriptions.remove(&topic);
            }
            Input::Ping { token, to } => self.on_ping_request(now, token, to),
            Input::Ask { token, to, question } => self.ask_node(now, token, to, &question),
            Input::Answer { to, nonce, answer } => self.answer_node(now, to, nonce, &answer),
            Input::Persisted { ticket } => self.on_persisted(ticket),
            Input::RestoreHeld { key, bytes } => self.restore_held(now, key, &bytes),
            Input::Spilled { dest, from } => {
                self.held.spill(dest, from);
                self.ways_changed = true;
            }
            Input::RestoreSeen { flow, window } => {
                if let (Some(flow), Some(window)) = (Flow::from_bytes(&flow), Window::from_bytes(&window)) {
                    self.seen.restore(flow, window);
                }
            }
            Input::RestoreRecord(bytes) => {
                if let Some(record) = Record::from_bytes(&bytes) {
                    self.anchors.insert(record.node);
                    self.members.learn(now, Arc::new(record), &mut self.rng);
                }
            }
            Input::PoliciesChanged => {
                self.view_stale = true;
                // What was held by the one before may go now.
                self.ways_changed = true;
                self.due.divide_now(now.instant);
                self.on_hierarchy_news(now);
            }
            Input::AdmissionChanged => self.knock_all(now),
            Input::Refused { peer } => self.on_refused(now, peer),
        }
    }

    /// What is on disk up to this ticket may be spoken of.
    fn on_persisted(&mut self, ticket: u64) {
        while self.tickets.front().is_some_and(|(first, _)| *first <= ticket) {
            let (_, thens) = self.tickets.pop_front().expect("the front was just seen");
            for then in thens {
                match then {
                    Then::Acknowledge(owed) => self.settle(Some(owed)),
                    Then::Accept(accepting) => self.accept(accepting),
                }
            }
        }
    }

    fn finish_turn(&mut self, now: Now) {
        self.tell_members(now);
        self.tell_news(now);
        self.neighbours.send_acks(now);
        self.emit_writes();
        self.wanted = self.due.first();
    }

    fn emit_writes(&mut self) {
        if self.writes.is_empty() && self.then.is_empty() {
            return;
        }
        // A copy of a message that comes later may have to wait for this one to be on disk.
        let holds =
            self.writes.iter().any(|write| matches!(write, Write::PutHeld { .. } | Write::Inbox { .. }));
        let ticket = (holds || !self.then.is_empty()).then_some(self.next_ticket);
        if let Some(ticket) = ticket {
            self.next_ticket += 1;
            self.tickets.push_back((ticket, std::mem::take(&mut self.then)));
        }
        self.outputs.push_back(Output::Persist { ticket, writes: std::mem::take(&mut self.writes) });
    }

    fn drop_expired(&mut self, class: Class, item: Item) {
        self.counters.expired += item.run.len() as u64;
        self.load.dropped[class as usize] += item.run.len() as u64;
        self.forget(item);
    }

    /// A run is not needed any more: its acknowledgement is due, its stored copy is not.
    fn forget(&mut self, item: Item) {
        self.settle(item.owed);
        self.delete_held(item.key, &item.run);
    }

    fn delete_held(&mut self, key: Option<HeldKey>, run: &Run) {
        if let (Some(key), Dest::Node(dest)) = (key, run.head().flow.dest) {
            self.writes.push(Write::DeleteHeld { key, dest });
        }
    }

    fn settle(&mut self, owed: Option<Owed>) {
        if let Some(owed) = owed
            && let Some(neighbour) = self.neighbours.get_mut(&owed.peer)
        {
            neighbour.settle(owed.lane, owed.number);
        }
    }

    fn violation(&mut self, now: Now, peer: Peer, violation: Violation) {
        *self.counters.violations.entry(violation.name()).or_default() += 1;
        self.outputs.push_back(Output::Disconnect { peer, reason: Disconnect::Violation(violation) });
        self.on_link_down(now, peer);
    }
}
