//! A seeded network of nodes in virtual time: links that lose, delay, reorder and break, disks that take time
//! to write, clocks that are wrong, nodes that crash, freeze, lie and start again. The same seed gives the same
//! run, to the last byte.
//!
//! It runs the same core as a real node and decides nothing for it. [`LinkModel`] says how links behave; they
//! are reliable streams with order in each lane, as QUIC's are, so that trouble below costs time and not
//! messages. Promises that must hold whatever happens are checked all the time: see [`Network::breaches`].
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
//! assert!(net.breaches().is_empty());
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::directory::LinkPolicy;
use crate::id::{NodeId, Peer, TopicId};
use crate::node::{Disconnect, Input, Node, Output, Publish, PublishError};
use crate::policy::native::Native;
use crate::policy::{Class, Policies};
use crate::run::{Dest, Flow, Verified};
use crate::time::Instant;
use crate::tuning::Tuning;

mod carry;
mod check;
mod clock;
mod event;
mod fault;
mod host;
mod ledger;
mod link;
mod malice;
mod measure;
mod model;
mod trace;
mod turn;

pub use check::{Breach, Broken, MAX_BREACHES};
pub use clock::{START_MS, Skew};
pub use fault::{Churn, Notice};
pub use ledger::{Arrival, Publication};
pub use malice::Malice;
pub use measure::{MAX_SIGHTINGS, Membership, Sighting, Traffic};
pub use model::{LinkModel, Loss, PACKET, PACKET_OVERHEAD};

use event::{Event, Events};
use host::{Host, addr};
use ledger::Ledger;
use link::{Chunks, Links};
use measure::Sightings;

/// When virtual time starts.
const START: Instant = Instant(1_000_000);
/// Inputs from outside that wait at a frozen host, at most; more are dropped.
const FROZEN_INPUTS: usize = 65_536;

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
    /// When it was delivered, in true time.
    pub at: Instant,
}

/// What a host is.
pub struct Spec {
    /// Whom its node links to. Default: only its seeds.
    pub links: LinkPolicy,
    /// What decides in its node. Default: the built-in policies.
    pub policies: Box<dyn Policies>,
    /// How fast its node beats, how much it remembers.
    pub tuning: Tuning,
    /// Whether it is started at once. Default yes; see [`Network::restart`].
    pub is_up: bool,
}

impl Default for Spec {
    fn default() -> Self {
        Spec {
            links: LinkPolicy::Explicit,
            policies: Box::new(Native::default()),
            tuning: Tuning::default(),
            is_up: true,
        }
    }
}

/// The network.
pub struct Network {
    rng: fastrand::Rng,
    now: Instant,
    /// The first is that of all links that have none of their own.
    models: Vec<LinkModel>,
    pair_models: BTreeMap<(u32, u32), u32>,
    hosts: Vec<Host>,
    links: Links,
    chunks: Chunks,
    events: Events,
    due: Vec<u32>,
    outputs: Vec<Output>,
    cuts: BTreeMap<(u32, u32), Notice>,
    partition: Notice,
    churn: Option<Churn>,
    churn_owed: f64,
    lose_next: BTreeMap<(u32, u32), u32>,
    trace: trace::Trace,
    ledger: Ledger,
    breaches: check::Breaches,
    violations: BTreeMap<(&'static str, usize), u64>,
    frames: [u64; 256],
    sightings: Sightings,
    verified: Verified,
    keeps_deliveries: bool,
    settling: Duration,
}

impl Network {
    /// Makes an empty network.
    pub fn seeded(seed: u64) -> Network {
        Network {
            rng: fastrand::Rng::with_seed(seed),
            now: START,
            models: vec![LinkModel::default()],
            pair_models: BTreeMap::new(),
            hosts: Vec::new(),
            links: Links::default(),
            chunks: Chunks::default(),
            events: Events::default(),
            due: Vec::new(),
            outputs: Vec::new(),
            cuts: BTreeMap::new(),
            partition: Notice::AtOnce,
            churn: None,
            churn_owed: 0.0,
            lose_next: BTreeMap::new(),
            trace: trace::Trace::default(),
            ledger: Ledger::default(),
            breaches: check::Breaches::default(),
            violations: BTreeMap::new(),
            frames: [0; 256],
            sightings: Sightings::default(),
            verified: Verified::for_many(),
            keeps_deliveries: true,
            settling: Duration::ZERO,
        }
    }

    /// Changes how links behave.
    pub fn model(mut self, model: LinkModel) -> Network {
        self.set_model(model);
        self
    }

    /// Keeps the payload of each delivery for [`Network::received`], which is the default, or not: in a large
    /// mesh it takes memory. What [`Network::publications`] shows is kept in any case.
    pub fn keep_deliveries(mut self, keep: bool) -> Network {
        self.keeps_deliveries = keep;
        self
    }

    /// Expects publications only at hosts that are up for so long. Default zero.
    pub fn expect_after(mut self, settling: Duration) -> Network {
        self.settling = settling;
        self
    }

    /// Makes room for so many nodes, so that they need not move as more are added.
    pub fn reserve(&mut self, nodes: usize) {
        self.hosts.reserve_exact(nodes);
    }

    /// Adds a node that links to its seeds only, and starts it.
    pub fn add(&mut self) -> usize {
        self.add_spec(Spec::default())
    }

    /// Adds a node with this link policy and these policies, and starts it.
    pub fn add_with(&mut self, links: LinkPolicy, policies: Box<dyn Policies>) -> usize {
        self.add_spec(Spec { links, policies, ..Spec::default() })
    }

    /// Adds a node. Hosts are numbered from 0 in the order in which they are added.
    pub fn add_spec(&mut self, spec: Spec) -> usize {
        let index = self.hosts.len();
        let is_up = spec.is_up;
        let host = Host::new(index, spec);
        self.ledger.add_host(host.id, index);
        self.hosts.push(host);
        if is_up {
            self.restart(index);
        }
        index
    }

    /// Adds `n` nodes in a chain, each linked to the one before.
    pub fn chain(&mut self, n: usize) -> Vec<usize> {
        let nodes: Vec<usize> = (0..n).map(|_| self.add()).collect();
        nodes.windows(2).for_each(|pair| self.join(pair[1], pair[0]));
        nodes
    }

    /// Lets `node` keep a link to `to`, or start from there if it links by itself.
    pub fn join(&mut self, node: usize, to: usize) {
        self.hosts[node].seeds.push(to);
        self.input(node, Input::Seed(addr(to)));
    }

    /// Lets a node's application want a topic.
    pub fn subscribe(&mut self, node: usize, topic: &str) {
        let topic = TopicId::of(topic);
        self.hosts[node].subscriptions.push(topic);
        self.input(node, Input::Subscribe(topic));
    }

    /// Publishes to a topic; returns the number of the publication.
    pub fn publish(&mut self, node: usize, topic: &str, payload: &[u8]) -> usize {
        self.publish_with(node, Dest::Topic(TopicId::of(topic)), payload, |_| {})
    }

    /// Sends to a node; returns the number of the publication.
    pub fn send(&mut self, from: usize, to: usize, payload: &[u8]) -> usize {
        let dest = Dest::Node(self.id(to));
        self.publish_with(from, dest, payload, |_| {})
    }

    /// Sends or publishes after `change` has set what differs from the defaults; returns the number of the
    /// publication, which is its token too.
    pub fn publish_with(
        &mut self,
        from: usize,
        dest: Dest,
        payload: &[u8],
        change: impl FnOnce(&mut Publish),
    ) -> usize {
        let number = self.ledger.publications.len();
        let mut publish = Publish {
            token: 0,
            dest,
            class: Class::Normal,
            ttl_ms: None,
            hop_limit: dest.hop_limit(),
            durable: false,
            want_ids: true,
            payloads: vec![Bytes::copy_from_slice(payload)],
        };
        change(&mut publish);
        self.input(from, Input::Publish(publish));
        number
    }

    /// Hands any input to a node, at once. Nothing happens when it is down.
    pub fn input(&mut self, host: usize, mut input: Input) {
        match &mut input {
            Input::Publish(publish) => publish.token = self.note_publish(host, publish) as u64,
            Input::Unsubscribe(topic) => self.hosts[host].subscriptions.retain(|other| other != topic),
            _ => {}
        }
        let is_full = self.hosts[host].is_frozen && self.hosts[host].inputs.len() >= FROZEN_INPUTS;
        if !is_full {
            self.give(host, input);
        }
    }

    fn note_publish(&mut self, host: usize, publish: &Publish) -> usize {
        let expected = self.receivers(host, &publish.dest);
        let number = self.ledger.publish(host, self.now, publish.dest, &publish.payloads, expected);
        if !self.hosts[host].is_up() {
            self.ledger.refuse(number);
        }
        number
    }

    /// The honest hosts that want what is published now.
    fn receivers(&self, origin: usize, dest: &Dest) -> ledger::Hosts {
        let wants = |host: &Host| match dest {
            Dest::Node(node) => host.id == *node,
            Dest::Topic(topic) => host.subscriptions.contains(topic),
            Dest::Mesh => true,
        };
        // What is sent to one node waits for it; a topic's messages do not wait for subscribers.
        let may_be_down = matches!(dest, Dest::Node(_));
        let is_settled = |host: &Host| host.is_up() && self.now.since(host.since) >= self.settling;
        let mut out = ledger::Hosts::default();
        for (index, host) in self.hosts.iter().enumerate() {
            let is_there = may_be_down || is_settled(host);
            if index != origin && is_there && host.is_honest() && wants(host) {
                out.insert(index);
            }
        }
        out
    }

    /// Lets `duration` of virtual time pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            while let Some(event) = self.events.pop_until(self.now) {
                self.on_event(event);
            }
            if self.take_turns() {
                continue;
            }
            match self.events.next_until(end) {
                Some(at) => self.now = at,
                None => break,
            }
            self.look_ahead();
        }
        self.now = end;
    }

    /// Reads what the next events will need, of all their hosts together: in a large mesh each is a row of cache
    /// misses, and here they overlap.
    fn look_ahead(&mut self) {
        let links = &self.links;
        let whom = |event: &Event| match event {
            Event::Wake { host } => Some((*host as usize, None)),
            Event::Arrive { link, to, .. } => {
                let side = &links.get(*link)?.sides[usize::from(*to)];
                Some((side.host as usize, Some(side.peer)))
            }
            _ => None,
        };
        let mut ahead = [(0, None); event::AHEAD];
        let mut len = 0;
        for found in self.events.ahead().filter_map(whom) {
            ahead[len] = found;
            len += 1;
        }
        for (host, _) in &ahead[..len] {
            std::hint::black_box(self.hosts[*host].look());
        }
        for (host, peer) in &ahead[..len] {
            std::hint::black_box(self.hosts[*host].look_further(*peer));
        }
    }

    /// Returns the virtual time since the network was made.
    pub fn elapsed(&self) -> Duration {
        self.now.since(START)
    }

    /// Returns the true time, in which [`Delivery::at`] and the like are.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Returns how many hosts there are, up or down.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Says whether there is no host.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// Returns the id of a node.
    pub fn id(&self, index: usize) -> NodeId {
        self.hosts[index].id
    }

    /// Returns the host with this id.
    pub fn host(&self, id: &NodeId) -> Option<usize> {
        self.ledger.host(id)
    }

    /// Says whether a host is up; frozen ones are.
    pub fn is_up(&self, index: usize) -> bool {
        self.hosts[index].is_up()
    }

    /// Returns a node that is up.
    ///
    /// # Panics
    /// When it is down.
    pub fn node(&self, index: usize) -> &Node {
        self.hosts[index].node.as_ref().expect("the node is up")
    }

    /// Returns what decides in a node, for instance to ask a plugin for its figures.
    pub fn policies(&mut self, index: usize) -> &mut dyn Policies {
        &mut *self.hosts[index].policies
    }

    /// Exchanges what decides in a node, between two turns; returns what decided before.
    pub fn swap_policies(&mut self, index: usize, policies: Box<dyn Policies>) -> Box<dyn Policies> {
        let old = std::mem::replace(&mut self.hosts[index].policies, policies);
        self.input(index, Input::PoliciesChanged);
        self.input(index, Input::AdmissionChanged);
        old
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

    /// Returns the peer handle that `of` has for its link to `to`.
    pub fn peer(&self, of: usize, to: usize) -> Option<Peer> {
        self.hosts[of].node.as_ref()?.link_to(&self.id(to))
    }

    /// Returns a hash over everything that was carried and delivered, in order.
    pub fn trace_hash(&self) -> [u8; 32] {
        self.trace.hash()
    }
}
