//! Ways to other nodes: asking for them, and telling their news.

use super::Node;
use crate::frame::{Control, MAX_ROWS};
use crate::id::{NodeId, Peer};
use crate::members::MemberState;
use crate::routing::{MAX_HOPS, Request};
use crate::time::{Instant, Now};

/// Changes of routes are gathered so long before they are told.
const NEWS_EVERY: std::time::Duration = std::time::Duration::from_millis(20);

impl Node {
    /// There is something to send to a node that cannot be reached: it is looked for.
    pub(super) fn want_way(&mut self, now: Now, node: NodeId) {
        if matches!(self.members.state(&node), Some(MemberState::Dead | MemberState::Left)) {
            return;
        }
        self.table.want(now.instant, node);
        self.ways_wanted = true;
    }

    pub(super) fn on_way_request(&mut self, now: Now, from: Peer, node: NodeId, hops: u8) {
        let Some(neighbour) = self.neighbours.get_mut(&from) else { return };
        let Some(left) = neighbour.allowance.checked_sub(1) else { return };
        neighbour.allowance = left;
        if self.table.on_way_request(now.instant, from, node) == Request::PassOn
            && let Some(hops) = hops.checked_sub(1)
        {
            let others: Vec<Peer> = self.greeted().filter(|peer| *peer != from).collect();
            others.into_iter().for_each(|peer| self.say(peer, &Control::WayRequest { node, hops }));
        }
    }

    /// Sends the requests that are due.
    pub(super) fn seek_ways(&mut self, now: Now) {
        for (node, seqno) in self.table.starving() {
            self.ask_for_fresher(node, seqno);
        }
        self.ask_for_ways(now);
    }

    fn ask_for_fresher(&mut self, node: NodeId, seqno: u32) {
        let request = Control::SeqnoRequest { node, seqno, hops: MAX_HOPS };
        for via in self.table.ways(&node) {
            self.say(via.via, &request);
        }
    }

    pub(super) fn ask_for_ways(&mut self, now: Now) {
        self.ways_wanted = false;
        for (node, via) in self.table.requests(now.instant) {
            let hops = if via.is_some() { 1 } else { MAX_HOPS };
            let whom: Vec<Peer> = via.map_or_else(|| self.greeted().collect(), |via| vec![via]);
            whom.into_iter().for_each(|peer| self.say(peer, &Control::WayRequest { node, hops }));
        }
    }

    pub(super) fn tell_news(&mut self, now: Now) {
        if self.ways_wanted {
            self.ask_for_ways(now);
        }
        if !self.table.has_news() || self.due.news > now.instant {
            return;
        }
        self.due.news = now.instant + NEWS_EVERY;
        for (peer, routes) in self.table.take_news() {
            for some in routes.chunks(MAX_ROWS) {
                self.say(peer, &Control::Routes(some.to_vec()));
            }
        }
        for (node, seqno) in self.table.take_starved() {
            self.ask_for_fresher(node, seqno);
        }
    }

    pub(super) fn news_due(&self) -> Option<Instant> {
        self.table.has_news().then_some(self.due.news)
    }
}
