//! The schema: which tables there are, and how their keys are made so that their order is the useful one.

use bytes::Bytes;
use mesh_proto::NodeId;

use super::{KeyRange, MAX_KEY, MAX_VALUE, SubmitError};
use std::ops::Bound;

/// A table. Its name on disk never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Messages that wait for an absent recipient; key by [`held_key`].
    Held,
    /// Messages for this node's own subscribers; key by [`inbox_key`].
    Inbox,
    /// Duplicate windows, by origin.
    Seen,
    /// Small values of the node itself, such as its name and epoch, by name.
    Meta,
    /// Endpoint records of other nodes, by node.
    Peers,
    /// Plugin components, by digest.
    Revisions,
    /// Which revision serves which slot, by slot.
    Bindings,
    /// Who vouches for a revision, by its digest.
    Signatures,
    /// Trusted and revoked keys, by key.
    Trust,
    /// The highest version of a plugin that was ever bound, by name.
    Versions,
}

impl Table {
    /// Every table.
    pub const ALL: [Table; 10] = [
        Table::Held,
        Table::Inbox,
        Table::Seen,
        Table::Meta,
        Table::Peers,
        Table::Revisions,
        Table::Bindings,
        Table::Signatures,
        Table::Trust,
        Table::Versions,
    ];

    /// Returns the name on disk.
    pub const fn name(self) -> &'static str {
        match self {
            Table::Held => "held",
            Table::Inbox => "inbox",
            Table::Seen => "seen",
            Table::Meta => "meta",
            Table::Peers => "peers",
            Table::Revisions => "revisions",
            Table::Bindings => "bindings",
            Table::Signatures => "signatures",
            Table::Trust => "trust",
            Table::Versions => "versions",
        }
    }
}

/// One change of a table. Each can be applied twice without harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets a value, whether or not there is one.
    Put {
        /// The table.
        table: Table,
        /// At most [`MAX_KEY`] bytes.
        key: Vec<u8>,
        /// At most [`MAX_VALUE`] bytes.
        value: Bytes,
    },
    /// Removes a value, if there is one.
    Delete {
        /// The table.
        table: Table,
        /// At most [`MAX_KEY`] bytes.
        key: Vec<u8>,
    },
    /// Removes every key from `from` up to, not including, `to`.
    DeleteRange {
        /// The table.
        table: Table,
        /// First key, at most [`MAX_KEY`] bytes.
        from: Vec<u8>,
        /// First key that stays, at most [`MAX_KEY`] bytes.
        to: Vec<u8>,
    },
}

impl Write {
    /// Returns the table that it changes.
    pub fn table(&self) -> Table {
        match self {
            Write::Put { table, .. } | Write::Delete { table, .. } | Write::DeleteRange { table, .. } => {
                *table
            }
        }
    }

    /// Returns the bytes that it holds in memory, roughly.
    pub(crate) fn weight(&self) -> usize {
        size_of::<Write>()
            + match self {
                Write::Put { key, value, .. } => key.len() + value.len(),
                Write::Delete { key, .. } => key.len(),
                Write::DeleteRange { from, to, .. } => from.len() + to.len(),
            }
    }

    pub(crate) fn check(&self) -> Result<(), SubmitError> {
        let (key, value) = match self {
            Write::Put { key, value, .. } => (key.len(), value.len()),
            Write::Delete { key, .. } => (key.len(), 0),
            Write::DeleteRange { from, to, .. } => (from.len().max(to.len()), 0),
        };
        match (key, value) {
            (len, _) if len > MAX_KEY => Err(SubmitError::TooLarge { what: "key", len, max: MAX_KEY }),
            (_, len) if len > MAX_VALUE => Err(SubmitError::TooLarge { what: "value", len, max: MAX_VALUE }),
            _ => Ok(()),
        }
    }
}

/// Returns the key of a held message: recipient, then time, then a number that tells equal times apart. All
/// of one recipient's messages stand together, oldest first.
pub fn held_key(recipient: &NodeId, time_ms: u64, number: u64) -> Vec<u8> {
    [&recipient.0[..], &time_ms.to_be_bytes(), &number.to_be_bytes()].concat()
}

/// Returns the bounds of one recipient's held messages: the first and the last possible key.
pub fn held_of(recipient: &NodeId) -> [Vec<u8>; 2] {
    [held_key(recipient, 0, 0), held_key(recipient, u64::MAX, u64::MAX)]
}

/// Returns the key of an inbox entry; the order of the keys is the order of the offsets.
pub fn inbox_key(offset: u64) -> Vec<u8> {
    offset.to_be_bytes().to_vec()
}

/// Returns whether a range holds no key whatever the table holds; ordered maps refuse such a range.
pub(crate) fn is_empty((from, to): KeyRange<'_>) -> bool {
    match (from, to) {
        (Bound::Included(a), Bound::Included(b)) => a > b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => a >= b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_messages_stand_by_recipient_and_age() {
        let (a, b) = (NodeId([1; 32]), NodeId([2; 32]));
        let mut keys = vec![held_key(&b, 0, 0), held_key(&a, 256, 0), held_key(&a, 2, 1), held_key(&a, 2, 0)];

        keys.sort();

        assert_eq!(keys, [held_key(&a, 2, 0), held_key(&a, 2, 1), held_key(&a, 256, 0), held_key(&b, 0, 0)]);
        let [first, last] = held_of(&a);
        assert!(keys[..3].iter().all(|k| (&first..=&last).contains(&k)) && keys[3] > last);
    }
}
