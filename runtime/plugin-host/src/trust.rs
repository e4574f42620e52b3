//! Whom a node believes: publishers' keys, each for some names and some slots, and keys that are revoked.
//!
//! Pure: signatures and a time in, a verdict out. That the signatures hold must have been checked before, with
//! [`Signed::verify`]; where the list is kept is the caller's affair.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::load::Kind;
use crate::sign::{PublicKey, Signed};

/// Keys of a list, revoked ones included.
pub const MAX_KEYS: usize = 1024;
/// Patterns of one key.
pub const MAX_PATTERNS: usize = 16;
const MAX_PATTERN: usize = 64;
/// Bytes of the reason of a revocation.
pub const MAX_REASON: usize = 256;

/// Names that a key is trusted for: `acme/fastest`, `acme/*`, or `*` for all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

/// A text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pattern is author/plugin, author/* or *, in lower-case letters, digits and dashes")]
pub struct PatternError;

impl Pattern {
    /// Says whether the name of a plugin fits.
    ///
    /// ```
    /// let pattern: mesh_plugin_host::trust::Pattern = "acme/*".parse().unwrap();
    /// assert!(pattern.fits("acme/fastest") && !pattern.fits("acme-evil/fastest"));
    /// ```
    pub fn fits(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == self.0,
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Pattern, PatternError> {
        let is_part = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
        };
        let is_pattern = match text.split_once('/') {
            Some((author, plugin)) => is_part(author) && (plugin == "*" || is_part(plugin)),
            None => text == "*",
        };
        if is_pattern && text.len() <= MAX_PATTERN { Ok(Pattern(text.to_owned())) } else { Err(PatternError) }
    }
}

impl TryFrom<String> for Pattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Pattern, PatternError> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> String {
        pattern.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a node holds of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The names it is trusted for; none for a key that was revoked before it was trusted.
    pub patterns: Vec<Pattern>,
    /// The slots it is trusted for; every one when empty.
    pub slots: Vec<String>,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// Set for ever once it is set.
    #[serde(default)]
    pub revoked: Option<Revocation>,
}

/// The end of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Why, for people; may be empty.
    pub reason: String,
}

/// Why the list is not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The key is revoked, and stays so.
    #[error("{key} is revoked, and that is for ever")]
    Revoked {
        /// Which.
        key: PublicKey,
    },
    /// The list has no such key.
    #[error("{key} is not in the list")]
    Unknown {
        /// Which.
        key: PublicKey,
    },
    /// The list is full, or an entry is too long.
    #[error("{what}: {max} are the limit")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// What is possible.
        max: usize,
    },
    /// There is no such slot.
    #[error("there is no slot '{slot}'")]
    NoSuchSlot {
        /// Which.
        slot: String,
    },
}

/// What a set of signatures is worth to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody vouches for it.
    Unsigned,
    /// This key does, and is trusted for it.
    Trusted(PublicKey),
}

/// Why signatures that hold are not enough.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// A key is revoked; that beats every other signature.
    #[error("{key} is revoked{}{}", if reason.is_empty() { "" } else { ": " }, reason)]
    Revoked {
        /// Which.
        key: PublicKey,
        /// Why.
        reason: String,
    },
    /// The statement has ended.
    #[error("the signature of {key} has expired")]
    Expired {
        /// Whose.
        key: PublicKey,
        /// When, in milliseconds since 1970.
        at_ms: u64,
    },
    /// The key is trusted, for other slots.
    #[error("{key} is trusted for {}, not for the slot {slot}", slots.join(", "))]
    OtherSlot {
        /// Which.
        key: PublicKey,
        /// The plugin's slot.
        slot: &'static str,
        /// Those it is trusted for.
        slots: Vec<String>,
    },
    /// The key is trusted, for other names.
    #[error("{key} is trusted for {patterns}, not for {name}")]
    OtherName {
        /// Which.
        key: PublicKey,
        /// The plugin's name.
        name: String,
        /// Those it is trusted for.
        patterns: String,
    },
    /// No key is trusted.
    #[error("{key} is not trusted here")]
    Unknown {
        /// The first of them.
        key: PublicKey,
    },
}

impl Distrust {
    /// Returns the stable code that `meshctl explain` knows.
    pub fn code(&self) -> &'static str {
        match self {
            Distrust::Unknown { .. } => "MESH-P119",
            Distrust::OtherName { .. } => "MESH-P120",
            Distrust::OtherSlot { .. } => "MESH-P121",
            Distrust::Expired { .. } => "MESH-P123",
            Distrust::Revoked { .. } => "MESH-P124",
        }
    }

    /// Returns the key that it is about.
    pub fn key(&self) -> PublicKey {
        match self {
            Distrust::Revoked { key, .. }
            | Distrust::Expired { key, .. }
            | Distrust::OtherSlot { key, .. }
            | Distrust::OtherName { key, .. }
            | Distrust::Unknown { key } => *key,
        }
    }

    /// How near it came to trust: what is told when several keys fail in several ways.
    fn nearness(&self) -> u8 {
        match self {
            Distrust::Unknown { .. } => 0,
            Distrust::OtherName { .. } => 1,
            Distrust::OtherSlot { .. } => 2,
            Distrust::Expired { .. } => 3,
            Distrust::Revoked { .. } => 4,
        }
    }
}

/// The keys that a node trusts, and those it never will again.
#[derive(Clone, Debug, Default)]
pub struct TrustList {
    entries: BTreeMap<PublicKey, Entry>,
}

impl TrustList {
    /// Returns a list of what was kept.
    pub fn restore(entries: impl IntoIterator<Item = (PublicKey, Entry)>) -> TrustList {
        TrustList { entries: entries.into_iter().take(MAX_KEYS).collect() }
    }

    /// Returns all keys.
    pub fn entries(&self) -> impl Iterator<Item = (&PublicKey, &Entry)> {
        self.entries.iter()
    }

    /// Returns what is held of one key.
    pub fn entry(&self, key: &PublicKey) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Trusts a key for these names and slots, instead of what it was trusted for.
    ///
    /// # Errors
    /// When the key is revoked, a slot does not exist, or there is no room.
    pub fn add(
        &mut self,
        key: PublicKey,
        patterns: Vec<Pattern>,
        slots: Vec<String>,
        now_ms: u64,
    ) -> Result<&Entry, ChangeError> {
        self.check_room(&key)?;
        if patterns.len() > MAX_PATTERNS {
            return Err(ChangeError::TooMany { what: "patterns of a key", max: MAX_PATTERNS });
        }
        if let Some(slot) = slots.iter().find(|slot| Kind::ALL.iter().all(|kind| kind.slot() != **slot)) {
            return Err(ChangeError::NoSuchSlot { slot: slot.clone() });
        }
        if self.entries.get(&key).is_some_and(|entry| entry.revoked.is_some()) {
            return Err(ChangeError::Revoked { key });
        }
        let entry = Entry { patterns, slots, since_ms: now_ms, revoked: None };
        Ok(self.entries.entry(key).insert_entry(entry).into_mut())
    }

    /// Forgets a key that is not revoked.
    ///
    /// # Errors
    /// When it is revoked, or not there.
    pub fn remove(&mut self, key: &PublicKey) -> Result<Entry, ChangeError> {
        match self.entries.get(key) {
            None => Err(ChangeError::Unknown { key: *key }),
            Some(entry) if entry.revoked.is_some() => Err(ChangeError::Revoked { key: *key }),
            Some(_) => self.entries.remove(key).ok_or(ChangeError::Unknown { key: *key }),
        }
    }

    /// Revokes a key for ever, known or not. The first revocation stays as it is.
    ///
    /// # Errors
    /// When there is no room.
    pub fn revoke(&mut self, key: PublicKey, reason: &str, now_ms: u64) -> Result<&Entry, ChangeError> {
        self.check_room(&key)?;
        let entry = self.entries.entry(key).or_insert_with(|| Entry {
            patterns: Vec::new(),
            slots: Vec::new(),
            since_ms: now_ms,
            revoked: None,
        });
        if entry.revoked.is_none() {
            let reason = reason.chars().take(MAX_REASON / 4).collect();
            entry.revoked = Some(Revocation { at_ms: now_ms, reason });
        }
        Ok(entry)
    }

    fn check_room(&self, key: &PublicKey) -> Result<(), ChangeError> {
        if self.entries.len() >= MAX_KEYS && !self.entries.contains_key(key) {
            return Err(ChangeError::TooMany { what: "keys", max: MAX_KEYS });
        }
        Ok(())
    }

    /// Says whether one of the signers is revoked.
    ///
    /// # Errors
    /// [`Distrust::Revoked`] with the first that is.
    pub fn check_revoked(&self, signatures: &[Signed]) -> Result<(), Distrust> {
        let revoked = signatures.iter().find_map(|signed| {
            let key = signed.statement().signer;
            let revocation = self.entries.get(&key)?.revoked.as_ref()?;
            Some(Distrust::Revoked { key, reason: revocation.reason.clone() })
        });
        revoked.map_or(Ok(()), Err)
    }

    /// Says what verified signatures are worth for a plugin of this name and kind at this time; without a
    /// time, what has expired still counts.
    ///
    /// # Errors
    /// When there are signatures and none of them is enough, the nearest miss; when one key is revoked, that.
    pub fn judge(
        &self,
        signatures: &[Signed],
        name: &str,
        kind: Kind,
        now_ms: Option<u64>,
    ) -> Result<Standing, Distrust> {
        self.check_revoked(signatures)?;
        let mut nearest: Option<Distrust> = None;
        for signed in signatures {
            match self.judge_one(signed, name, kind, now_ms) {
                Ok(()) => return Ok(Standing::Trusted(signed.statement().signer)),
                Err(miss) if nearest.as_ref().is_none_or(|near| miss.nearness() > near.nearness()) => {
                    nearest = Some(miss);
                }
                Err(_) => {}
            }
        }
        nearest.map_or(Ok(Standing::Unsigned), Err)
    }

    fn judge_one(
        &self,
        signed: &Signed,
        name: &str,
        kind: Kind,
        now_ms: Option<u64>,
    ) -> Result<(), Distrust> {
        let statement = signed.statement();
        let key = statement.signer;
        let entry = self.entries.get(&key).ok_or(Distrust::Unknown { key })?;
        if !entry.patterns.iter().any(|pattern| pattern.fits(name)) {
            let patterns: Vec<&str> = entry.patterns.iter().map(|pattern| pattern.0.as_str()).collect();
            return Err(Distrust::OtherName { key, name: name.to_owned(), patterns: patterns.join(", ") });
        }
        if !entry.slots.is_empty() && entry.slots.iter().all(|slot| slot != kind.slot()) {
            return Err(Distrust::OtherSlot { key, slot: kind.slot(), slots: entry.slots.clone() });
        }
        match (statement.expires_ms, now_ms) {
            (Some(at_ms), Some(now_ms)) if at_ms <= now_ms => Err(Distrust::Expired { key, at_ms }),
            _ => Ok(()),
        }
    }
}
