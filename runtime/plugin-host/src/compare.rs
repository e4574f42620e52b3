//! Answers of two policies to the same question: whether they are the same, and in what they differ. Asks nobody
//! and judges nothing.
//!
//! ```
//! use mesh_plugin_host::compare::{Answers, differences};
//!
//! let (active, candidate) = (Answers::Routes(&[0, 1, 1]), Answers::Routes(&[0, 1, u32::MAX]));
//!
//! let differing: Vec<_> = differences(active, candidate).collect();
//! assert_eq!(differing[0].to_string(), "row 2: neighbour 1, then drop");
//! ```

use std::fmt;

use mesh_proto::policy::{ABSTAIN, CLASS_DROP, Class, DROP, HOLD, REFUSE, Shares};

/// What a policy answered to one call, as it came back: the host's clamps come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers<'a> {
    /// Of a routing policy: a row of the neighbours, or one of the three marks, for each message.
    Routes(&'a [u32]),
    /// Of a QoS policy: a class, or the mark for drop, for each message.
    Classes(&'a [u8]),
    /// Of a QoS policy: how links are shared.
    Shares(Shares),
    /// Of a topology policy: a score for each candidate.
    Scores(&'a [u32]),
    /// Of an admission policy: whether there may be a link, for each visitor.
    Admissions(&'a [bool]),
    /// Of a carry policy: what each run is worth.
    Worths(&'a [u8]),
    /// None: it failed.
    Fault,
}

/// One row of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This row of the neighbours.
    Neighbour(u32),
    /// Hold the message until a way appears.
    Hold,
    /// Let the host decide.
    Abstain,
    /// Drop the message.
    Drop,
    /// This class.
    Class(Class),
    /// A class that does not exist.
    NoClass(u8),
    /// These shares.
    Shares(Shares),
    /// This score.
    Score(u32),
    /// There may be a link.
    Admit,
    /// There may be none.
    Deny,
    /// Keep it; it is worth so much.
    Worth(u8),
    /// Do not keep it.
    Refuse,
    /// There is no such row.
    Missing,
    /// The policy failed.
    Fault,
}

/// A row that two policies answered differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Of the call.
    pub row: usize,
    /// What the one answered.
    pub before: Choice,
    /// What the other answered.
    pub after: Choice,
}

impl Answers<'_> {
    /// Returns the number of rows; shares and a fault are one.
    pub fn len(&self) -> usize {
        match self {
            Answers::Routes(column) | Answers::Scores(column) => column.len(),
            Answers::Classes(column) | Answers::Worths(column) => column.len(),
            Answers::Admissions(column) => column.len(),
            Answers::Shares(_) | Answers::Fault => 1,
        }
    }

    /// Says whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns one row; a fault answers every row alike.
    pub fn row(&self, row: usize) -> Choice {
        match self {
            Answers::Routes(column) => column.get(row).map_or(Choice::Missing, |&answer| route(answer)),
            Answers::Classes(column) => column.get(row).map_or(Choice::Missing, |&answer| class(answer)),
            Answers::Scores(column) => column.get(row).map_or(Choice::Missing, |&score| Choice::Score(score)),
            Answers::Admissions(column) => column.get(row).map_or(Choice::Missing, |&answer| link(answer)),
            Answers::Worths(column) => column.get(row).map_or(Choice::Missing, |&answer| worth(answer)),
            Answers::Shares(shares) if row == 0 => Choice::Shares(*shares),
            Answers::Shares(_) => Choice::Missing,
            Answers::Fault => Choice::Fault,
        }
    }
}

/// Returns the rows in which the two differ, in order; none for equal answers.
pub fn differences<'a>(before: Answers<'a>, after: Answers<'a>) -> impl Iterator<Item = Difference> + 'a {
    let rows = before.len().max(after.len());
    // Equal columns are the rule, and one comparison of memory tells.
    let rows = if before == after { 0 } else { rows };
    (0..rows)
        .map(move |row| Difference { row, before: before.row(row), after: after.row(row) })
        .filter(|difference| difference.before != difference.after)
}

fn route(answer: u32) -> Choice {
    match answer {
        DROP => Choice::Drop,
        HOLD => Choice::Hold,
        ABSTAIN => Choice::Abstain,
        row => Choice::Neighbour(row),
    }
}

fn class(answer: u8) -> Choice {
    match (answer, Class::from_u8(answer)) {
        (CLASS_DROP, _) => Choice::Drop,
        (_, Some(class)) => Choice::Class(class),
        (other, None) => Choice::NoClass(other),
    }
}

fn link(answer: bool) -> Choice {
    if answer { Choice::Admit } else { Choice::Deny }
}

fn worth(answer: u8) -> Choice {
    if answer == REFUSE { Choice::Refuse } else { Choice::Worth(answer) }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Neighbour(row) => write!(f, "neighbour {row}"),
            Choice::Hold => f.write_str("hold"),
            Choice::Abstain => f.write_str("as the host decides"),
            Choice::Drop => f.write_str("drop"),
            Choice::Class(class) => f.write_str(class.name()),
            Choice::NoClass(number) => write!(f, "class {number}, which does not exist"),
            Choice::Shares(shares) => write!(f, "{:?} up to {:?}", shares.guaranteed, shares.burst),
            Choice::Score(score) => write!(f, "score {score}"),
            Choice::Admit => f.write_str("admit"),
            Choice::Deny => f.write_str("deny"),
            Choice::Worth(worth) => write!(f, "worth {worth}"),
            Choice::Refuse => f.write_str("refuse"),
            Choice::Missing => f.write_str("no answer"),
            Choice::Fault => f.write_str("a fault"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}: {}, then {}", self.row, self.before, self.after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_answers_have_no_difference() {
        for answers in [
            Answers::Routes(&[1, HOLD]),
            Answers::Classes(&[0, CLASS_DROP]),
            Answers::Shares(Shares::default()),
            Answers::Scores(&[1000]),
            Answers::Admissions(&[true, false]),
            Answers::Worths(&[0, 255]),
            Answers::Routes(&[]),
            Answers::Fault,
        ] {
            assert_eq!(differences(answers, answers).count(), 0, "{answers:?}");
        }
    }

    #[test]
    fn each_differing_row_is_told_with_both_answers() {
        let shares = Shares { guaranteed: [60, 10, 10, 10, 10], burst: [100; 5] };
        for (before, after, told) in [
            (Answers::Routes(&[0, 1]), Answers::Routes(&[0, DROP]), "row 1: neighbour 1, then drop"),
            (Answers::Routes(&[HOLD]), Answers::Routes(&[ABSTAIN]), "row 0: hold, then as the host decides"),
            (Answers::Routes(&[3]), Answers::Routes(&[]), "row 0: neighbour 3, then no answer"),
            (Answers::Classes(&[2, 2]), Answers::Classes(&[2, 4]), "row 1: normal, then bulk"),
            (Answers::Scores(&[7]), Answers::Scores(&[9]), "row 0: score 7, then score 9"),
            (
                Answers::Admissions(&[true, true]),
                Answers::Admissions(&[true, false]),
                "row 1: admit, then deny",
            ),
            (Answers::Worths(&[0, 9]), Answers::Worths(&[1, 9]), "row 0: refuse, then worth 1"),
            (Answers::Classes(&[1]), Answers::Fault, "row 0: high, then a fault"),
            (
                Answers::Shares(Shares::default()),
                Answers::Shares(shares),
                "row 0: [20, 30, 20, 15, 5] up to [80, 60, 40, 30, 20], \
                 then [60, 10, 10, 10, 10] up to [100, 100, 100, 100, 100]",
            ),
        ] {
            let found: Vec<String> = differences(before, after).map(|d| d.to_string()).collect();

            assert_eq!(found, [told]);
        }
    }
}
