//! Admission: visitors in, a yes or no for each out.

use std::time::Duration;

use mesh_proto::NodeId;
use mesh_proto::members::MemberState;
use mesh_proto::policy::{Approach, Place, Visitor};

use super::{as_policy, check_rows, instance};
use crate::fault::Fault;
use crate::limits::{VISITOR_BYTES, VISITOR_LABELS};
use crate::slot::Guest;
use crate::wit::admission;

instance!(
    /// An instance of an admission policy.
    Admission, admission, mesh_admission_policy
);

impl Admission {
    /// Answers for each visitor whether there may be a link to it. Each of them is [small](is_small).
    pub(crate) fn admit(
        &mut self,
        limit: Duration,
        now_ms: u64,
        place: &Place,
        visitors: &[Visitor],
    ) -> Result<Vec<bool>, Fault> {
        let Place { links, least, most, members } = *place;
        let place = admission::Place { links, least, most, members };
        let labels: Vec<Vec<admission::Label<'_>>> = visitors.iter().map(labels).collect();
        let rows: Vec<admission::Visitor<'_>> = visitors
            .iter()
            .zip(&labels)
            .map(|(visitor, labels)| admission::Visitor {
                node: &visitor.node.0,
                name: &visitor.name,
                labels,
                health: health(visitor.health),
                approach: approach(visitor.approach),
            })
            .collect();
        self.store.data_mut().wasi.begin(now_ms, 0);
        let answers = self.call(limit, |guest, store| guest.call_admit(store, now_ms, place, &rows))?;
        check_rows(visitors.len(), answers.len())?;
        Ok(answers)
    }
}

impl Guest for Admission {
    type Context = ();

    fn rehearse(&mut self, limit: Duration) -> Result<(), Fault> {
        let (place, visitors) = visitors();
        self.admit(limit, 0, &place, &visitors).map(drop)
    }

    as_policy!(Admission);
}

/// Says whether a visitor tells no more of itself than a plugin is shown.
pub(crate) fn is_small(visitor: &Visitor) -> bool {
    let bytes: usize = visitor.labels.iter().map(|(key, value)| key.len() + value.len()).sum();
    visitor.labels.len() <= VISITOR_LABELS && visitor.name.len() + bytes <= VISITOR_BYTES
}

fn labels(visitor: &Visitor) -> Vec<admission::Label<'_>> {
    visitor.labels.iter().map(|(key, value)| admission::Label { key, value }).collect()
}

fn health(state: Option<MemberState>) -> admission::Health {
    match state {
        None => admission::Health::Unknown,
        Some(MemberState::Alive) => admission::Health::Alive,
        Some(MemberState::Suspect) => admission::Health::Suspect,
        Some(MemberState::Dead) => admission::Health::Dead,
        Some(MemberState::Left) => admission::Health::Left,
    }
}

fn approach(approach: Approach) -> admission::Approach {
    match approach {
        Approach::Inbound => admission::Approach::Inbound,
        Approach::Outbound => admission::Approach::Outbound,
        Approach::Standing => admission::Approach::Standing,
    }
}

/// A node with one link of at least two: somebody of whom nothing is known but the key, and a neighbour that says
/// something of itself.
fn visitors() -> (Place, [Visitor; 2]) {
    let place = Place { links: 1, least: 2, most: 8, members: 3 };
    let visitor = |node, name: &str, labels, health, approach| Visitor {
        node: NodeId([node; 32]),
        name: name.to_owned(),
        labels,
        health,
        approach,
    };
    let region = vec![("region".to_owned(), "eu".to_owned())];
    let stranger = visitor(1, "", Vec::new(), None, Approach::Inbound);
    (place, [stranger, visitor(2, "somebody", region, Some(MemberState::Alive), Approach::Standing)])
}
