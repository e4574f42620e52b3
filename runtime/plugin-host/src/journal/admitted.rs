//! A call of an admission policy, as plain values.

use mesh_proto::NodeId;
use mesh_proto::members::MemberState;
use mesh_proto::policy::{Approach, MAX_VISITORS, Place, Visitor};
use serde::{Deserialize, Serialize};

use super::column::Column;
use super::entry::{Shown, Told, all_of};
use super::hex;
use crate::policy::is_small;

/// A call of an admission policy, see [`Place`] and [`Visitor`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the columns are those of `Place` and `Visitor`")]
pub struct Admitted {
    #[serde(flatten)]
    pub told: Told,
    pub links: u32,
    pub least: u32,
    pub most: u32,
    pub members: u32,
    pub node: Vec<Key>,
    pub name: Vec<String>,
    /// Key and value, as many as a visitor has.
    pub labels: Vec<Vec<(String, String)>>,
    /// 0 unknown, 1 alive, 2 suspect, 3 dead, 4 left.
    pub health: Vec<u8>,
    /// 0 inbound, 1 outbound, 2 standing.
    pub approach: Vec<u8>,
    /// One a row: whether there may be a link.
    pub answers: Vec<bool>,
}

/// The key of a node, in 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(#[serde(with = "hex")] Vec<u8>);

const STATES: [MemberState; 4] =
    [MemberState::Alive, MemberState::Suspect, MemberState::Dead, MemberState::Left];
const APPROACHES: [Approach; 3] = [Approach::Inbound, Approach::Outbound, Approach::Standing];

impl Admitted {
    /// Returns who asked.
    pub fn place(&self) -> Place {
        Place { links: self.links, least: self.least, most: self.most, members: self.members }
    }

    /// Returns whom the policy was asked about. Of a call that is not whole the rows that are.
    pub fn visitors(&self) -> Vec<Visitor> {
        (0..self.node.len()).map_while(|row| self.visitor(row)).collect()
    }

    fn visitor(&self, row: usize) -> Option<Visitor> {
        Some(Visitor {
            node: self.node.get(row)?.id()?,
            name: self.name.get(row)?.clone(),
            labels: self.labels.get(row)?.clone(),
            health: health_of(*self.health.get(row)?)?,
            approach: *APPROACHES.get(usize::from(*self.approach.get(row)?))?,
        })
    }

    /// Says whether every row is one that a node asks about.
    pub(super) fn is_whole(&self) -> bool {
        let rows = self.node.len();
        let visitors = self.visitors();
        all_of(rows, &[self.name.len(), self.labels.len(), self.health.len(), self.approach.len()])
            && rows <= MAX_VISITORS
            && visitors.len() == rows
            && visitors.iter().all(is_small)
    }

    /// Returns the inputs of one row, by name.
    pub(super) fn inputs(&self, row: usize) -> Vec<(&'static str, Shown)> {
        let Some(visitor) = self.visitor(row) else { return Vec::new() };
        let labels: Vec<String> =
            visitor.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        vec![
            ("node", Shown::Text(visitor.node.to_string())),
            ("name", Shown::Text(visitor.name)),
            ("labels", Shown::Text(labels.join(","))),
            ("health", Shown::Text(visitor.health.map_or("unknown", MemberState::name).to_owned())),
            ("approach", Shown::Text(approach_name(visitor.approach).to_owned())),
            ("links", Shown::Number(self.links.into())),
        ]
    }
}

impl Key {
    pub(super) fn of(bytes: [u8; 32]) -> Key {
        Key(bytes.to_vec())
    }

    fn id(&self) -> Option<NodeId> {
        self.0.as_slice().try_into().ok().map(NodeId)
    }
}

/// The columns of a call. What visitors say of themselves is text, which stands end to end in one column with its lengths
/// in another. The memory stays from call to call.
#[derive(Debug, Default)]
pub(super) struct Texts {
    nodes: Vec<u8>,
    counts: Vec<u32>,
    lengths: Vec<u32>,
    text: Vec<u8>,
    health: Vec<u8>,
    approach: Vec<u8>,
    answers: Vec<u8>,
}

impl Texts {
    pub(super) fn fill(&mut self, visitors: &[Visitor], answers: &[bool]) {
        let Texts { nodes, counts, lengths, text, .. } = self;
        let bytes = [&mut *nodes, text, &mut self.health, &mut self.approach, &mut self.answers];
        bytes.into_iter().for_each(Vec::clear);
        [&mut *counts, lengths].into_iter().for_each(Vec::clear);
        let mut put = |words: &str| {
            lengths.push(words.len() as u32);
            text.extend_from_slice(words.as_bytes());
        };
        visitors.iter().for_each(|visitor| put(&visitor.name));
        for visitor in visitors {
            visitor.labels.iter().flat_map(|(key, value)| [key, value]).for_each(|words| put(words));
            nodes.extend_from_slice(&visitor.node.0);
            counts.push(visitor.labels.len() as u32);
            self.health.push(health(visitor));
            self.approach.push(visitor.approach as u8);
        }
        self.answers.extend(answers.iter().copied().map(u8::from));
    }

    pub(super) fn columns<'a>(&'a self, place: &'a [u32; 4]) -> [Column<'a>; 8] {
        [
            Column::Words(place),
            Column::Bytes(&self.nodes),
            Column::Words(&self.counts),
            Column::Words(&self.lengths),
            Column::Bytes(&self.text),
            Column::Bytes(&self.health),
            Column::Bytes(&self.approach),
            Column::Bytes(&self.answers),
        ]
    }
}

/// Returns the number that stands for what is known of a visitor.
fn health(visitor: &Visitor) -> u8 {
    let known = visitor.health.and_then(|state| STATES.iter().position(|known| *known == state));
    known.map_or(0, |at| at as u8 + 1)
}

fn health_of(number: u8) -> Option<Option<MemberState>> {
    match number.checked_sub(1) {
        None => Some(None),
        Some(at) => STATES.get(usize::from(at)).copied().map(Some),
    }
}

/// Returns the word for how a link comes about.
pub(crate) fn approach_name(approach: Approach) -> &'static str {
    match approach {
        Approach::Inbound => "inbound",
        Approach::Outbound => "outbound",
        Approach::Standing => "standing",
    }
}
