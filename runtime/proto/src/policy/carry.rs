//! The shape in which a carry policy is asked. Decides nothing.

use super::Class;

/// The answer "do not keep it".
pub const REFUSE: u8 = 0;

/// What waits here for nodes that cannot be reached, and how much may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Messages that wait for all nodes together.
    pub messages: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Payload bytes that may wait for all nodes together.
    pub most_bytes: u64,
    /// Messages that may wait for one node.
    pub most_messages_each: u64,
    /// Payload bytes that may wait for one node.
    pub most_bytes_each: u64,
}

/// Runs of messages that have to wait, as columns of equal length. A run is what one origin wrote at once for one
/// node; it is kept or refused as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CarryBatch {
    /// The recipient's number, the same as in [`super::RouteBatch::dest`].
    pub dest: Vec<u32>,
    /// The class that the origin asked for, 0 to 4.
    pub class: Vec<u8>,
    /// Messages.
    pub messages: Vec<u32>,
    /// Their payload bytes.
    pub bytes: Vec<u32>,
    /// Milliseconds since the origin wrote them, by the origin's clock.
    pub age_ms: Vec<u32>,
    /// Milliseconds until they expire.
    pub left_ms: Vec<u32>,
    /// 1 when this node wrote them, else 0.
    pub is_own: Vec<u8>,
    /// 1 when the origin was promised that they survive a restart, else 0.
    pub is_durable: Vec<u8>,
    /// Messages that wait for that recipient already.
    pub waiting_messages: Vec<u32>,
    /// Their payload bytes.
    pub waiting_bytes: Vec<u32>,
}

/// One row of a [`CarryBatch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CarryRow {
    /// See [`CarryBatch::dest`].
    pub dest: u32,
    /// See [`CarryBatch::class`].
    pub class: Class,
    /// See [`CarryBatch::messages`].
    pub messages: u32,
    /// See [`CarryBatch::bytes`].
    pub bytes: u32,
    /// See [`CarryBatch::age_ms`].
    pub age_ms: u32,
    /// See [`CarryBatch::left_ms`].
    pub left_ms: u32,
    /// See [`CarryBatch::is_own`].
    pub is_own: bool,
    /// See [`CarryBatch::is_durable`].
    pub is_durable: bool,
    /// See [`CarryBatch::waiting_messages`].
    pub waiting_messages: u32,
    /// See [`CarryBatch::waiting_bytes`].
    pub waiting_bytes: u32,
}

impl CarryBatch {
    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.dest.len()
    }

    /// Says whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.dest.is_empty()
    }

    /// Removes all rows and keeps the memory.
    pub fn clear(&mut self) {
        let words = [
            &mut self.dest,
            &mut self.messages,
            &mut self.bytes,
            &mut self.age_ms,
            &mut self.left_ms,
            &mut self.waiting_messages,
            &mut self.waiting_bytes,
        ];
        words.into_iter().for_each(Vec::clear);
        [&mut self.class, &mut self.is_own, &mut self.is_durable].into_iter().for_each(Vec::clear);
    }

    /// Appends one row.
    pub fn push(&mut self, row: CarryRow) {
        self.dest.push(row.dest);
        self.class.push(row.class as u8);
        self.messages.push(row.messages);
        self.bytes.push(row.bytes);
        self.age_ms.push(row.age_ms);
        self.left_ms.push(row.left_ms);
        self.is_own.push(u8::from(row.is_own));
        self.is_durable.push(u8::from(row.is_durable));
        self.waiting_messages.push(row.waiting_messages);
        self.waiting_bytes.push(row.waiting_bytes);
    }
}
