//! Cases of admission policies: visitors in, whether there may be a link to each out.

use std::collections::BTreeMap;

use mesh_plugin_host::alone::Alone;
use mesh_plugin_host::{Loaded, PrepareError, Settings, prepare_admission};
use mesh_proto::NodeId;
use mesh_proto::members::MemberState;
use mesh_proto::policy::{Approach, MAX_VISITORS, Place, Visitor};
use serde::Deserialize;
use toml::Spanned;

use super::cases::{self, Check, ID, id_of};

cases::case! {
    /// One case.
    pub struct Case {
        #[serde(default)]
        now_ms: u64,
        #[serde(default)]
        place: PlaceRow,
        #[serde(default)]
        visitors: Vec<Spanned<VisitorRow>>,
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PlaceRow {
    links: u32,
    least: u32,
    most: u32,
    members: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VisitorRow {
    node: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    health: Health,
    #[serde(default)]
    approach: ApproachName,
    expect: Option<Spanned<bool>>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Health {
    Unknown,
    #[default]
    Alive,
    Suspect,
    Dead,
    Left,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ApproachName {
    #[default]
    Inbound,
    Outbound,
    Standing,
}

impl cases::Case for Case {
    fn validate(&self) -> Result<(), (usize, String)> {
        if let Some(row) = self.visitors.get(MAX_VISITORS) {
            return Err((row.span().start, format!("a call has at most {MAX_VISITORS} visitors")));
        }
        let is_wrong = |row: &&Spanned<VisitorRow>| {
            row.get_ref().node.as_deref().is_some_and(|node| id_of(node).is_none())
        };
        match self.visitors.iter().find(is_wrong) {
            Some(row) => Err((row.span().start, format!("node is {ID}"))),
            None => Ok(()),
        }
    }

    fn ask(&self, loaded: &Loaded, settings: &Settings, check: &mut Check<'_>) -> Result<(), PrepareError> {
        let mut policy = Alone::new(prepare_admission(loaded, settings)?);
        let PlaceRow { links, least, most, members } = self.place;
        let place = Place { links, least, most, members };
        let visitors: Vec<Visitor> =
            (1..).zip(&self.visitors).map(|(number, row)| row.get_ref().visitor(number)).collect();
        match policy.admit(self.now_ms, &place, &visitors) {
            Ok(answers) => {
                let expected = self.visitors.iter().map(|row| &row.get_ref().expect);
                let what = |at: usize| format!("visitor {}", at + 1);
                check.answers(expected, &answers, what, |admitted: bool| admitted.to_string());
            }
            Err(fault) => check.fault("the answers", &fault),
        }
        Ok(())
    }
}

impl VisitorRow {
    /// Returns what a node would show; a visitor without a key has one made of its number.
    fn visitor(&self, number: u8) -> Visitor {
        let node = self.node.as_deref().and_then(id_of).unwrap_or([number; 32]);
        Visitor {
            node: NodeId(node),
            name: self.name.clone(),
            labels: self.labels.clone().into_iter().collect(),
            health: self.health.into(),
            approach: self.approach.into(),
        }
    }
}

impl From<Health> for Option<MemberState> {
    fn from(health: Health) -> Option<MemberState> {
        match health {
            Health::Unknown => None,
            Health::Alive => Some(MemberState::Alive),
            Health::Suspect => Some(MemberState::Suspect),
            Health::Dead => Some(MemberState::Dead),
            Health::Left => Some(MemberState::Left),
        }
    }
}

impl From<ApproachName> for Approach {
    fn from(name: ApproachName) -> Approach {
        match name {
            ApproachName::Inbound => Approach::Inbound,
            ApproachName::Outbound => Approach::Outbound,
            ApproachName::Standing => Approach::Standing,
        }
    }
}
