//! The node's place in the hierarchy, for those outside: changes of the profile, the answer why, events. The
//! core decides.

use mesh_plugin_host::PolicySlot;
use mesh_proto::NodeId;
use mesh_proto::node::{Input, Output};
use mesh_proto::topology::hierarchy::{Explained, Row};
use mesh_proto::topology::{Role, Weights};

use super::Driver;
use super::answers::count;
use crate::api::{
    ApiError, CandidateRow, ContenderRow, EventKind, HierarchyReport, NamedNode, ParentInfo, ProfileChange,
    ProfileReport, Reply,
};
use crate::hierarchy::{Place, info, parts_info, weights_info};
use crate::mesh::Answer;
use crate::store::{Table, Write};

/// Where the store keeps what was said of this node.
pub(crate) const META_PROFILE: &[u8] = b"profile";

impl Driver {
    /// Takes part in the hierarchy from the start, if the node is told to or has before.
    pub(super) fn enter_hierarchy(&mut self) {
        if let Some(place) = self.parts.place.clone() {
            self.keep_place(&place);
        }
    }

    pub(super) fn set_profile(&mut self, change: &ProfileChange, dry_run: bool, answer: Answer<Reply>) {
        let place = match Place::changed(self.parts.place.as_ref(), change) {
            Ok(place) => place,
            Err(error) => return drop(answer.send(Err(error))),
        };
        let report = ProfileReport {
            before: self.parts.place.as_ref().map(|place| info(&place.profile)),
            after: Some(info(&place.profile)),
            weights: weights_info(&place.weights),
            dry_run,
        };
        if !dry_run {
            self.keep_place(&place);
            self.parts.place = Some(place);
        }
        self.answer_when_kept(Ok(Reply::Profile(report)), answer);
    }

    pub(super) fn leave_hierarchy(&mut self, dry_run: bool, answer: Answer<Reply>) {
        let before = self.parts.place.as_ref();
        let weights = before.map_or_else(Weights::default, |place| place.weights);
        let before = before.map(|place| info(&place.profile));
        let report = ProfileReport { before, after: None, weights: weights_info(&weights), dry_run };
        if !dry_run {
            self.parts.place = None;
            self.inputs.push(Input::SetProfile { profile: None, weights });
            self.writes.push(Write::Delete { table: Table::Meta, key: META_PROFILE.to_vec() });
        }
        self.answer_when_kept(Ok(Reply::Profile(report)), answer);
    }

    fn keep_place(&mut self, place: &Place) {
        let profile = Some(place.profile.clone());
        self.inputs.push(Input::SetProfile { profile, weights: place.weights });
        let (key, value) = (META_PROFILE.to_vec(), place.to_bytes().into());
        self.writes.push(Write::Put { table: Table::Meta, key, value });
    }

    pub(super) fn on_hierarchy(&mut self, output: Output) {
        match output {
            Output::ParentChanged { old, new, why } => {
                let (from, to) = (old.map(|node| self.named(node)), new.map(|node| self.named(node)));
                self.tell(EventKind::ParentChanged { from, to, why: why.reason() });
            }
            Output::RoleChanged { role } => {
                self.tell(EventKind::RoleChanged { role: role.name().to_owned() })
            }
            Output::LeaderElected { leader } => {
                let leader = leader.map(|node| self.named(node));
                let cell = self.parts.place.as_ref().map(|place| place.profile.cell.clone());
                self.tell(EventKind::LeaderElected { leader, cell: cell.unwrap_or_default() });
            }
            _ => {}
        }
    }

    pub(super) fn hierarchy_report(&self) -> Result<Reply, ApiError> {
        let report = match self.parts.node.hierarchy() {
            Some(hierarchy) => self.explained(hierarchy.explain()),
            None => self.flat(),
        };
        Ok(Reply::Hierarchy(Box::new(report)))
    }

    fn flat(&self) -> HierarchyReport {
        HierarchyReport {
            profile: None,
            weights: weights_info(&Weights::default()),
            role: Role::Standalone.name().to_owned(),
            leader: None,
            parent: None,
            lateral: Vec::new(),
            next_look_s: 0.0,
            candidates: Vec::new(),
            contenders: Vec::new(),
            chosen_by: self
                .chosen_by(PolicySlot::Topology, "nobody is asked: this node takes no part".to_owned()),
        }
    }

    fn explained(&self, explained: Explained) -> HierarchyReport {
        let now = self.parts.clock.now().instant;
        let parent = explained.parent.map(|(node, since, linked)| ParentInfo {
            node,
            name: self.name_of(&node),
            since_s: now.since(since).as_secs_f64(),
            linked,
        });
        let asked = explained.candidates.iter().filter(|row| row.verdict.is_scored()).count();
        let reason = format!("{} scored", count(asked, "candidate"));
        let rows = explained.candidates.iter().map(|row| self.candidate_row(row, &explained.weights));
        let contenders = explained.contenders.iter().map(|contender| ContenderRow {
            node: contender.node,
            name: self.name_of(&contender.node),
            rank: contender.rank,
            score: contender.score,
            leads: contender.leads,
        });
        HierarchyReport {
            profile: Some(info(&explained.profile)),
            weights: weights_info(&explained.weights),
            role: explained.role.name().to_owned(),
            leader: explained.leader.map(|node| self.named(node)),
            parent,
            lateral: explained.lateral.iter().map(|node| self.named(*node)).collect(),
            next_look_s: explained.next.since(now).as_secs_f64(),
            candidates: rows.collect(),
            contenders: contenders.collect(),
            chosen_by: self.chosen_by(PolicySlot::Topology, reason),
        }
    }

    fn candidate_row(&self, row: &Row, weights: &Weights) -> CandidateRow {
        CandidateRow {
            node: row.node,
            name: self.name_of(&row.node),
            level: row.level.name().to_owned(),
            score: row.verdict.is_scored().then_some(row.score),
            parts: parts_info(row, weights),
            distance_m: row.distance_m,
            children: row.children,
            verdict: row.verdict.name().to_owned(),
            reason: row.verdict.reason().to_owned(),
        }
    }

    fn named(&self, node: NodeId) -> NamedNode {
        NamedNode { node, name: self.name_of(&node) }
    }
}
