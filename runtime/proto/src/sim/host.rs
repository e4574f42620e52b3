//! One host: a node, its policies, its disk and its clocks, and what its applications saw.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ed25519_dalek::SigningKey;

use super::clock::Clock;
use super::ledger::Effects;
use super::link::End;
use super::malice::Villain;
use super::measure::Traffic;
use super::{Delivery, Spec};
use crate::directory::LinkPolicy;
use crate::id::{NodeId, Peer, TopicId};
use crate::node::{Config, Disconnect, Input, Node, PublishError};
use crate::policy::Policies;
use crate::queue::HeldKey;
use crate::run::Verified;
use crate::time::Instant;
use crate::tuning::Tuning;

/// Deliveries, refusals and the like that are kept for each host, at most.
pub(super) const MAX_KEPT: usize = 1_000_000;

/// What a node keeps across a crash.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) held: BTreeMap<HeldKey, (NodeId, Bytes)>,
    pub(super) seen: BTreeMap<Vec<u8>, Bytes>,
    pub(super) records: BTreeMap<NodeId, Bytes>,
}

impl Disk {
    /// What a node that starts reads from its disk.
    fn restore(&self) -> impl Iterator<Item = Input> {
        let records = self.records.values().map(|bytes| Input::RestoreRecord(bytes.clone()));
        let seen = self.seen.iter();
        let seen = seen.map(|(flow, window)| (Bytes::copy_from_slice(flow), window.clone()));
        let seen = seen.map(|(flow, window)| Input::RestoreSeen { flow, window });
        let held = self.held.iter().map(|(key, (_, bytes))| (*key, bytes.clone()));
        records.chain(seen).chain(held.map(|(key, bytes)| Input::RestoreHeld { key, bytes }))
    }
}

pub(super) struct Host {
    pub(super) key: SigningKey,
    pub(super) id: NodeId,
    pub(super) node: Option<Node>,
    pub(super) policies: Box<dyn Policies>,
    links_by: LinkPolicy,
    tuning: Tuning,
    pub(super) seeds: Vec<usize>,
    pub(super) subscriptions: Vec<TopicId>,
    pub(super) disk: Disk,
    pub(super) clock: Clock,
    /// Rises with each start; 0 before the first.
    pub(super) start: u32,
    epoch: u64,
    /// When it was last started or stopped.
    pub(super) since: Instant,
    /// It lost its power: nothing answers those who dial it.
    pub(super) is_dark: bool,
    pub(super) is_frozen: bool,
    /// The number of its part of the mesh, while it is partitioned.
    pub(super) part: u32,
    /// The number of the model of what it sends, if it has its own.
    pub(super) model: Option<u32>,
    pub(super) links: Vec<End>,
    next_peer: u32,
    pub(super) inputs: Vec<Input>,
    /// It is on the list of those that have a turn now.
    pub(super) is_due: bool,
    /// The earliest wake-up that is scheduled; others are void.
    pub(super) wake_at: Option<Instant>,
    /// When its node wants to be called.
    pub(super) due_at: Option<Instant>,
    /// Turns since it was made.
    pub(super) turns: u64,
    /// Members that it does not take for alive.
    pub(super) doubted: BTreeSet<NodeId>,
    pub(super) villain: Option<Box<Villain>>,
    pub(super) effects: Effects,
    /// How often its node said that the mesh was parted.
    pub(super) partitions: u64,
    /// How often it said that it was whole again.
    pub(super) merges: u64,
    pub(super) traffic: Traffic,
    pub(super) delivered: Vec<Delivery>,
    pub(super) accepted: u64,
    pub(super) refused: Vec<PublishError>,
    pub(super) disconnects: Vec<Disconnect>,
    pub(super) pongs: Vec<(u64, u8)>,
}

impl Host {
    pub(super) fn new(index: usize, spec: Spec) -> Host {
        let secret = blake3::derive_key("meshwork simulator node key", &(index as u64).to_le_bytes());
        let key = SigningKey::from_bytes(&secret);
        Host {
            id: NodeId(key.verifying_key().to_bytes()),
            key,
            node: None,
            policies: spec.policies,
            links_by: spec.links,
            tuning: spec.tuning,
            seeds: Vec::new(),
            subscriptions: Vec::new(),
            disk: Disk::default(),
            clock: Clock::default(),
            start: 0,
            epoch: 0,
            since: Instant(0),
            is_dark: false,
            is_frozen: false,
            part: 0,
            model: None,
            links: Vec::new(),
            next_peer: 0,
            inputs: Vec::new(),
            is_due: false,
            wake_at: None,
            due_at: None,
            turns: 0,
            doubted: BTreeSet::new(),
            villain: None,
            effects: Effects::default(),
            partitions: 0,
            merges: 0,
            traffic: Traffic::default(),
            delivered: Vec::new(),
            accepted: 0,
            refused: Vec::new(),
            disconnects: Vec::new(),
            pongs: Vec::new(),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.node.is_some()
    }

    pub(super) fn is_honest(&self) -> bool {
        self.villain.is_none()
    }

    pub(super) fn boot(&mut self, index: usize, now: Instant, seed: u64, memo: &mut Verified) {
        self.start += 1;
        self.since = now;
        (self.is_dark, self.is_frozen) = (false, false);
        self.effects.start_again();
        self.doubted.clear();
        let clocks = self.clock.now(now);
        // Above every earlier start also when the clock was set back.
        self.epoch = clocks.unix_ms.max(self.epoch + 1);
        let config = Config {
            key: self.key.clone(),
            name: format!("n{index}"),
            addrs: vec![addr(index)],
            epoch: self.epoch,
            seed,
            links: self.links_by,
            tuning: self.tuning,
        };
        let node = self.node.insert(Node::new(clocks, config));
        node.vouch(memo);
        self.inputs.clear();
        self.inputs.extend(self.disk.restore());
        self.inputs.extend(self.seeds.iter().map(|seed| Input::Seed(addr(*seed))));
        self.inputs.extend(self.subscriptions.iter().map(|topic| Input::Subscribe(*topic)));
    }

    /// Stops the node; what it has not written is lost.
    pub(super) fn halt(&mut self, now: Instant) {
        (self.node, self.due_at) = (None, None);
        self.since = now;
        self.is_frozen = false;
        self.inputs.clear();
    }

    /// Reads the lines that every turn needs. The number says nothing.
    pub(super) fn look(&self) -> usize {
        let numbers = [self.turns, self.traffic.control_frames, self.due_at.unwrap_or_default().0];
        let numbers = numbers.iter().fold(0, |mix, number| mix ^ number) as usize;
        let node = self.node.as_ref().map_or(0, Node::look);
        node ^ numbers ^ self.inputs.len() ^ self.links.len() ^ self.effects.len()
    }

    /// Reads what lies behind those lines, and what concerns one link.
    pub(super) fn look_further(&self, peer: Option<Peer>) -> usize {
        let link = self.links.first().map_or(0, |end| end.side) ^ self.links.last().map_or(0, |end| end.side);
        link ^ self.node.as_ref().map_or(0, |node| node.look_further(peer))
    }

    pub(super) fn new_peer(&mut self) -> Peer {
        self.next_peer += 1;
        Peer(self.next_peer)
    }

    pub(super) fn end(&self, peer: Peer) -> Option<End> {
        self.links.iter().find(|end| end.peer == peer).copied()
    }

    pub(super) fn set_shut(&mut self, peer: Peer, is_shut: bool) {
        if let Some(end) = self.links.iter_mut().find(|end| end.peer == peer) {
            end.is_shut = is_shut;
        }
    }

    /// The node has no use for this link any more.
    pub(super) fn drop_end(&mut self, peer: Peer) {
        self.links.retain(|end| end.peer != peer);
    }
}

/// Appends unless there is a great deal already.
pub(super) fn keep<T>(list: &mut Vec<T>, item: T) {
    if list.len() < MAX_KEPT {
        list.push(item);
    }
}

pub(super) fn addr(host: usize) -> String {
    format!("sim:{host}")
}

/// Returns whom an address names, if it is one of this network.
pub(super) fn host_at(addr: &str) -> Option<usize> {
    addr.strip_prefix("sim:")?.parse().ok()
}
