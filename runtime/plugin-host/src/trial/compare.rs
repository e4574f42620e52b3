//! Two answers to one call: on how many rows they differ, and examples of it. Knows no plugin.

use mesh_proto::policy::{
    ABSTAIN, Asker, CLASS_DROP, Candidates, Class, DROP, HOLD, LOCAL, Load, QosBatch, RouteBatch, Shares,
    TOPIC_BIT,
};

/// What a policy was asked.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Route(RouteBatch),
    Classify(QosBatch),
    Divide(Load),
    Score(Asker, Candidates),
}

/// What it answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Route(Vec<u32>),
    Classify(Vec<u8>),
    Divide(Shares),
    Score(Vec<u32>),
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
    /// Decisions: messages, or one for shares and one for the choice of a parent.
    pub(crate) rows: u64,
    pub(crate) differing: u64,
    pub(crate) examples: Vec<Example>,
}

/// Compares; at most `examples` differences are put into words.
///
/// Scores are compared by what comes of them: who would be the parent.
pub(crate) fn compare(asked: &Asked, active: &Answer, candidate: &Answer, examples: usize) -> Compared {
    match (asked, active, candidate) {
        (Asked::Route(batch), Answer::Route(active), Answer::Route(candidate)) => {
            columns(active, candidate, examples, |row| Example {
                input: message(batch, row),
                active: next_hop(active[row]),
                candidate: next_hop(candidate[row]),
            })
        }
        (Asked::Classify(batch), Answer::Classify(active), Answer::Classify(candidate)) => {
            columns(active, candidate, examples, |row| Example {
                input: aged(batch, row),
                active: class(active[row]),
                candidate: class(candidate[row]),
            })
        }
        (Asked::Divide(load), Answer::Divide(active), Answer::Divide(candidate)) => {
            let (active, candidate) = (active.clamped(), candidate.clamped());
            columns(&[active], &[candidate], examples, |_| Example {
                input: format!("shares while {:?} bytes wait by class", load.queued_bytes),
                active: shares(&active),
                candidate: shares(&candidate),
            })
        }
        (Asked::Score(_, candidates), Answer::Score(active), Answer::Score(candidate)) => {
            columns(&[best(active)], &[best(candidate)], examples, |_| Example {
                input: format!("a parent of {} candidates", candidates.len()),
                active: parent(candidates, active),
                candidate: parent(candidates, candidate),
            })
        }
        _ => unreachable!("a call and its two answers are of one kind"),
    }
}

fn columns<T: PartialEq>(
    active: &[T],
    candidate: &[T],
    examples: usize,
    example: impl Fn(usize) -> Example,
) -> Compared {
    let differing = |row: &usize| active[*row] != candidate[*row];
    let rows = active.len().min(candidate.len());
    Compared {
        rows: rows as u64,
        differing: (0..rows).filter(differing).count() as u64,
        examples: (0..rows).filter(differing).take(examples).map(example).collect(),
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

fn next_hop(verdict: u32) -> String {
    match verdict {
        DROP => "drop".to_owned(),
        HOLD => "hold".to_owned(),
        ABSTAIN => "the host decides".to_owned(),
        neighbour => format!("neighbour {neighbour}"),
    }
}

fn class(number: u8) -> String {
    match (number, Class::from_u8(number)) {
        (CLASS_DROP, _) => "drop".to_owned(),
        (_, Some(class)) => class.name().to_owned(),
        (other, None) => format!("class {other}"),
    }
}

fn shares(shares: &Shares) -> String {
    format!("guaranteed {:?}, burst {:?}", shares.guaranteed, shares.burst)
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
            active: "the host decides".into(),
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
