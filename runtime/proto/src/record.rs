//! Endpoint records: what a node says of itself, signed by it. Gossiped, so that one known address is
//! enough to find all.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::frame::Violation;
use crate::id::NodeId;
use crate::wire::{Reader, put_text};

/// Bytes of a node's name, at most.
pub const MAX_NAME: usize = 64;
/// Addresses in a record, at most.
pub const MAX_ADDRS: usize = 8;
/// Bytes of an address, at most.
pub const MAX_ADDR: usize = 128;
/// Neighbours in a record, at most.
pub const MAX_NEIGHBOURS: usize = 16;

const CONTEXT: &[u8] = b"meshwork endpoint record v1";

/// What a node says of itself. A record with a higher version replaces one with a lower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose.
    pub node: NodeId,
    /// Milliseconds since 1970 when it was written; grows with every change.
    pub version: u64,
    /// The node's present start, ms since 1970.
    pub epoch: u64,
    /// What people call it; nothing stops two nodes from using one name.
    pub name: String,
    /// Where it listens, as `scheme://host:port`.
    pub addrs: Vec<String>,
    /// Whom it has links to.
    pub neighbours: Vec<NodeId>,
    signature: [u8; 64],
}

impl Record {
    /// Writes and signs a record; what is over a limit is left out.
    pub fn sign(
        key: &SigningKey,
        version: u64,
        epoch: u64,
        name: &str,
        addrs: &[String],
        neighbours: impl IntoIterator<Item = NodeId>,
    ) -> Record {
        let mut record = Record {
            node: NodeId(key.verifying_key().to_bytes()),
            version,
            epoch,
            name: cut_name(name).to_owned(),
            addrs: addrs.iter().filter(|addr| addr.len() <= MAX_ADDR).take(MAX_ADDRS).cloned().collect(),
            neighbours: neighbours.into_iter().take(MAX_NEIGHBOURS).collect(),
            signature: [0; 64],
        };
        record.signature = key.sign(&record.statement()).to_bytes();
        record
    }

    /// Says whether its node signed it.
    pub fn is_signed(&self) -> bool {
        VerifyingKey::from_bytes(&self.node.0)
            .and_then(|key| key.verify_strict(&self.statement(), &Signature::from_bytes(&self.signature)))
            .is_ok()
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
        let name = bounded(reader.text()?, MAX_NAME)?;
        let addrs = (0..counted(reader, MAX_ADDRS)?)
            .map(|_| bounded(reader.text()?, MAX_ADDR))
            .collect::<Result<_, _>>()?;
        let neighbours = (0..counted(reader, MAX_NEIGHBOURS)?)
            .map(|_| reader.array().map(NodeId))
            .collect::<Result<_, _>>()?;
        Ok(Record { node, version, epoch, name, addrs, neighbours, signature: reader.array()? })
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        self.put_unsigned(out);
        out.extend_from_slice(&self.signature);
    }

    fn put_unsigned(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.node.0);
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        put_text(out, &self.name);
        out.push(self.addrs.len() as u8);
        for addr in &self.addrs {
            put_text(out, addr);
        }
        out.push(self.neighbours.len() as u8);
        for neighbour in &self.neighbours {
            out.extend_from_slice(&neighbour.0);
        }
    }

    fn statement(&self) -> Vec<u8> {
        let mut out = CONTEXT.to_vec();
        self.put_unsigned(&mut out);
        out
    }
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

    #[test]
    fn a_record_comes_back_and_a_changed_one_does_not_verify() {
        let key = SigningKey::from_bytes(&[4; 32]);
        let record = Record::sign(&key, 7, 1, "ada", &["quic://127.0.0.1:1".into()], [NodeId([1; 32])]);
        let bytes = record.to_bytes();

        assert_eq!(Record::from_bytes(&bytes), Some(record));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert_eq!(Record::from_bytes(&bad), None, "byte {at}");
        }
    }
}
