//! Carry: columns in, a run a row, a column out.

use super::carry::exports::mesh::carry::policy::{self, Batch, Guest, Refusal, Setting};
use super::{Export, Hosted, settings};
use crate::Class;
use crate::carry::{Carry, Room, Run};

impl<P: Carry + Hosted> Guest for Export<P> {
    fn configure(given: Vec<Setting>) -> Result<(), Refusal> {
        P::cell().with(|policy| policy.configure(settings(given)).map_err(Into::into))
    }

    fn carry(now_ms: u64, given: policy::Room, columns: Batch) -> Vec<u8> {
        let room = room(now_ms, &given);
        let runs: Vec<Run> = (0..columns.class.len()).map(|row| run(&columns, row)).collect();
        P::cell().with(|policy| {
            policy.begin(&room, &runs);
            // The answers take the place of the classes: no further allocation.
            let mut answers = columns.class;
            for (answer, run) in answers.iter_mut().zip(&runs) {
                *answer = policy.worth(&room, run);
            }
            answers
        })
    }

    fn state_version() -> u32 {
        P::STATE_VERSION
    }

    fn save() -> Vec<u8> {
        P::cell().with(|policy| policy.save())
    }

    fn load_state(from_version: u32, state: Vec<u8>) -> Result<(), Refusal> {
        P::cell().with(|policy| policy.load(from_version, &state).map_err(Into::into))
    }
}

fn room(now_ms: u64, given: &policy::Room) -> Room {
    Room {
        now_ms,
        messages: given.messages,
        bytes: given.bytes,
        most_bytes: given.most_bytes,
        most_messages_each: given.most_messages_each,
        most_bytes_each: given.most_bytes_each,
    }
}

fn run(columns: &Batch, row: usize) -> Run {
    Run {
        dest: columns.dest[row],
        class: Class::from_u8(columns.class[row]),
        messages: columns.messages[row],
        bytes: columns.bytes[row],
        age_ms: columns.age_ms[row],
        left_ms: columns.left_ms[row],
        is_own: columns.is_own[row] != 0,
        is_durable: columns.is_durable[row] != 0,
        waiting_messages: columns.waiting_messages[row],
        waiting_bytes: columns.waiting_bytes[row],
    }
}
