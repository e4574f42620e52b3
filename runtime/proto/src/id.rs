//! Names of nodes, topics, messages and neighbours.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A node: its Ed25519 public key, 32 bytes, which is also the identity of every transport.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId(pub [u8; 32]);

/// A topic: BLAKE3 of its name with a context of its own, 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub [u8; 32]);

/// A message: BLAKE3 over the part of its envelope that no hop changes, 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub [u8; 32]);

/// A live neighbour: a small number that the driver gives to a link and that is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer(pub u32);

impl NodeId {
    fn words(&self) -> [u64; 4] {
        let (words, _) = self.0.as_chunks::<8>();
        std::array::from_fn(|at| u64::from_be_bytes(words[at]))
    }
}

impl Ord for NodeId {
    /// The order of the bytes. Keys are random, so that the first eight nearly always decide: maps of nodes are
    /// searched for every frame.
    fn cmp(&self, other: &NodeId) -> Ordering {
        let ([first, rest @ ..], [others_first, others_rest @ ..]) = (self.words(), other.words());
        first.cmp(&others_first).then_with(|| rest.cmp(&others_rest))
    }
}

impl PartialOrd for NodeId {
    fn partial_cmp(&self, other: &NodeId) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl TopicId {
    /// Returns the id of the topic of this name.
    pub fn of(name: &str) -> TopicId {
        TopicId(blake3::derive_key("meshwork 2026 topic v1", name.as_bytes()))
    }

    /// Returns the number by which policies know the topic: its first four bytes, little-endian.
    pub fn tag(&self) -> u32 {
        u32::from_le_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
    }
}

macro_rules! text {
    ($($name:ident)*) => {$(
        impl $name {
            /// Returns the first eight hex digits, for people.
            pub fn short(&self) -> String {
                hex(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                unhex(text).map(Self)
            }
        }
    )*};
}

text!(NodeId TopicId MessageId);

/// Why a text is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// Not 64 characters.
    #[error("an id has 64 hex digits, this has {len} characters")]
    Length {
        /// Characters given.
        len: usize,
    },
    /// A character outside 0-9, a-f.
    #[error("an id has hex digits only")]
    Digit,
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)] as char, DIGITS[usize::from(b & 15)] as char])
        .collect()
}

fn unhex(text: &str) -> Result<[u8; 32], ParseIdError> {
    if text.len() != 64 {
        return Err(ParseIdError::Length { len: text.chars().count() });
    }
    let digit = |c: u8| match c {
        b'0'..=b'9' => Ok(c - b'0'),
        b'a'..=b'f' => Ok(c - b'a' + 10),
        b'A'..=b'F' => Ok(c - b'A' + 10),
        _ => Err(ParseIdError::Digit),
    };
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_in_the_order_of_their_bytes() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..1000 {
            let mut a: [u8; 32] = std::array::from_fn(|_| rng.u8(..));
            let mut b: [u8; 32] = std::array::from_fn(|_| rng.u8(..));
            let same = rng.usize(..=32);
            b[..same].copy_from_slice(&a[..same]);
            assert_eq!(NodeId(a).cmp(&NodeId(b)), a.cmp(&b));
            (a[31], b[0]) = (b[0], a[31]);
            assert_eq!(NodeId(a).cmp(&NodeId(b)), a.cmp(&b));
        }
    }
}
