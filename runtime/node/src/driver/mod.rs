//! The driver: the one task that owns the core and performs what it asks for.
//!
//! A turn gathers what has come together, stamps the time once, lets the core handle all of it, and then
//! does what the core wants: one store batch, deliveries, dials, and writes while links have room. Decides
//! nothing about a message.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mesh_proto::directory::{Dial, LinkPolicy};
use mesh_proto::id::Peer;
use mesh_proto::node::{Disconnect, Input, Node, Output, PublishError};
use mesh_proto::run::Dest;
use mesh_proto::tuning::Tuning;
use mesh_proto::{NodeId, TopicId};
use tokio::sync::{broadcast, mpsc, watch};

use crate::api::{ApiError, Event, EventKind, Time, code};
use crate::builder::scheme_of;
use crate::hierarchy::Place;
use crate::mesh::{Answer, Call, Names, PublishCall};
use crate::message::Receipt;
use crate::plugins::Plugins;
use crate::store::{DataDir, Store, StoreEvents, SubmitError, Write};
use crate::transport::{DownReason, EventReceiver, Transport, TransportEvent};

use self::apps::Apps;
use self::clock::{Clock, unix_ms};
use self::inbox::Inbox;
use self::keep::Batch;
use self::links::Link;
use self::refusals::CODE_NOT_ADMITTED;
use self::slots::Done;

pub use self::install::inspect_report;
pub(crate) use self::install::load_failed;

mod answers;
mod apps;
mod beacon;
pub(crate) mod clock;
pub(crate) mod decisions;
mod export;
pub(crate) mod hierarchy;
pub(crate) mod inbox;
mod install;
mod keep;
mod keeping;
mod links;
mod members;
mod operate;
mod own_state;
mod pings;
mod plugin_rows;
mod reach;
mod refusals;
mod rollback;
mod slots;
mod trials;
mod trust;
mod why;

/// Transport events that one turn takes in, at most: about 4 MiB of frames.
const EVENTS_PER_TURN: usize = 16;
/// Publishes that wait for room on their way; beyond it publishers wait.
const MAX_PARKED: usize = 256;
/// Off-thread work under way or done and not looked at.
const DONE: usize = 64;
/// How long an orderly stop may take for the last bytes to go out and be acknowledged (faults.md I18).
const STOP_WITHIN: Duration = Duration::from_secs(4);
/// How often figures that change slowly are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Everything that a driver is made of.
pub(crate) struct Parts {
    pub(crate) node: Node,
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) store_events: StoreEvents,
    pub(crate) transports: Vec<Box<dyn Transport>>,
    pub(crate) transport_events: EventReceiver,
    pub(crate) publish_calls: mpsc::Receiver<PublishCall>,
    pub(crate) calls: mpsc::Receiver<Call>,
    pub(crate) call_sender: mpsc::Sender<Call>,
    pub(crate) names: watch::Sender<Names>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) stopped: watch::Sender<bool>,
    pub(crate) plugins: Plugins,
    pub(crate) inbox: Inbox,
    pub(crate) began: Instant,
    pub(crate) addrs: Vec<String>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) dir: Option<DataDir>,
    /// The addresses that the node was told to join.
    pub(crate) joins: Vec<String>,
    pub(crate) tuning: (LinkPolicy, Tuning),
    pub(crate) labels: BTreeMap<String, String>,
    /// What the node is in the hierarchy; `None` when it takes no part.
    pub(crate) place: Option<Place>,
}

pub(crate) struct Driver {
    parts: Parts,
    inputs: Vec<Input>,
    links: BTreeMap<Peer, Link>,
    dials: HashMap<u64, Dial>,
    next_token: u64,
    accepting: HashMap<u64, (Answer<Receipt>, usize, bool)>,
    parked: VecDeque<PublishCall>,
    pings: HashMap<u64, pings::Pinging>,
    decisions: decisions::Decisions,
    following: Vec<why::Following>,
    /// Questions of other nodes since the last look.
    asked_of_late: usize,
    apps: Apps,
    submitted: VecDeque<(u64, Batch)>,
    unsubmitted: VecDeque<(u64, Vec<Write>)>,
    next_ticket: u64,
    writes: Vec<Write>,
    then: Vec<Box<dyn FnOnce() + Send>>,
    done: mpsc::Receiver<Done>,
    done_sender: mpsc::Sender<Done>,
    degraded: Option<String>,
    /// What the transports found wrong with frames before the core saw them, by name.
    framing_violations: BTreeMap<&'static str, u64>,
    names_stale: bool,
    told: members::Told,
    reach: reach::Reach,
    refusals: refusals::Refusals,
    own_state: own_state::OwnState,
    ready_after: Duration,
    rates: plugin_rows::Rates,
    trials: trials::Trials,
    stopping: Option<Answer<crate::api::Reply>>,
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> Driver {
        let (done_sender, done) = mpsc::channel(DONE);
        let ready_after = parts.began.elapsed();
        let began = parts.began;
        Driver {
            apps: Apps::new(parts.call_sender.clone()),
            // As much as a slot's journal: there is nothing to say of a message whose decision is forgotten.
            decisions: decisions::Decisions::new(parts.plugins.journal_bytes, unix_ms()),
            parts,
            inputs: Vec::new(),
            links: BTreeMap::new(),
            dials: HashMap::new(),
            next_token: 1,
            accepting: HashMap::new(),
            parked: VecDeque::new(),
            pings: HashMap::new(),
            following: Vec::new(),
            asked_of_late: 0,
            submitted: VecDeque::new(),
            unsubmitted: VecDeque::new(),
            next_ticket: 1,
            writes: Vec::new(),
            then: Vec::new(),
            done,
            done_sender,
            degraded: None,
            framing_violations: BTreeMap::new(),
            names_stale: true,
            told: members::Told::default(),
            reach: reach::Reach::new(began),
            refusals: refusals::Refusals::default(),
            own_state: own_state::OwnState::new(began),
            ready_after,
            rates: plugin_rows::Rates::default(),
            trials: trials::Trials::default(),
            stopping: None,
        }
    }

    /// Runs until the node is stopped.
    pub(crate) async fn run(mut self, inputs: Vec<Input>, writes: Vec<Write>) {
        // First, so that the very first record says it.
        self.publish_own();
        self.inputs.extend(inputs);
        self.writes = writes;
        self.enter_hierarchy();
        self.turn();
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while self.stopping.is_none() {
            self.wait(&mut look).await;
            self.gather();
            self.turn();
            // Sockets and subscribers share this thread.
            tokio::task::yield_now().await;
        }
        self.stop().await;
    }

    /// Waits until something is there, and takes the first of it.
    async fn wait(&mut self, look: &mut tokio::time::Interval) {
        let due = self.parts.node.poll_timeout().map(|due| self.parts.clock.at(due));
        let due = due.unwrap_or_else(|| tokio::time::Instant::now() + LOOK_EVERY);
        let takes_publishes = self.parked.len() < MAX_PARKED;
        tokio::select! {
            Some(event) = self.parts.transport_events.recv() => self.on_transport(event),
            Some(call) = self.parts.publish_calls.recv(), if takes_publishes => self.parked.push_back(call),
            Some(call) = self.parts.calls.recv() => self.on_call(call),
            Some(event) = self.parts.store_events.recv() => self.on_store(event),
            Some(told) = self.parts.plugins.told.recv() => self.on_told(told),
            Some(done) = self.done.recv() => self.on_done(done),
            () = self.apps.room.notified() => {}
            () = tokio::time::sleep_until(due) => {}
            _ = look.tick() => self.look(),
        }
    }

    /// Takes what else is there already, so that one turn serves it all.
    fn gather(&mut self) {
        for _ in 0..EVENTS_PER_TURN {
            let Ok(event) = self.parts.transport_events.try_recv() else { break };
            self.on_transport(event);
        }
        while self.parked.len() < MAX_PARKED {
            let Ok(call) = self.parts.publish_calls.try_recv() else { break };
            self.parked.push_back(call);
        }
        while let Ok(event) = self.parts.store_events.try_recv() {
            self.on_store(event);
        }
    }

    fn turn(&mut self) {
        self.admit_parked();
        let now = self.parts.clock.now();
        self.parts.node.handle(now, self.inputs.drain(..), &mut self.parts.plugins.set);
        self.keep_decisions();
        while let Some(output) = self.parts.node.poll_output() {
            self.on_output(output);
        }
        self.links.retain(|_, link| !link.is_gone);
        self.transmit();
        self.serve_inbox();
        self.poll_trials();
        self.tell_slot_events();
        self.renew_names();
        self.submit();
    }

    /// Hands in the publishes whose way has room, each destination's in order.
    fn admit_parked(&mut self) {
        let mut blocked: Vec<(Dest, mesh_proto::policy::Class)> = Vec::new();
        for _ in 0..self.parked.len() {
            let Some(call) = self.parked.pop_front() else { break };
            let way = (call.dest, call.options.class);
            if blocked.contains(&way) || !self.parts.node.has_room(&call.dest, call.options.class) {
                blocked.push(way);
                self.parked.push_back(call);
                continue;
            }
            self.hand_in(call);
        }
    }

    fn hand_in(&mut self, call: PublishCall) {
        if call.options.durable && self.parts.dir.is_none() {
            let error = ApiError::new(&code::EPHEMERAL, "an ephemeral node cannot keep durable messages")
                .help("start the node with --data-dir, or send without --durable");
            let _ = call.answer.send(Err(error));
            return;
        }
        let token = self.token();
        self.accepting.insert(token, (call.answer, call.payloads.len(), call.options.durable));
        self.inputs.push(Input::Publish(mesh_proto::node::Publish {
            token,
            dest: call.dest,
            class: call.options.class,
            ttl_ms: call.options.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
            hop_limit: call.options.hop_limit.unwrap_or(call.dest.hop_limit()),
            durable: call.options.durable,
            want_ids: false,
            payloads: call.payloads,
        }));
    }

    fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    fn on_transport(&mut self, event: TransportEvent) {
        match event {
            TransportEvent::Up { link, peer, addr, dialed } => {
                let dial = dialed.and_then(|token| self.dials.remove(&token));
                let handle = Peer(link.0);
                self.links.insert(handle, Link::new(link, peer, &addr, dial.is_some()));
                let dialed = dial.map(|dial| dial.addr);
                self.inputs.push(Input::LinkUp { peer: handle, node: peer, dialed });
            }
            TransportEvent::Frames { link, lane, frames } => {
                let peer = Peer(link.0);
                if let Some(link) = self.links.get_mut(&peer) {
                    link.received += frames.iter().map(|frame| frame.len() as u64 + 4).sum::<u64>();
                    self.inputs.push(Input::Frames { peer, lane: lane.number(), frames });
                }
            }
            TransportEvent::Writable { .. } => {}
            TransportEvent::Down { link, reason } => {
                let peer = Peer(link.0);
                if let Some(link) = self.links.get_mut(&peer) {
                    link.is_gone = true;
                    link.down.get_or_insert_with(|| reason.to_string());
                    if let DownReason::Violation(violation) = &reason {
                        let (node, addr) = (Some(link.node.to_string()), link.addr.clone());
                        *self.framing_violations.entry(violation.name()).or_default() += 1;
                        let violation = format!("{}: {violation}", violation.name());
                        self.tell(EventKind::LinkViolation { node, addr, violation });
                    } else if let DownReason::Remote { code: CODE_NOT_ADMITTED, .. } = reason {
                        let node = link.node;
                        self.on_not_admitted(node);
                        self.inputs.push(Input::Refused { peer });
                    }
                }
                self.inputs.push(Input::LinkDown { peer });
            }
            TransportEvent::DialFailed { addr, token, error } => {
                tracing::debug!(addr, %error, "dial failed");
                if let Some(dial) = self.dials.remove(&token) {
                    self.reach.on_failed(Instant::now(), &addr, &error.to_string());
                    self.inputs.push(Input::DialFailed(dial));
                }
            }
        }
    }

    fn on_output(&mut self, output: Output) {
        match output {
            Output::Deliver { run, hops } => self.deliver(run, hops),
            Output::Persist { ticket, writes } => self.persist(ticket, writes),
            Output::Accepted { token, ids, .. } => {
                if let (Some((answer, count, stored)), Some(id)) =
                    (self.accepting.remove(&token), ids.first())
                {
                    // Whoever asked may have gone.
                    let _ = answer.send(Ok(Receipt { first_id: *id, count, stored }));
                }
            }
            Output::Refused { token, error } => {
                if let Some((answer, ..)) = self.accepting.remove(&token) {
                    let _ = answer.send(Err(refusal(&error)));
                }
            }
            Output::Dial(dial) => self.dial(dial),
            Output::Disconnect { peer, reason } => self.disconnect(peer, &reason),
            // Behind everything that is being written.
            Output::Recall { dest, from } => {
                self.queue(Vec::new(), Batch { recalls: vec![(dest, from)], ..Batch::default() });
            }
            Output::Pong { token, rtt_us, hops } => self.on_pong(token, rtt_us, hops),
            Output::Asked { from, nonce, question } => self.on_asked(from, nonce, &question),
            Output::Answered { token, answer } => self.on_answered(token, &answer),
            Output::NeighbourUp { peer, node } => {
                self.names_stale = true;
                if let Some(link) = self.links.get_mut(&peer) {
                    link.is_up = true;
                    let (addr, dialed) = (link.addr.clone(), link.dialed);
                    let transport = scheme_of(&addr).to_owned();
                    let name = self.name_of(&node);
                    self.tell(EventKind::PeerUp { node, name, addr, transport, dialed });
                }
                self.note_reach();
            }
            Output::NeighbourDown { peer, node } => {
                let link = self.links.remove(&peer);
                let reason =
                    link.and_then(|link| link.down).unwrap_or_else(|| "closed by this node".to_owned());
                let name = self.name_of(&node);
                self.tell(EventKind::PeerDown { node, name, reason });
                self.note_reach();
            }
            Output::Member { node, .. } => self.on_member(node),
            Output::Partitioned { away } => self.on_partitioned(away),
            Output::Merged { back } => self.on_merged(back),
            // Who asks is told by the topology; nothing here hangs on it.
            Output::ParentChanged { .. } | Output::RoleChanged { .. } | Output::LeaderElected { .. } => {
                self.on_hierarchy(output);
            }
        }
    }

    fn dial(&mut self, dial: Dial) {
        let token = self.token();
        let transport = self.parts.transports.iter().find(|transport| transport.knows(&dial.addr));
        match transport {
            Some(transport) => {
                transport.dial(&dial.addr, dial.expect, token);
                self.dials.insert(token, dial);
            }
            None => {
                tracing::debug!(addr = dial.addr, "no transport for this address");
                self.inputs.push(Input::DialFailed(dial));
            }
        }
    }

    fn disconnect(&mut self, peer: Peer, reason: &Disconnect) {
        const CODE_REFUSED: u32 = 1;
        const CODE_VIOLATION: u32 = 2;
        let Some(link) = self.links.get_mut(&peer) else { return };
        let text = match reason {
            Disconnect::Violation(violation) => format!("{}: {violation}", violation.name()),
            other => other.to_string(),
        };
        let code = match reason {
            Disconnect::Violation(_) => CODE_VIOLATION,
            Disconnect::NotAdmitted => CODE_NOT_ADMITTED,
            _ => CODE_REFUSED,
        };
        link.down = Some(text.clone());
        let (id, node, addr) = (link.id, link.node, link.addr.clone());
        for transport in &self.parts.transports {
            transport.close(id, code, &text);
        }
        match reason {
            Disconnect::Violation(_) => {
                self.tell(EventKind::LinkViolation { node: Some(node.to_string()), addr, violation: text });
            }
            Disconnect::NotAdmitted => {
                let name = self.name_of(&node);
                self.tell(EventKind::LinkDenied { node, name, addr, reason: text });
            }
            _ => {}
        }
    }

    /// Looks at what changes slowly.
    fn look(&mut self) {
        self.look_at_rates();
        self.parts.plugins.set.look(unix_ms());
        self.parts.plugins.handler.hand_withdrawal();
        self.expire_pings();
        self.expire_whys();
        self.look_for_restarts();
        self.look_for_refusals();
        self.publish_own();
    }

    /// Lets names be resolved that were heard in this turn.
    fn renew_names(&mut self) {
        if !std::mem::take(&mut self.names_stale) {
            return;
        }
        let own = (self.parts.node.id(), self.parts.node.own_record().facts.name.clone());
        let others = self.parts.node.records().map(|record| (record.node, record.facts.name.clone()));
        let names: Vec<(NodeId, String)> = std::iter::once(own).chain(others).collect();
        let known = self.parts.names.borrow().clone();
        let fresh = names.iter().filter(|(id, _)| !known.iter().any(|(old, _)| old == id));
        for (node, name) in fresh {
            self.tell(EventKind::NodeDiscovered { node: *node, name: Some(name.clone()) });
        }
        self.parts.names.send_replace(std::sync::Arc::new(names));
    }

    fn name_of(&self, node: &NodeId) -> Option<String> {
        if *node == self.parts.node.id() {
            return Some(self.parts.node.own_record().facts.name.clone());
        }
        self.parts.node.records().find(|record| record.node == *node).map(|record| record.facts.name.clone())
    }

    fn tell(&self, kind: EventKind) {
        // Without a listener nobody misses it.
        let _ = self.parts.events.send(Event { at: Time(unix_ms()), kind });
    }

    fn subscribe_core(&mut self, topic: TopicId, wanted: bool) {
        self.inputs.push(if wanted { Input::Subscribe(topic) } else { Input::Unsubscribe(topic) });
    }

    /// Says goodbye, writes everything down, and lets the last bytes go out.
    async fn stop(mut self) {
        self.tell(EventKind::Stopping);
        let deadline = tokio::time::Instant::now() + STOP_WITHIN;
        let now = self.parts.clock.now();
        self.parts.node.shutdown(now);
        self.transmit();
        while let Some(output) = self.parts.node.poll_output() {
            self.on_output(output);
        }
        self.writes.extend(self.parts.inbox.keep_all());
        self.writes.extend(self.parts.plugins.keep_states());
        self.submit();
        for call in self.parked.drain(..) {
            let _ = call.answer.send(Err(crate::mesh::stopping()));
        }
        let goodbyes: Vec<_> =
            self.parts.transports.iter().map(|transport| transport.shutdown("the node stops")).collect();
        let parts = self.parts;
        let mut unsubmitted = self.unsubmitted;
        while let Some((ticket, writes)) = unsubmitted.pop_front() {
            if let Err(SubmitError::Full { batch }) = parts.store.submit(ticket, writes) {
                unsubmitted.push_front((ticket, batch));
                tokio::task::yield_now().await;
                if tokio::time::Instant::now() >= deadline {
                    tracing::error!("the store is too slow to keep everything");
                    break;
                }
            }
        }
        // Events of the ending links must not block them.
        let mut transport_events = parts.transport_events;
        let drain = tokio::spawn(async move { while transport_events.recv().await.is_some() {} });
        for goodbye in goodbyes {
            let _ = tokio::time::timeout_at(deadline, goodbye).await;
        }
        drain.abort();
        match tokio::time::timeout_at(deadline, parts.store.close(parts.store_events)).await {
            Ok(Ok(last)) => {
                let last = last.unwrap_or(0);
                for (_, batch) in self.submitted.into_iter().take_while(|(ticket, _)| *ticket <= last) {
                    batch.then.into_iter().for_each(|then| then());
                }
            }
            Ok(Err(error)) => tracing::error!(%error, "the store could not keep everything"),
            Err(_) => tracing::error!("the store did not close in time"),
        }
        drop(parts.dir);
        if let Some(answer) = self.stopping {
            let _ = answer.send(Ok(crate::api::Reply::Done));
        }
        parts.stopped.send_replace(true);
    }
}

fn refusal(error: &PublishError) -> ApiError {
    match error {
        PublishError::TooLarge { len, max } => ApiError::new(&code::MESSAGE_TOO_LARGE, error)
            .fact("size", format!("{len} bytes"))
            .fact("limit", format!("{max} bytes")),
        PublishError::RecipientFull { messages, bytes } => ApiError::new(&code::QUEUE_FULL, error)
            .fact("waiting", format!("{messages} messages, {bytes} bytes"))
            .help("meshctl peers"),
        PublishError::DurableTopic => {
            ApiError::new(&code::BAD_VALUE, error).help("meshctl send --durable NODE MESSAGE")
        }
        PublishError::Empty | PublishError::TooManyDestinations { .. } => {
            ApiError::new(&code::BAD_VALUE, error)
        }
    }
}
