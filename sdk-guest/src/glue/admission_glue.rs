//! Admission: visitors in, a yes or no for each out.

use super::admission::exports::mesh::admission::policy::{self, Guest, Refusal, Setting};
use super::{Export, Hosted, settings};
use crate::admission::{Admission, Approach, Health, NodeKey, Place, Visitor};

impl<P: Admission + Hosted> Guest for Export<P> {
    fn configure(given: Vec<Setting>) -> Result<(), Refusal> {
        P::cell().with(|policy| policy.configure(settings(given)).map_err(Into::into))
    }

    fn admit(now_ms: u64, place: policy::Place, visitors: Vec<policy::Visitor>) -> Vec<bool> {
        let policy::Place { links, least, most, members } = place;
        let place = Place { now_ms, links, least, most, members };
        let visitors: Vec<Visitor> = visitors.into_iter().map(visitor).collect();
        P::cell().with(|policy| {
            policy.begin(&place, &visitors);
            visitors.iter().map(|visitor| policy.admit(&place, visitor)).collect()
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

fn visitor(given: policy::Visitor) -> Visitor {
    Visitor {
        // The host sends 32 bytes.
        node: NodeKey(given.node.try_into().unwrap_or_default()),
        name: given.name,
        labels: given.labels.into_iter().map(|label| (label.key, label.value)).collect(),
        health: match given.health {
            policy::Health::Unknown => Health::Unknown,
            policy::Health::Alive => Health::Alive,
            policy::Health::Suspect => Health::Suspect,
            policy::Health::Dead => Health::Dead,
            policy::Health::Left => Health::Left,
        },
        approach: match given.approach {
            policy::Approach::Inbound => Approach::Inbound,
            policy::Approach::Outbound => Approach::Outbound,
            policy::Approach::Standing => Approach::Standing,
        },
    }
}
