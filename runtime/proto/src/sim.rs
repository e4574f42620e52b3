//! A seeded network of nodes in virtual time: links with latency, jitter and bandwidth that can be cut,
//! disks that take time to write, nodes that crash and start again. The same seed gives the same run.
//!
//! Links carry frames in order within a lane and lose none while they are up, as QUIC streams do.
//!
//! ```
//! use std::time::Duration;
//!
//! use mesh_proto::sim::Network;
//!
//! let mut net = Network::seeded(7);
//! let (ada, bob) = (net.add(), net.add());
//! net.join(bob, ada);
//! net.run(Duration::from_secs(1));
//!
//! net.send(ada, bob, b"hello");
//! net.run(Duration::from_secs(1));
//!
//! assert_eq!(net.texts(bob), ["hello"]);
//! ```

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::SigningKey;

use crate::directory::{Dial, LinkPolicy};
use crate::id::{NodeId, Peer, TopicId};
use crate::node::{Config, Disconnect, Input, Node, Output, Publish, PublishError, Write};
use crate::policy::native::Native;
use crate::policy::{Class, Policies};
use crate::queue::HeldKey;
use crate::run::{DEFAULT_HOP_LIMIT, Dest, Flow};
use crate::time::{Instant, Now};

/// The wall clock when virtual time starts, ms since 1970.
const START_MS: u64 = 1_800_000_000_000;
/// The time that a disk takes for a commit.
const DISK: Duration = Duration::from_millis(4);
/// Messages that a disk gives back at a time.
const RECALLED: usize = 100;
/// Bytes that a link takes ahead of its bandwidth before it asks the queue for more.
const LINK_AHEAD: Duration = Duration::from_millis(2);

/// How links behave.
#[derive(Clone, Copy, Debug)]
pub struct LinkModel {
    /// The time that every frame takes.
    pub latency: Duration,
    /// A random time on top, up to this much.
    pub jitter: Duration,
    /// Bytes per second in one direction.
    pub bandwidth: u64,
}

impl Default for LinkModel {
    /// A good local network: 1 ms, 0.2 ms of jitter, 1 Gbit/s.
    fn default() -> Self {
        LinkModel {
            latency: Duration::from_millis(1),
            jitter: Duration::from_micros(200),
            bandwidth: 125_000_000,
        }
    }
}

/// A message that an application at a node received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The flow that it belongs to.
    pub flow: Flow,
    /// Its number in the flow.
    pub seq: u64,
    /// The payload.
    pub payload: Bytes,
    /// Hops it took.
    pub hops: u8,
    /// When it was delivered.
    pub at: Instant,
}

/// What a node keeps across a crash.
#[derive(Debug, Default)]
struct Disk {
    held: BTreeMap<HeldKey, (NodeId, Bytes)>,
    seen: BTreeMap<Vec<u8>, Bytes>,
    records: BTreeMap<NodeId, Bytes>,
}

struct Host {
    key: SigningKey,
    node: Option<Node>,
    policies: Box<dyn Policies>,
    links: LinkPolicy,
    seeds: Vec<usize>,
    subscriptions: Vec<TopicId>,
    disk: Disk,
    starts: u64,
    inputs: Vec<Input>,
    /// The earliest wake-up that is scheduled; later ones are void.
    wake_at: Option<Instant>,
    delivered: Vec<Delivery>,
    accepted: u64,
    refused: Vec<PublishError>,
    disconnects: Vec<Disconnect>,
    pongs: Vec<(u64, u8)>,
}

struct Side {
    host: usize,
    peer: Peer,
    busy_until: Instant,
    polling: bool,
    /// When the last frame of each lane arrives, so that jitter does not reorder a lane.
    last: [Instant; 6],
}

struct Link {
    sides: [Side; 2],
}

enum Event {
    Wake { host: usize },
    Arrive { link: u64, to: usize, lane: u8, frame: Bytes },
    Open { link: u64, from: usize },
    Up { from: usize, to: usize, dial: Dial, start: u64 },
    Persisted { host: usize, start: u64, ticket: u64, writes: Vec<Write> },
    Recalled { host: usize, start: u64, dest: NodeId, from: HeldKey },
}

/// The network.
pub struct Network {
    rng: fastrand::Rng,
    now: Instant,
    model: LinkModel,
    hosts: Vec<Host>,
    links: BTreeMap<u64, Link>,
    next_link: u64,
    next_peer: u32,
    next_event: u64,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    events: BTreeMap<u64, Event>,
    cuts: BTreeSet<(usize, usize)>,
    lose_next: BTreeMap<(usize, usize), u32>,
    trace: blake3::Hasher,
    frames: BTreeMap<u8, u64>,
}

impl Network {
    /// Makes an empty network.
    pub fn seeded(seed: u64) -> Network {
        Network {
            rng: fastrand::Rng::with_seed(seed),
            now: Instant(1_000_000),
            model: LinkModel::default(),
            hosts: Vec::new(),
            links: BTreeMap::new(),
            next_link: 0,
            next_peer: 0,
            next_event: 0,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            cuts: BTreeSet::new(),
            lose_next: BTreeMap::new(),
            trace: blake3::Hasher::new(),
            frames: BTreeMap::new(),
        }
    }

    /// Changes how all links behave from now on.
    pub fn model(mut self, model: LinkModel) -> Network {
        self.model = model;
        self
    }

    /// Adds a node that links to its seeds only, and starts it.
    pub fn add(&mut self) -> usize {
        self.add_with(LinkPolicy::Explicit, Box::new(Native::default()))
    }

    /// Adds a node with this link policy and these policies, and starts it.
    pub fn add_with(&mut self, links: LinkPolicy, policies: Box<dyn Policies>) -> usize {
        let index = self.hosts.len();
        let secret = blake3::derive_key("meshwork simulator node key", &(index as u64).to_le_bytes());
        self.hosts.push(Host {
            key: SigningKey::from_bytes(&secret),
            node: None,
            policies,
            links,
            seeds: Vec::new(),
            subscriptions: Vec::new(),
            disk: Disk::default(),
            starts: 0,
            inputs: Vec::new(),
            wake_at: None,
            delivered: Vec::new(),
            accepted: 0,
            refused: Vec::new(),
            disconnects: Vec::new(),
            pongs: Vec::new(),
        });
        self.restart(index);
        index
    }

    /// Adds `n` nodes in a chain, each linked to the one before.
    pub fn chain(&mut self, n: usize) -> Vec<usize> {
        let nodes: Vec<usize> = (0..n).map(|_| self.add()).collect();
        nodes.windows(2).for_each(|pair| self.join(pair[1], pair[0]));
        nodes
    }

    /// Lets `node` keep a link to `to`.
    pub fn join(&mut self, node: usize, to: usize) {
        self.hosts[node].seeds.push(to);
        self.input(node, Input::Seed(addr(to)));
    }

    /// Starts a node that is down, with what its disk kept.
    pub fn restart(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        host.starts += 1;
        let epoch = START_MS + self.now.0 / 1000 + host.starts;
        let now = Now { instant: self.now, unix_ms: START_MS + self.now.0 / 1000 };
        let config = Config {
            key: host.key.clone(),
            name: format!("n{index}"),
            epoch,
            seed: self.rng.u64(..),
            links: host.links,
            tuning: Default::default(),
        };
        host.node = Some(Node::new(now, config));
        host.inputs = vec![Input::Listening(vec![addr(index)])];
        let disk = &host.disk;
        host.inputs.extend(disk.records.values().map(|bytes| Input::RestoreRecord(bytes.clone())));
        let seen = disk.seen.iter().map(|(flow, window)| (Bytes::copy_from_slice(flow), window.clone()));
        host.inputs.extend(seen.map(|(flow, window)| Input::RestoreSeen { flow, window }));
        let held = disk.held.iter().map(|(key, (_, bytes))| (*key, bytes.clone()));
        host.inputs.extend(held.map(|(key, bytes)| Input::RestoreHeld { key, bytes }));
        host.inputs.extend(host.seeds.iter().map(|seed| Input::Seed(addr(*seed))));
        host.inputs.extend(host.subscriptions.iter().map(|topic| Input::Subscribe(*topic)));
        self.wake(index, self.now);
    }

    /// Stops a node without a word; its disk stays.
    pub fn crash(&mut self, index: usize) {
        self.hosts[index].node = None;
        self.hosts[index].inputs.clear();
        self.unlink(|a, b| a == index || b == index);
    }

    /// Stops a node in an orderly way.
    pub fn shut_down(&mut self, index: usize) {
        let now = self.clock();
        let Some(node) = &mut self.hosts[index].node else { return };
        node.shutdown(now);
        while let Some(output) = self.hosts[index].node.as_mut().and_then(Node::poll_output) {
            if let Output::Persist { writes, .. } = output {
                self.write(index, writes);
            }
        }
        let links: Vec<(u64, usize)> = self.sides_of(index);
        for (link, side) in links {
            // Goodbye and the last acknowledgements reach the neighbour before the link goes.
            let peer = self.links[&link].sides[side].peer;
            let other = &self.links[&link].sides[1 - side];
            let (to, to_peer) = (other.host, other.peer);
            let mut frames = Vec::new();
            while let Some(t) = self.hosts[index].node.as_mut().and_then(|node| node.poll_transmit(now, peer))
            {
                if t.lane == 0 {
                    frames.push(t.chunks.concat()[4..].to_vec().into());
                }
            }
            self.input(to, Input::Frames { peer: to_peer, lane: 0, frames });
        }
        self.crash(index);
    }

    /// Cuts the link between two nodes and lets no new one come up.
    pub fn cut(&mut self, a: usize, b: usize) {
        self.cuts.insert((a.min(b), a.max(b)));
        self.unlink(|x, y| (x.min(y), x.max(y)) == (a.min(b), a.max(b)));
    }

    /// Takes a cut back.
    pub fn heal(&mut self, a: usize, b: usize) {
        self.cuts.remove(&(a.min(b), a.max(b)));
    }

    /// Loses the next `count` message frames from `a` to `b`, which no real link does while it is up.
    pub fn lose_next(&mut self, a: usize, b: usize, count: u32) {
        self.lose_next.insert((a, b), count);
    }

    /// Lets a node's application want a topic.
    pub fn subscribe(&mut self, node: usize, topic: &str) {
        self.hosts[node].subscriptions.push(TopicId::of(topic));
        self.input(node, Input::Subscribe(TopicId::of(topic)));
    }

    /// Publishes to a topic.
    pub fn publish(&mut self, node: usize, topic: &str, payload: &[u8]) {
        self.publish_with(node, Dest::Topic(TopicId::of(topic)), payload, |_| {});
    }

    /// Sends to a node.
    pub fn send(&mut self, from: usize, to: usize, payload: &[u8]) {
        let dest = Dest::Node(self.id(to));
        self.publish_with(from, dest, payload, |_| {});
    }

    /// Sends or publishes after `change` has set what differs from the defaults.
    pub fn publish_with(
        &mut self,
        from: usize,
        dest: Dest,
        payload: &[u8],
        change: impl FnOnce(&mut Publish),
    ) {
        let mut publish = Publish {
            token: 0,
            dest,
            class: Class::Normal,
            ttl_ms: None,
            hop_limit: DEFAULT_HOP_LIMIT,
            durable: false,
            want_ids: true,
            payloads: vec![Bytes::copy_from_slice(payload)],
        };
        change(&mut publish);
        self.input(from, Input::Publish(publish));
    }

    /// Hands any input to a node, at once.
    pub fn input(&mut self, host: usize, input: Input) {
        if self.hosts[host].node.is_some() {
            self.hosts[host].inputs.push(input);
            self.wake(host, self.now);
        }
    }

    /// Lets `duration` of virtual time pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(Reverse((at, key))) = self.queue.peek().copied() {
            if at > end {
                break;
            }
            self.queue.pop();
            self.now = at;
            let event = self.events.remove(&key).expect("every queued key has its event");
            self.on_event(event);
        }
        self.now = end;
    }

    /// Returns the id of a node.
    pub fn id(&self, index: usize) -> NodeId {
        NodeId(self.hosts[index].key.verifying_key().to_bytes())
    }

    /// Returns a node that is up.
    pub fn node(&self, index: usize) -> &Node {
        self.hosts[index].node.as_ref().expect("the node is up")
    }

    /// Returns what a node's applications received, over all its starts.
    pub fn received(&self, index: usize) -> &[Delivery] {
        &self.hosts[index].delivered
    }

    /// Returns the payloads a node received, as text.
    pub fn texts(&self, index: usize) -> Vec<String> {
        let delivered = self.hosts[index].delivered.iter();
        delivered.map(|delivery| String::from_utf8_lossy(&delivery.payload).into_owned()).collect()
    }

    /// Returns how many publishes a node has accepted, durable ones when they were on disk.
    pub fn accepted(&self, index: usize) -> u64 {
        self.hosts[index].accepted
    }

    /// Returns what a node refused to publish.
    pub fn refused(&self, index: usize) -> &[PublishError] {
        &self.hosts[index].refused
    }

    /// Returns why a node closed links.
    pub fn disconnects(&self, index: usize) -> &[Disconnect] {
        &self.hosts[index].disconnects
    }

    /// Returns the round trips a node measured: microseconds and hops.
    pub fn pongs(&self, index: usize) -> &[(u64, u8)] {
        &self.hosts[index].pongs
    }

    /// Returns how many frames of the first byte `kind` were carried.
    pub fn frames(&self, kind: u8) -> u64 {
        self.frames.get(&kind).copied().unwrap_or(0)
    }

    /// Returns the peer handle that `of` has for its link to `to`.
    pub fn peer(&self, of: usize, to: usize) -> Option<Peer> {
        self.hosts[of].node.as_ref()?.link_to(&self.id(to))
    }

    /// Returns a hash over everything that was carried and delivered, in order.
    pub fn trace_hash(&self) -> [u8; 32] {
        *self.trace.finalize().as_bytes()
    }

    fn clock(&self) -> Now {
        Now { instant: self.now, unix_ms: START_MS + self.now.0 / 1000 }
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.next_event += 1;
        self.events.insert(self.next_event, event);
        self.queue.push(Reverse((at, self.next_event)));
    }

    fn wake(&mut self, host: usize, at: Instant) {
        if self.hosts[host].wake_at.is_none_or(|earlier| earlier > at) {
            self.hosts[host].wake_at = Some(at);
            self.schedule(at, Event::Wake { host });
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Wake { host } => {
                if self.hosts[host].wake_at == Some(self.now) {
                    self.hosts[host].wake_at = None;
                    self.turn(host);
                }
            }
            Event::Arrive { link, to, lane, frame } => {
                let Some(link) = self.links.get(&link) else { return };
                let (host, peer) = (link.sides[to].host, link.sides[to].peer);
                self.trace.update(&self.now.0.to_le_bytes());
                self.trace.update(&(host as u64).to_le_bytes());
                self.trace.update(&frame);
                self.input(host, Input::Frames { peer, lane, frames: vec![frame] });
            }
            Event::Open { link, from } => {
                if let Some(found) = self.links.get_mut(&link) {
                    found.sides[from].polling = false;
                    self.transmit(link, from);
                }
            }
            Event::Recalled { host, start, dest, from } => {
                if self.hosts[host].starts == start {
                    self.recall(host, dest, from);
                }
            }
            Event::Up { from, to, dial, start } => self.come_up(from, to, dial, start),
            Event::Persisted { host, start, ticket, writes } => {
                if self.hosts[host].starts == start && self.hosts[host].node.is_some() {
                    self.write(host, writes);
                    self.input(host, Input::Persisted { ticket });
                }
            }
        }
    }

    fn recall(&mut self, index: usize, dest: NodeId, from: HeldKey) {
        let kept = self.hosts[index].disk.held.range(from..).filter(|(_, (to, _))| *to == dest);
        let mut rows: Vec<(HeldKey, Bytes)> =
            kept.take(RECALLED + 1).map(|(key, (_, bytes))| (*key, bytes.clone())).collect();
        let more = if rows.len() > RECALLED { rows.pop() } else { None };
        for (key, bytes) in rows {
            self.input(index, Input::RestoreHeld { key, bytes });
        }
        if let Some((from, _)) = more {
            self.input(index, Input::Spilled { dest, from });
        }
    }

    fn turn(&mut self, index: usize) {
        let now = self.clock();
        let host = &mut self.hosts[index];
        let Some(node) = &mut host.node else { return };
        node.handle(now, host.inputs.drain(..), &mut *host.policies);
        while let Some(output) = self.hosts[index].node.as_mut().and_then(Node::poll_output) {
            self.on_output(index, output);
        }
        for (link, side) in self.sides_of(index) {
            self.transmit(link, side);
        }
        if let Some(due) = self.hosts[index].node.as_ref().and_then(Node::poll_timeout) {
            self.wake(index, due.max(self.now + Duration::from_micros(1)));
        }
    }

    fn on_output(&mut self, index: usize, output: Output) {
        let start = self.hosts[index].starts;
        match output {
            Output::Deliver { run, hops } => self.deliver(index, &run, hops),
            Output::Persist { ticket, writes } => {
                let at = self.now + DISK;
                self.schedule(at, Event::Persisted { host: index, start, ticket, writes });
            }
            Output::Accepted { .. } => self.hosts[index].accepted += 1,
            Output::Refused { error, .. } => self.hosts[index].refused.push(error),
            Output::Dial(dial) => {
                let to = dial.addr.strip_prefix("sim:").and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
                let at = self.now + self.model.latency * 2;
                self.schedule(at, Event::Up { from: index, to, dial, start });
            }
            Output::Disconnect { peer, reason } => {
                self.hosts[index].disconnects.push(reason);
                let found = self.links.iter().find(|(_, link)| link.sides.iter().any(|s| s.peer == peer));
                if let Some(link) = found.map(|(link, _)| *link) {
                    self.remove_link(link);
                }
            }
            Output::Recall { dest, from } => {
                let at = self.now + DISK;
                self.schedule(at, Event::Recalled { host: index, start, dest, from });
            }
            Output::Pong { rtt_us, hops, .. } => self.hosts[index].pongs.push((rtt_us, hops)),
            Output::NeighbourUp { .. } | Output::NeighbourDown { .. } => {}
            Output::Member { .. } | Output::Partitioned { .. } | Output::Merged { .. } => {}
        }
    }

    fn deliver(&mut self, index: usize, run: &crate::run::Run, hops: u8) {
        for (seq, payload) in run.messages() {
            let flow = run.head().flow;
            self.trace.update(&payload);
            self.hosts[index].delivered.push(Delivery { flow, seq, payload, hops, at: self.now });
        }
    }

    fn write(&mut self, index: usize, writes: Vec<Write>) {
        for write in writes {
            let disk = &mut self.hosts[index].disk;
            match write {
                Write::PutHeld { key, dest, bytes } => drop(disk.held.insert(key, (dest, bytes))),
                Write::DeleteHeld { key, .. } => drop(disk.held.remove(&key)),
                Write::PutSeen { flow, window } => drop(disk.seen.insert(flow.to_vec(), window.into())),
                Write::DeleteSeen { flow } => drop(disk.seen.remove(flow.as_slice())),
                Write::PutRecord { node, bytes } => drop(disk.records.insert(node, bytes.into())),
                Write::DropRecord { node } => drop(disk.records.remove(&node)),
                Write::Inbox { run, hops } => self.deliver(index, &run, hops),
            }
        }
    }

    fn come_up(&mut self, from: usize, to: usize, dial: Dial, start: u64) {
        if self.hosts[from].starts != start || self.hosts[from].node.is_none() {
            return;
        }
        let is_there = self.hosts.get(to).is_some_and(|host| host.node.is_some());
        let expected = is_there && dial.expect.is_none_or(|node| node == self.id(to));
        if !expected || self.cuts.contains(&(from.min(to), from.max(to))) {
            self.input(from, Input::DialFailed(dial));
            return;
        }
        let side = |host: usize, peer: u32| Side {
            host,
            peer: Peer(peer),
            busy_until: Instant(0),
            polling: false,
            last: [Instant(0); 6],
        };
        let (mine, theirs) = (self.next_peer, self.next_peer + 1);
        self.next_peer += 2;
        self.links.insert(self.next_link, Link { sides: [side(from, mine), side(to, theirs)] });
        self.next_link += 1;
        self.input(from, Input::LinkUp { peer: Peer(mine), node: self.id(to), dialed: Some(dial.addr) });
        self.input(to, Input::LinkUp { peer: Peer(theirs), node: self.id(from), dialed: None });
    }

    fn sides_of(&self, host: usize) -> Vec<(u64, usize)> {
        let sides = self
            .links
            .iter()
            .flat_map(|(link, l)| [(*link, 0, l.sides[0].host), (*link, 1, l.sides[1].host)]);
        sides.filter(|(_, _, at)| *at == host).map(|(link, side, _)| (link, side)).collect()
    }

    fn transmit(&mut self, id: u64, from: usize) {
        let now = self.clock();
        loop {
            let Some(link) = self.links.get_mut(&id) else { return };
            let side = &mut link.sides[from];
            if side.polling {
                return;
            }
            if side.busy_until > self.now + LINK_AHEAD {
                side.polling = true;
                let at = side.busy_until;
                self.schedule(at, Event::Open { link: id, from });
                return;
            }
            let (host, peer) = (side.host, side.peer);
            let to_host = link.sides[1 - from].host;
            let Some(node) = &mut self.hosts[host].node else { return };
            let Some(transmit) = node.poll_transmit(now, peer) else { return };
            let frame = Bytes::from(transmit.chunks.concat()).slice(4..);
            *self.frames.entry(frame[0]).or_default() += 1;
            if transmit.lane > 0
                && let Some(left) = self.lose_next.get_mut(&(host, to_host))
                && *left > 0
            {
                *left -= 1;
                continue;
            }
            let sending = Duration::from_secs_f64((frame.len() + 40) as f64 / self.model.bandwidth as f64);
            let jitter = self.model.jitter.mul_f64(self.rng.f64());
            let link = self.links.get_mut(&id).expect("it was there above");
            let side = &mut link.sides[from];
            side.busy_until = side.busy_until.max(self.now) + sending;
            let last = &mut side.last[usize::from(transmit.lane)];
            *last = (*last).max(side.busy_until + self.model.latency + jitter);
            let at = *last;
            self.schedule(at, Event::Arrive { link: id, to: 1 - from, lane: transmit.lane, frame });
        }
    }

    fn unlink(&mut self, dead: impl Fn(usize, usize) -> bool) {
        let gone: Vec<u64> = self
            .links
            .iter()
            .filter(|(_, l)| dead(l.sides[0].host, l.sides[1].host))
            .map(|(id, _)| *id)
            .collect();
        gone.into_iter().for_each(|id| self.remove_link(id));
    }

    fn remove_link(&mut self, id: u64) {
        let Some(link) = self.links.remove(&id) else { return };
        for side in link.sides {
            self.input(side.host, Input::LinkDown { peer: side.peer });
        }
    }
}

fn addr(host: usize) -> String {
    format!("sim:{host}")
}
