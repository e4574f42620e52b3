//! QoS: columns in, a header a row, a column out.

use super::qos::exports::mesh::qos::policy::{self, Batch, Guest, Refusal, Setting};
use super::{Export, Hosted, settings};
use crate::Class;
use crate::qos::{Header, Load, Qos};

const DROP: u8 = u8::MAX;

impl<P: Qos + Hosted> Guest for Export<P> {
    fn configure(given: Vec<Setting>) -> Result<(), Refusal> {
        P::cell().with(|policy| policy.configure(settings(given)).map_err(Into::into))
    }

    fn classify(now_ms: u64, batch: Batch) -> Vec<u8> {
        P::cell().with(|policy| {
            // The answers take the place of the wishes: no further allocation.
            let mut answers = batch.class;
            let rows = answers.iter_mut().zip(&batch.size).zip(&batch.age_ms).zip(&batch.tag);
            for (((row, &size), &age_ms), &tag) in rows {
                let header = Header { now_ms, class: Class::from_u8(*row), size, age_ms, tag };
                *row = policy.classify(&header).map_or(DROP, |class| class as u8);
            }
            answers
        })
    }

    fn divide(now_ms: u64, load: policy::Load) -> policy::Shares {
        let load = Load {
            sent_bytes: five(&load.sent_bytes),
            queued_bytes: five(&load.queued_bytes),
            dropped: five(&load.dropped),
        };
        let shares = P::cell().with(|policy| policy.divide(now_ms, &load));
        policy::Shares { guaranteed: shares.guaranteed.to_vec(), burst: shares.burst.to_vec() }
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

fn five(column: &[u64]) -> [u64; 5] {
    std::array::from_fn(|class| column.get(class).copied().unwrap_or(0))
}
