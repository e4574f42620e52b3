//! Runs: the unit in which messages travel, and the envelope that each message in one has.
//!
//! A run is a contiguous range of one origin's signed batch, all of one flow and class. What its messages
//! have in common stands once in the head; a message adds its size and its payload. The layout table and
//! test vectors stand in `docs/wire.md`.

use std::ops::Range;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use ed25519_dalek::SigningKey;

use crate::batch::{self, Hash, MAX_BATCH, MAX_PROOF};
use crate::frame::{self, Violation};
use crate::id::{MessageId, NodeId, TopicId};
use crate::policy::Class;
pub use crate::verified::Verified;
use crate::wire::Reader;

/// Payload bytes of one message, at most; more belongs into a blob.
pub const MAX_PAYLOAD: usize = 512 * 1024;

/// Payload bytes of one run, at most, unless it is a single message. Large enough for a full batch of 256-byte
/// messages, small enough to be one write.
pub const MAX_RUN_BYTES: usize = 256 * 1024;

/// Hops of a message to a node, at most, when its author does not say (peat-mesh: 10).
pub const DEFAULT_HOP_LIMIT: u8 = 10;

/// Hops of a message to many, at most, when its author does not say: a broadcast tree of thousands of nodes is
/// some 15 deep, and twice that after failures.
pub const BROADCAST_HOP_LIMIT: u8 = 64;

/// The time a message may live, at most: 7 days, the longest of the class table.
pub const MAX_TTL_MS: u64 = 7 * 24 * 3600 * 1000;

/// How far an origin's clock may run ahead before its messages are taken for forged, in ms: faults.md T01.
pub const MAX_SKEW_MS: u64 = 24 * 3600 * 1000;

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dest {
    /// One node.
    Node(NodeId),
    /// All nodes that subscribe to the topic.
    Topic(TopicId),
    /// All nodes.
    Mesh,
}

impl Dest {
    fn parts(&self) -> (u8, [u8; 32]) {
        match self {
            Dest::Node(node) => (0, node.0),
            Dest::Topic(topic) => (1, topic.0),
            Dest::Mesh => (2, [0; 32]),
        }
    }

    fn from_parts(kind: u8, id: [u8; 32]) -> Result<Dest, Violation> {
        match kind {
            0 => Ok(Dest::Node(NodeId(id))),
            1 => Ok(Dest::Topic(TopicId(id))),
            2 if id == [0; 32] => Ok(Dest::Mesh),
            _ => Err(Violation::BadField { field: "destination" }),
        }
    }

    /// Returns the hops that a message may take, at most, when its author does not say.
    pub fn hop_limit(&self) -> u8 {
        match self {
            Dest::Node(_) => DEFAULT_HOP_LIMIT,
            Dest::Topic(_) | Dest::Mesh => BROADCAST_HOP_LIMIT,
        }
    }

    /// Returns the tag by which a QoS policy knows a topic; 0 for a node.
    pub fn tag(&self) -> u32 {
        match self {
            Dest::Topic(topic) => topic.tag(),
            Dest::Node(_) | Dest::Mesh => 0,
        }
    }
}

/// What one origin writes to one destination since one start; sequence numbers count within it, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// Who wrote.
    pub origin: NodeId,
    /// The origin's start, ms since 1970, never the same twice.
    pub epoch: u64,
    /// For whom.
    pub dest: Dest,
}

impl Flow {
    /// Bytes of [`Flow::to_bytes`].
    pub const LEN: usize = 73;

    /// Returns origin, epoch, kind of destination, destination: the key of a flow in a store.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let (kind, dest) = self.dest.parts();
        let mut out = [0; Self::LEN];
        out[..32].copy_from_slice(&self.origin.0);
        out[32..40].copy_from_slice(&self.epoch.to_be_bytes());
        out[40] = kind;
        out[41..].copy_from_slice(&dest);
        out
    }

    /// Reads what [`Flow::to_bytes`] wrote; `None` when it is damaged.
    pub fn from_bytes(bytes: &[u8]) -> Option<Flow> {
        let mut reader = Reader(bytes);
        let origin = NodeId(reader.array().ok()?);
        let epoch = u64::from_be_bytes(reader.array().ok()?);
        let kind = reader.u8().ok()?;
        let dest = Dest::from_parts(kind, reader.array().ok()?).ok()?;
        reader.end().ok()?;
        Some(Flow { origin, epoch, dest })
    }
}

/// What the messages of a run have in common; no hop changes any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The flow.
    pub flow: Flow,
    /// The sequence number that leaf 0 of the batch would have; wraps.
    pub seq_base: u64,
    /// When it was written, ms since 1970 by the origin's clock.
    pub sent_ms: u64,
    /// When it ceases to matter, ms since 1970.
    pub expiry_ms: u64,
    /// The class that the origin asked for.
    pub class: Class,
    /// Hops it may take.
    pub hop_limit: u8,
    /// Every node that takes it over stores it before it says so.
    pub durable: bool,
    /// Spoken between the nodes themselves; never delivered to an application.
    pub internal: bool,
}

const HEAD_LEN: usize = 104;
const FIXED_LEN: usize = HEAD_LEN + 2 + 2 + 2 + 1 + 1 + 64;
const PREFACE_LEN: usize = 8;
const FLAG_DURABLE: u8 = 1;
const FLAG_INTERNAL: u8 = 2;

impl Head {
    fn to_bytes(self) -> [u8; HEAD_LEN] {
        let (kind, dest) = self.flow.dest.parts();
        let mut out = [0; HEAD_LEN];
        out[..32].copy_from_slice(&self.flow.origin.0);
        out[32..64].copy_from_slice(&dest);
        out[64..72].copy_from_slice(&self.flow.epoch.to_le_bytes());
        out[72..80].copy_from_slice(&self.seq_base.to_le_bytes());
        out[80..88].copy_from_slice(&self.sent_ms.to_le_bytes());
        out[88..96].copy_from_slice(&self.expiry_ms.to_le_bytes());
        out[96] = kind;
        out[97] = self.class as u8;
        out[98] = self.hop_limit;
        out[99] = u8::from(self.durable) * FLAG_DURABLE + u8::from(self.internal) * FLAG_INTERNAL;
        out
    }

    fn read(reader: &mut Reader<'_>) -> Result<Head, Violation> {
        let origin = NodeId(reader.array()?);
        let dest = reader.array()?;
        let epoch = reader.u64()?;
        let (seq_base, sent_ms, expiry_ms) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let [kind, class, hop_limit, flags] = reader.array()?;
        if flags & !(FLAG_DURABLE | FLAG_INTERNAL) != 0 || reader.array()? != [0; 4] {
            return Err(Violation::BadField { field: "flags" });
        }
        if expiry_ms < sent_ms || expiry_ms - sent_ms > MAX_TTL_MS {
            return Err(Violation::BadField { field: "expiry" });
        }
        Ok(Head {
            flow: Flow { origin, epoch, dest: Dest::from_parts(kind, dest)? },
            seq_base,
            sent_ms,
            expiry_ms,
            class: Class::from_u8(class).ok_or(Violation::BadField { field: "class" })?,
            hop_limit,
            durable: flags & FLAG_DURABLE != 0,
            internal: flags & FLAG_INTERNAL != 0,
        })
    }
}

/// A range of a signed batch, all of one flow and class.
#[derive(Clone, Debug)]
pub struct Run {
    head: Head,
    batch_len: u16,
    batch_index: u16,
    signature: [u8; 64],
    proof: Arc<[Hash]>,
    leaves: Arc<[Hash]>,
    /// Where the own leaves start in `leaves`, which runs cut from one another share.
    first_leaf: usize,
    /// The payload sizes, `u32` little-endian each.
    sizes: Bytes,
    payloads: Bytes,
}

impl Run {
    /// Reads what [`Run::to_bytes`] wrote, and verifies it.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn from_bytes(bytes: &Bytes) -> Result<(Run, u8), Violation> {
        if bytes.first() != Some(&frame::RUN) {
            return Err(Violation::BadField { field: "type" });
        }
        let (run, hops) = Unverified::decode(&bytes.slice(1..), &Verified::default())?;
        Ok((Arc::unwrap_or_clone(run.verify(&mut Verified::default())?), hops))
    }

    /// Returns the frame with its length in front: a head of its own, then the sizes and payloads as they are.
    pub fn encode(&self, hops: u8) -> [Bytes; 3] {
        let own = FIXED_LEN + 32 * self.proof.len();
        let len = (PREFACE_LEN - 4) + own + self.sizes.len() + self.payloads.len();
        let mut out = Vec::with_capacity(PREFACE_LEN + own);
        out.extend_from_slice(&(len as u32).to_le_bytes());
        out.extend_from_slice(&[frame::RUN, hops, 0, 0]);
        out.extend_from_slice(&self.head.to_bytes());
        out.extend_from_slice(&(self.len() as u16).to_le_bytes());
        out.extend_from_slice(&self.batch_len.to_le_bytes());
        out.extend_from_slice(&self.batch_index.to_le_bytes());
        out.extend_from_slice(&[self.proof.len() as u8, 0]);
        out.extend_from_slice(&self.signature);
        out.extend_from_slice(self.proof.as_flattened());
        [out.into(), self.sizes.clone(), self.payloads.clone()]
    }

    /// Returns the bytes that a store keeps: the frame without its length, in one piece.
    pub fn to_bytes(&self, hops: u8) -> Bytes {
        let [head, sizes, payloads] = self.encode(hops);
        [&head[4..], &sizes, &payloads].concat().into()
    }

    /// Returns what the messages have in common.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Returns the number of messages, at least 1.
    pub fn len(&self) -> usize {
        self.sizes.len() / 4
    }

    /// Says whether there is no message, which cannot be.
    pub fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// Returns the payload bytes of all messages.
    pub fn payload_len(&self) -> usize {
        self.payloads.len()
    }

    /// Returns the sequence numbers.
    pub fn seqs(&self) -> Range<u64> {
        let start = self.head.seq_base.wrapping_add(self.batch_index.into());
        start..start.wrapping_add(self.len() as u64)
    }

    /// Returns the payload sizes in order.
    pub fn payload_sizes(&self) -> impl Iterator<Item = u32> {
        self.sizes.as_chunks::<4>().0.iter().map(|size| u32::from_le_bytes(*size))
    }

    /// Returns sequence number and payload of each message.
    pub fn messages(&self) -> impl Iterator<Item = (u64, Bytes)> {
        let mut at = 0;
        each_size(&self.sizes).zip(self.seqs()).map(move |(size, seq)| {
            let payload = self.payloads.slice(at..at + size);
            at += size;
            (seq, payload)
        })
    }

    /// Returns the id of the message at `index` of this run.
    pub fn message_id(&self, index: usize) -> MessageId {
        let seq = self.seqs().start.wrapping_add(index as u64);
        message_id(&self.own_leaves()[index], seq)
    }

    /// Returns by what its messages are known, without their payloads.
    pub fn marks(&self) -> Marks {
        Marks {
            flow: self.head.flow,
            first_seq: self.seqs().start,
            leaves: self.leaves.clone(),
            first_leaf: self.first_leaf,
            len: self.len(),
        }
    }

    /// Returns the number of messages that share the signature.
    pub fn batch_len(&self) -> usize {
        self.batch_len.into()
    }

    /// Returns the part of this run at these indices, with the proof that it needs alone.
    pub fn part(&self, part: Range<usize>) -> Run {
        if part == (0..self.len()) {
            return self.clone();
        }
        let index = usize::from(self.batch_index);
        let proof = batch::narrow(
            self.batch_len.into(),
            index,
            self.own_leaves(),
            &self.proof,
            index + part.start..index + part.end,
        );
        let before: usize = each_size(&self.sizes).take(part.start).sum();
        let within: usize = each_size(&self.sizes).skip(part.start).take(part.len()).sum();
        Run {
            batch_index: self.batch_index + part.start as u16,
            proof: proof.into(),
            leaves: self.leaves.clone(),
            first_leaf: self.first_leaf + part.start,
            sizes: self.sizes.slice(part.start * 4..part.end * 4),
            payloads: self.payloads.slice(before..before + within),
            ..self.clone()
        }
    }

    fn own_leaves(&self) -> &[Hash] {
        &self.leaves[self.first_leaf..self.first_leaf + self.len()]
    }
}

/// By what the messages of a run are known. Keeps no payload, and costs one hash for each id that is asked for.
#[derive(Clone, Debug)]
pub struct Marks {
    flow: Flow,
    first_seq: u64,
    leaves: Arc<[Hash]>,
    first_leaf: usize,
    len: usize,
}

impl Marks {
    /// Returns the flow.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// Returns the sequence numbers.
    pub fn seqs(&self) -> Range<u64> {
        self.first_seq..self.first_seq.wrapping_add(self.len as u64)
    }

    /// Returns the id of the message at `index`; `None` beyond the last.
    pub fn message_id(&self, index: usize) -> Option<MessageId> {
        let own = self.leaves.get(self.first_leaf..self.first_leaf + self.len)?;
        Some(message_id(own.get(index)?, self.first_seq.wrapping_add(index as u64)))
    }

    /// Returns the bytes that it keeps in memory, counting what it shares with others.
    pub fn bytes(&self) -> usize {
        size_of::<Marks>() + size_of_val(&*self.leaves)
    }
}

fn message_id(leaf: &Hash, seq: u64) -> MessageId {
    MessageId(*blake3::keyed_hash(leaf, &seq.to_le_bytes()).as_bytes())
}

/// A run as it came in: its fields are sound, its signature has not been looked at.
#[derive(Debug)]
pub struct Unverified {
    run: Arc<Run>,
    /// Everything after the hops, which differ from link to link.
    bytes: Bytes,
    /// The very same bytes were found good before.
    is_known: bool,
}

/// Where the place in the batch and the signature stand after the hops.
const INDEX_AT: usize = 2 + HEAD_LEN + 4;
const SIGNATURE_AT: usize = 2 + FIXED_LEN - 64;

impl Unverified {
    /// Reads the frame of a run, everything after its type byte, and the hops it has behind it. What `memo` knows
    /// is not read again.
    ///
    /// # Errors
    /// The violation that its sender committed.
    pub fn decode(frame: &Bytes, memo: &Verified) -> Result<(Unverified, u8), Violation> {
        let hops = Reader(frame).u8()?;
        let bytes = frame.slice(1..);
        if memo.is_for_many()
            && let Some(run) = find_known(&bytes, memo)
        {
            return Ok((Unverified { run: run.clone(), bytes, is_known: true }, hops));
        }
        let run = Arc::new(Run::read(&bytes)?);
        Ok((Unverified { run, bytes, is_known: false }, hops))
    }

    /// Returns what the messages have in common, if the signature holds.
    pub fn head(&self) -> &Head {
        &self.run.head
    }

    /// Returns the sequence numbers.
    pub fn seqs(&self) -> Range<u64> {
        self.run.seqs()
    }

    /// Returns the payload bytes of all messages.
    pub fn payload_len(&self) -> usize {
        self.run.payload_len()
    }

    /// Hashes the messages and checks the origin's signature over their batch, unless another run of the
    /// same batch has shown it to be good.
    ///
    /// # Errors
    /// [`Violation::BadSignature`].
    pub fn verify(mut self, verified: &mut Verified) -> Result<Arc<Run>, Violation> {
        if self.is_known {
            return Ok(self.run);
        }
        let run = Arc::get_mut(&mut self.run).expect("nobody else has what was just read");
        run.leaves = hash_leaves(&run.head, &run.sizes, &run.payloads).into();
        if !run.is_signed(verified) {
            return Err(Violation::BadSignature);
        }
        let (signature, index) = (self.run.signature, self.run.batch_index);
        verified.note_run(self.bytes, &signature, index, &self.run);
        Ok(self.run)
    }
}

fn find_known<'a>(bytes: &[u8], memo: &'a Verified) -> Option<&'a Arc<Run>> {
    let signature = bytes.get(SIGNATURE_AT..)?.first_chunk()?;
    let index = u16::from_le_bytes(*bytes.get(INDEX_AT..)?.first_chunk()?);
    memo.run(bytes, signature, index)
}

impl Run {
    /// Reads everything after the hops.
    fn read(bytes: &Bytes) -> Result<Run, Violation> {
        let mut reader = Reader(bytes);
        if reader.u16()? != 0 {
            return Err(Violation::BadField { field: "reserved" });
        }
        let head = Head::read(&mut reader)?;
        let (count, batch_len, batch_index) = (reader.u16()?, reader.u16()?, reader.u16()?);
        let (proof_len, reserved) = (reader.u8()?, reader.u8()?);
        let signature = reader.array()?;
        let end = u32::from(batch_index) + u32::from(count);
        if count == 0 || usize::from(batch_len) > MAX_BATCH || end > batch_len.into() {
            return Err(Violation::BadField { field: "batch" });
        }
        if head.seq_base.wrapping_add(batch_index.into()).checked_add(count.into()).is_none() {
            return Err(Violation::BadField { field: "seq" });
        }
        if usize::from(proof_len) > MAX_PROOF || reserved != 0 {
            return Err(Violation::BadField { field: "proof" });
        }
        let (proof, _) = reader.take(usize::from(proof_len) * 32)?.as_chunks::<32>();
        let sizes = bytes.slice_ref(reader.take(usize::from(count) * 4)?);
        let payloads = bytes.slice_ref(reader.0);
        check_sizes(&sizes, payloads.len())?;
        let (proof, leaves) = (proof.into(), Arc::default());
        Ok(Run { head, batch_len, batch_index, signature, proof, leaves, first_leaf: 0, sizes, payloads })
    }

    /// Says whether the origin signed the batch, given the hashes of the messages.
    fn is_signed(&self, verified: &mut Verified) -> bool {
        let origin = &self.head.flow.origin;
        let root = batch::root(self.batch_len.into(), self.batch_index.into(), &self.leaves, &self.proof);
        let Some(root) = root else { return false };
        let check = || batch::is_signed(origin, self.batch_len(), &root, &self.signature);
        // The whole of a batch comes once, and duplicates were sorted out before: no use in remembering it.
        if self.len() == self.batch_len() {
            return check();
        }
        let statement = [&self.batch_len.to_le_bytes()[..], &root].concat();
        let digest = verified.digest(origin, &statement, &self.signature);
        verified.check(digest, check)
    }
}

fn check_sizes(sizes: &Bytes, payload_len: usize) -> Result<(), Violation> {
    let total: u64 = each_size(sizes).map(|size| size as u64).sum();
    if total != payload_len as u64 {
        return Err(Violation::BadField { field: "size" });
    }
    if each_size(sizes).any(|size| size > MAX_PAYLOAD) {
        return Err(Violation::TooLong { len: payload_len, max: MAX_PAYLOAD });
    }
    if sizes.len() > 4 && payload_len > MAX_RUN_BYTES {
        return Err(Violation::TooLong { len: payload_len, max: MAX_RUN_BYTES });
    }
    Ok(())
}

fn each_size(sizes: &Bytes) -> impl Iterator<Item = usize> {
    sizes.as_chunks::<4>().0.iter().map(|size| u32::from_le_bytes(*size) as usize)
}

fn hash_leaves(head: &Head, sizes: &Bytes, payloads: &[u8]) -> Vec<Hash> {
    let key = blake3::derive_key("meshwork 2026 envelope v1", &head.to_bytes());
    let mut rest = payloads;
    each_size(sizes)
        .map(|size| {
            let (payload, after) = rest.split_at(size);
            rest = after;
            *blake3::keyed_hash(&key, payload).as_bytes()
        })
        .collect()
}

/// Messages of one flow that wait for the signature of their flush.
#[derive(Debug)]
pub struct Draft {
    /// The head; its `seq_base` is set by [`seal`].
    pub head: Head,
    /// The sequence number of the first message.
    pub first_seq: u64,
    /// The payloads, none above [`MAX_PAYLOAD`].
    pub payloads: Vec<Bytes>,
}

/// Signs what one flush holds, with as few signatures as its size allows, and returns it as runs, in order.
pub fn seal(key: &SigningKey, drafts: Vec<Draft>) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut batch: Vec<Run> = Vec::new();
    let mut leaves: Vec<Hash> = Vec::new();
    for draft in drafts {
        let mut first_seq = draft.first_seq;
        let mut rest = &draft.payloads[..];
        while !rest.is_empty() {
            if leaves.len() == MAX_BATCH {
                sign_batch(key, &mut batch, &mut leaves, &mut runs);
            }
            let count = fitting(rest, MAX_BATCH - leaves.len());
            let (now, later) = rest.split_at(count);
            batch.push(unsigned(draft.head, first_seq, leaves.len(), now, &mut leaves));
            first_seq += count as u64;
            rest = later;
        }
    }
    sign_batch(key, &mut batch, &mut leaves, &mut runs);
    runs
}

/// How many of the payloads go into one run.
fn fitting(payloads: &[Bytes], room: usize) -> usize {
    let mut bytes = 0;
    let fits = payloads.iter().take(room).take_while(|payload| {
        bytes += payload.len();
        bytes <= MAX_RUN_BYTES
    });
    fits.count().max(1)
}

fn unsigned(head: Head, first_seq: u64, index: usize, payloads: &[Bytes], leaves: &mut Vec<Hash>) -> Run {
    let mut sizes = BytesMut::with_capacity(payloads.len() * 4);
    let mut all = BytesMut::with_capacity(payloads.iter().map(Bytes::len).sum());
    for payload in payloads {
        sizes.put_u32_le(payload.len() as u32);
        all.extend_from_slice(payload);
    }
    let (sizes, payloads) = (sizes.freeze(), all.freeze());
    let head = Head { seq_base: first_seq.wrapping_sub(index as u64), ..head };
    let own = hash_leaves(&head, &sizes, &payloads);
    leaves.extend_from_slice(&own);
    Run {
        head,
        batch_len: 0,
        batch_index: index as u16,
        signature: [0; 64],
        proof: [].into(),
        leaves: own.into(),
        first_leaf: 0,
        sizes,
        payloads,
    }
}

fn sign_batch(key: &SigningKey, batch: &mut Vec<Run>, leaves: &mut Vec<Hash>, runs: &mut Vec<Run>) {
    if batch.is_empty() {
        return;
    }
    let signature = batch::sign(key, leaves);
    for mut run in batch.drain(..) {
        let start = usize::from(run.batch_index);
        run.proof = batch::narrow(leaves.len(), 0, leaves, &[], start..start + run.len()).into();
        run.batch_len = leaves.len() as u16;
        run.signature = signature;
        runs.push(run);
    }
    leaves.clear();
}

#[cfg(test)]
mod tests;
