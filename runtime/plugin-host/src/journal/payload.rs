//! Bytes that somebody wrote or is to read, themselves or their hash.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::hex;

/// What a handler is told or says: the bytes, or what is left of them in a recording without payloads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Payload {
    /// The bytes.
    Hex(#[serde(with = "hex")] Vec<u8>),
    /// What stands for them.
    Hash {
        /// How many there are.
        len: u64,
        /// Their BLAKE3 hash.
        #[serde(with = "hex::key")]
        blake3: [u8; 32],
    },
}

/// Bytes of a text that are shown.
const SHOWN: usize = 64;
/// Bytes of a hash that are shown.
const DIGITS: usize = 4;

/// What is read as a [`Payload`], and written without a copy: a journal is written at every event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Borrowed<'a> {
    Hex(#[serde(with = "hex")] &'a [u8]),
    Hash {
        len: u64,
        #[serde(with = "hex::key")]
        blake3: [u8; 32],
    },
}

impl<'a> Borrowed<'a> {
    /// Keeps the bytes if there are at most `most` of them.
    pub(super) fn within(bytes: &'a [u8], most: usize) -> Borrowed<'a> {
        if bytes.len() <= most {
            return Borrowed::Hex(bytes);
        }
        Borrowed::Hash { len: bytes.len() as u64, blake3: *blake3::hash(bytes).as_bytes() }
    }

    /// Returns the bytes, unless only their hash is here.
    pub(super) fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Borrowed::Hex(bytes) => Some(bytes),
            Borrowed::Hash { .. } => None,
        }
    }

    /// Returns it with bytes of its own.
    pub(super) fn to_owned(&self) -> Payload {
        match *self {
            Borrowed::Hex(bytes) => Payload::Hex(bytes.to_vec()),
            Borrowed::Hash { len, blake3 } => Payload::Hash { len, blake3 },
        }
    }
}

impl Payload {
    fn hashed(bytes: &[u8]) -> Payload {
        Payload::Hash { len: bytes.len() as u64, blake3: *blake3::hash(bytes).as_bytes() }
    }

    /// Returns how many bytes there are.
    pub fn len(&self) -> u64 {
        match self {
            Payload::Hex(bytes) => bytes.len() as u64,
            Payload::Hash { len, .. } => *len,
        }
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes, unless only their hash is here.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Payload::Hex(bytes) => Some(bytes),
            Payload::Hash { .. } => None,
        }
    }

    /// Says whether both stand for the same bytes.
    pub fn is_same(&self, other: &Payload) -> bool {
        match (self, other) {
            (Payload::Hex(one), Payload::Hex(other)) => one == other,
            (Payload::Hash { .. }, Payload::Hash { .. }) => self == other,
            (Payload::Hex(bytes), hash) | (hash, Payload::Hex(bytes)) => {
                hash.len() == bytes.len() as u64 && Payload::hashed(bytes) == *hash
            }
        }
    }

    /// Returns what stands for the bytes; where there is none, nothing has to be hidden.
    pub(super) fn hidden(&self) -> Payload {
        match self {
            Payload::Hex(bytes) if !bytes.is_empty() => Payload::hashed(bytes),
            empty_or_hash => empty_or_hash.clone(),
        }
    }
}

/// Its length and hash, and of the bytes, where they are here, the beginning.
impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = match self {
            Payload::Hex(bytes) if bytes.is_empty() => return f.write_str("0 B"),
            Payload::Hex(bytes) => blake3::hash(bytes),
            Payload::Hash { blake3, .. } => blake3::Hash::from_bytes(*blake3),
        };
        let digits = hash.to_hex();
        write!(f, "{} B {}", self.len(), &digits[..2 * DIGITS])?;
        let Some(bytes) = self.bytes() else { return Ok(()) };
        let shown = &bytes[..bytes.len().min(SHOWN)];
        let rest = if bytes.len() > SHOWN { "…" } else { "" };
        let clean = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
        let text: String = String::from_utf8_lossy(shown).chars().map(clean).collect();
        write!(f, " {text}{rest}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_without_a_copy_is_read_as_what_it_is() {
        for (bytes, most) in [(&b""[..], 0), (b"", 8), (b"few", 8), (b"too many for this", 8)] {
            let borrowed = Borrowed::within(bytes, most);

            let written = postcard::to_allocvec(&borrowed).unwrap();

            assert_eq!(written, postcard::to_allocvec(&borrowed.to_owned()).unwrap());
            assert_eq!(postcard::from_bytes::<Payload>(&written), Ok(borrowed.to_owned()));
            assert_eq!(borrowed.to_owned().len(), bytes.len() as u64);
        }
    }
}
