//! Carry: runs that have to wait in, what each is worth out.

use std::time::Duration;

use mesh_proto::policy::{CarryBatch, CarryRow, Class, Room};

use super::{as_policy, check_rows, instance};
use crate::fault::Fault;
use crate::slot::Guest;
use crate::wit::carry;

instance!(
    /// An instance of a carry policy.
    Carry, carry, mesh_carry_policy
);

impl Carry {
    /// Answers a batch. Every number is an answer; whoever asked sees to it that nothing is refused that may not be.
    pub(crate) fn worth(
        &mut self,
        limit: Duration,
        now_ms: u64,
        room: &Room,
        batch: &CarryBatch,
    ) -> Result<Vec<u8>, Fault> {
        let room = carry::Room {
            messages: room.messages,
            bytes: room.bytes,
            most_bytes: room.most_bytes,
            most_messages_each: room.most_messages_each,
            most_bytes_each: room.most_bytes_each,
        };
        let columns = carry::Batch {
            dest: &batch.dest,
            class: &batch.class,
            messages: &batch.messages,
            bytes: &batch.bytes,
            age_ms: &batch.age_ms,
            left_ms: &batch.left_ms,
            is_own: &batch.is_own,
            is_durable: &batch.is_durable,
            waiting_messages: &batch.waiting_messages,
            waiting_bytes: &batch.waiting_bytes,
        };
        self.store.data_mut().wasi.begin(now_ms, 0);
        let answers = self.call(limit, |guest, store| guest.call_carry(store, now_ms, room, columns))?;
        check_rows(batch.len(), answers.len())?;
        Ok(answers)
    }
}

impl Guest for Carry {
    type Context = ();

    fn rehearse(&mut self, limit: Duration) -> Result<(), Fault> {
        let (room, batch) = runs();
        self.worth(limit, 0, &room, &batch).map(drop)
    }

    as_policy!(Carry);
}

/// Room for a megabyte, and a run of each class.
fn runs() -> (Room, CarryBatch) {
    let room = Room {
        messages: 3,
        bytes: 768,
        most_bytes: 1 << 20,
        most_messages_each: 1_000,
        most_bytes_each: 1 << 18,
    };
    let mut batch = CarryBatch::default();
    for class in Class::ALL {
        batch.push(CarryRow {
            dest: 0,
            class,
            messages: 1,
            bytes: 256,
            age_ms: 100,
            left_ms: 60_000,
            is_own: class == Class::Critical,
            is_durable: class == Class::High,
            waiting_messages: 3,
            waiting_bytes: 768,
        });
    }
    (room, batch)
}
