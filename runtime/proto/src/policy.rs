//! Policies: where a rule decides, in what shape it is asked, and what the host lets it answer.
//!
//! Every call is a batch of plain columns, so that the same call can be answered by native code, by a
//! WebAssembly component (one copy per column) or from a journal. Knows no wire format and no peers by
//! name: neighbours are rows of the last [`View`], destinations are small numbers.

mod admission;
mod carry;
pub mod native;

pub use admission::{Approach, MAX_VISITORS, Place, Visitor};
pub use carry::{CarryBatch, CarryRow, REFUSE, Room};

/// The answer "drop this message".
pub const DROP: u32 = u32::MAX;
/// The answer "hold this message until a way appears".
pub const HOLD: u32 = u32::MAX - 1;
/// The answer "let the host decide": the built-in next hop, or the broadcast tree for a topic.
pub const ABSTAIN: u32 = u32::MAX - 2;
/// The ingress of a message that this node wrote itself.
pub const LOCAL: u32 = u32::MAX;
/// Set in [`RouteBatch::dest`] for a topic; the other bits are its tag.
pub const TOPIC_BIT: u32 = 1 << 31;
/// The class that means "drop" in an answer to [`Policies::classify`].
pub const CLASS_DROP: u8 = u8::MAX;

/// The five service classes, most urgent first.
///
/// Limits and shares follow the peat-mesh QoS table: critical 500 ms, high 5 s, normal 60 s, low 300 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Emergency traffic; never evicted, never preempted.
    Critical = 0,
    /// Commands and alerts.
    High = 1,
    /// The default.
    Normal = 2,
    /// Telemetry.
    Low = 3,
    /// Anything that can wait for days.
    Bulk = 4,
}

impl Class {
    /// All classes, most urgent first.
    pub const ALL: [Class; 5] = [Class::Critical, Class::High, Class::Normal, Class::Low, Class::Bulk];

    /// Returns the class with this number, or `None` above 4.
    pub fn from_u8(number: u8) -> Option<Class> {
        Class::ALL.get(usize::from(number)).copied()
    }

    /// Returns the name as users write it.
    pub fn name(self) -> &'static str {
        match self {
            Class::Critical => "critical",
            Class::High => "high",
            Class::Normal => "normal",
            Class::Low => "low",
            Class::Bulk => "bulk",
        }
    }
}

/// The live neighbours, a row each, as columns of equal length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// Smoothed round-trip time in microseconds.
    pub rtt_us: Vec<u32>,
    /// Lost packets per million.
    pub loss_ppm: Vec<u32>,
    /// Bytes waiting for this link.
    pub queued_bytes: Vec<u32>,
}

/// The known ways to distant nodes, a row each, sorted by `dest`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// The destination's number.
    pub dest: Vec<u32>,
    /// The row in [`Links`] of the neighbour that offers the way.
    pub via: Vec<u32>,
    /// The cost from that neighbour on, in microseconds, as it tells it.
    pub cost_us: Vec<u32>,
    /// Hops from that neighbour on; 0 when it is the destination.
    pub hops: Vec<u8>,
}

/// What a routing policy knows between two changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The neighbours.
    pub links: Links,
    /// The ways they offer.
    pub ways: Ways,
}

/// Messages that need a next hop, as columns of equal length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteBatch {
    /// The destination's number, or a topic's tag with [`TOPIC_BIT`].
    pub dest: Vec<u32>,
    /// The row in [`Links`] it came from, or [`LOCAL`].
    pub ingress: Vec<u32>,
    /// Payload bytes.
    pub size: Vec<u32>,
    /// The class that the origin asked for, 0 to 4.
    pub class: Vec<u8>,
}

impl RouteBatch {
    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.dest.len()
    }

    /// Says whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.dest.is_empty()
    }

    /// Removes all rows and keeps the memory.
    pub fn clear(&mut self) {
        self.dest.clear();
        self.ingress.clear();
        self.size.clear();
        self.class.clear();
    }

    /// Appends one row.
    #[inline]
    pub fn push(&mut self, dest: u32, ingress: u32, size: u32, class: Class) {
        self.dest.push(dest);
        self.ingress.push(ingress);
        self.size.push(size);
        self.class.push(class as u8);
    }
}

/// Messages that need a class at this hop, as columns of equal length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QosBatch {
    /// The class that the origin asked for, 0 to 4.
    pub class: Vec<u8>,
    /// Payload bytes.
    pub size: Vec<u32>,
    /// Milliseconds since the origin wrote it, by the origin's clock.
    pub age_ms: Vec<u32>,
    /// The topic's tag; 0 for a node.
    pub tag: Vec<u32>,
}

impl QosBatch {
    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.class.len()
    }

    /// Says whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.class.is_empty()
    }

    /// Removes all rows and keeps the memory.
    pub fn clear(&mut self) {
        self.class.clear();
        self.size.clear();
        self.age_ms.clear();
        self.tag.clear();
    }

    /// Appends one row.
    #[inline]
    pub fn push(&mut self, class: Class, size: u32, age_ms: u32, tag: u32) {
        self.class.push(class as u8);
        self.size.push(size);
        self.age_ms.push(age_ms);
        self.tag.push(tag);
    }
}

/// What the links carried since the last [`Policies::divide`], by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Bytes handed to links.
    pub sent_bytes: [u64; 5],
    /// Bytes waiting now.
    pub queued_bytes: [u64; 5],
    /// Messages dropped: expired, over budget, or by a policy.
    pub dropped: [u64; 5],
}

/// How a link is shared between the classes, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// What a class gets however busy the others are; the sum is at most 100.
    pub guaranteed: [u8; 5],
    /// What it may take while others leave room.
    pub burst: [u8; 5],
}

impl Default for Shares {
    /// The peat-mesh table: 20/30/20/15/5 guaranteed, 80/60/40/30/20 burst; 10 % stay for control traffic.
    fn default() -> Self {
        Self { guaranteed: [20, 30, 20, 15, 5], burst: [80, 60, 40, 30, 20] }
    }
}

impl Shares {
    /// The least that critical traffic keeps, whatever a policy says.
    pub const CRITICAL_FLOOR: u8 = 10;

    /// Returns the shares as the host applies them: each at least 1, critical at least 10, sum at most 100.
    pub fn clamped(self) -> Shares {
        let mut out = self;
        for (class, share) in out.guaranteed.iter_mut().enumerate() {
            let floor = if class == 0 { Self::CRITICAL_FLOOR } else { 1 };
            *share = (*share).clamp(floor, 100);
        }
        let sum: u32 = out.guaranteed.iter().map(|&share| u32::from(share)).sum();
        if sum > 100 {
            // Scaled into what is left above the floors, so that the sum fits and no floor is undercut.
            let floors = [Self::CRITICAL_FLOOR, 1, 1, 1, 1];
            let above: u32 = out.guaranteed.iter().zip(floors).map(|(&s, f)| u32::from(s - f)).sum();
            let room = 100 - floors.iter().map(|&f| u32::from(f)).sum::<u32>();
            for (share, floor) in out.guaranteed.iter_mut().zip(floors) {
                let scaled = u32::from(*share - floor) * room / above.max(1);
                *share = floor + u8::try_from(scaled).unwrap_or(u8::MAX);
            }
        }
        for (burst, guaranteed) in out.burst.iter_mut().zip(out.guaranteed) {
            *burst = (*burst).clamp(guaranteed, 100);
        }
        out
    }
}

/// Who asks for a parent, and how it wants candidates weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// 0 platform, 1 squad, 2 platoon, 3 company.
    pub level: u8,
    /// 0 stands still, 1 moves now and then, 2 moves all the time.
    pub mobility: u8,
    /// Percent of its battery; [`MAINS`] without one.
    pub battery: u8,
    /// The weights that the operator chose, in permille: mobility, resources, battery, proximity.
    pub weights: [u32; 4],
    /// Metres to a parent, at most; [`UNKNOWN`] for any distance.
    pub max_distance_m: u32,
}

/// The battery of a node on mains.
pub const MAINS: u8 = u8::MAX;
/// A distance or a round trip that is not known.
pub const UNKNOWN: u32 = u32::MAX;

/// Nodes that could be the parent of the one that asks, as columns of equal length. All of them meet the
/// host's conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// A small number that stands for the node while the one that asks runs.
    pub node: Vec<u32>,
    /// 0 platform, 1 squad, 2 platoon, 3 company; above that of the one that asks.
    pub level: Vec<u8>,
    /// 1 when it is in the cell of the one that asks, else 0.
    pub same_cell: Vec<u8>,
    /// 1 for the present parent, else 0.
    pub is_parent: Vec<u8>,
    /// 0 stands still, 1 moves now and then, 2 moves all the time.
    pub mobility: Vec<u8>,
    /// Percent of its battery; [`MAINS`] without one.
    pub battery: Vec<u8>,
    /// Percent of its processors in use.
    pub cpu_used: Vec<u8>,
    /// Percent of its memory in use.
    pub memory_used: Vec<u8>,
    /// Its processors.
    pub cores: Vec<u32>,
    /// Its memory in MB.
    pub memory_mb: Vec<u32>,
    /// What it can send, in Mbit/s.
    pub uplink_mbps: Vec<u32>,
    /// Metres to it; [`UNKNOWN`] unless both positions are known.
    pub distance_m: Vec<u32>,
    /// Round trip in microseconds; [`UNKNOWN`] unless there is a link.
    pub rtt_us: Vec<u32>,
    /// Seconds since it was last seen to come up.
    pub up_s: Vec<u32>,
    /// Children that it has, the one that asks excepted.
    pub children: Vec<u32>,
    /// Children that it takes.
    pub max_children: Vec<u32>,
}

impl Candidates {
    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.node.len()
    }

    /// Says whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.node.is_empty()
    }
}

/// The highest score of a candidate; the host cuts what is above it.
pub const MAX_SCORE: u32 = 1000;

/// Returns the number that stands for what one origin writes to one destination, over restarts of both and the
/// same on all nodes. Evenly spread, so that a share of the numbers is that share of the flows.
pub fn flow_number(flow: &crate::run::Flow) -> u32 {
    let bytes = flow.to_bytes();
    let mut hasher = blake3::Hasher::new_derive_key("meshwork 2026 flow number");
    // Not the start of the origin, which lies between them.
    hasher.update(&bytes[..32]).update(&bytes[40..]);
    let hash = hasher.finalize();
    u32::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
}

/// Rows of one answer that the host did not follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clamp {
    /// Of the batch.
    pub rows: std::ops::Range<u32>,
    /// What it did instead.
    pub applied: Overrule,
}

/// What the host did instead of what a policy answered, in the numbers of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overrule {
    /// It took this row of the neighbours, or [`HOLD`] when there was none.
    NextHop(u32),
    /// It took this class.
    Class(u8),
    /// It took this worth: the run is one that is never refused.
    Worth(u8),
}

/// The rules that a node asks. Calls are synchronous and come one at a time.
///
/// An implementation never fails: a plugin that cannot answer is replaced by its native built-in for that
/// call, by the plugin host. The node clamps every answer afterwards.
pub trait Policies {
    /// Tells what changed around the node; called before the first [`Policies::route`] and after every change.
    fn observe(&mut self, now_ms: u64, view: &View);

    /// Fills `verdicts` with one answer a row: a row of the view's links, [`DROP`], [`HOLD`] or [`ABSTAIN`].
    fn route(&mut self, now_ms: u64, batch: &RouteBatch, verdicts: &mut Vec<u32>);

    /// Fills `classes` with one class a row, 0 to 4, or [`CLASS_DROP`].
    fn classify(&mut self, now_ms: u64, batch: &QosBatch, classes: &mut Vec<u8>);

    /// Says whether [`Policies::flows`] is wanted before each batch: by those who split traffic by flow.
    fn wants_flows(&self) -> bool {
        false
    }

    /// Tells the flow of each row of the next [`Policies::route`] and [`Policies::classify`]; empty when that is
    /// over. Equal numbers from [`flow_number`] are one flow.
    fn flows(&mut self, flows: &[u32]) {
        let _ = flows;
    }

    /// Tells what the host did not follow of the last answers to [`Policies::route`],
    /// [`Policies::classify`] and [`Policies::carry`]: for those who keep a journal. [`Clamp::applied`] says which.
    fn clamped(&mut self, now_ms: u64, clamps: &[Clamp]) {
        let _ = (now_ms, clamps);
    }

    /// Returns the numbers under which a journal keeps the last [`Policies::route`] and the last
    /// [`Policies::classify`]; `None` without one.
    fn noted(&self) -> Option<[u64; 2]> {
        None
    }

    /// Returns the number under which a journal keeps the last [`Policies::carry`]; `None` without one.
    fn noted_carry(&self) -> Option<u64> {
        None
    }

    /// Returns how links are shared from now on.
    fn divide(&mut self, now_ms: u64, load: &Load) -> Shares;

    /// Fills `scores` with one a row, 0 to [`MAX_SCORE`]: how good a parent each candidate is. Asked seldom,
    /// and only in a node that has a profile.
    fn score(&mut self, now_ms: u64, asker: &Asker, candidates: &Candidates, scores: &mut Vec<u32>) {
        let _ = now_ms;
        native::score(asker, candidates, scores);
    }

    /// Says whether [`Policies::admit`] has anything to say; if not it is not asked.
    fn guards(&self) -> bool {
        false
    }

    /// Fills `answers` with one a row: whether there may be a link to the visitor.
    fn admit(&mut self, now_ms: u64, place: &Place, visitors: &[Visitor], answers: &mut Vec<bool>) {
        let _ = (now_ms, place);
        native::admit(visitors, answers);
    }

    /// Fills `worths` with one a row: [`REFUSE`], or what it is worth to keep, 1 to 255. Asked at the end of a
    /// turn in which something has to wait.
    fn carry(&mut self, now_ms: u64, room: &Room, batch: &CarryBatch, worths: &mut Vec<u8>) {
        let _ = (now_ms, room);
        native::carry(batch, worths);
    }
}
