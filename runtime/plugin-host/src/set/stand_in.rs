//! Answers in the place of a policy that fails, as its operator wants: the native built-in's, the most cautious, or
//! the most permissive. The host's clamps apply to them as to any answer.

use mesh_proto::policy::native::{self, Native};
use mesh_proto::policy::{
    ABSTAIN, Asker, Candidates, Class, DROP, HOLD, Load, MAX_SCORE, QosBatch, RouteBatch, TOPIC_BIT,
};

use crate::input::Input;
use crate::terms::OnFailure;

/// Holds what has a recipient, within the bounds of what waits for one; drops what goes to a topic, which nothing can
/// hold.
pub(super) fn route_closed(batch: &RouteBatch, verdicts: &mut Vec<u32>) {
    verdicts.clear();
    verdicts.extend(batch.dest.iter().map(|dest| if dest & TOPIC_BIT == 0 { HOLD } else { DROP }));
}

/// Lets the host choose among all ways that cannot loop.
pub(super) fn route_open(batch: &RouteBatch, verdicts: &mut Vec<u32>) {
    verdicts.clear();
    verdicts.resize(batch.len(), ABSTAIN);
}

/// Closed is the lowest class: everything still arrives, and nothing overtakes.
pub(super) fn classify(mode: OnFailure, native: &Native, batch: &QosBatch, classes: &mut Vec<u8>) {
    match mode {
        OnFailure::Fallback | OnFailure::FailOpen => native.qos.classify(batch, classes),
        OnFailure::FailClosed => {
            classes.clear();
            classes.resize(batch.len(), Class::Bulk as u8);
        }
    }
}

/// Closed scores nobody, open everybody the same.
pub(super) fn score(mode: OnFailure, asker: &Asker, candidates: &Candidates, scores: &mut Vec<u32>) {
    let same = match mode {
        OnFailure::Fallback => return native::score(asker, candidates, scores),
        OnFailure::FailClosed => 0,
        OnFailure::FailOpen => MAX_SCORE,
    };
    scores.clear();
    scores.resize(candidates.len(), same);
}

pub(super) fn route_digest(now_ms: u64, batch: &RouteBatch, links: usize) -> [u8; 32] {
    let input = Input::of("decide", now_ms).number(links as u64);
    input.numbers(&batch.dest).numbers(&batch.ingress).numbers(&batch.size).bytes(&batch.class).digest()
}

pub(super) fn qos_digest(now_ms: u64, batch: &QosBatch) -> [u8; 32] {
    let input = Input::of("classify", now_ms).bytes(&batch.class);
    input.numbers(&batch.size).numbers(&batch.age_ms).numbers(&batch.tag).digest()
}

pub(super) fn load_digest(now_ms: u64, load: &Load) -> [u8; 32] {
    let columns = [load.sent_bytes, load.queued_bytes, load.dropped];
    let input = Input::of("divide", now_ms);
    columns.iter().flatten().fold(input, |input, number| input.number(*number)).digest()
}

pub(super) fn score_digest(now_ms: u64, asker: &Asker, rows: &Candidates) -> [u8; 32] {
    let input = Input::of("score", now_ms).bytes(&[asker.level, asker.mobility, asker.battery]);
    let input = input.numbers(&asker.weights).numbers(&[asker.max_distance_m]).numbers(&rows.node);
    let input = input.bytes(&rows.level).bytes(&rows.same_cell).bytes(&rows.is_parent);
    let input =
        input.bytes(&rows.mobility).bytes(&rows.battery).bytes(&rows.cpu_used).bytes(&rows.memory_used);
    let input = input.numbers(&rows.cores).numbers(&rows.memory_mb).numbers(&rows.uplink_mbps);
    let input = input.numbers(&rows.distance_m).numbers(&rows.rtt_us).numbers(&rows.up_s);
    input.numbers(&rows.children).numbers(&rows.max_children).digest()
}
