//! Who does not let this node in: nodes that have closed a link to it by their admission policy. Dials nobody; the
//! core does, and goes on trying.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mesh_proto::NodeId;
use mesh_proto::directory::BACKOFF_MAX;

use super::Driver;
use crate::api::{Warning, code};

/// The code that a link is closed with which the admission policy does not want.
pub(super) const CODE_NOT_ADMITTED: u32 = 3;

/// A link that is older than this was let in; a policy says no at once.
const LET_IN: Duration = Duration::from_secs(5);
/// Nobody has said no for so long: there was no further try, so nothing is known any more.
const STALE: Duration = Duration::from_secs(5 * BACKOFF_MAX.as_secs());
/// Nodes that are noted, at most.
const MAX_NODES: usize = 64;
/// Nodes that a warning names.
const MAX_NAMED: usize = 3;

/// When each of them said no the last time.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<NodeId, Instant>);

impl Refusals {
    /// A node has closed a link; returns whether that is news.
    fn on_refused(&mut self, now: Instant, node: NodeId) -> bool {
        if self.0.len() >= MAX_NODES && !self.0.contains_key(&node) {
            return false;
        }
        self.0.insert(node, now).is_none()
    }

    /// Forgets those that `let_in` names, and those of long ago.
    fn look(&mut self, now: Instant, let_in: impl Fn(&NodeId) -> bool) {
        self.0.retain(|node, at| now.saturating_duration_since(*at) < STALE && !let_in(node));
    }

    /// Says whether this node is not let in there.
    pub(super) fn has(&self, node: &NodeId) -> bool {
        self.0.contains_key(node)
    }
}

impl Driver {
    /// A link was closed because the admission policy of the node does not want it.
    pub(super) fn on_not_admitted(&mut self, node: NodeId) {
        if self.refusals.on_refused(Instant::now(), node) {
            let name = self.label(&node);
            tracing::warn!(%node, name, "the admission policy of the node does not let this one in");
        }
    }

    pub(super) fn look_for_refusals(&mut self) {
        let links = &self.links;
        let let_in =
            |node: &NodeId| links.values().any(|link| link.node == *node && link.since.elapsed() >= LET_IN);
        self.refusals.look(Instant::now(), let_in);
    }

    /// Returns who does not let this node in, as something to look at.
    pub(super) fn refusal_problem(&self) -> Option<Warning> {
        let mut names: Vec<String> = self.refusals.0.keys().map(|node| self.label(node)).collect();
        let more = if names.len() > MAX_NAMED { ", …" } else { "" };
        names.truncate(MAX_NAMED);
        (!names.is_empty()).then(|| Warning {
            code: code::NOT_LET_IN.id.to_owned(),
            message: format!("not let in by the admission policy of {}{more}", names.join(", ")),
            help: Some("meshctl peers".to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_refuses_is_noted_until_a_link_lasts_or_nothing_was_heard_for_long() {
        let (begun, [one, other]) = (Instant::now(), [1, 2].map(|byte| NodeId([byte; 32])));
        let mut refusals = Refusals::default();
        assert!(refusals.on_refused(begun, one) && refusals.on_refused(begun, other));
        assert!(!refusals.on_refused(begun + LET_IN, one), "it is no news");

        refusals.look(begun + LET_IN, |node| *node == other);
        assert!(refusals.has(&one) && !refusals.has(&other));

        refusals.look(begun + LET_IN + STALE, |_| false);
        assert!(!refusals.has(&one));
    }

    #[test]
    fn no_more_than_so_many_are_noted() {
        let mut refusals = Refusals::default();
        let news = (0..=MAX_NODES as u8).map(|byte| refusals.on_refused(Instant::now(), NodeId([byte; 32])));

        assert_eq!(news.filter(|is_news| *is_news).count(), MAX_NODES);
    }
}
