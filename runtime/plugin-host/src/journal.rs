//! The decision journal of a slot: what a policy was shown and told, what it answered, and what it began with, so
//! that every decision can be explained and made again bit for bit. Decides nothing and writes no file.
//!
//! A journal has a fixed number of bytes; the oldest entries give way and are counted. Appending allocates
//! nothing: columns are copied, and one whose values are all equal takes the place of one.

use std::collections::VecDeque;

use mesh_proto::policy::{
    Asker, Candidates, CarryBatch, Clamp, Load, Overrule, Place, QosBatch, Room, RouteBatch, Shares, View,
    Visitor,
};
use serde::{Deserialize, Serialize};

use crate::handler::{self, Failure};
use crate::limits;
use crate::load::Revision;
use crate::slot::State;
use crate::trial::Decided;

mod admitted;
pub(crate) mod began;
mod carried;
mod column;
mod entry;
mod handled;
pub(crate) mod hex;
mod payload;
mod read;
pub mod replay;
mod ring;

use admitted::Texts;
pub(crate) use admitted::approach_name;
pub use admitted::{Admitted, Key};
pub use began::Began;
pub use carried::Carried;
use column::Column;
use entry::Running;
pub use entry::{
    Binding, By, Classified, Divided, Entry, Event, Overruled, Routed, Scored, Seen, Shown, Start, Told,
    Tried, With,
};
pub use handled::{Came, Handled, Why};
pub use payload::Payload;
use read::read;
use ring::Ring;

/// Bindings that a journal can name at a time; with more, the oldest entries give way.
const BINDINGS: usize = 64;
/// Bytes of a journal, at least.
const MIN_BYTES: usize = 4 << 10;
/// Bytes in front of the columns of an entry.
const HEAD: usize = 24;
/// Bytes of a start beside its state and its store, at most: the columns' heads, a node's key and its name.
const START_LEN: usize = HEAD + 64 + 32 + limits::NAME_BYTES;
/// Where the rows stand in them.
const ROWS: usize = 20;
/// Columns of an entry, at most: those of a topology call.
const COLUMNS: usize = 19;

const START: u8 = 0;
const OBSERVE: u8 = 1;
const ROUTE: u8 = 2;
const CLASSIFY: u8 = 3;
const DIVIDE: u8 = 4;
const SCORE: u8 = 5;
const CLAMP: u8 = 6;
const LOST: u8 = 7;
const TRIED: u8 = 8;
const ADMIT: u8 = 9;
const CARRY: u8 = 10;
const HANDLE: u8 = 11;

/// A part of a journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// The entries, oldest first.
    pub entries: Vec<Entry>,
    /// The bindings that they name.
    pub bindings: Vec<Binding>,
    /// Where to read on: the number after the last entry here.
    pub next: u64,
    /// Entries between what was asked for and the first one here, which had given way already.
    pub missed: u64,
    /// The number that the next entry will have.
    pub end: u64,
}

/// How full a journal is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Entries in it.
    pub entries: u64,
    /// Entries that gave way since the start.
    pub dropped: u64,
    /// The number of the oldest entry.
    pub first: u64,
    /// The time in the oldest entry, in milliseconds since 1970; `None` when there is no entry.
    pub since_ms: Option<u64>,
    /// Bytes of the entries.
    pub bytes: usize,
    /// Bytes that it has room for.
    pub most_bytes: usize,
}

/// The journal of one slot, which writes it.
#[derive(Debug)]
pub struct Journal {
    ring: Ring,
    /// The number of the next entry.
    next: u64,
    bindings: VecDeque<Binding>,
    /// The number of the last call's entry.
    last: u64,
    /// Memory for the columns of visitors.
    texts: Texts,
    /// Memory for an event; bounded as what is kept of one is.
    packed: Vec<u8>,
}

/// What an entry begins with in the journal, but for its binding and the rows of its longest column.
struct Head {
    kind: u8,
    by: u8,
    cost_ns: u32,
    now_ms: u64,
}

impl Journal {
    pub(crate) fn new(bytes: usize) -> Journal {
        Journal {
            ring: Ring::new(bytes.max(MIN_BYTES)),
            next: 0,
            bindings: VecDeque::from([Binding::native(0)]),
            last: 0,
            texts: Texts::default(),
            packed: Vec::new(),
        }
    }

    /// Returns the number of the entry of the last call.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Returns the number that the next entry will have.
    pub(crate) fn end(&self) -> u64 {
        self.next
    }

    pub(crate) fn extent(&self) -> Extent {
        let first = self.next - self.ring.records();
        Extent {
            entries: self.ring.records(),
            dropped: first,
            first,
            since_ms: self.ring.iter().next().and_then(time_of),
            bytes: self.ring.used(),
            most_bytes: self.ring.size(),
        }
    }

    /// Another instance decides, or the running one goes on from a state that is known.
    pub(crate) fn start(
        &mut self,
        now_ms: u64,
        bound: Option<Running<'_>>,
        with: With,
        state: Option<&State>,
        beside: &[u8],
    ) {
        self.bind(bound);
        let by = match with {
            With::Nothing => 0,
            With::State => 1,
            With::Anchor => 2,
            With::Unknown => 3,
        };
        let (version, bytes) = state.map_or((0, &[][..]), |state| (state.version, &state.bytes[..]));
        let head = Head { kind: START, by, cost_ns: 0, now_ms };
        self.put(head, &[Column::Words(&[version]), Column::Bytes(bytes), Column::Bytes(beside)]);
    }

    /// Returns the bytes that may stand beside a state of so many in one entry.
    pub(crate) fn room_beside(&self, state: usize) -> usize {
        self.ring.max_record().saturating_sub(state + START_LEN)
    }

    fn bind(&mut self, bound: Option<Running<'_>>) {
        let newest = self.bindings.back().map_or(0, |binding| binding.binding);
        let fresh = match bound {
            Some(running) => Binding::of(newest + 1, running),
            None => Binding::native(newest + 1),
        };
        if self.bindings.back().is_some_and(|binding| binding.is_as(&fresh)) {
            return;
        }
        while self.bindings.len() >= BINDINGS {
            self.bindings.pop_front();
            let oldest = self.bindings.front().map_or(0, |binding| binding.binding);
            while self.ring.iter().next().and_then(binding_of).is_some_and(|binding| binding < oldest) {
                self.ring.pop();
            }
        }
        self.bindings.push_back(fresh);
    }

    pub(crate) fn observe(&mut self, now_ms: u64, view: &View) {
        let columns = [
            Column::Words(&view.links.rtt_us),
            Column::Words(&view.links.loss_ppm),
            Column::Words(&view.links.queued_bytes),
            Column::Words(&view.ways.dest),
            Column::Words(&view.ways.via),
            Column::Words(&view.ways.cost_us),
            Column::Bytes(&view.ways.hops),
        ];
        self.put(Head { kind: OBSERVE, by: 0, cost_ns: 0, now_ms }, &columns);
    }

    #[inline]
    pub(crate) fn routed(&mut self, now_ms: u64, told: Told, batch: &RouteBatch, answers: &[u32]) {
        let columns = [
            Column::Words(&batch.dest),
            Column::Words(&batch.ingress),
            Column::Words(&batch.size),
            Column::Bytes(&batch.class),
            Column::Words(answers),
        ];
        self.call(ROUTE, now_ms, told, &columns);
    }

    #[inline]
    pub(crate) fn classified(&mut self, now_ms: u64, told: Told, batch: &QosBatch, answers: &[u8]) {
        let columns = [
            Column::Bytes(&batch.class),
            Column::Words(&batch.size),
            Column::Words(&batch.age_ms),
            Column::Words(&batch.tag),
            Column::Bytes(answers),
        ];
        self.call(CLASSIFY, now_ms, told, &columns);
    }

    pub(crate) fn divided(&mut self, now_ms: u64, told: Told, load: &Load, shares: Shares) {
        let columns = [
            Column::Longs(&load.sent_bytes),
            Column::Longs(&load.queued_bytes),
            Column::Longs(&load.dropped),
            Column::Bytes(&shares.guaranteed),
            Column::Bytes(&shares.burst),
        ];
        self.call(DIVIDE, now_ms, told, &columns);
    }

    pub(crate) fn scored(&mut self, now_ms: u64, told: Told, asked: (&Asker, &Candidates), answers: &[u32]) {
        let (asker, rows) = asked;
        let [a, b, c, d] = asker.weights;
        let (bytes, words) =
            ([asker.level, asker.mobility, asker.battery], [a, b, c, d, asker.max_distance_m]);
        let columns = [
            Column::Bytes(&bytes),
            Column::Words(&words),
            Column::Words(&rows.node),
            Column::Bytes(&rows.level),
            Column::Bytes(&rows.same_cell),
            Column::Bytes(&rows.is_parent),
            Column::Bytes(&rows.mobility),
            Column::Bytes(&rows.battery),
            Column::Bytes(&rows.cpu_used),
            Column::Bytes(&rows.memory_used),
            Column::Words(&rows.cores),
            Column::Words(&rows.memory_mb),
            Column::Words(&rows.uplink_mbps),
            Column::Words(&rows.distance_m),
            Column::Words(&rows.rtt_us),
            Column::Words(&rows.up_s),
            Column::Words(&rows.children),
            Column::Words(&rows.max_children),
            Column::Words(answers),
        ];
        self.call(SCORE, now_ms, told, &columns);
    }

    pub(crate) fn admitted(
        &mut self,
        now_ms: u64,
        told: Told,
        (place, visitors): (&Place, &[Visitor]),
        answers: &[bool],
    ) {
        let place = [place.links, place.least, place.most, place.members];
        let mut texts = std::mem::take(&mut self.texts);
        texts.fill(visitors, answers);
        self.call(ADMIT, now_ms, told, &texts.columns(&place));
        self.texts = texts;
    }

    pub(crate) fn carried(&mut self, now_ms: u64, told: Told, asked: (&Room, &CarryBatch), answers: &[u8]) {
        let (room, rows) = asked;
        let room =
            [room.messages, room.bytes, room.most_bytes, room.most_messages_each, room.most_bytes_each];
        let columns = [
            Column::Longs(&room),
            Column::Words(&rows.dest),
            Column::Bytes(&rows.class),
            Column::Words(&rows.messages),
            Column::Words(&rows.bytes),
            Column::Words(&rows.age_ms),
            Column::Words(&rows.left_ms),
            Column::Bytes(&rows.is_own),
            Column::Bytes(&rows.is_durable),
            Column::Words(&rows.waiting_messages),
            Column::Words(&rows.waiting_bytes),
            Column::Bytes(answers),
        ];
        self.call(CARRY, now_ms, told, &columns);
    }

    /// A handler was given an event; `came` is absent when it failed or was not asked.
    pub(crate) fn handled(
        &mut self,
        now_ms: u64,
        mut told: Told,
        seed: u64,
        event: &handler::Event,
        came: Option<&Result<Vec<handler::Effect>, Failure>>,
    ) {
        if told.by == By::Native {
            // Nothing is built in that handles.
            told.by = By::FallbackAbsent;
        }
        let most = limits::JOURNAL_PAYLOAD_BYTES.min(self.ring.max_record() / 4);
        let mut packed = std::mem::take(&mut self.packed);
        packed.clear();
        let packed = handled::encode(seed, event, came, most, packed);
        self.call(HANDLE, now_ms, told, &[Column::Bytes(&packed)]);
        self.packed = packed;
    }

    /// The host did not follow an answer of the last call.
    pub(crate) fn clamped(&mut self, now_ms: u64, clamp: &Clamp) {
        let applied = match clamp.applied {
            Overrule::NextHop(row) => row,
            Overrule::Class(class) => class.into(),
            Overrule::Worth(worth) => worth.into(),
        };
        let (of, rows) = (self.last, clamp.rows.end - clamp.rows.start);
        let head = Head { kind: CLAMP, by: 0, cost_ns: 0, now_ms };
        self.put(head, &[Column::Longs(&[of]), Column::Words(&[clamp.rows.start, rows, applied])]);
    }

    /// A canary decided for rows of the last call, which has the active one's answers: a replay makes those again.
    #[cold]
    pub(crate) fn tried(&mut self, now_ms: u64, decided: &Decided) {
        let Revision { name, version, digest } = &decided.revision;
        let columns = [
            Column::Longs(&[self.last]),
            Column::Bytes(name.as_bytes()),
            Column::Bytes(version.as_bytes()),
            Column::Bytes(digest),
            Column::Words(&decided.rows),
            Column::Words(&decided.answers),
        ];
        self.put(Head { kind: TRIED, by: 0, cost_ns: 0, now_ms }, &columns);
    }

    #[inline]
    fn call(&mut self, kind: u8, now_ms: u64, told: Told, columns: &[Column<'_>]) {
        let by = match told.by {
            By::Plugin => 0,
            By::Native => 1,
            By::FallbackFault => 2,
            By::FallbackAbsent => 3,
        };
        self.last = self.next;
        self.put(Head { kind, by, cost_ns: told.cost_ns.unwrap_or(u32::MAX), now_ms }, columns);
    }

    #[inline]
    fn put(&mut self, head: Head, columns: &[Column<'_>]) {
        let mut measured = [(0, false); COLUMNS];
        let mut len = HEAD;
        for (measured, column) in measured.iter_mut().zip(columns) {
            *measured = column.measure();
            len += measured.0;
        }
        let binding = self.bindings.back().map_or(0, |binding| binding.binding);
        self.next += 1;
        match self.ring.append(len) {
            Some((record, _)) => {
                let rows = columns.iter().map(Column::rows).max().unwrap_or(0);
                let mut rest = head.put(binding, rows as u32, record);
                for (column, measured) in columns.iter().zip(measured) {
                    rest = column.put(rest, measured);
                }
            }
            None => self.put_lost(binding, len, head.now_ms),
        }
    }

    #[cold]
    fn put_lost(&mut self, binding: u32, len: usize, now_ms: u64) {
        let lost = [len as u64];
        let column = Column::Longs(&lost);
        let measured = column.measure();
        let head = Head { kind: LOST, by: 0, cost_ns: 0, now_ms };
        let room = self.ring.append(HEAD + measured.0);
        let (record, _) = room.expect("the smallest journal has room for what was lost");
        column.put(head.put(binding, 1, record), measured);
    }

    /// Returns the entries from `from` on, as many as stand in about so many bytes, at least one.
    pub(crate) fn page(&self, from: u64, bytes: usize) -> Page {
        let first = self.next - self.ring.records();
        let start = from.max(first);
        let mut taken = 0;
        let mut entries = Vec::new();
        let skip = usize::try_from(start - first).unwrap_or(usize::MAX);
        for (record, number) in self.ring.iter().skip(skip).zip(start..) {
            let cost = expanded(record);
            if !entries.is_empty() && taken + cost > bytes {
                break;
            }
            taken += cost;
            entries.push(read(number, record).expect("the journal reads what it wrote"));
        }
        let used = |binding: &&Binding| entries.iter().any(|entry| entry.binding == binding.binding);
        let bindings = self.bindings.iter().filter(used).cloned().collect();
        let next = start.min(self.next) + entries.len() as u64;
        Page { entries, bindings, next, missed: start - from.min(start), end: self.next }
    }

    /// Returns what a canary decided for rows of the call in this entry.
    pub(crate) fn tried_in(&self, number: u64) -> Option<Tried> {
        let first = self.next - self.ring.records();
        let at = usize::try_from(number.checked_sub(first)?).ok()?;
        let behind = self.ring.iter().zip(first..).skip(at + 1);
        let events = behind.map_while(|(record, number)| Some(read(number, record)?.event));
        // It stands behind its call, with at most the next instance's start between them.
        events.take_while(|event| event.answer().is_none()).find_map(|event| match event {
            Event::Tried(tried) if tried.of == number => Some(tried),
            _ => None,
        })
    }

    /// Returns one entry and what decided in it, while it is there.
    pub(crate) fn entry(&self, number: u64) -> Option<(Entry, &Binding)> {
        let first = self.next - self.ring.records();
        let at = usize::try_from(number.checked_sub(first)?).ok()?;
        let entry = read(number, self.ring.iter().nth(at)?)?;
        let binding = self.bindings.iter().find(|binding| binding.binding == entry.binding)?;
        Some((entry, binding))
    }
}

impl Page {
    /// Puts the hash in the place of whatever handlers are told, answer, remember and put aside. Calls of policies stay
    /// as they are: they have numbers only, and what nodes say of themselves to all.
    pub fn hide_payloads(&mut self) {
        for entry in &mut self.entries {
            match &mut entry.event {
                Event::Handle(call) => call.hide(),
                Event::Start(start) => start.hide(),
                _ => {}
            }
        }
    }
}

impl Head {
    #[inline]
    fn put<'o>(&self, binding: u32, rows: u32, out: &'o mut [u8]) -> &'o mut [u8] {
        let (own, rest) = out.split_at_mut(HEAD);
        own[..8].copy_from_slice(&self.now_ms.to_le_bytes());
        own[8..12].copy_from_slice(&binding.to_le_bytes());
        own[12..16].copy_from_slice(&self.cost_ns.to_le_bytes());
        own[16..ROWS].copy_from_slice(&[self.kind, self.by, 0, 0]);
        own[ROWS..HEAD].copy_from_slice(&rows.to_le_bytes());
        rest
    }
}

fn time_of(record: &[u8]) -> Option<u64> {
    record.first_chunk().copied().map(u64::from_le_bytes)
}

fn binding_of(record: &[u8]) -> Option<u32> {
    record.get(8..)?.first_chunk().copied().map(u32::from_le_bytes)
}

/// Returns about how many bytes an entry has when its equal values are written out.
fn expanded(record: &[u8]) -> usize {
    let rows = record.get(ROWS..).and_then(|rest| rest.first_chunk().copied());
    record.len() + rows.map_or(0, u32::from_le_bytes) as usize * 8
}

#[cfg(test)]
mod tests;
