//! The node in a hierarchy, if it has a profile: what members say goes in, kept links, own state and outputs
//! come out. What it comes to is decided in [`crate::topology`].

use std::collections::BTreeMap;

use super::{Node, Output};
use crate::directory::{LinkPolicy, MAX_KEPT};
use crate::id::NodeId;
use crate::members::MemberState;
use crate::policy::Policies;
use crate::record::Facts;
use crate::time::{Instant, Now};
use crate::topology::hierarchy::{Change, Hierarchy, Life, Seen, Why};
use crate::topology::{PROFILE_KEY, Profile, Role, STANDING_KEY, Standing, Weights};

/// The round trip of a link that has not been measured yet, in microseconds.
const UNMEASURED_US: u32 = 100_000;

/// A node's place, and the links that are kept because of it.
#[derive(Debug)]
pub(super) struct Place {
    hierarchy: Hierarchy,
    /// What those said last to whom links are kept: of a large mesh they may not be in the sample that is known.
    family: BTreeMap<NodeId, Told>,
}

/// What a member says, read from its record.
#[derive(Clone, Debug)]
struct Told {
    node: NodeId,
    profile: Profile,
    standing: Standing,
    life: Life,
    since: Instant,
    rtt_us: Option<u32>,
}

fn profile_of(facts: &Facts) -> Option<Profile> {
    facts.state.get(PROFILE_KEY).and_then(|bytes| Profile::from_bytes(bytes))
}

fn standing_of(facts: &Facts) -> Standing {
    facts.state.get(STANDING_KEY).and_then(|bytes| Standing::from_bytes(bytes)).unwrap_or_default()
}

impl Node {
    /// Returns this node's place in the hierarchy; `None` without a profile.
    pub fn hierarchy(&self) -> Option<&Hierarchy> {
        self.place.as_ref().map(|place| &place.hierarchy)
    }

    /// Says whether a key of the own state is written here only.
    pub(super) fn is_of_hierarchy(key: &str) -> bool {
        key == PROFILE_KEY || key == STANDING_KEY
    }

    pub(super) fn on_profile(&mut self, now: Now, profile: Option<Profile>, weights: Weights) {
        match profile {
            Some(profile) if profile.check().is_ok() => self.enter_hierarchy(now, profile, weights),
            Some(_) => {}
            None => self.leave_hierarchy(now),
        }
    }

    fn enter_hierarchy(&mut self, now: Now, profile: Profile, weights: Weights) {
        if self.facts.set(PROFILE_KEY, Some(profile.to_bytes())).is_err() {
            return; // the state is full: what nobody can hear of is not there
        }
        match &mut self.place {
            Some(place) => place.hierarchy.set_profile(now.instant, profile, weights),
            None => {
                let hierarchy = Hierarchy::new(now.instant, self.id, profile, weights);
                self.place = Some(Place { hierarchy, family: BTreeMap::new() });
            }
        }
        self.renew_soon(now);
    }

    fn leave_hierarchy(&mut self, now: Now) {
        let Some(Place { hierarchy, family }) = self.place.take() else { return };
        family.keys().for_each(|node| self.directory.unkeep(node));
        if let Some(old) = hierarchy.parent() {
            self.outputs.push_back(Output::ParentChanged { old: Some(old), new: None, why: Why::Flat });
        }
        if hierarchy.role() != Role::Standalone {
            self.outputs.push_back(Output::RoleChanged { role: Role::Standalone });
        }
        self.facts.state.remove(PROFILE_KEY);
        self.facts.state.remove(STANDING_KEY);
        self.renew_soon(now);
    }

    /// Something about members or links has changed.
    pub(super) fn on_hierarchy_news(&mut self, now: Now) {
        if let Some(place) = &mut self.place {
            place.hierarchy.on_news(now.instant, self.members.len());
        }
    }

    pub(super) fn hierarchy_due(&self) -> Option<Instant> {
        self.place.as_ref().map(|place| place.hierarchy.next_due())
    }

    /// Looks at the members, when it is time.
    pub(super) fn evaluate_hierarchy(&mut self, now: Now, policies: &mut dyn Policies) {
        if self.hierarchy_due().is_none_or(|due| due > now.instant) {
            return;
        }
        let mut told = self.told();
        self.recall_family(&mut told);
        self.leave_who_may_be_dialed(&mut told);
        let Some(Place { hierarchy, .. }) = &mut self.place else { return };
        let seen: Vec<Seen<'_>> = told.iter().map(Told::seen).collect();
        let mut score = |asker: &_, candidates: &_, scores: &mut _| {
            policies.score(now.unix_ms, asker, candidates, scores);
        };
        let changes = hierarchy.evaluate(now.instant, &seen, &mut score);
        for change in changes {
            self.on_change(now, change);
        }
        self.keep_family(told);
        self.tell_standing(now);
    }

    /// Adds parent and children that there are links to and that are not in the sample of the mesh that is known.
    fn recall_family(&self, told: &mut Vec<Told>) {
        let family = self.place.iter().flat_map(|place| place.family.values());
        let forgotten = family.filter(|kin| self.members.state(&kin.node).is_none());
        told.extend(forgotten.filter_map(|kin| {
            let rtt_us = Some(self.rtt_to(&kin.node)?);
            Some(Told { rtt_us, life: Life::Alive, ..kin.clone() })
        }));
    }

    /// A node that links only to whom it was told to finds its parent among those.
    fn leave_who_may_be_dialed(&self, told: &mut Vec<Told>) {
        let (LinkPolicy::Explicit, Some(place)) = (self.directory.policy(), &self.place) else { return };
        let (parent, level) = (place.hierarchy.parent(), place.hierarchy.profile().level);
        told.retain(|told| {
            !told.profile.is_above(level) || told.rtt_us.is_some() || Some(told.node) == parent
        });
    }

    /// Returns the round trip of the link to a node, if there is one.
    fn rtt_to(&self, node: &NodeId) -> Option<u32> {
        let neighbour = self.neighbours.get(self.by_node.get(node)?)?;
        neighbour.is_greeted().then(|| neighbour.rtt_us().unwrap_or(UNMEASURED_US))
    }

    fn told(&self) -> Vec<Told> {
        let members = self.members.iter().filter_map(|member| {
            Some(Told {
                node: member.record.node,
                profile: profile_of(&member.record.facts)?,
                standing: standing_of(&member.record.facts),
                life: match member.state {
                    MemberState::Alive => Life::Alive,
                    MemberState::Suspect => Life::Suspect,
                    MemberState::Dead | MemberState::Left => Life::Gone,
                },
                since: member.since,
                rtt_us: self.rtt_to(&member.record.node),
            })
        });
        members.collect()
    }

    fn on_change(&mut self, now: Now, change: Change) {
        match change {
            Change::Parent { old, new, why } => {
                self.counters.parent_changes += 1;
                self.outputs.push_back(Output::ParentChanged { old, new, why });
            }
            Change::Dial(node) => {
                self.directory.on_moved(&node);
                self.due.dial_now(now.instant);
            }
            Change::Role(role) => {
                self.counters.role_changes += 1;
                self.outputs.push_back(Output::RoleChanged { role });
            }
            Change::Leader(leader) => self.outputs.push_back(Output::LeaderElected { leader }),
        }
    }

    /// Keeps the links to the parent and to the children, of which the parent's counts most.
    fn keep_family(&mut self, told: Vec<Told>) {
        let Some(place) = &mut self.place else { return };
        let parent = place.hierarchy.parent();
        let is_kin = |told: &Told| {
            Some(told.node) == parent || told.standing.parent == Some(self.id) && told.life != Life::Gone
        };
        let mut kin: Vec<Told> = told.into_iter().filter(is_kin).collect();
        kin.sort_by_key(|told| (Some(told.node) != parent, told.node));
        let family: BTreeMap<NodeId, Told> =
            kin.into_iter().take(MAX_KEPT).map(|told| (told.node, told)).collect();
        let gone = place.family.keys().filter(|node| !family.contains_key(node));
        for node in gone {
            self.directory.unkeep(node);
            if !self.by_node.contains_key(node) {
                self.members.release(node);
            }
        }
        for node in family.keys() {
            self.directory.keep(*node);
            self.members.hold_kin(*node);
        }
        place.family = family;
    }

    /// Lets all know of a new parent or role, and has the parent dialed.
    fn tell_standing(&mut self, now: Now) {
        let Some(place) = &self.place else { return };
        let standing = place.hierarchy.standing();
        if standing == standing_of(&self.facts) {
            return;
        }
        if self.facts.set(STANDING_KEY, Some(standing.to_bytes())).is_ok() {
            self.renew_soon(now);
        }
        self.due.dial_now(now.instant);
    }
}

impl Told {
    fn seen(&self) -> Seen<'_> {
        Seen {
            node: self.node,
            profile: &self.profile,
            standing: self.standing,
            life: self.life,
            since: self.since,
            rtt_us: self.rtt_us,
        }
    }
}
