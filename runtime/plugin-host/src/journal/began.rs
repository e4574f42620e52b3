//! What a handler's instance begins with beside its state: where it runs, and what it finds in its store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::entry::Start;
use super::{Payload, hex};
use crate::handler::Identity;
use crate::limits;
use crate::sandbox::Kv;

/// Where a handler begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Began {
    /// The node's id.
    #[serde(with = "hex::key")]
    pub node: [u8; 32],
    /// The node's name.
    pub name: String,
    /// Its store; absent when it is too large for the journal, and then a replay cannot begin here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv: Option<BTreeMap<String, Payload>>,
    /// In a recording without payloads, what stands for the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Payload>,
}

/// What is written into the journal.
type Packed = ([u8; 32], String, Option<Kv>);

/// Returns it as the journal keeps it, without a store that has more than so many bytes.
pub(crate) fn encode(node: &[u8; 32], name: &str, kv: &Kv, most: usize) -> Vec<u8> {
    // Up to three bytes each for the lengths of a key and a value.
    let bytes: usize = kv.iter().map(|(key, value)| key.len() + value.len() + 6).sum();
    let kv = Some(kv).filter(|_| bytes <= most);
    postcard::to_allocvec(&(node, name, kv)).expect("plain values are written to memory")
}

pub(super) fn decode(bytes: &[u8]) -> Option<Began> {
    let (node, name, kv): Packed = postcard::from_bytes(bytes).ok()?;
    let kv = kv.map(|kv| kv.into_iter().map(|(key, value)| (key, Payload::Hex(value))).collect());
    Some(Began { node, name, kv, state: None })
}

impl Began {
    /// Says whether it is within a node's bounds: a file may say anything.
    pub(super) fn is_whole(&self) -> bool {
        let kv = self.kv.iter().flatten();
        let bytes = kv.fold(0, |sum: u64, (key, value)| {
            sum.saturating_add(key.len() as u64).saturating_add(value.len())
        });
        self.name.len() <= limits::NAME_BYTES
            && bytes <= limits::KV_BYTES as u64
            && self.kv.as_ref().is_none_or(|kv| kv.len() <= limits::KV_KEYS)
    }

    fn is_hidden(&self) -> bool {
        let mut values = self.kv.iter().flat_map(BTreeMap::values);
        self.state.is_some() || values.any(|value| value.bytes().is_none())
    }

    /// Returns what an instance is made with, if all of it is here.
    pub(super) fn identity(&self) -> Option<Identity> {
        let value = |(key, value): (&String, &Payload)| Some((key.clone(), value.bytes()?.to_vec()));
        let kv: Option<Kv> = self.kv.as_ref()?.iter().map(value).collect();
        Some(Identity::of(self.node, self.name.clone(), kv?))
    }
}

impl Start {
    pub(super) fn hide(&mut self) {
        let Some(began) = &mut self.handler else { return };
        if !self.state.is_empty() {
            began.state = Some(Payload::Hex(std::mem::take(&mut self.state)).hidden());
        }
        for value in began.kv.iter_mut().flat_map(BTreeMap::values_mut) {
            *value = value.hidden();
        }
    }

    /// Says whether what it begins with has been replaced by hashes.
    pub(super) fn is_hidden(&self) -> bool {
        self.handler.as_ref().is_some_and(Began::is_hidden)
    }
}
