//! A node's place in the hierarchy: its parent, its role, and why. Members, time and a scoring function go in,
//! changes come out; opens no link and remembers nothing across a start.

use std::collections::BTreeMap;
use std::time::Duration;

use super::election::{self, Contender, MAX_CONTENDERS, Patience};
use super::{Lack, Level, Parts, Profile, Role, Standing, Weights, distance_m, parts};
use crate::id::NodeId;
use crate::policy::{Asker, Candidates, MAINS, MAX_SCORE, UNKNOWN};
use crate::time::Instant;

mod candidates;
#[cfg(test)]
mod tests;

/// How often everything is looked at again without any news (PM-80).
pub const EVALUATE: Duration = Duration::from_secs(30);
/// A parent that is fit is not exchanged for a better one before this time has passed (PM-80).
pub const COOLDOWN: Duration = Duration::from_secs(60);
/// How long a parent that could not be linked to is no candidate (PM-80: peer timeout).
pub const PEER_TIMEOUT: Duration = Duration::from_secs(180);
/// How much better another parent must be, in percent of the present one's score (PM-80).
pub const MARGIN_PERCENT: u32 = 10;
/// Dials of a parent that has no link before it is given up (PM-80).
pub const RETRIES: u8 = 3;
/// The pause before the first of them; it doubles up to [`BACKOFF_MAX`] (PM-80).
pub const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The longest pause.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Peers of the same level and cell that are kept in mind, at most (PM-80).
pub const MAX_LATERAL: usize = 10;
/// Candidates that the policy is asked about, at most.
pub const MAX_CANDIDATES: usize = 256;
/// Rows of [`Explained::candidates`], at most.
pub const MAX_ROWS: usize = 256;
/// News is gathered so long before it is acted on, and a millisecond longer for each member.
pub const GATHER: Duration = Duration::from_secs(1);
/// Ancestors that are followed to find a loop, at most; levels are four.
const MAX_ANCESTORS: usize = 16;

/// Scores candidates: what [`crate::policy::Policies::score`] does.
pub type Score<'a> = dyn FnMut(&Asker, &Candidates, &mut Vec<u32>) + 'a;

/// Whether a member lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It does.
    Alive,
    /// It may be dead. A parent stays parent until that is known; others are no candidates.
    Suspect,
    /// It is dead, or has left.
    Gone,
}

/// A member that has a profile.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Who.
    pub node: NodeId,
    /// What it says of itself.
    pub profile: &'a Profile,
    /// What it says of its place.
    pub standing: Standing,
    /// Whether it lives.
    pub life: Life,
    /// Since when.
    pub since: Instant,
    /// The round trip of the link to it; `None` without one.
    pub rtt_us: Option<u32>,
}

/// Something that has changed, and what is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// There is another parent, or none: keep a link to it, and none to the old one.
    Parent {
        /// The one before.
        old: Option<NodeId>,
        /// The one from now on.
        new: Option<NodeId>,
        /// Why.
        why: Why,
    },
    /// There is still no link to the parent: dial it again.
    Dial(NodeId),
    /// This node has another role.
    Role(Role),
    /// Another node leads this node's cell, or nobody does any more.
    Leader(Option<NodeId>),
}

/// Why a parent was exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There was none.
    First,
    /// The other one is better by the margin, and the cooldown is over.
    Better,
    /// The old one is no candidate any more.
    Lost(Verdict),
    /// This node takes no part in the hierarchy any more.
    Flat,
}

impl Why {
    /// Returns the reason as users see it.
    pub fn reason(self) -> String {
        match self {
            Why::First => "there was none".into(),
            Why::Better => "it is better by the margin".into(),
            Why::Flat => "this node takes no part any more".into(),
            Why::Lost(verdict) => format!("the old one: {}", verdict.reason()),
        }
    }
}

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the parent.
    Parent,
    /// Its score is not higher than the parent's, or equal and its id is higher.
    Behind,
    /// Its score is higher, but not by the margin.
    WithinMargin,
    /// It is better, but the parent was exchanged a short time ago.
    Cooldown,
    /// A lower level has candidates.
    NearerLevel,
    /// Its level is not above this node's.
    WrongLevel,
    /// It is not known to live.
    NotAlive,
    /// It lacks what a parent needs.
    Unfit(Lack),
    /// It has all the children that it takes.
    Full,
    /// It is a descendant of this node, or its ancestors are a loop.
    Loop,
    /// It could not be linked to a short time ago.
    Unreachable,
    /// It is farther away than a parent may be.
    TooFar,
    /// There are more candidates than are asked about.
    NotAsked,
}

impl Verdict {
    /// Returns the name as programs see it.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Parent => "parent",
            Verdict::Behind => "behind",
            Verdict::WithinMargin => "within-margin",
            Verdict::Cooldown => "cooldown",
            Verdict::NearerLevel => "nearer-level",
            Verdict::WrongLevel => "wrong-level",
            Verdict::NotAlive => "not-alive",
            Verdict::Unfit(_) => "unfit",
            Verdict::Full => "full",
            Verdict::Loop => "loop",
            Verdict::Unreachable => "unreachable",
            Verdict::TooFar => "too-far",
            Verdict::NotAsked => "not-asked",
        }
    }

    /// Returns the reason as users see it.
    pub fn reason(self) -> &'static str {
        match self {
            Verdict::Parent => "the parent",
            Verdict::Behind => "another scores higher",
            Verdict::WithinMargin => "better, but by less than 10 %",
            Verdict::Cooldown => "better, but the parent was exchanged within the last 60 s",
            Verdict::NearerLevel => "a lower level has candidates",
            Verdict::WrongLevel => "its level is not above this node's",
            Verdict::NotAlive => "not known to be alive",
            Verdict::Unfit(lack) => lack.reason(),
            Verdict::Full => "it has all the children that it takes",
            Verdict::Loop => "it is below this node, or in a loop",
            Verdict::Unreachable => "no link came about",
            Verdict::TooFar => "too far away",
            Verdict::NotAsked => "too many candidates",
        }
    }

    /// Says whether the policy was asked for a score.
    pub fn is_scored(self) -> bool {
        matches!(self, Verdict::Parent | Verdict::Behind | Verdict::WithinMargin | Verdict::Cooldown)
    }
}

/// One candidate of the last evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Who.
    pub node: NodeId,
    /// How high it stands.
    pub level: Level,
    /// What the policy gave, 0 to 1000; 0 when it was not asked.
    pub score: u32,
    /// What the native built-in sees in it.
    pub parts: Parts,
    /// Metres to it, if both positions are known.
    pub distance_m: Option<u32>,
    /// Children that it has, this node excepted.
    pub children: u32,
    /// What became of it.
    pub verdict: Verdict,
}

/// Why things are as they are.
#[derive(Clone, Debug)]
pub struct Explained {
    /// What this node says of itself.
    pub profile: Profile,
    /// How it weighs candidates.
    pub weights: Weights,
    /// Its role.
    pub role: Role,
    /// Who leads its cell.
    pub leader: Option<NodeId>,
    /// Its parent, since when, and whether there is a link.
    pub parent: Option<(NodeId, Instant, bool)>,
    /// Peers of its level and cell.
    pub lateral: Vec<NodeId>,
    /// When everything is looked at again without any news.
    pub next: Instant,
    /// The candidates, the best first.
    pub candidates: Vec<Row>,
    /// Whom its cell could be led by, this node included.
    pub contenders: Vec<Contender>,
}

#[derive(Clone, Copy, Debug)]
struct Parent {
    node: NodeId,
    since: Instant,
    tries: u8,
    /// When it is dialed again; `None` while there is a link.
    retry: Option<Instant>,
}

/// The place of one node that has a profile.
#[derive(Debug)]
pub struct Hierarchy {
    own: NodeId,
    profile: Profile,
    weights: Weights,
    role: Role,
    role_since: Option<Instant>,
    leader: Option<NodeId>,
    /// Since when there is a cell and nobody leads it.
    leaderless: Option<Instant>,
    parent: Option<Parent>,
    exchanged: Option<Instant>,
    lateral: Vec<NodeId>,
    /// Nodes that could not be linked to, and until when they are no candidates.
    shunned: BTreeMap<NodeId, Instant>,
    numbers: BTreeMap<NodeId, u32>,
    next_number: u32,
    next: Instant,
    rows: Vec<Row>,
    contenders: Vec<Contender>,
}

impl Hierarchy {
    /// Makes the place of a node that has just been given a profile; it is looked at after [`GATHER`].
    pub fn new(now: Instant, own: NodeId, profile: Profile, weights: Weights) -> Hierarchy {
        Hierarchy {
            own,
            profile,
            weights,
            role: Role::Standalone,
            role_since: None,
            leader: None,
            leaderless: None,
            parent: None,
            exchanged: None,
            lateral: Vec::new(),
            shunned: BTreeMap::new(),
            numbers: BTreeMap::new(),
            next_number: 0,
            next: now + GATHER,
            rows: Vec::new(),
            contenders: Vec::new(),
        }
    }

    /// Exchanges what this node says of itself.
    pub fn set_profile(&mut self, now: Instant, profile: Profile, weights: Weights) {
        (self.profile, self.weights) = (profile, weights);
        self.next = self.next.min(now + GATHER);
    }

    /// Something about members has changed: they are looked at soon.
    pub fn on_news(&mut self, now: Instant, members: usize) {
        let pause = GATHER + Duration::from_millis(members as u64);
        self.next = self.next.min(now + pause);
    }

    /// Returns when [`Hierarchy::evaluate`] must be called.
    pub fn next_due(&self) -> Instant {
        self.parent.and_then(|parent| parent.retry).map_or(self.next, |retry| self.next.min(retry))
    }

    /// Returns the parent.
    pub fn parent(&self) -> Option<NodeId> {
        self.parent.map(|parent| parent.node)
    }

    /// Returns the role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Returns who leads this node's cell, if anybody says so.
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// Returns what this node says of its place.
    pub fn standing(&self) -> Standing {
        Standing { role: self.role, parent: self.parent() }
    }

    /// Returns what this node says of itself.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Returns how it weighs candidates.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Returns the sizes of what it remembers of others, beside their bounds.
    pub fn gauges(&self) -> [(&'static str, usize, usize); 3] {
        [
            ("hierarchy rows", self.rows.len(), MAX_ROWS),
            ("hierarchy unreachable", self.shunned.len(), MAX_CANDIDATES),
            ("hierarchy numbers", self.numbers.len(), MAX_CANDIDATES),
        ]
    }

    /// Returns why things are as they are, as of the last evaluation.
    pub fn explain(&self) -> Explained {
        Explained {
            profile: self.profile.clone(),
            weights: self.weights,
            role: self.role,
            leader: self.leader,
            parent: self.parent.map(|parent| (parent.node, parent.since, parent.retry.is_none())),
            lateral: self.lateral.clone(),
            next: self.next,
            candidates: self.rows.clone(),
            contenders: self.contenders.clone(),
        }
    }

    /// Looks at all members that have a profile. Returns what has changed.
    pub fn evaluate(&mut self, now: Instant, seen: &[Seen<'_>], score: &mut Score<'_>) -> Vec<Change> {
        let mut changes = Vec::new();
        self.next = now + EVALUATE;
        self.watch_link(now, seen, &mut changes);
        let rows = self.candidates(now, seen, score);
        self.choose(now, rows, seen, &mut changes);
        self.elect(now, seen, &mut changes);
        self.lateral = self.laterals(seen);
        changes
    }

    /// A parent without a link is dialed again, and given up after [`RETRIES`].
    fn watch_link(&mut self, now: Instant, seen: &[Seen<'_>], changes: &mut Vec<Change>) {
        self.shunned.retain(|_, until| *until > now);
        let Some(parent) = &mut self.parent else { return };
        if is_linked(seen, &parent.node) {
            (parent.tries, parent.retry) = (0, None);
            return;
        }
        let retry = *parent.retry.get_or_insert(now + BACKOFF_MIN);
        if retry > now {
            return;
        }
        if parent.tries == RETRIES {
            let node = parent.node;
            return self.shun(now, node);
        }
        parent.tries += 1;
        let pause = BACKOFF_MIN.saturating_mul(1 << u32::from(parent.tries.min(6))).min(BACKOFF_MAX);
        parent.retry = Some(now + pause);
        changes.push(Change::Dial(parent.node));
    }

    fn shun(&mut self, now: Instant, node: NodeId) {
        if self.shunned.len() >= MAX_CANDIDATES
            && let Some(oldest) = self.shunned.iter().min_by_key(|(_, until)| **until).map(|(node, _)| *node)
        {
            self.shunned.remove(&oldest);
        }
        self.shunned.insert(node, now + PEER_TIMEOUT);
    }

    /// Of the candidates that were scored the best becomes the parent: at once when there is none, else only
    /// with the margin and after the cooldown.
    fn choose(&mut self, now: Instant, mut rows: Vec<Row>, seen: &[Seen<'_>], changes: &mut Vec<Change>) {
        let old = self.parent();
        let present = old.and_then(|old| rows.iter().find(|row| row.node == old)).copied();
        let best = rows.iter().filter(|row| row.verdict.is_scored()).min_by_key(|row| order(row)).copied();
        let is_young = self.exchanged.is_some_and(|at| now.since(at) < COOLDOWN);
        let (new, why) = match (present, best) {
            (Some(present), Some(best)) if present.verdict.is_scored() => {
                let is_better = is_better(&best, &present) && !is_young;
                (Some(if is_better { best.node } else { present.node }), Why::Better)
            }
            (Some(present), best) => (best.map(|best| best.node), Why::Lost(present.verdict)),
            (None, best) if old.is_some() => (best.map(|best| best.node), Why::Lost(Verdict::NotAlive)),
            (None, best) => (best.map(|best| best.node), Why::First),
        };
        if new != old {
            self.exchanged = old.and(Some(now));
            let retry = new.is_some_and(|new| !is_linked(seen, &new)).then(|| now + BACKOFF_MIN);
            self.parent = new.map(|node| Parent { node, since: now, tries: 0, retry });
            changes.push(Change::Parent { old, new, why });
        }
        self.judge(&mut rows, is_young);
        rows.sort_by_key(|row| (row.verdict != Verdict::Parent, !row.verdict.is_scored(), order(row)));
        rows.truncate(MAX_ROWS);
        self.rows = rows;
    }

    /// Says of each candidate that was scored why it is the parent or not.
    fn judge(&self, rows: &mut [Row], is_young: bool) {
        let Some(parent) = self.parent().and_then(|node| rows.iter().find(|row| row.node == node)) else {
            return;
        };
        let parent = *parent;
        for row in rows.iter_mut().filter(|row| row.verdict.is_scored()) {
            row.verdict = if row.node == parent.node {
                Verdict::Parent
            } else if !is_better(row, &parent) {
                if row.score > parent.score { Verdict::WithinMargin } else { Verdict::Behind }
            } else if is_young {
                Verdict::Cooldown
            } else {
                Verdict::Behind
            };
        }
    }

    fn elect(&mut self, now: Instant, seen: &[Seen<'_>], changes: &mut Vec<Change>) {
        let standing = self.standing();
        // Who leads is not replaced on a mere suspicion.
        let counts = |seen: &&Seen<'_>| {
            seen.life == Life::Alive || seen.life == Life::Suspect && seen.standing.role == Role::Leader
        };
        let others = seen.iter().filter(|seen| self.is_lateral(seen)).filter(counts);
        let mut others: Vec<Contender> =
            others.filter_map(|seen| Contender::of(seen.node, seen.profile, &seen.standing)).collect();
        others.sort_unstable_by_key(|contender| contender.node);
        others.truncate(MAX_CONTENDERS);
        let patience = self.patience(now);
        let (role, leader) = match Contender::of(self.own, &self.profile, &standing) {
            Some(own) => election::elect(&own, &others, patience),
            None => (Role::Standalone, None),
        };
        if role != self.role {
            (self.role, self.role_since) = (role, Some(now));
            changes.push(Change::Role(role));
        }
        let is_leaderless = leader.is_none() && !others.is_empty();
        self.leaderless = is_leaderless.then(|| self.leaderless.unwrap_or(now));
        if leader != self.leader {
            self.leader = leader;
            changes.push(Change::Leader(leader));
        }
        others.extend(Contender::of(self.own, &self.profile, &self.standing()));
        self.contenders = others;
    }

    /// Of those who go before it, one more is passed over with every evaluation without a leader.
    fn patience(&self, now: Instant) -> Patience {
        let rounds = self.leaderless.map_or(0, |since| now.since(since).as_secs() / EVALUATE.as_secs());
        Patience {
            may_challenge: self.role_since.is_none_or(|since| now.since(since) >= COOLDOWN),
            passed_over: usize::try_from(rounds).unwrap_or(usize::MAX),
        }
    }

    /// Says whether a member is of this node's level and cell.
    fn is_lateral(&self, seen: &Seen<'_>) -> bool {
        seen.node != self.own
            && seen.profile.level == self.profile.level
            && seen.profile.cell == self.profile.cell
    }

    /// The peers of this node's cell: those with a link first, by their round trip.
    fn laterals(&self, seen: &[Seen<'_>]) -> Vec<NodeId> {
        let peers = seen.iter().filter(|seen| seen.life == Life::Alive && self.is_lateral(seen));
        let mut peers: Vec<_> = peers.map(|seen| (seen.rtt_us.unwrap_or(u32::MAX), seen.node)).collect();
        peers.sort_unstable();
        peers.into_iter().take(MAX_LATERAL).map(|(_, node)| node).collect()
    }
}

fn is_linked(seen: &[Seen<'_>], node: &NodeId) -> bool {
    seen.iter().any(|seen| seen.node == *node && seen.rtt_us.is_some())
}

/// The higher score first, then the lower id.
fn order(row: &Row) -> (std::cmp::Reverse<u32>, NodeId) {
    (std::cmp::Reverse(row.score), row.node)
}

fn is_better(row: &Row, parent: &Row) -> bool {
    let margin = u64::from(parent.score) * u64::from(100 + MARGIN_PERCENT);
    row.node != parent.node && u64::from(row.score) * 100 >= margin && row.score > parent.score
}
