//! Answers in the place of a policy that fails, as its operator wants: the native built-in's, the most cautious, or
//! the most permissive. The host's clamps apply to them as to any answer.

use mesh_proto::policy::native::{self, Native};
use mesh_proto::policy::{
    ABSTAIN, Approach, Asker, Candidates, CarryBatch, Class, DROP, HOLD, Load, MAX_SCORE, Place, QosBatch,
    REFUSE, Room, RouteBatch, TOPIC_BIT, Visitor,
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

/// Closed makes no link, and keeps those that there are: a plugin that fails must not tear the mesh apart.
pub(super) fn admit(mode: OnFailure, visitors: &[Visitor]) -> Vec<bool> {
    let mut answers = Vec::with_capacity(visitors.len());
    match mode {
        OnFailure::Fallback | OnFailure::FailOpen => native::admit(visitors, &mut answers),
        OnFailure::FailClosed => {
            answers.extend(visitors.iter().map(|visitor| visitor.approach == Approach::Standing));
        }
    }
    answers
}

/// Closed refuses whatever may be refused, open keeps everything as the native built-in does.
pub(super) fn carry(mode: OnFailure, batch: &CarryBatch, worths: &mut Vec<u8>) {
    match mode {
        OnFailure::Fallback | OnFailure::FailOpen => native::carry(batch, worths),
        OnFailure::FailClosed => {
            worths.clear();
            worths.resize(batch.len(), REFUSE);
        }
    }
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

pub(super) fn admit_digest(now_ms: u64, place: &Place, visitors: &[Visitor]) -> [u8; 32] {
    let Place { links, least, most, members } = *place;
    let input = Input::of("admit", now_ms).numbers(&[links, least, most, members]);
    let visitors = visitors.iter().fold(input, |input, visitor| {
        // As in the call: nothing known is before everything that can be.
        let health = visitor.health.map_or(0, |state| state as u8 + 1);
        let input = input.bytes(&visitor.node.0).bytes(visitor.name.as_bytes());
        let input = input.bytes(&[health, visitor.approach as u8]).number(visitor.labels.len() as u64);
        let labels = visitor.labels.iter();
        labels.fold(input, |input, (key, value)| input.bytes(key.as_bytes()).bytes(value.as_bytes()))
    });
    visitors.digest()
}

pub(super) fn carry_digest(now_ms: u64, room: &Room, rows: &CarryBatch) -> [u8; 32] {
    let input = Input::of("carry", now_ms).number(room.messages).number(room.bytes);
    let input = input.number(room.most_bytes).number(room.most_messages_each).number(room.most_bytes_each);
    let input = input.numbers(&rows.dest).bytes(&rows.class).numbers(&rows.messages).numbers(&rows.bytes);
    let input =
        input.numbers(&rows.age_ms).numbers(&rows.left_ms).bytes(&rows.is_own).bytes(&rows.is_durable);
    input.numbers(&rows.waiting_messages).numbers(&rows.waiting_bytes).digest()
}
