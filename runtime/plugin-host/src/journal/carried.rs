//! A call of a carry policy, as plain values.

use mesh_proto::policy::{CarryBatch, Room};
use serde::{Deserialize, Serialize};

use super::entry::{Told, all_of};

/// A call of a carry policy, see [`Room`] and [`CarryBatch`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the columns are those of `CarryBatch`")]
pub struct Carried {
    #[serde(flatten)]
    pub told: Told,
    /// Messages and bytes that wait, and bytes, messages for each and bytes for each that may.
    pub room: [u64; 5],
    pub dest: Vec<u32>,
    pub class: Vec<u8>,
    pub messages: Vec<u32>,
    pub bytes: Vec<u32>,
    pub age_ms: Vec<u32>,
    pub left_ms: Vec<u32>,
    pub is_own: Vec<u8>,
    pub is_durable: Vec<u8>,
    pub waiting_messages: Vec<u32>,
    pub waiting_bytes: Vec<u32>,
    /// One a row: what it is worth, 0 for refused.
    pub answers: Vec<u8>,
}

impl Carried {
    /// Returns how much waited, and how much may.
    pub fn room(&self) -> Room {
        let [messages, bytes, most_bytes, most_messages_each, most_bytes_each] = self.room;
        Room { messages, bytes, most_bytes, most_messages_each, most_bytes_each }
    }

    /// Returns what the policy was asked.
    pub fn batch(&self) -> CarryBatch {
        CarryBatch {
            dest: self.dest.clone(),
            class: self.class.clone(),
            messages: self.messages.clone(),
            bytes: self.bytes.clone(),
            age_ms: self.age_ms.clone(),
            left_ms: self.left_ms.clone(),
            is_own: self.is_own.clone(),
            is_durable: self.is_durable.clone(),
            waiting_messages: self.waiting_messages.clone(),
            waiting_bytes: self.waiting_bytes.clone(),
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        let bytes = [self.class.len(), self.is_own.len(), self.is_durable.len()];
        let times = [self.age_ms.len(), self.left_ms.len()];
        let sizes = [self.messages.len(), self.bytes.len()];
        let waiting = [self.waiting_messages.len(), self.waiting_bytes.len()];
        let rows = self.dest.len();
        all_of(rows, &bytes) && all_of(rows, &times) && all_of(rows, &sizes) && all_of(rows, &waiting)
    }
}
