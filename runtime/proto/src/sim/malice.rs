//! Malicious hosts: honest cores whose outgoing frames are tampered with, and which send frames of their own
//! beside. They have their own keys and nobody else's.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::SigningKey;

use super::event::Event;
use super::host::{Host, addr};
use super::link::End;
use super::{Network, Spec};
use crate::accusation::Accusation;
use crate::directory::LinkPolicy;
use crate::frame::{self, Control, MAX_ROWS};
use crate::id::NodeId;
use crate::members::MemberState;
use crate::policy::Class;
use crate::record::{Facts, Record};
use crate::run::{DEFAULT_HOP_LIMIT, Dest, Draft, Flow, Head, Unverified, seal};
use crate::tuning::Tuning;

/// How often those act that send frames of their own.
const ACT_EVERY: Duration = Duration::from_secs(1);
/// Frames that a host remembers to send again, at most.
const HEARD: usize = 1024;
/// Old records that a host remembers to send again, at most.
const OLD: usize = 1024;
/// Records in one frame: no more than 64 KiB together.
const RECORDS: usize = 32;

/// What a malicious host does beside what an honest one does. Figures a second are of one host, spread over its
/// links.
#[derive(Clone, Debug, PartialEq)]
pub enum Malice {
    /// It stays linked and offers messages, but sends none, also when it is asked: a covert flash (G03).
    Mute,
    /// It sends no message of one origin (G04).
    Censor {
        /// The host that is not heard.
        origin: usize,
    },
    /// It accuses healthy nodes of silence, some of them for all times to come, and keeps those alive that are
    /// dead (G05).
    Accuser {
        /// Accusations a second, told to all its neighbours.
        per_second: u32,
    },
    /// It makes up members with good signatures, and tells old records of nodes that are gone (G06).
    Poisoner {
        /// Members made up a second.
        per_second: u32,
    },
    /// It sends messages, records and accusations in other nodes' names, impossible fields, and random bytes (I3).
    Forger {
        /// Frames a second.
        per_second: u32,
    },
    /// It sends again what it was sent (D01).
    Replayer {
        /// Frames a second.
        per_second: u32,
    },
    /// It tells all that its ways cost nothing.
    LureRoutes,
    /// It tells of its own kind only (G01, G02).
    Sybil,
}

impl Malice {
    fn acts(&self) -> bool {
        use Malice::{Accuser, Forger, Poisoner, Replayer};
        matches!(self, Accuser { .. } | Poisoner { .. } | Forger { .. } | Replayer { .. })
    }
}

/// What a malicious host is and remembers.
#[derive(Default)]
pub(super) struct Villain {
    kinds: Vec<Malice>,
    heard: VecDeque<Bytes>,
    old: BTreeMap<NodeId, Arc<Record>>,
    /// Members made up and frames forged so far.
    made: u64,
}

/// Frames for a lane, on one link or on all.
type Injected = (usize, Bytes);

impl Network {
    /// Makes a host malicious from now on, in one more way.
    pub fn corrupt(&mut self, host: usize, malice: Malice) {
        let villain = self.hosts[host].villain.get_or_insert_default();
        if malice.acts() && !villain.kinds.iter().any(Malice::acts) {
            let after = Duration::from_millis(self.rng.u64(0..1000));
            self.events.push(self.now + after, Event::Act { host: host as u32 });
        }
        villain.kinds.push(malice);
    }

    /// Adds a swarm of hosts that all dial one victim and tell of each other only; returns their numbers.
    pub fn add_sybils(&mut self, count: usize, victim: usize, tuning: Tuning) -> Vec<usize> {
        let swarm = 0..count;
        let swarm: Vec<usize> = swarm
            .map(|_| self.add_spec(Spec { links: LinkPolicy::Explicit, tuning, ..Spec::default() }))
            .collect();
        for host in &swarm {
            self.corrupt(*host, Malice::Sybil);
            self.join(*host, victim);
        }
        swarm
    }

    /// Says whether a host does what the protocol says.
    pub fn is_honest(&self, host: usize) -> bool {
        self.hosts[host].is_honest()
    }

    /// A frame with messages came.
    pub(super) fn overhear(&mut self, host: usize, frame: &Bytes) {
        if let Some(villain) = &mut self.hosts[host].villain
            && villain.kinds.iter().any(|malice| matches!(malice, Malice::Replayer { .. }))
        {
            if villain.heard.len() == HEARD {
                villain.heard.pop_front();
            }
            villain.heard.push_back(frame.clone());
        }
    }

    /// What becomes of a frame that a host sends.
    pub(super) fn tamper(&mut self, host: usize, lane: usize, frame: Bytes) -> Option<Bytes> {
        let Some(villain) = &self.hosts[host].villain else { return Some(frame) };
        if lane == 0 {
            return self.tamper_control(&villain.kinds, frame);
        }
        let is_run = frame.first() == Some(&frame::RUN);
        let is_kept_back = villain.kinds.iter().any(|malice| match malice {
            Malice::Mute => is_run,
            Malice::Censor { origin } => is_run && self.is_from(*origin, &frame),
            _ => false,
        });
        (!is_kept_back).then_some(frame)
    }

    fn is_from(&self, origin: usize, frame: &Bytes) -> bool {
        let run = Unverified::decode(&frame.slice(1..), &self.verified);
        run.is_ok_and(|(run, _)| run.head().flow.origin == self.hosts[origin].id)
    }

    fn tamper_control(&self, kinds: &[Malice], frame: Bytes) -> Option<Bytes> {
        let (lures, is_sybil) = (kinds.contains(&Malice::LureRoutes), kinds.contains(&Malice::Sybil));
        if !lures && !is_sybil {
            return Some(frame);
        }
        match Control::decode(&frame) {
            Ok(Some(Control::Routes(mut routes))) if lures => {
                for route in routes.iter_mut().filter(|route| route.cost_us != u32::MAX) {
                    (route.cost_us, route.hops) = (0, route.hops.min(1));
                }
                Some(body(&Control::Routes(routes)))
            }
            Ok(Some(Control::Records(mut records))) if is_sybil => {
                records.retain(|record| self.is_of_the_swarm(&record.node));
                Some(body(&Control::Records(records)))
            }
            _ => Some(frame),
        }
    }

    fn is_of_the_swarm(&self, node: &NodeId) -> bool {
        let villain = self.ledger.host(node).and_then(|host| self.hosts[host].villain.as_ref());
        villain.is_some_and(|villain| villain.kinds.contains(&Malice::Sybil))
    }

    /// A malicious host sends what it makes up.
    pub(super) fn act(&mut self, host: usize) {
        self.events.push(self.now + ACT_EVERY, Event::Act { host: host as u32 });
        if !self.hosts[host].is_up() || self.hosts[host].is_frozen {
            return;
        }
        let kinds = self.hosts[host].villain.as_ref().map(|villain| villain.kinds.clone());
        for malice in kinds.unwrap_or_default() {
            match malice {
                Malice::Accuser { per_second } => self.accuse(host, per_second),
                Malice::Poisoner { per_second } => self.poison(host, per_second),
                Malice::Forger { per_second } => self.forge(host, per_second),
                Malice::Replayer { per_second } => self.replay(host, per_second),
                _ => {}
            }
        }
    }

    fn accuse(&mut self, host: usize, per_second: u32) {
        let members: Vec<(NodeId, u64)> = self.known(host, |_| true);
        if members.is_empty() {
            return;
        }
        let mut accusations = Vec::new();
        for n in 0..per_second {
            let (subject, version) = members[self.rng.usize(..members.len())];
            let version = if n % 2 == 0 { version } else { u64::MAX };
            accusations.push(Accusation::sign(&self.hosts[host].key, subject, version));
        }
        let frames = accusations.chunks(MAX_ROWS).map(|some| Control::Accusations(some.to_vec()));
        let mut frames: Vec<Injected> = frames.map(|control| (0, body(&control))).collect();
        let own = Facts { epoch: u64::MAX, addrs: vec![addr(host)], ..Facts::default() };
        let own = Record::sign(&self.hosts[host].key, u64::MAX - 1, own);
        frames.push((0, body(&Control::Records(vec![Arc::new(own)]))));
        frames.extend(self.old_records(host));
        self.inject(host, &frames, true);
    }

    /// The first records that a host had of nodes that are down now.
    fn old_records(&mut self, host: usize) -> Vec<Injected> {
        let Host { villain: Some(villain), node: Some(node), .. } = &mut self.hosts[host] else {
            return Vec::new();
        };
        for record in node.records() {
            if villain.old.len() < OLD {
                villain.old.entry(record.node).or_insert_with(|| Arc::new(record.clone()));
            }
        }
        let old: Vec<Arc<Record>> = villain.old.values().cloned().collect();
        let is_down = |record: &Arc<Record>| {
            self.ledger.host(&record.node).is_some_and(|other| !self.hosts[other].is_up())
        };
        let old: Vec<Arc<Record>> = old.into_iter().filter(is_down).collect();
        old.chunks(RECORDS).map(|some| (0, body(&Control::Records(some.to_vec())))).collect()
    }

    fn known(&self, host: usize, which: impl Fn(MemberState) -> bool) -> Vec<(NodeId, u64)> {
        let Some(node) = &self.hosts[host].node else { return Vec::new() };
        let members = node.members().filter(|member| which(member.state));
        members.map(|member| (member.record.node, member.record.version)).collect()
    }

    fn poison(&mut self, host: usize, per_second: u32) {
        let now = self.hosts[host].clock.now(self.now);
        let mut records = Vec::new();
        for _ in 0..per_second {
            let number = self.next_made(host);
            let facts = Facts {
                epoch: now.unix_ms,
                name: format!("made up {number}"),
                // Whoever dials it finds somebody else.
                addrs: vec![addr(self.rng.usize(..self.hosts.len()))],
                ..Facts::default()
            };
            records.push(Arc::new(Record::sign(&made_up_key(host, number), now.unix_ms, facts)));
        }
        let frames = records.chunks(RECORDS).map(|some| (0, body(&Control::Records(some.to_vec()))));
        let frames: Vec<Injected> = frames.collect();
        self.inject(host, &frames, false);
        let old = self.old_records(host);
        self.inject(host, &old, true);
    }

    fn next_made(&mut self, host: usize) -> u64 {
        let Some(villain) = &mut self.hosts[host].villain else { return 0 };
        villain.made += 1;
        villain.made
    }

    fn forge(&mut self, host: usize, per_second: u32) {
        let victims = self.known(host, |state| state == MemberState::Alive);
        if victims.is_empty() {
            return;
        }
        let mut frames = Vec::new();
        for _ in 0..per_second {
            let (victim, version) = victims[self.rng.usize(..victims.len())];
            let number = self.next_made(host);
            frames.push(self.forgery(host, victim, version, number));
        }
        self.inject(host, &frames, false);
    }

    fn forgery(&mut self, host: usize, victim: NodeId, version: u64, number: u64) -> Injected {
        let lane = Class::Normal as usize + 1;
        match number % 5 {
            0 => (lane, self.forged_run(host, victim)),
            1 => {
                let mut record = Record::sign(&self.hosts[host].key, version + 1, Facts::default());
                record.node = victim;
                (0, body(&Control::Records(vec![Arc::new(record)])))
            }
            2 => {
                let mut accusation = Accusation::sign(&self.hosts[host].key, self.hosts[host].id, version);
                (accusation.accuser, accusation.subject) = (victim, self.hosts[host].id);
                (0, body(&Control::Accusations(vec![accusation])))
            }
            3 => {
                let mut bytes = self.forged_run(host, victim).to_vec();
                let at = self.rng.usize(4..120);
                bytes[at] = self.rng.u8(..);
                (lane, bytes.into())
            }
            _ => {
                let len = self.rng.usize(0..300);
                let bytes: Vec<u8> = (0..len).map(|_| self.rng.u8(..)).collect();
                (self.rng.usize(0..6), bytes.into())
            }
        }
    }

    /// A message in somebody else's name.
    fn forged_run(&mut self, host: usize, victim: NodeId) -> Bytes {
        let now_ms = self.hosts[host].clock.now(self.now).unix_ms;
        let head = Head {
            flow: Flow { origin: victim, epoch: now_ms, dest: Dest::Mesh },
            seq_base: 0,
            sent_ms: now_ms,
            expiry_ms: now_ms + 60_000,
            class: Class::Normal,
            hop_limit: DEFAULT_HOP_LIMIT,
            durable: false,
            internal: false,
        };
        let payloads = vec![Bytes::from_static(b"in your name")];
        let runs = seal(&self.hosts[host].key, vec![Draft { head, first_seq: 0, payloads }]);
        runs.first().map(|run| run.to_bytes(1)).unwrap_or_default()
    }

    fn replay(&mut self, host: usize, per_second: u32) {
        let heard =
            self.hosts[host].villain.as_ref().map(|villain| villain.heard.clone()).unwrap_or_default();
        if heard.is_empty() {
            return;
        }
        let lane = Class::Normal as usize + 1;
        let frames = (0..per_second).map(|_| (lane, heard[self.rng.usize(..heard.len())].clone()));
        let frames: Vec<Injected> = frames.collect();
        self.inject(host, &frames, false);
    }

    /// Sends frames beside those of the node, on all links or in turn on each.
    fn inject(&mut self, host: usize, frames: &[Injected], everywhere: bool) {
        let Some(node) = &self.hosts[host].node else { return };
        let ends: Vec<End> =
            node.neighbours().iter().filter_map(|neighbour| self.hosts[host].end(neighbour.peer)).collect();
        for (number, (lane, frame)) in frames.iter().enumerate() {
            let chosen = |at: usize| everywhere || at == number % ends.len();
            for (_, end) in ends.iter().enumerate().filter(|(at, _)| chosen(*at)) {
                self.send_one(*end, *lane, frame.clone());
            }
        }
    }
}

/// The frame without its length.
fn body(control: &Control) -> Bytes {
    control.encode().slice(4..)
}

fn made_up_key(host: usize, number: u64) -> SigningKey {
    let seed = [(host as u64).to_le_bytes(), number.to_le_bytes()].concat();
    SigningKey::from_bytes(&blake3::derive_key("meshwork simulator made-up key", &seed))
}
