//! QoS: batches of messages in, a class for each out; and how a link is shared.

use std::time::Duration;

use mesh_proto::policy::{CLASS_DROP, Class, Load, QosBatch, Shares};

use super::{as_policy, check_rows, instance};
use crate::fault::Fault;
use crate::slot::Guest;
use crate::wit::qos;

instance!(
    /// An instance of a QoS policy.
    Qos, qos, mesh_qos_policy
);

impl Qos {
    pub(crate) fn classify(
        &mut self,
        limit: Duration,
        now_ms: u64,
        batch: &QosBatch,
    ) -> Result<Vec<u8>, Fault> {
        let columns =
            qos::Batch { class: &batch.class, size: &batch.size, age_ms: &batch.age_ms, tag: &batch.tag };
        self.store.data_mut().wasi.begin(now_ms, 0);
        let answers = self.call(limit, |guest, store| guest.call_classify(store, now_ms, columns))?;
        check_rows(batch.len(), answers.len())?;
        let is_wrong = |answer: u8| usize::from(answer) >= Class::ALL.len() && answer != CLASS_DROP;
        if answers.iter().fold(false, |wrong, &answer| wrong | is_wrong(answer)) {
            let row = answers.iter().position(|&answer| is_wrong(answer)).unwrap_or(0);
            return Err(Fault::UnknownClass { row, answer: answers[row] });
        }
        Ok(answers)
    }

    pub(crate) fn divide(&mut self, limit: Duration, now_ms: u64, load: &Load) -> Result<Shares, Fault> {
        let columns = qos::Load {
            sent_bytes: &load.sent_bytes,
            queued_bytes: &load.queued_bytes,
            dropped: &load.dropped,
        };
        self.store.data_mut().wasi.begin(now_ms, 0);
        let shares = self.call(limit, |guest, store| guest.call_divide(store, now_ms, columns))?;
        Ok(Shares { guaranteed: five(&shares.guaranteed)?, burst: five(&shares.burst)? })
    }
}

impl Guest for Qos {
    type Context = ();

    fn rehearse(&mut self, limit: Duration) -> Result<(), Fault> {
        let mut batch = QosBatch::default();
        for class in Class::ALL {
            batch.push(class, 256, 0, 0);
        }
        self.classify(limit, 0, &batch)?;
        self.divide(limit, 0, &Load::default()).map(drop)
    }

    as_policy!(Qos);
}

fn five(column: &[u8]) -> Result<[u8; 5], Fault> {
    column.try_into().map_err(|_| Fault::Rows { asked: 5, got: column.len() })
}
