//! Whom this node has links to by leave of its admission policy. Without one nothing of it happens.
//!
//! The policy has a veto on links that others have made, on dials of nodes that were heard of, and on links whose
//! far end says something new of itself. Nodes that the operator gave the address of are not asked about. The
//! hierarchy makes no exception: whoever says that this node is its parent says so of itself.

use std::collections::{BTreeMap, BTreeSet};

use super::{Disconnect, Input, MAX_LINKS, Node, Output};
use crate::id::{NodeId, Peer};
use crate::policy::{Approach, MAX_VISITORS, Place, Policies, Visitor};
use crate::time::Now;

/// The state keys that are labels begin with it.
const LABEL: &str = "label.";

/// Who stands at the door in this turn.
#[derive(Debug, Default)]
pub(super) struct Door {
    /// There is a policy to ask.
    is_guarded: bool,
    /// Neighbours to be asked about, and whether they have just said hello.
    knocking: BTreeMap<Peer, bool>,
    /// Links that others have made by leave, and whose hello has not come yet.
    let_in: BTreeSet<Peer>,
}

impl Node {
    /// Notes whether there is anybody to ask in this turn.
    pub(super) fn guard(&mut self, policies: &dyn Policies) {
        self.door.is_guarded = policies.guards();
    }

    /// Asks about a node that has just made a link, and says whether the input is to be taken in. Before a word is said
    /// to it: who is greeted takes the link for one that stands, and tells its own about it.
    pub(super) fn may_enter(&mut self, now: Now, input: &Input, policies: &mut dyn Policies) -> bool {
        let Input::LinkUp { peer, node, dialed: None } = input else { return true };
        // Links to oneself, a second one to a neighbour and too many of them end by other rules.
        let is_asked = self.door.is_guarded
            && *node != self.id
            && !self.by_node.contains_key(node)
            && self.neighbours.len() < MAX_LINKS
            && !self.directory.is_seed(node);
        if !is_asked {
            return true;
        }
        let visitors = vec![self.visitor(*node, Approach::Inbound)];
        let may = self.ask_each(now, policies, visitors, 0).contains(&true);
        if may {
            self.door.let_in.insert(*peer);
        } else {
            self.counters.not_admitted += 1;
            self.outputs.push_back(Output::Disconnect { peer: *peer, reason: Disconnect::NotAdmitted });
            self.directory.on_denied(now.instant, node);
        }
        may
    }

    /// A link is gone, whether its hello has come or not.
    pub(super) fn forget_leave(&mut self, peer: Peer) {
        self.door.let_in.remove(&peer);
    }

    /// A neighbour has said hello: it may push nobody out before it has leave to be here.
    pub(super) fn knock_first(&mut self, now: Now, peer: Peer) {
        if self.door.is_guarded && !self.door.let_in.remove(&peer) {
            self.door.knocking.insert(peer, true);
        } else {
            self.relieve(now, peer);
        }
    }

    /// A node says something new of itself: if it is a neighbour, it is asked about again.
    pub(super) fn knock_again(&mut self, node: &NodeId) {
        if let (true, Some(peer)) = (self.door.is_guarded, self.by_node.get(node)) {
            self.door.knocking.entry(*peer).or_default();
            // One that has not said hello is asked about when it does.
            self.door.let_in.remove(peer);
        }
    }

    /// Another admission policy decides: everybody is asked about again.
    pub(super) fn knock_all(&mut self, now: Now) {
        let nodes: Vec<NodeId> = self.by_node.keys().copied().collect();
        nodes.iter().for_each(|node| self.knock_again(node));
        if self.directory.forgive_denied() {
            self.due.dial_now(now.instant);
        }
    }

    /// Asks about neighbours that have come or said something new, and about the dials of this turn.
    pub(super) fn ask_leave(&mut self, now: Now, policies: &mut dyn Policies) {
        let knocking = std::mem::take(&mut self.door.knocking);
        if self.door.is_guarded {
            self.ask_neighbours(now, policies, knocking);
            self.ask_dials(now, policies);
        }
    }

    fn ask_neighbours(&mut self, now: Now, policies: &mut dyn Policies, knocking: BTreeMap<Peer, bool>) {
        let visitor = |(peer, is_new): (&Peer, &bool)| {
            let neighbour = self.neighbours.get(peer).filter(|neighbour| neighbour.is_greeted())?;
            let approach = match (is_new, neighbour.dialed) {
                (false, _) => Approach::Standing,
                (true, false) => Approach::Inbound,
                // Some are dialed to see whether they live, which nobody was asked about.
                (true, true) => Approach::Outbound,
            };
            (!self.directory.is_seed(&neighbour.node)).then_some((*peer, neighbour.node, approach))
        };
        let asked: Vec<(Peer, NodeId, Approach)> = knocking.iter().filter_map(visitor).collect();
        let visitors = asked.iter().map(|(_, node, approach)| self.visitor(*node, *approach)).collect();
        // Whoever stands at the door has no link before the answer.
        let at_the_door = asked.iter().filter(|(.., approach)| *approach != Approach::Standing).count();
        let answers = self.ask_each(now, policies, visitors, at_the_door);
        let denied = asked.iter().zip(answers).filter(|(_, may)| !may);
        for (peer, node) in denied.map(|((peer, node, _), _)| (*peer, *node)).collect::<Vec<_>>() {
            self.counters.not_admitted += 1;
            self.outputs.push_back(Output::Disconnect { peer, reason: Disconnect::NotAdmitted });
            self.on_link_down(now, peer);
            self.directory.on_denied(now.instant, &node);
        }
        for (newcomer, _) in knocking.into_iter().filter(|(_, is_new)| *is_new) {
            if self.neighbours.contains_key(&newcomer) {
                self.relieve(now, newcomer);
            }
        }
    }

    /// Takes back the dials that the policy does not want.
    fn ask_dials(&mut self, now: Now, policies: &mut dyn Policies) {
        // Whether somebody lives is no question of whether it is wanted.
        let is_asked = |node: &NodeId| !self.directory.is_seed(node) && !self.probes.contains_key(node);
        let dialed = |output: &Output| match output {
            Output::Dial(dial) => dial.expect.filter(is_asked),
            _ => None,
        };
        let nodes: Vec<NodeId> = self.outputs.iter().filter_map(dialed).collect();
        let visitors = nodes.iter().map(|node| self.visitor(*node, Approach::Outbound)).collect();
        let answers = self.ask_each(now, policies, visitors, 0);
        let denied: Vec<NodeId> =
            nodes.into_iter().zip(answers).filter(|(_, may)| !may).map(|(node, _)| node).collect();
        if denied.is_empty() {
            return;
        }
        self.counters.not_dialed += denied.len() as u64;
        denied.iter().for_each(|node| self.directory.on_denied(now.instant, node));
        let is_denied = |output: &Output| match output {
            Output::Dial(dial) => dial.expect.is_some_and(|node| denied.contains(&node)),
            _ => false,
        };
        self.outputs.retain(|output| !is_denied(output));
    }

    /// The neighbour does not let this node in. The link ends in peace, for there is nothing wrong with the neighbour,
    /// and is not tried again for a while.
    pub(super) fn on_refused(&mut self, now: Now, peer: Peer) {
        let Some(node) = self.neighbours.get(&peer).map(|neighbour| neighbour.node) else { return };
        let short = self.directory.short(&node) + 1;
        self.end_link(now, peer, short);
        self.directory.on_denied(now.instant, &node);
    }

    fn ask_each(
        &self,
        now: Now,
        policies: &mut dyn Policies,
        visitors: Vec<Visitor>,
        at_the_door: usize,
    ) -> Vec<bool> {
        let mut place = self.place_here();
        place.links = place.links.saturating_sub(u32::try_from(at_the_door).unwrap_or(u32::MAX));
        let (mut all, mut answers) = (Vec::with_capacity(visitors.len()), Vec::new());
        for some in visitors.chunks(MAX_VISITORS) {
            policies.admit(now.unix_ms, &place, some, &mut answers);
            assert_eq!(answers.len(), some.len(), "policies answer every row");
            all.append(&mut answers);
        }
        all
    }

    fn place_here(&self) -> Place {
        let (least, most) = self.directory.policy().bounds(self.mesh_size());
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Place {
            links: count(self.by_node.len()),
            least: count(least),
            most: count(most),
            members: count(self.members.len() + 1),
        }
    }

    /// Returns what is known of a node. Its record was bounded when it was read.
    fn visitor(&self, node: NodeId, approach: Approach) -> Visitor {
        let facts = self.members.record(&node).map(|record| &record.facts);
        let label = |(key, value): (&String, &Vec<u8>)| {
            let key = key.strip_prefix(LABEL)?.to_owned();
            Some((key, String::from_utf8_lossy(value).into_owned()))
        };
        Visitor {
            node,
            name: facts.map_or_else(String::new, |facts| facts.name.clone()),
            labels: facts.map_or_else(Vec::new, |facts| facts.state.iter().filter_map(label).collect()),
            health: self.members.state(&node),
            approach,
        }
    }
}
