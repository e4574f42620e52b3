//! Two answers to one call of a trial: on how many rows they differ, and examples of it. Knows no plugin.

use mesh_proto::policy::{
    Asker, Candidates, CarryBatch, LOCAL, Load, Place, QosBatch, Room, RouteBatch, Shares, TOPIC_BIT, Visitor,
};

use crate::compare::{Answers, Choice, Difference, differences};
use crate::journal::approach_name;

/// What a policy was asked.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Route(RouteBatch),
    Classify(QosBatch),
    Divide(Load),
    Score(Asker, Candidates),
    Admit(Place, Vec<Visitor>),
    Carry(Room, CarryBatch),
}

/// What it answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Route(Vec<u32>),
    Classify(Vec<u8>),
    Divide(Shares),
    Score(Vec<u32>),
    Admit(Vec<bool>),
    Carry(Vec<u8>),
}

/// One input on which the two disagree, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// What was asked.
    pub input: String,
    /// What the active revision answered.
    pub active: String,
    /// What the candidate answered.
    pub candidate: String,
}

/// What came out of a comparison.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Compared {
    /// Decisions: messages, visitors or runs, or one for shares and one for the choice of a parent.
    pub(crate) rows: u64,
    pub(crate) differing: u64,
    pub(crate) examples: Vec<Example>,
}

/// Compares; at most `examples` differences are put into words.
///
/// Shares are compared as the host applies them, and scores by what comes of them: who would be the parent.
pub(crate) fn compare(asked: &Asked, active: &Answer, candidate: &Answer, examples: usize) -> Compared {
    match (asked, active, candidate) {
        (Asked::Route(batch), Answer::Route(active), Answer::Route(candidate)) => {
            let (active, candidate) = (Answers::Routes(active), Answers::Routes(candidate));
            rows(active, candidate, examples, |row| message(batch, row))
        }
        (Asked::Classify(batch), Answer::Classify(active), Answer::Classify(candidate)) => {
            let (active, candidate) = (Answers::Classes(active), Answers::Classes(candidate));
            rows(active, candidate, examples, |row| aged(batch, row))
        }
        (Asked::Divide(load), Answer::Divide(active), Answer::Divide(candidate)) => {
            let [active, candidate] = [active, candidate].map(|shares| Answers::Shares(shares.clamped()));
            let waiting = load.queued_bytes;
            rows(active, candidate, examples, |_| format!("shares while {waiting:?} B wait by class"))
        }
        (Asked::Score(_, candidates), Answer::Score(active), Answer::Score(candidate)) => {
            parents(candidates, [active, candidate], examples)
        }
        (Asked::Admit(_, visitors), Answer::Admit(active), Answer::Admit(candidate)) => {
            let (active, candidate) = (Answers::Admissions(active), Answers::Admissions(candidate));
            rows(active, candidate, examples, |row| visitor(&visitors[row]))
        }
        (Asked::Carry(_, batch), Answer::Carry(active), Answer::Carry(candidate)) => {
            let (active, candidate) = (Answers::Worths(active), Answers::Worths(candidate));
            rows(active, candidate, examples, |row| run(batch, row))
        }
        _ => unreachable!("a call and its two answers are of one kind"),
    }
}

fn rows(
    active: Answers<'_>,
    candidate: Answers<'_>,
    examples: usize,
    input: impl Fn(usize) -> String,
) -> Compared {
    let example = |difference: Difference| Example {
        input: input(difference.row),
        active: difference.before.to_string(),
        candidate: difference.after.to_string(),
    };
    Compared {
        rows: active.len() as u64,
        differing: differences(active, candidate).count() as u64,
        examples: differences(active, candidate).take(examples).map(example).collect(),
    }
}

fn parents(candidates: &Candidates, scores: [&[u32]; 2], examples: usize) -> Compared {
    let [active, candidate] = scores.map(best);
    let example = || Example {
        input: format!("a parent of {} candidates", candidates.len()),
        active: parent(candidates, scores[0]),
        candidate: parent(candidates, scores[1]),
    };
    let differs = active != candidate;
    Compared {
        rows: 1,
        differing: u64::from(differs),
        examples: (differs && examples > 0).then(example).into_iter().collect(),
    }
}

fn message(batch: &RouteBatch, row: usize) -> String {
    let dest = match batch.dest[row] {
        topic if topic & TOPIC_BIT != 0 => format!("topic {:08x}", topic & !TOPIC_BIT),
        node => format!("destination {node}"),
    };
    let from = match batch.ingress[row] {
        LOCAL => "written here".to_owned(),
        neighbour => format!("from neighbour {neighbour}"),
    };
    format!("to {dest}, {from}, {} B, {}", batch.size[row], class(batch.class[row]))
}

fn aged(batch: &QosBatch, row: usize) -> String {
    let to = match batch.tag[row] {
        0 => "to a node".to_owned(),
        tag => format!("to topic {tag:08x}"),
    };
    format!("{to}, {} B, {}, {} ms old", batch.size[row], class(batch.class[row]), batch.age_ms[row])
}

fn visitor(visitor: &Visitor) -> String {
    let name = if visitor.name.is_empty() { "without a name" } else { &visitor.name };
    format!("{} {name}, {}", visitor.node, approach_name(visitor.approach))
}

fn run(batch: &CarryBatch, row: usize) -> String {
    let (messages, bytes) = (batch.messages[row], batch.bytes[row]);
    let class = class(batch.class[row]);
    format!("to destination {}, {messages} messages of {bytes} B, {class}", batch.dest[row])
}

fn class(number: u8) -> Choice {
    Answers::Classes(&[number]).row(0)
}

/// The row with the highest score, the first of equals.
fn best(scores: &[u32]) -> Option<usize> {
    (0..scores.len()).max_by_key(|&row| (scores[row], std::cmp::Reverse(row)))
}

fn parent(candidates: &Candidates, scores: &[u32]) -> String {
    best(scores).map_or_else(
        || "none".to_owned(),
        |row| format!("candidate {} with {}", candidates.node[row], scores[row]),
    )
}

#[cfg(test)]
mod tests {
    use mesh_proto::policy::{ABSTAIN, Class, DROP, HOLD};

    use super::*;

    #[test]
    fn differing_rows_are_counted_and_some_put_into_words() {
        let mut batch = RouteBatch::default();
        batch.push(7, LOCAL, 256, Class::Normal);
        batch.push(TOPIC_BIT | 0xab, 1, 16, Class::Bulk);
        batch.push(7, 2, 1, Class::High);

        let compared = compare(
            &Asked::Route(batch),
            &Answer::Route(vec![0, ABSTAIN, 3]),
            &Answer::Route(vec![0, DROP, HOLD]),
            1,
        );

        assert_eq!((compared.rows, compared.differing), (3, 2));
        let example = Example {
            input: "to topic 000000ab, from neighbour 1, 16 B, bulk".into(),
            active: "as the host decides".into(),
            candidate: "drop".into(),
        };
        assert_eq!(compared.examples, [example]);
    }

    #[test]
    fn scores_agree_when_they_choose_the_same_parent() {
        let asker = Asker { level: 0, mobility: 0, battery: 1, weights: [250; 4], max_distance_m: 1 };
        let candidates = Candidates { node: vec![4, 9], ..Candidates::default() };
        let asked = Asked::Score(asker, candidates);
        for (scores, differing) in [(vec![20, 10], 0), (vec![5, 5], 0), (vec![1, 2], 1)] {
            let compared = compare(&asked, &Answer::Score(vec![900, 100]), &Answer::Score(scores), 8);

            assert_eq!((compared.rows, compared.differing), (1, differing));
        }
    }

    #[test]
    fn shares_are_compared_as_the_host_applies_them() {
        let greedy = |critical| Shares { guaranteed: [critical, 1, 1, 1, 1], ..Shares::default() };
        let asked = Asked::Divide(Load::default());

        let compared = compare(&asked, &Answer::Divide(greedy(0)), &Answer::Divide(greedy(9)), 8);

        assert_eq!((compared.rows, compared.differing), (1, 0));
    }
}
