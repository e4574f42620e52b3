//! Broadcast trees: eager push and lazy push per topic, in the manner of Plumtree (Leitão, Pereira,
//! Rodrigues: Epidemic Broadcast Trees, 2007).
//!
//! The unit is the run, and what is offered or asked for is a range of sequence numbers, so that a batch
//! costs one entry. Every neighbour is eager until it proves to be a detour. Knows no queues and no sockets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::frame::{MAX_ROWS, Offer};
use crate::id::{Peer, TopicId};
use crate::run::{Dest, Flow, Head, Run};
use crate::time::Instant;

/// Topics with a tree, at most; beyond it every neighbour is eager.
pub const MAX_TOPICS: usize = 4096;
/// Payload bytes kept to answer grafts.
pub const CACHE_BYTES: usize = 16 * 1024 * 1024;
/// Offers awaited at a time, at most (faults.md section 3: 5 000 ids).
pub const MAX_MISSING: usize = 5_000;
/// How long the next neighbour that offered it is then waited for; four times as long in each further round, for an
/// answer may be on its way over a slow link.
const GRAFT_AGAIN: Duration = Duration::from_millis(250);
/// How old a message may be to be offered to a neighbour that has just come, in ms.
const RECENT_MS: u64 = 60_000;
/// A neighbour that offers a message with so many hops fewer than it came with takes the place of the one it came
/// from (Plumtree paper, section 3.8: the optimisation of the tree; its threshold is 7).
const SHORTCUT: u8 = 4;
/// What a neighbour that has just come offers is asked for one by one, each so long after the one before it, so that
/// two parts of a mesh that meet again do not tell each other everything at once (faults.md N08).
const CATCH_UP_STEP: Duration = Duration::from_millis(100);
/// How much later than another node one begins with it, at most.
const CATCH_UP_PHASE: Duration = Duration::from_secs(2);
/// How long that takes at most, however much is missing.
const CATCH_UP: Duration = Duration::from_secs(30);
/// How long after the first copy of a message another one still tells something of the tree.
const LATE: Duration = Duration::from_secs(2);
/// How long what was sent before a message may take to come after it, by a slower way.
const GAP_AFTER: Duration = Duration::from_secs(3);
/// Numbers in a gap that is asked for, at most.
const MAX_GAP: u64 = 1024;
/// A gap after so long a silence is none.
const LONG_AWAY: Duration = Duration::from_secs(60);
/// So many late copies one after the other do tell something: that the link lags behind.
const MANY_LATE: u32 = 64;
/// How often each neighbour that offered a message is asked for it.
const ASK_ROUNDS: usize = 3;
/// So many of the newest messages say who else could have sent them.
const REMEMBERED: usize = 64;
/// How much later the one of two neighbours offers that is not the first to: a round, within these bounds. What it has
/// been offered meanwhile it need not offer.
const OFFER_LATER: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(400));

/// The topic under which messages to the whole mesh travel.
pub const MESH: TopicId = TopicId([0; 32]);

/// Returns the tree that a broadcast destination uses; `None` for a node.
pub fn tree_of(dest: &Dest) -> Option<TopicId> {
    match dest {
        Dest::Topic(topic) => Some(*topic),
        Dest::Mesh => Some(MESH),
        Dest::Node(_) => None,
    }
}

fn dest_of(tree: TopicId) -> Dest {
    if tree == MESH { Dest::Mesh } else { Dest::Topic(tree) }
}

#[derive(Debug)]
struct Cached {
    run: Arc<Run>,
    /// Hops behind it when it is handed on.
    hops: u8,
    /// Where it came from.
    from: Option<Peer>,
    /// Another neighbour that has it, and did not get it by way of this node: the one with the fewest hops.
    spare: Option<(Peer, u8)>,
    since: Instant,
}

#[derive(Debug)]
struct Missing {
    count: u32,
    due: Instant,
    offered_by: VecDeque<Peer>,
    asked: usize,
    /// It was sent before the neighbour came that offers it, or is a gap: nothing is wrong with the tree.
    is_late: bool,
    /// Nobody has offered it: it is a gap, and who could have it is guessed.
    is_guess: bool,
}

/// The ways that a tree does not take, each by itself: a message that is handed on late tells that it was not needed
/// there, and nothing of the way back.
#[derive(Debug, Default)]
struct Closed {
    /// Neighbours that asked not to be pushed; they are offered instead.
    to: BTreeSet<Peer>,
    /// Neighbours that were asked not to push.
    from: BTreeSet<Peer>,
}

impl Closed {
    /// Opens both ways; says whether the neighbour did not push.
    fn open(&mut self, peer: Peer) -> bool {
        self.to.remove(&peer);
        self.from.remove(&peer)
    }
}

/// The trees of one node.
#[derive(Debug)]
pub struct Trees {
    /// How long an offered message may take to come by itself before it is asked for.
    graft_after: Duration,
    /// How long offers are gathered, about.
    offer_every: Duration,
    /// When the offers go that are gathered now: those to all neighbours at once, to be one turn.
    offer_round: Instant,
    closed: BTreeMap<TopicId, Closed>,
    /// By flow and first sequence number; there are few flows and many numbers.
    cache: BTreeMap<Flow, BTreeMap<u64, Cached>>,
    /// The oldest first.
    cache_order: VecDeque<Arc<Run>>,
    cache_bytes: usize,
    missing: BTreeMap<(Flow, u64), Missing>,
    offers: BTreeMap<(Peer, TopicId), (Instant, Vec<Offer>)>,
    /// Neighbours that were asked to push because they are much nearer to the origin. Each takes the place of the one
    /// that pushed when a copy comes from it: until then both push, because what the nearer one handed on before it
    /// was asked comes from the other one only.
    heirs: BTreeSet<(TopicId, Peer)>,
    /// Neighbours that were grafted because the way went that the messages had come by, and have sent nothing yet.
    substitutes: BTreeSet<(TopicId, Peer)>,
    /// The neighbours that are left to offer first.
    second_to: BTreeSet<Peer>,
    /// How many late copies have come from a neighbour since its last one in time.
    late: BTreeMap<Peer, u32>,
    /// All who offered some message were asked for it, and none has sent it.
    is_unanswered: bool,
    /// When there is a turn to ask for more of what neighbours that have just come offer.
    catch_up: Instant,
}

impl Trees {
    /// Makes trees without a message; `graft_after` is how long an offered one may take to come by itself,
    /// `offer_every` how long offers are gathered.
    pub fn new(graft_after: Duration, offer_every: Duration) -> Trees {
        Trees {
            graft_after,
            offer_every,
            offer_round: Instant(0),
            closed: BTreeMap::new(),
            cache: BTreeMap::new(),
            cache_order: VecDeque::new(),
            cache_bytes: 0,
            missing: BTreeMap::new(),
            offers: BTreeMap::new(),
            heirs: BTreeSet::new(),
            substitutes: BTreeSet::new(),
            second_to: BTreeSet::new(),
            late: BTreeMap::new(),
            is_unanswered: false,
            catch_up: Instant(0),
        }
    }

    /// Returns the offers awaited and the bytes cached.
    pub fn sizes(&self) -> (usize, usize) {
        (self.missing.len(), self.cache_bytes)
    }

    /// Returns offers of the newest messages, for a neighbour that has just come: one whose tree broke may
    /// have missed them. What was written before its start at `epoch` is not for it.
    pub fn recent(&self, unix_ms: u64, epoch: u64) -> BTreeMap<TopicId, Vec<Offer>> {
        let mut out: BTreeMap<TopicId, Vec<Offer>> = BTreeMap::new();
        for newest in self.cache_order.iter().rev().take(MAX_ROWS) {
            let found = self.cache.get(&newest.head().flow).and_then(|flow| flow.get(&newest.seqs().start));
            let Some(Cached { run, hops, .. }) = found else { continue };
            let (head, seqs) = (run.head(), run.seqs());
            let Some(tree) = tree_of(&head.flow.dest) else { continue };
            if head.sent_ms >= epoch && unix_ms.saturating_sub(head.sent_ms) < RECENT_MS {
                out.entry(tree).or_default().push(Offer {
                    origin: head.flow.origin,
                    epoch: head.flow.epoch,
                    first: seqs.start,
                    count: run.len() as u32,
                    hops: *hops,
                });
            }
        }
        out
    }

    /// A new run goes out: returns the neighbours to push it to, and notes an offer for the others.
    pub fn on_fresh(
        &mut self,
        now: Instant,
        from: Option<Peer>,
        run: &Arc<Run>,
        hops: u8,
        neighbours: impl IntoIterator<Item = Peer>,
    ) -> Vec<Peer> {
        let Some(tree) = tree_of(&run.head().flow.dest) else { return Vec::new() };
        if let Some(from) = from.filter(|_| !self.is_caught_up(run)) {
            self.late.remove(&from);
            // The copy that now comes from the other one is the second, and prunes it.
            self.heirs.remove(&(tree, from));
            self.substitutes.remove(&(tree, from));
        }
        self.remember(now, run, hops, from);
        let offered_by = if self.missing.is_empty() { Vec::new() } else { self.forget_missing(run) };
        let closed = self.closed.get(&tree);
        // Whoever has it needs no copy, and would close the way.
        let others = neighbours.into_iter().filter(|peer| Some(*peer) != from && !offered_by.contains(peer));
        // Nor does an heir, who is so much nearer; but it is nearer to one sender only, and hears what it may lack.
        let is_lazy = |peer: &Peer| {
            closed.is_some_and(|closed| closed.to.contains(peer)) || self.heirs.contains(&(tree, *peer))
        };
        let (lazy, eager): (Vec<Peer>, Vec<Peer>) = others.partition(is_lazy);
        for peer in lazy {
            self.offer(now, peer, run, hops);
        }
        eager
    }

    /// Notes that `peer` shall be offered the run instead of being sent it.
    pub fn offer(&mut self, now: Instant, peer: Peer, run: &Run, hops: u8) {
        let Some(tree) = tree_of(&run.head().flow.dest) else { return };
        let (flow, seqs) = (run.head().flow, run.seqs());
        let due = self.offer_due(now, peer);
        let (_, offers) = self.offers.entry((peer, tree)).or_insert_with(|| (due, Vec::new()));
        if let Some(last) = offers.last_mut()
            && (last.origin, last.epoch, last.first + u64::from(last.count))
                == (flow.origin, flow.epoch, seqs.start)
        {
            last.count += run.len() as u32;
            last.hops = last.hops.max(hops);
        } else if offers.len() < MAX_ROWS {
            offers.push(Offer {
                origin: flow.origin,
                epoch: flow.epoch,
                first: seqs.start,
                count: run.len() as u32,
                hops,
            });
        }
    }

    /// Returns when an offer goes that is noted now: no sooner than after half a round, because what has just come
    /// here is about to come there by itself.
    fn offer_due(&mut self, now: Instant, peer: Peer) -> Instant {
        let every = self.offer_every;
        if self.offer_round < now + every / 2 {
            let missed = (now + every / 2).since(self.offer_round).as_micros() / every.as_micros();
            // After a silence the rounds start anew.
            let next = u32::try_from(missed + 1).ok().filter(|_| self.offer_round > Instant(0));
            self.offer_round = next.map_or(now + every, |rounds| self.offer_round + every * rounds);
        }
        let (least, most) = OFFER_LATER;
        let later = if self.second_to.contains(&peer) { every.clamp(least, most) } else { Duration::ZERO };
        self.offer_round + later
    }

    /// A new run comes by a way of which only this direction is open. The tree takes it, and others may speak too:
    /// opens the way back, and returns the tree in which the neighbour is to be told so by a graft.
    pub fn reopen(&mut self, from: Peer, run: &Run) -> Option<TopicId> {
        let tree = tree_of(&run.head().flow.dest)?;
        if !self.closed.get(&tree)?.to.contains(&from) || self.is_caught_up(run) {
            return None;
        }
        self.closed.get_mut(&tree)?.open(from);
        Some(tree)
    }

    /// Says whether it was asked for to catch up: the way by which it then comes is none of the tree.
    fn is_caught_up(&self, run: &Run) -> bool {
        let (flow, seqs) = (run.head().flow, run.seqs());
        let mut within = self.missing.range((flow, seqs.start)..(flow, seqs.end));
        within.any(|(_, missing)| missing.is_late && missing.asked > 0)
    }

    /// A run came that had come before. Returns whom to ask to stop pushing this topic: nobody when the first copy is
    /// old, because one that was made up for elsewhere takes ways that the tree does not mean.
    pub fn on_duplicate(&mut self, now: Instant, from: Peer, flow: &Flow, first: u64) -> Option<Peer> {
        let known = self.cache.get(flow).and_then(|flow| flow.get(&first));
        if known.is_some_and(|known| now.since(known.since) > LATE) {
            let late = self.late.entry(from).or_default();
            *late += 1;
            if *late < MANY_LATE {
                return None;
            }
        }
        self.late.remove(&from);
        let tree = tree_of(&flow.dest)?;
        let first = known.and_then(|known| known.from).filter(|_| self.heirs.remove(&(tree, from)));
        let detour = first.unwrap_or(from);
        let is_news = self.closed(tree).is_some_and(|closed| closed.from.insert(detour));
        is_news.then_some(detour)
    }

    /// The neighbour asks not to be pushed the topic.
    pub fn on_prune(&mut self, from: Peer, tree: TopicId) {
        if let Some(closed) = self.closed(tree) {
            closed.to.insert(from);
        }
    }

    /// Says whether no tree takes the link to this neighbour, there or back.
    pub fn is_lazy(&self, peer: Peer) -> bool {
        let is_closed = |closed: &Closed| closed.to.contains(&peer) && closed.from.contains(&peer);
        !self.closed.is_empty() && self.closed.values().all(is_closed)
    }

    fn closed(&mut self, tree: TopicId) -> Option<&mut Closed> {
        let has_room = self.closed.len() < MAX_TOPICS || self.closed.contains_key(&tree);
        has_room.then(|| self.closed.entry(tree).or_default())
    }

    /// The neighbour asks for messages and, unless it wants them alone, to be pushed from now on. Returns what is
    /// still here.
    pub fn on_graft(
        &mut self,
        from: Peer,
        tree: TopicId,
        once: bool,
        offers: &[Offer],
    ) -> Vec<(Arc<Run>, u8)> {
        if let Some(closed) = self.closed.get_mut(&tree).filter(|_| !once) {
            closed.open(from);
        }
        let mut out = Vec::new();
        for offer in offers {
            let flow = offer.flow(dest_of(tree));
            let (first, end) = (offer.first, offer.first + u64::from(offer.count));
            // A run that starts earlier may reach into the range; it is at most one batch long.
            let from = first.saturating_sub(crate::batch::MAX_BATCH as u64);
            let cached = self.cache.get(&flow).into_iter().flat_map(|flow| flow.range(from..end));
            let within = cached.map(|(_, cached)| cached).filter(|cached| cached.run.seqs().end > first);
            out.extend(within.map(|cached| (cached.run.clone(), cached.hops)));
        }
        out
    }

    /// What has come needs no graft. Returns who offered all of it.
    fn forget_missing(&mut self, run: &Run) -> Vec<Peer> {
        let (flow, seqs) = (run.head().flow, run.seqs());
        let within = self.missing.range((flow, seqs.start)..(flow, seqs.end));
        let came = within.filter(|((_, first), missing)| first + u64::from(missing.count) <= seqs.end);
        let mut offered_by = Vec::new();
        for key in came.map(|(key, _)| *key).collect::<Vec<_>>() {
            let missing = self.missing.remove(&key);
            let is_all = |missing: &Missing| key.1 == seqs.start && missing.count as usize == run.len();
            if let Some(all) = missing.filter(|missing| is_all(missing) && !missing.is_guess) {
                offered_by.extend(all.offered_by);
            }
        }
        offered_by
    }

    /// The neighbour has this range: it needs no offer of it.
    pub fn on_known(&mut self, from: Peer, tree: TopicId, offer: &Offer) {
        if let Some((_, offers)) = self.offers.get_mut(&(from, tree)) {
            let same = |own: &Offer| (own.origin, own.epoch, own.first, own.count);
            // One that has it by many more hops still wants to hear of the shorter way.
            offers.retain(|own| same(own) != same(offer) || own.hops.saturating_add(SHORTCUT) < offer.hops);
            if offers.is_empty() {
                self.offers.remove(&(from, tree));
            }
        }
    }

    /// The neighbour offers what is here. Says whether it is so much nearer to the origin that it is to be grafted,
    /// and takes the place of the one that pushed.
    pub fn shortcut(&mut self, from: Peer, tree: TopicId, offer: &Offer) -> bool {
        let flow = self.cache.get_mut(&offer.flow(dest_of(tree)));
        let Some(cached) = flow.and_then(|flow| flow.get_mut(&offer.first)) else { return false };
        if cached.from.is_none_or(|parent| parent == from) {
            return false;
        }
        // Whoever got it from here has at least one hop more.
        if offer.hops <= cached.hops && cached.spare.is_none_or(|(_, hops)| offer.hops < hops) {
            cached.spare = Some((from, offer.hops));
        }
        if offer.hops.saturating_add(SHORTCUT) >= cached.hops.saturating_sub(1) {
            return false;
        }
        // One shortcut a message: what others offer is compared with this one.
        (cached.from, cached.hops) = (Some(from), offer.hops.saturating_add(1));
        // What it offered before it was asked, it offers no more often.
        let did_not_push = self.closed.get_mut(&tree).is_some_and(|closed| closed.open(from));
        if did_not_push {
            self.heirs.insert((tree, from));
        }
        did_not_push
    }

    /// A neighbour has come; `offers_first` says which side of the link does. Without an order both would tell
    /// each other the same at about the same time.
    pub fn add_link(&mut self, peer: Peer, offers_first: bool) {
        if !offers_first {
            self.second_to.insert(peer);
        }
    }

    /// A neighbour that has just come offers these ranges, the newest first: they are asked for in turn, the oldest
    /// first, unless they come from elsewhere meanwhile. `phase`, 0 to 1, moves it all a little: whoever asks later
    /// than the others in its part of the mesh gets it from them.
    pub fn on_recent(&mut self, now: Instant, from: Peer, ranges: &[(Flow, Range<u64>)], phase: f64) {
        let is_new = |range: &&(Flow, Range<u64>)| !self.missing.contains_key(&(range.0, range.1.start));
        let count = u32::try_from(ranges.iter().filter(is_new).count()).unwrap_or(u32::MAX).max(1);
        let step = CATCH_UP_STEP.min(CATCH_UP / count);
        let begin = now + (step * count).min(CATCH_UP_PHASE).mul_f64(phase);
        let mut turn = self.catch_up.max(begin);
        for (flow, range) in ranges.iter().rev() {
            let sizes = self.missing.len();
            self.note_missing(turn.min(begin + CATCH_UP), from, *flow, range, true);
            if self.missing.len() > sizes {
                turn = turn + step;
            }
        }
        self.catch_up = turn.min(begin + CATCH_UP);
    }

    /// The neighbour offers a range of which these parts are missing here.
    pub fn on_offer(&mut self, now: Instant, from: Peer, flow: Flow, parts: &[Range<u64>]) {
        let is_substitute = tree_of(&flow.dest).is_some_and(|tree| self.substitutes.contains(&(tree, from)));
        for part in parts {
            self.note_missing(now, from, flow, part, false);
            // It had this before it was asked to push, and no other neighbour does: waiting is in vain.
            if is_substitute && let Some(missing) = self.missing.get_mut(&(flow, part.start)) {
                missing.due = now;
            }
        }
    }

    /// A message with this head has come from the first of `neighbours`, and those right before it have not: they are
    /// lost on the way unless they come soon, and offers of them as well. The neighbours are asked in turn.
    pub fn on_gap(
        &mut self,
        now: Instant,
        head: &Head,
        gap: &Range<u64>,
        neighbours: impl IntoIterator<Item = Peer>,
    ) {
        let flow = head.flow;
        let last = self.cache.get(&flow).and_then(|flow| flow.range(..gap.start).next_back());
        // Else this node was away, or has just been told what is older: it is offered what it missed, and at a pace.
        let was_there = last.is_some_and(|(_, last)| {
            let (came, sent) = (now.since(last.since), head.sent_ms.saturating_sub(last.run.head().sent_ms));
            came < LONG_AWAY && Duration::from_millis(sent) < came + LATE
        });
        let is_known = self.missing.contains_key(&(flow, gap.start));
        if !was_there || is_known || gap.end - gap.start > MAX_GAP {
            return;
        }
        for peer in neighbours {
            self.note_missing(now + GAP_AFTER, peer, flow, gap, true);
        }
        if let Some(missing) = self.missing.get_mut(&(flow, gap.start)) {
            missing.is_guess = true;
        }
    }

    fn note_missing(&mut self, now: Instant, from: Peer, flow: Flow, part: &Range<u64>, is_late: bool) {
        let key = (flow, part.start);
        if self.missing.len() >= MAX_MISSING && !self.missing.contains_key(&key) {
            return;
        }
        let count = u32::try_from(part.end - part.start).unwrap_or(u32::MAX);
        let due = now + self.graft_after;
        let missing = self.missing.entry(key).or_insert_with(|| Missing {
            count,
            due,
            offered_by: VecDeque::new(),
            asked: 0,
            is_late,
            is_guess: false,
        });
        if std::mem::take(&mut missing.is_guess) {
            missing.offered_by.clear();
            missing.asked = 0;
        }
        missing.count = missing.count.max(count);
        missing.is_late &= is_late;
        missing.due = missing.due.min(due);
        if !missing.offered_by.contains(&from) {
            missing.offered_by.push_back(from);
        }
    }

    /// Returns the grafts that are due: whom to ask, in which tree, whether for this alone, for what. `still` says
    /// which parts of a range have not come meanwhile.
    pub fn take_grafts(
        &mut self,
        now: Instant,
        still: impl Fn(&Flow, Range<u64>) -> bool,
    ) -> BTreeMap<(Peer, TopicId, bool), Vec<Offer>> {
        let due: Vec<_> = self.missing.iter().filter(|(_, m)| m.due <= now).map(|(key, _)| *key).collect();
        let mut out: BTreeMap<(Peer, TopicId, bool), Vec<Offer>> = BTreeMap::new();
        for key in due {
            let (flow, first) = key;
            let Some(missing) = self.missing.get_mut(&key) else { continue };
            let range = first..first + u64::from(missing.count);
            // Who leaves gaps on purpose must not keep everybody asking.
            let most = if missing.is_guess { 1 } else { ASK_ROUNDS };
            let is_over = missing.asked >= most * missing.offered_by.len() || !still(&flow, range);
            let ask = missing.offered_by.front().copied().filter(|_| !is_over);
            let (Some(peer), Some(tree)) = (ask, tree_of(&flow.dest)) else {
                self.missing.remove(&key);
                continue;
            };
            self.is_unanswered |= missing.asked == missing.offered_by.len() && !missing.is_late;
            missing.asked += 1;
            let rounds = (missing.asked / missing.offered_by.len()).min(ASK_ROUNDS);
            missing.due = now + GRAFT_AGAIN * 4_u32.pow(rounds as u32);
            missing.offered_by.rotate_left(1);
            if let Some(closed) = self.closed.get_mut(&tree).filter(|_| !missing.is_late) {
                closed.open(peer);
            }
            let offer =
                Offer { origin: flow.origin, epoch: flow.epoch, first, count: missing.count, hops: 0 };
            out.entry((peer, tree, missing.is_late)).or_default().push(offer);
        }
        out
    }

    /// Says once whether a message was offered here that nobody who offers it sends.
    pub fn take_unanswered(&mut self) -> bool {
        std::mem::take(&mut self.is_unanswered)
    }

    /// Returns the offers to send, if they are due.
    pub fn take_offers(&mut self, now: Instant) -> BTreeMap<(Peer, TopicId), Vec<Offer>> {
        let due = self.offers.extract_if(.., |_, (due, _)| *due <= now);
        due.map(|(key, (_, offers))| (key, offers)).collect()
    }

    /// Takes the offers that wait for a neighbour, before their time.
    pub fn take_offers_to(&mut self, peer: Peer, tree: TopicId) -> Vec<Offer> {
        self.offers.remove(&(peer, tree)).map_or(Vec::new(), |(_, offers)| offers)
    }

    /// Reads the lines that every turn needs.
    #[cfg(feature = "sim")]
    pub(crate) fn look(&self) -> usize {
        self.closed.len() ^ self.cache.len() ^ self.missing.len() ^ self.offers.len() ^ self.cache_order.len()
    }

    /// Reads what lies behind them.
    #[cfg(feature = "sim")]
    pub(crate) fn look_further(&self) -> usize {
        let closed = self.closed.first_key_value().map_or(0, |(_, closed)| closed.to.len());
        let cached = self.cache.first_key_value().map_or(0, |(_, cached)| cached.len());
        let offers = self.offers.first_key_value().map_or(0, |(_, (_, offers))| offers.len());
        closed ^ cached ^ offers ^ self.cache_order.back().map_or(0, |run| run.len())
    }

    /// Forgets a neighbour. Returns whom to graft in its place in which trees, so that all behind this node need not
    /// find out by themselves that something is missing.
    pub fn drop_link(&mut self, peer: Peer) -> Vec<(TopicId, Peer)> {
        let grafts = self.in_place_of(peer);
        for (tree, graft) in &grafts {
            if let Some(closed) = self.closed.get_mut(tree) {
                closed.open(*graft);
            }
            self.substitutes.insert((*tree, *graft));
        }
        for closed in self.closed.values_mut() {
            closed.open(peer);
        }
        self.offers.retain(|(to, _), _| *to != peer);
        self.heirs.retain(|(_, heir)| *heir != peer);
        self.substitutes.retain(|(_, substitute)| *substitute != peer);
        self.second_to.remove(&peer);
        self.late.remove(&peer);
        for cached in self.cache.values_mut().flat_map(BTreeMap::values_mut) {
            cached.from.take_if(|from| *from == peer);
            cached.spare.take_if(|(spare, _)| *spare == peer);
        }
        for missing in self.missing.values_mut() {
            missing.offered_by.retain(|by| *by != peer);
        }
        grafts
    }

    /// Returns who can take the place of a neighbour in the trees whose newest message came from it, if anybody is
    /// known: somebody who offered one of the last messages.
    fn in_place_of(&self, gone: Peer) -> Vec<(TopicId, Peer)> {
        let mut looked_at = BTreeSet::new();
        let mut found: BTreeMap<TopicId, Option<Peer>> = BTreeMap::new();
        for run in self.cache_order.iter().rev().take(REMEMBERED) {
            let head = run.head();
            let cached = self.cache.get(&head.flow).and_then(|flow| flow.get(&run.seqs().start));
            let (Some(tree), Some(cached)) = (tree_of(&head.flow.dest), cached) else { continue };
            let is_newest = looked_at.insert(tree);
            if is_newest && cached.from != Some(gone) {
                found.insert(tree, None);
            }
            if let Some((spare, _)) = cached.spare.filter(|(spare, _)| *spare != gone) {
                found.entry(tree).or_insert(Some(spare));
            }
        }
        let grafts = found.into_iter().filter_map(|(tree, graft)| Some((tree, graft?)));
        grafts.filter(|(tree, peer)| self.closed.get(tree).is_some_and(|c| c.from.contains(peer))).collect()
    }

    /// Returns when something is due.
    pub fn next_due(&self) -> Option<Instant> {
        let offers = self.offers.values().map(|(due, _)| *due);
        self.missing.values().map(|missing| missing.due).chain(offers).min()
    }

    fn remember(&mut self, now: Instant, run: &Arc<Run>, hops: u8, from: Option<Peer>) {
        let flow = self.cache.entry(run.head().flow).or_default();
        let cached = Cached { run: run.clone(), hops, from, spare: None, since: now };
        if flow.insert(run.seqs().start, cached).is_some() {
            return;
        }
        self.cache_order.push_back(run.clone());
        self.cache_bytes += run.payload_len() + run.len() * 36;
        while self.cache_bytes > CACHE_BYTES {
            let Some(oldest) = self.cache_order.pop_front() else { return };
            self.forget_cached(&oldest);
        }
    }

    fn forget_cached(&mut self, run: &Run) {
        let flow = run.head().flow;
        let Some(cached) = self.cache.get_mut(&flow) else { return };
        if let Some(Cached { run, .. }) = cached.remove(&run.seqs().start) {
            self.cache_bytes -= run.payload_len() + run.len() * 36;
        }
        if cached.is_empty() {
            self.cache.remove(&flow);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::id::NodeId;
    use crate::policy::Class;
    use crate::run::{Draft, seal};

    const A: Peer = Peer(1);
    const B: Peer = Peer(2);
    const C: Peer = Peer(3);

    fn run(seq: u64) -> Arc<Run> {
        let key = SigningKey::from_bytes(&[1; 32]);
        let origin = NodeId(key.verifying_key().to_bytes());
        let head = Head {
            flow: Flow { origin, epoch: 0, dest: Dest::Mesh },
            seq_base: 0,
            sent_ms: 0,
            expiry_ms: 60_000,
            class: Class::Normal,
            hop_limit: 3,
            durable: false,
            internal: false,
        };
        let draft = Draft { head, first_seq: seq, payloads: vec![Bytes::from_static(b"news")] };
        Arc::new(seal(&key, vec![draft]).remove(0))
    }

    fn at(ms: u64) -> Instant {
        Instant(0) + Duration::from_millis(ms)
    }

    fn trees() -> Trees {
        Trees::new(Duration::from_millis(500), Duration::from_millis(100))
    }

    fn missing(seqs: Range<u64>) -> Vec<(Flow, Range<u64>)> {
        let flow = run(0).head().flow;
        seqs.rev().map(|seq| (flow, seq..seq + 1)).collect()
    }

    /// Asks for all that is missing, step by step; returns when, in ms, whom, for which number, and whether alone.
    fn asked(trees: &mut Trees, within_ms: u64) -> Vec<(u64, Peer, u64, bool)> {
        let mut out = Vec::new();
        for ms in (0..within_ms).step_by(50) {
            for ((peer, _, once), rows) in trees.take_grafts(at(ms), |_, _| true) {
                out.extend(rows.into_iter().map(|row| (ms, peer, row.first, once)));
            }
        }
        out
    }

    // MN-08
    #[test]
    fn a_slow_neighbour_has_time_to_answer_before_it_is_asked_again() {
        let mut trees = trees();
        let (flow, range) = missing(0..1).remove(0);

        trees.on_offer(at(0), A, flow, std::slice::from_ref(&range));
        trees.on_offer(at(0), B, flow, &[range]);

        let all = [(500, A, 0, false), (750, B, 0, false), (1750, A, 0, false), (2750, B, 0, false)];
        assert_eq!(asked(&mut trees, 4000), all, "the other one soon, the same ones late");
    }

    #[test]
    fn a_gap_is_asked_for_where_the_next_came_from_and_elsewhere_unless_it_closes() {
        let mut trees = trees();
        let head = *run(0).head();
        trees.on_gap(at(0), &head, &(0..1), [A, B]);
        trees.on_fresh(at(0), Some(A), &run(0), 1, [A, B]);
        trees.on_gap(at(0), &head, &(1..2), [A, B]);
        trees.on_gap(at(0), &head, &(5..6), [B, A]);
        trees.on_gap(at(0), &head, &(10..10 + MAX_GAP + 1), [A, B]);
        trees.on_gap(at(0), &Head { sent_ms: 5_000, ..head }, &(20..21), [A, B]);
        trees.on_gap(at(70_000), &head, &(30..31), [A, B]);

        assert_eq!(trees.on_fresh(at(100), Some(B), &run(5), 1, [A, B]), [A], "nobody has offered it");
        assert_eq!(asked(&mut trees, 60_000), [(3500, A, 1, true), (3750, B, 1, true)], "once each");
    }

    // N08
    #[test]
    fn what_several_neighbours_offer_on_coming_is_asked_for_in_one_turn() {
        let mut trees = trees();

        trees.on_recent(at(0), A, &missing(0..5), 0.0);
        trees.on_recent(at(0), B, &missing(0..5), 0.0);
        trees.on_recent(at(0), B, &missing(5..10), 0.0);

        let all = asked(&mut trees, 1500);
        let first =
            |seq| all.iter().find(|(_, _, asked, _)| *asked == seq).map(|(ms, _, _, once)| (*ms, *once));
        let turns: Vec<_> = (0..10).map(first).collect();
        assert_eq!(turns, (0..10).map(|turn| Some((500 + turn * 100, true))).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_made_up_for_does_not_open_the_way_it_comes_by() {
        let mut trees = trees();
        let late = run(0);
        trees.on_prune(A, MESH);
        trees.on_fresh(at(0), Some(B), &run(1), 1, [A, B]);
        assert_eq!(trees.on_duplicate(at(0), A, &run(1).head().flow, 1), Some(A));
        trees.on_recent(at(0), A, &missing(0..1), 0.0);
        assert_eq!(trees.take_grafts(at(500), |_, _| true).len(), 1);

        trees.on_fresh(at(600), Some(A), &late, 1, [A, B]);

        assert!(trees.is_lazy(A), "the neighbour still has this way closed");
    }

    #[test]
    fn late_copies_do_not_prune_but_a_link_that_always_lags_is_pruned() {
        let mut trees = trees();
        let flow = run(0).head().flow;
        trees.on_fresh(at(0), Some(A), &run(0), 1, [A, B]);

        let prunes: Vec<_> = (0..MANY_LATE).map(|_| trees.on_duplicate(at(5000), B, &flow, 0)).collect();

        assert_eq!(prunes.iter().position(|prune| *prune == Some(B)), Some(MANY_LATE as usize - 1));
        trees.on_prune(B, MESH);
        assert!(trees.is_lazy(B), "neither there nor back");
    }

    // MN-07: a message that was made up for elsewhere says nothing of the way that the others come by.
    #[test]
    fn a_duplicate_closes_the_way_it_came_by_and_not_the_way_back() {
        let mut trees = trees();
        trees.on_fresh(at(0), Some(A), &run(0), 1, [A, B]);

        assert_eq!(trees.on_duplicate(at(10), B, &run(0).head().flow, 0), Some(B));
        assert_eq!(trees.on_duplicate(at(20), B, &run(0).head().flow, 0), None, "it was told");

        assert_eq!(trees.on_fresh(at(30), Some(A), &run(1), 1, [A, B]), [B]);
        trees.on_prune(B, MESH);
        assert_eq!(trees.on_fresh(at(40), Some(A), &run(2), 1, [A, B]), []);
    }

    fn offer(seq: u64, hops: u8) -> Offer {
        let flow = run(seq).head().flow;
        Offer { origin: flow.origin, epoch: flow.epoch, first: seq, count: 1, hops }
    }

    #[test]
    fn who_is_much_nearer_takes_the_place_of_the_one_that_pushed_when_its_first_copy_comes() {
        let flow = run(0).head().flow;
        let shortened = || {
            let mut trees = trees();
            trees.on_fresh(at(0), Some(A), &run(0), 9, [A, B]);
            trees.on_duplicate(at(0), B, &flow, 0);
            assert!(trees.shortcut(B, MESH, &offer(0, 2)), "to be grafted");
            assert!(!trees.shortcut(B, MESH, &offer(0, 2)), "once");
            trees
        };

        let mut trees = shortened();
        trees.on_fresh(at(100), Some(A), &run(1), 9, [A, B]);
        assert_eq!(trees.on_duplicate(at(110), B, &flow, 1), Some(A), "the second copy was the nearer one's");

        let mut trees = shortened();
        trees.on_fresh(at(100), Some(B), &run(1), 3, [A, B]);
        assert_eq!(trees.on_duplicate(at(110), A, &flow, 1), Some(A), "the second copy was the other one's");
    }

    // I11: it is near to one sender, and may be the last to hear of another's message.
    #[test]
    fn who_was_grafted_for_being_nearer_hears_of_what_it_may_lack() {
        let mut trees = trees();
        trees.on_fresh(at(0), Some(A), &run(0), 9, [A, B]);
        trees.on_duplicate(at(0), B, &run(0).head().flow, 0);
        assert!(trees.shortcut(B, MESH, &offer(0, 2)));

        let pushed_to = trees.on_fresh(at(100), Some(A), &run(1), 9, [A, B]);

        assert_eq!(pushed_to, [], "it has most of them sooner");
        let offered: Vec<Peer> = trees.take_offers(at(1000)).keys().map(|(peer, _)| *peer).collect();
        assert_eq!(offered, [B]);
    }

    // MN-13: those behind this node need not find out by themselves.
    #[test]
    fn when_a_way_of_the_tree_goes_another_is_opened_at_once() {
        let flow = run(0).head().flow;
        let mut trees = trees();
        trees.on_fresh(at(0), Some(A), &run(0), 3, [A, B, C]);
        for peer in [B, C] {
            trees.on_duplicate(at(0), peer, &flow, 0);
        }
        trees.shortcut(C, MESH, &offer(0, 5));
        assert_eq!(trees.drop_link(C), [], "the tree did not take it");
        trees.shortcut(B, MESH, &offer(0, 3));

        assert_eq!(trees.drop_link(A), [(MESH, B)]);

        trees.on_offer(at(100), B, flow, &[1..2]);
        let asked = trees.take_grafts(at(100), |_, _| true);
        assert_eq!(asked.keys().map(|(peer, ..)| *peer).collect::<Vec<_>>(), [B], "nobody else sends it");
    }

    #[test]
    fn a_way_that_is_open_in_one_direction_is_opened_in_both_when_the_tree_takes_it() {
        let mut trees = trees();
        trees.on_prune(A, MESH);
        assert_eq!(trees.reopen(B, &run(0)), None, "it is open");

        assert_eq!(trees.reopen(A, &run(0)), Some(MESH));

        trees.on_fresh(at(0), Some(A), &run(0), 1, [A, B]);
        assert_eq!(trees.on_fresh(at(0), None, &run(1), 0, [A, B]), [A, B]);
    }

    #[test]
    fn who_has_offered_a_message_is_not_pushed_it() {
        let mut trees = trees();
        let (flow, range) = missing(0..1).remove(0);
        trees.on_offer(at(0), B, flow, &[range]);

        assert_eq!(trees.on_fresh(at(100), Some(A), &run(0), 1, [A, B, C]), [C]);
    }

    #[test]
    fn offers_to_all_go_at_the_same_time_and_none_of_what_has_just_come() {
        let mut trees = trees();
        for peer in [A, B] {
            trees.on_prune(peer, MESH);
        }
        trees.on_fresh(at(1000), None, &run(0), 1, [A, B]);
        assert_eq!(trees.next_due(), Some(at(1100)));
        trees.on_fresh(at(1090), None, &run(1), 1, [A, B]);
        assert_eq!(trees.take_offers(at(1100)).len(), 2);

        trees.on_fresh(at(1160), None, &run(2), 1, [A, B]);

        assert_eq!(trees.next_due(), Some(at(1300)), "in the rounds that have begun");
    }
}
