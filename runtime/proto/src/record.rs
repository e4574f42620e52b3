//! Endpoint records: what a node says of itself, signed by it. Gossiped, so that one known address is
//! enough to find all.

use std::collections::BTreeMap;
use std::sync::Arc;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::frame::Violation;
use crate::id::NodeId;
use crate::verified::Verified;
use crate::wire::{Reader, put_text};

/// Bytes of a node's name, at most.
pub const MAX_NAME: usize = 64;
/// Addresses in a record, at most.
pub const MAX_ADDRS: usize = 8;
/// Bytes of an address, at most.
pub const MAX_ADDR: usize = 128;
/// Neighbours in a record, at most.
pub const MAX_NEIGHBOURS: usize = 16;

/// Keys of a state, at most.
pub const MAX_KEYS: usize = 16;
/// Bytes of a key, at most.
pub const MAX_KEY: usize = 32;
/// Bytes of a state, keys and values together, at most.
pub const MAX_STATE: usize = 1024;

const CONTEXT: &[u8] = b"meshwork endpoint record v2";
const FLAG_LEFT: u8 = 1;

/// What a node may say of itself beside its id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The node's present start, ms since 1970.
    pub epoch: u64,
    /// It has left in an orderly way.
    pub left: bool,
    /// What people call it; nothing stops two nodes from using one name.
    pub name: String,
    /// Where it listens, as `scheme://host:port`.
    pub addrs: Vec<String>,
    /// Whom it has links to.
    pub neighbours: Vec<NodeId>,
    /// Anything else that all shall know, by key, in the order of the keys: digests of its plugins, position,
    /// load, capabilities.
    pub state: BTreeMap<String, Vec<u8>>,
}

impl Facts {
    /// Sets or removes a key of the state.
    ///
    /// # Errors
    /// When the key or the whole state would be over its limit; then nothing has changed.
    pub fn set(&mut self, key: &str, value: Option<Vec<u8>>) -> Result<(), StateError> {
        let Some(value) = value else {
            self.state.remove(key);
            return Ok(());
        };
        if key.is_empty() || key.len() > MAX_KEY || key.chars().any(char::is_control) {
            return Err(StateError::BadKey { len: key.len(), max: MAX_KEY });
        }
        let others = self.state.iter().filter(|(other, _)| *other != key);
        let (keys, bytes) =
            others.fold((0, 0), |(n, len), (key, value)| (n + 1, len + key.len() + value.len()));
        let bytes = bytes + key.len() + value.len();
        if keys >= MAX_KEYS || bytes > MAX_STATE {
            return Err(StateError::Full { keys: keys + 1, bytes });
        }
        self.state.insert(key.to_owned(), value);
        Ok(())
    }
}

/// Why a state was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The key is empty, too long or not printable.
    #[error("a key of {len} bytes is not one of 1 to {max} printable bytes")]
    BadKey {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The state would be too large.
    #[error("{keys} keys of {bytes} bytes exceed the limit of {MAX_KEYS} keys and {MAX_STATE} bytes")]
    Full {
        /// Keys there would be.
        keys: usize,
        /// Bytes there would be.
        bytes: usize,
    },
}

/// What a node says of itself. A record with a higher version replaces one with a lower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose.
    pub node: NodeId,
    /// Milliseconds since 1970 when it was written; grows with every change.
    pub version: u64,
    /// What it says.
    pub facts: Facts,
    signature: [u8; 64],
}

impl Record {
    /// Writes and signs a record; what is over a limit is left out.
    pub fn sign(key: &SigningKey, version: u64, mut facts: Facts) -> Record {
        facts.name = cut_name(&facts.name).to_owned();
        facts.addrs.retain(|addr| addr.len() <= MAX_ADDR);
        facts.addrs.truncate(MAX_ADDRS);
        facts.neighbours.truncate(MAX_NEIGHBOURS);
        let node = NodeId(key.verifying_key().to_bytes());
        let mut record = Record { node, version, facts, signature: [0; 64] };
        record.signature = key.sign(&record.statement()).to_bytes();
        record
    }

    /// Says whether its node signed it.
    pub fn is_signed(&self) -> bool {
        VerifyingKey::from_bytes(&self.node.0)
            .and_then(|key| key.verify_strict(&self.statement(), &Signature::from_bytes(&self.signature)))
            .is_ok()
    }

    /// Says whether its node signed it, and remembers it.
    pub fn is_signed_by_memo(self: &Arc<Self>, memo: &mut Verified) -> bool {
        if memo.has_record(self, &self.signature) {
            return true;
        }
        let digest = memo.digest(&self.node, &self.statement(), &self.signature);
        let is_signed = memo.check(digest, || self.is_signed());
        if is_signed {
            memo.note_record(self, &self.signature);
        }
        is_signed
    }

    /// Remembers that it is signed, which whoever has just signed it knows.
    pub(crate) fn note_signed(self: &Arc<Self>, memo: &mut Verified) {
        let digest = memo.digest(&self.node, &self.statement(), &self.signature);
        memo.check(digest, || true);
        memo.note_record(self, &self.signature);
    }

    #[cfg(test)]
    pub(crate) fn signature(&self) -> &[u8; 64] {
        &self.signature
    }

    /// Reads a record, or takes the one of the same bytes that `memo` knows to be good.
    pub(crate) fn read_known(reader: &mut Reader<'_>, memo: &Verified) -> Result<Arc<Record>, Violation> {
        if memo.is_for_many()
            && let Some(len) = encoded_len(reader.0)
            && let Some((bytes, rest)) = reader.0.split_at_checked(len)
            && let Some(signature) = bytes.last_chunk()
            && let Some(known) = memo.record(bytes, signature)
        {
            reader.0 = rest;
            return Ok(known.clone());
        }
        Record::read(reader).map(Arc::new)
    }

    /// Returns the bytes that a store keeps.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.put(&mut out);
        out
    }

    /// Reads what [`Record::to_bytes`] wrote, and verifies it; `None` when it is damaged.
    pub fn from_bytes(bytes: &[u8]) -> Option<Record> {
        let mut reader = Reader(bytes);
        let record = Record::read(&mut reader).ok()?;
        (reader.end().is_ok() && record.is_signed()).then_some(record)
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Record, Violation> {
        let node = NodeId(reader.array()?);
        let (version, epoch) = (reader.u64()?, reader.u64()?);
        let left = match reader.u8()? {
            0 => false,
            FLAG_LEFT => true,
            _ => return Err(Violation::BadField { field: "flags" }),
        };
        let name = bounded(reader.text()?, MAX_NAME)?;
        let addrs = (0..counted(reader, MAX_ADDRS)?)
            .map(|_| bounded(reader.text()?, MAX_ADDR))
            .collect::<Result<_, _>>()?;
        let neighbours = (0..counted(reader, MAX_NEIGHBOURS)?)
            .map(|_| reader.array().map(NodeId))
            .collect::<Result<_, _>>()?;
        let state = read_state(reader)?;
        let facts = Facts { epoch, left, name, addrs, neighbours, state };
        Ok(Record { node, version, facts, signature: reader.array()? })
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        self.put_unsigned(out);
        out.extend_from_slice(&self.signature);
    }

    /// Returns how many bytes it takes in a frame.
    pub fn size(&self) -> usize {
        let texts =
            self.facts.addrs.iter().map(|addr| 1 + addr.len()).sum::<usize>() + 1 + self.facts.name.len();
        let state: usize = self.facts.state.iter().map(|(key, value)| 3 + key.len() + value.len()).sum();
        32 + 8 + 8 + 1 + texts + 1 + 1 + 32 * self.facts.neighbours.len() + 1 + state + 64
    }

    fn put_unsigned(&self, out: &mut Vec<u8>) {
        let facts = &self.facts;
        out.extend_from_slice(&self.node.0);
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&facts.epoch.to_le_bytes());
        out.push(u8::from(facts.left) * FLAG_LEFT);
        put_text(out, &facts.name);
        out.push(facts.addrs.len() as u8);
        facts.addrs.iter().for_each(|addr| put_text(out, addr));
        out.push(facts.neighbours.len() as u8);
        facts.neighbours.iter().for_each(|neighbour| out.extend_from_slice(&neighbour.0));
        out.push(facts.state.len() as u8);
        for (key, value) in &facts.state {
            put_text(out, key);
            out.extend_from_slice(&(value.len() as u16).to_le_bytes());
            out.extend_from_slice(value);
        }
    }

    fn statement(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(CONTEXT);
        self.put_unsigned(&mut out);
        out
    }
}

/// Returns how long the record is that the bytes start with, if its lengths are there; checks nothing else.
fn encoded_len(bytes: &[u8]) -> Option<usize> {
    let mut reader = Reader(bytes);
    let skip_text = |reader: &mut Reader<'_>| {
        let len = reader.u8()?;
        reader.take(len.into()).map(|_| ())
    };
    let mut skip = || -> Result<(), Violation> {
        reader.take(32 + 8 + 8 + 1)?;
        skip_text(&mut reader)?;
        for _ in 0..reader.u8()? {
            skip_text(&mut reader)?;
        }
        let neighbours = reader.u8()?;
        reader.take(32 * usize::from(neighbours))?;
        for _ in 0..reader.u8()? {
            skip_text(&mut reader)?;
            let len = reader.u16()?;
            reader.take(len.into())?;
        }
        reader.take(64).map(|_| ())
    };
    skip().ok()?;
    Some(bytes.len() - reader.0.len())
}

/// Keys rise strictly, so that one state has one encoding.
fn read_state(reader: &mut Reader<'_>) -> Result<BTreeMap<String, Vec<u8>>, Violation> {
    let mut state = BTreeMap::new();
    let mut bytes = 0;
    for _ in 0..counted(reader, MAX_KEYS)? {
        let key = bounded(reader.text()?, MAX_KEY)?;
        let len = usize::from(reader.u16()?);
        bytes += key.len() + len;
        if bytes > MAX_STATE {
            return Err(Violation::TooLong { len: bytes, max: MAX_STATE });
        }
        let rises = state.last_key_value().is_none_or(|(last, _): (&String, _)| *last < key);
        if !rises || key.is_empty() {
            return Err(Violation::BadField { field: "state" });
        }
        state.insert(key, reader.take(len)?.to_vec());
    }
    Ok(state)
}

fn counted(reader: &mut Reader<'_>, max: usize) -> Result<u8, Violation> {
    let count = reader.u8()?;
    if usize::from(count) > max {
        return Err(Violation::TooLong { len: count.into(), max });
    }
    Ok(count)
}

fn bounded(text: String, max: usize) -> Result<String, Violation> {
    if text.len() > max { Err(Violation::TooLong { len: text.len(), max }) } else { Ok(text) }
}

fn cut_name(name: &str) -> &str {
    let mut end = name.len().min(MAX_NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let mut facts = Facts {
            epoch: 1,
            name: "ada".into(),
            addrs: vec!["quic://127.0.0.1:1".into()],
            neighbours: vec![NodeId([1; 32])],
            ..Facts::default()
        };
        facts.set("load", Some(vec![1, 2])).expect("short");
        facts.set("caps", Some(vec![])).expect("short");
        facts
    }

    #[test]
    fn a_record_comes_back_and_a_changed_one_does_not_verify() {
        let record = Record::sign(&SigningKey::from_bytes(&[4; 32]), 7, facts());
        let bytes = record.to_bytes();
        assert_eq!(record.size(), bytes.len());

        assert_eq!(Record::from_bytes(&bytes), Some(record));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert_eq!(Record::from_bytes(&bad), None, "byte {at}");
        }
    }

    // MN-04: the state of a node is size-capped.
    #[test]
    fn a_state_over_its_limits_is_refused_and_keeps_what_it_had() {
        let mut facts = facts();
        let before = facts.clone();

        assert!(matches!(facts.set("k", Some(vec![0; MAX_STATE])), Err(StateError::Full { .. })));
        assert!(matches!(facts.set("", Some(vec![])), Err(StateError::BadKey { .. })));
        assert!(matches!(facts.set(&"k".repeat(33), Some(vec![])), Err(StateError::BadKey { .. })));
        assert_eq!(facts, before);
        for n in 0..MAX_KEYS - 2 {
            facts.set(&format!("k{n}"), Some(vec![])).expect("there is room");
        }
        assert!(matches!(facts.set("one more", Some(vec![])), Err(StateError::Full { .. })));
        facts.set("k0", None).expect("removing needs no room");
        facts.set("one more", Some(vec![])).expect("there is room again");
    }
}
