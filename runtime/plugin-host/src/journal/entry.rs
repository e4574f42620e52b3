//! What a journal says, as plain values: what is shown to people, written to a trace and replayed.

use std::time::Duration;

use mesh_proto::policy::{Asker, Candidates, Load, QosBatch, RouteBatch, Shares, View};
use serde::{Deserialize, Serialize};

use super::{Admitted, Began, Carried, Handled, hex};
use crate::compare::Answers;
use crate::limits::VIEW_ROWS;
use crate::load::Revision;
use crate::settings::Settings;
use crate::terms::Lowered;

/// What decided, with the settings that it was given and the limits that it was held to. Entries name it by its number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Binding {
    /// Rises with each revision, settings or limits that the slot was bound to since the node started.
    pub binding: u32,
    /// The plugin's name; `native` for the native built-in.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// Its digest as `blake3:` and 64 hex digits; `native` for the native built-in.
    pub revision: String,
    /// Its settings.
    pub settings: Settings,
    /// Milliseconds for a call, where its operator lowered that; else the host's own limit holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// The same for the bytes of linear memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

impl Binding {
    pub(super) fn native(binding: u32) -> Binding {
        Binding {
            binding,
            plugin: NATIVE.to_owned(),
            version: String::new(),
            revision: NATIVE.to_owned(),
            settings: Settings::new(),
            deadline_ms: None,
            memory_bytes: None,
        }
    }

    pub(super) fn of(binding: u32, (revision, settings, lowered): Running<'_>) -> Binding {
        Binding {
            binding,
            plugin: revision.name.clone(),
            version: revision.version.clone(),
            revision: revision.digest_text(),
            settings: settings.clone(),
            deadline_ms: lowered.deadline.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            memory_bytes: lowered.memory.map(|bytes| bytes as u64),
        }
    }

    /// Says whether it is the same, but for the number.
    pub(super) fn is_as(&self, other: &Binding) -> bool {
        *self == Binding { binding: self.binding, ..other.clone() }
    }

    /// Returns what its operator lowered, as far as a decision can depend on it.
    pub(super) fn lowered(&self) -> Lowered {
        Lowered {
            deadline: self.deadline_ms.map(Duration::from_millis),
            memory: self.memory_bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
            log_lines: None,
        }
    }

    /// Says whether it is the native built-in.
    pub fn is_native(&self) -> bool {
        self.revision == NATIVE
    }
}

/// A revision with its settings and limits.
pub(crate) type Running<'a> = (&'a Revision, &'a Settings, &'a Lowered);

/// The name of the native built-in.
const NATIVE: &str = "native";

/// One thing that happened in a slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Counts from 0 since the node started, without gaps.
    pub number: u64,
    /// The time that the policy was told, in milliseconds since 1970.
    pub now_ms: u64,
    /// Whose.
    pub binding: u32,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[allow(clippy::large_enum_variant, reason = "the large one is seldom, and its columns are on the heap")]
pub enum Event {
    /// Another instance decides from here on, or the state of this one is written down.
    Start(Start),
    /// The neighbours and ways were shown.
    Observe(Seen),
    /// Next hops were asked for.
    Route(Routed),
    /// Classes were asked for.
    Classify(Classified),
    /// Shares were asked for.
    Divide(Divided),
    /// Scores were asked for.
    Score(Scored),
    /// It was asked whom there may be links to.
    Admit(Admitted),
    /// It was asked what is kept for nodes that cannot be reached.
    Carry(Carried),
    /// A handler was given an event.
    Handle(Handled),
    /// The host overruled a row of an earlier answer.
    Clamp(Overruled),
    /// A canary decided for rows of an earlier call.
    Tried(Tried),
    /// Something was larger than the journal takes: from here to the next start a replay cannot follow.
    Lost {
        /// Its bytes.
        bytes: u64,
    },
}

/// Where a replay can begin, unless the state is unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// With what the instance begins.
    pub with: With,
    /// The layout's version of `state`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: u32,
    /// The state in hex digits.
    #[serde(default, with = "hex", skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<u8>,
    /// Of a handler: what else it begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<Began>,
}

/// What an instance begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum With {
    /// Nothing: it has only been configured.
    Nothing,
    /// The state that stands here was loaded into a new instance.
    State,
    /// The state that stands here is what the running instance has; it goes on.
    Anchor,
    /// It has run before, and what it remembers is not known.
    Unknown,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Who answered, and in what time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Who.
    pub by: By,
    /// What the call of the plugin took, in nanoseconds; absent when it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_ns: Option<u32>,
}

/// Who answered a call. In the place of a plugin that is the native built-in, or whom its operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// The plugin.
    Plugin,
    /// The native built-in, to which the slot is bound.
    Native,
    /// Somebody else, because the plugin failed in this call.
    FallbackFault,
    /// Somebody else, because the plugin was paused, in quarantine or without an instance, or the call was larger
    /// than it is shown.
    FallbackAbsent,
}

/// The neighbours and ways, see [`View`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the columns are those of `View`")]
pub struct Seen {
    pub rtt_us: Vec<u32>,
    pub loss_ppm: Vec<u32>,
    pub queued_bytes: Vec<u32>,
    pub dest: Vec<u32>,
    pub via: Vec<u32>,
    pub cost_us: Vec<u32>,
    pub hops: Vec<u8>,
}

/// A call of a routing policy, see [`RouteBatch`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the columns are those of `RouteBatch`")]
pub struct Routed {
    #[serde(flatten)]
    pub told: Told,
    pub dest: Vec<u32>,
    pub ingress: Vec<u32>,
    pub size: Vec<u32>,
    pub class: Vec<u8>,
    /// One a row: a row of the neighbours, or the number for drop, hold or abstain.
    pub answers: Vec<u32>,
}

/// A call of a QoS policy, see [`QosBatch`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the columns are those of `QosBatch`")]
pub struct Classified {
    #[serde(flatten)]
    pub told: Told,
    pub class: Vec<u8>,
    pub size: Vec<u32>,
    pub age_ms: Vec<u32>,
    pub tag: Vec<u32>,
    /// One a row: a class, or 255 for drop.
    pub answers: Vec<u8>,
}

/// Another call of a QoS policy, see [`Load`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the columns are those of `Load`")]
pub struct Divided {
    #[serde(flatten)]
    pub told: Told,
    pub sent_bytes: [u64; 5],
    pub queued_bytes: [u64; 5],
    pub dropped: [u64; 5],
    /// What it answered, as it came.
    pub guaranteed: [u8; 5],
    /// The same.
    pub burst: [u8; 5],
    /// What the host made of it.
    pub applied_guaranteed: [u8; 5],
    /// The same.
    pub applied_burst: [u8; 5],
}

/// A call of a topology policy, see [`Asker`] and [`Candidates`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the columns are those of `Asker` and `Candidates`")]
pub struct Scored {
    #[serde(flatten)]
    pub told: Told,
    /// Level, mobility and battery of the one that asks.
    pub asker: [u8; 3],
    pub weights: [u32; 4],
    pub max_distance_m: u32,
    pub node: Vec<u32>,
    pub level: Vec<u8>,
    pub same_cell: Vec<u8>,
    pub is_parent: Vec<u8>,
    pub mobility: Vec<u8>,
    pub battery: Vec<u8>,
    pub cpu_used: Vec<u8>,
    pub memory_used: Vec<u8>,
    pub cores: Vec<u32>,
    pub memory_mb: Vec<u32>,
    pub uplink_mbps: Vec<u32>,
    pub distance_m: Vec<u32>,
    pub rtt_us: Vec<u32>,
    pub up_s: Vec<u32>,
    pub children: Vec<u32>,
    pub max_children: Vec<u32>,
    /// One a row; what is above 1000 counts as 1000.
    pub answers: Vec<u32>,
}

/// Rows of an answer that the host did not follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overruled {
    /// The number of the call's entry.
    pub of: u64,
    /// The first row.
    pub row: u32,
    /// Rows.
    pub rows: u32,
    /// What the host applied, in the numbers of the answer.
    pub applied: u32,
}

/// Rows of a call that a candidate decided, in the place of whoever the call's entry names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// The number of the call's entry.
    pub of: u64,
    /// The candidate's name.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// Its digest as `blake3:` and 64 hex digits.
    pub rev: String,
    /// The rows of the call.
    pub rows: Vec<u32>,
    /// One for each of them, in the numbers of the answer.
    pub answers: Vec<u32>,
}

impl From<&View> for Seen {
    fn from(view: &View) -> Seen {
        let View { links, ways } = view.clone();
        Seen {
            rtt_us: links.rtt_us,
            loss_ppm: links.loss_ppm,
            queued_bytes: links.queued_bytes,
            dest: ways.dest,
            via: ways.via,
            cost_us: ways.cost_us,
            hops: ways.hops,
        }
    }
}

impl From<&Seen> for View {
    fn from(seen: &Seen) -> View {
        let mut view = View::default();
        view.links.rtt_us.clone_from(&seen.rtt_us);
        view.links.loss_ppm.clone_from(&seen.loss_ppm);
        view.links.queued_bytes.clone_from(&seen.queued_bytes);
        view.ways.dest.clone_from(&seen.dest);
        view.ways.via.clone_from(&seen.via);
        view.ways.cost_us.clone_from(&seen.cost_us);
        view.ways.hops.clone_from(&seen.hops);
        view
    }
}

impl Routed {
    /// Returns what the policy was asked.
    pub fn batch(&self) -> RouteBatch {
        RouteBatch {
            dest: self.dest.clone(),
            ingress: self.ingress.clone(),
            size: self.size.clone(),
            class: self.class.clone(),
        }
    }
}

impl Classified {
    /// Returns what the policy was asked.
    pub fn batch(&self) -> QosBatch {
        QosBatch {
            class: self.class.clone(),
            size: self.size.clone(),
            age_ms: self.age_ms.clone(),
            tag: self.tag.clone(),
        }
    }
}

impl Divided {
    /// Returns what the policy was asked.
    pub fn load(&self) -> Load {
        Load { sent_bytes: self.sent_bytes, queued_bytes: self.queued_bytes, dropped: self.dropped }
    }

    /// Returns what it answered.
    pub fn shares(&self) -> Shares {
        Shares { guaranteed: self.guaranteed, burst: self.burst }
    }
}

impl Scored {
    fn is_whole(&self) -> bool {
        let bytes = [&self.level, &self.same_cell, &self.is_parent, &self.mobility, &self.battery];
        let used = [&self.cpu_used, &self.memory_used];
        let words = [&self.cores, &self.memory_mb, &self.uplink_mbps, &self.distance_m];
        let more = [&self.rtt_us, &self.up_s, &self.children, &self.max_children];
        let is_as_long = |len: usize| len == self.node.len();
        bytes.into_iter().chain(used).all(|column| is_as_long(column.len()))
            && words.into_iter().chain(more).all(|column| is_as_long(column.len()))
    }

    /// Returns who asked.
    pub fn asker(&self) -> Asker {
        let [level, mobility, battery] = self.asker;
        Asker { level, mobility, battery, weights: self.weights, max_distance_m: self.max_distance_m }
    }

    /// Returns what the policy was asked about.
    pub fn candidates(&self) -> Candidates {
        Candidates {
            node: self.node.clone(),
            level: self.level.clone(),
            same_cell: self.same_cell.clone(),
            is_parent: self.is_parent.clone(),
            mobility: self.mobility.clone(),
            battery: self.battery.clone(),
            cpu_used: self.cpu_used.clone(),
            memory_used: self.memory_used.clone(),
            cores: self.cores.clone(),
            memory_mb: self.memory_mb.clone(),
            uplink_mbps: self.uplink_mbps.clone(),
            distance_m: self.distance_m.clone(),
            rtt_us: self.rtt_us.clone(),
            up_s: self.up_s.clone(),
            children: self.children.clone(),
            max_children: self.max_children.clone(),
        }
    }
}

impl Event {
    /// Says whether its columns fit together and its destinations have numbers that nodes give. Those of a journal
    /// do; a file may say anything.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Event::Observe(seen) => {
                seen.dest.iter().all(|dest| (*dest as usize) < VIEW_ROWS)
                    && all_of(seen.rtt_us.len(), &[seen.loss_ppm.len(), seen.queued_bytes.len()])
                    && all_of(seen.dest.len(), &[seen.via.len(), seen.cost_us.len(), seen.hops.len()])
            }
            Event::Route(call) => {
                all_of(call.dest.len(), &[call.ingress.len(), call.size.len(), call.class.len()])
            }
            Event::Classify(call) => {
                all_of(call.class.len(), &[call.size.len(), call.age_ms.len(), call.tag.len()])
            }
            Event::Score(call) => call.is_whole(),
            Event::Admit(call) => call.is_whole(),
            Event::Carry(call) => call.is_whole(),
            Event::Handle(call) => call.is_whole(),
            Event::Start(start) => start.handler.as_ref().is_none_or(Began::is_whole),
            Event::Divide(_) | Event::Clamp(_) | Event::Tried(_) | Event::Lost { .. } => true,
        }
    }

    /// Returns the number of decisions in a call: rows of a policy's answer, or one for each event of a handler.
    pub fn decisions(&self) -> Option<u64> {
        match self {
            Event::Handle(_) => Some(1),
            _ => self.answer().map(|(_, answers)| answers.len() as u64),
        }
    }

    /// Returns who answered and what, for a call of a policy.
    pub fn answer(&self) -> Option<(Told, Answers<'_>)> {
        match self {
            Event::Route(call) => Some((call.told, Answers::Routes(&call.answers))),
            Event::Classify(call) => Some((call.told, Answers::Classes(&call.answers))),
            Event::Divide(call) => Some((call.told, Answers::Shares(call.shares()))),
            Event::Score(call) => Some((call.told, Answers::Scores(&call.answers))),
            Event::Admit(call) => Some((call.told, Answers::Admissions(&call.answers))),
            Event::Carry(call) => Some((call.told, Answers::Worths(&call.answers))),
            _ => None,
        }
    }

    /// Returns the inputs of one row of a call, by name.
    pub fn inputs(&self, row: usize) -> Vec<(&'static str, Shown)> {
        let word = |column: &[u32]| Shown::Number(column.get(row).copied().map_or(0, u64::from));
        let byte = |column: &[u8]| Shown::Number(column.get(row).copied().map_or(0, u64::from));
        let sum = |column: &[u64]| Shown::Number(column.iter().sum());
        match self {
            Event::Route(call) => vec![
                ("dest", word(&call.dest)),
                ("ingress", word(&call.ingress)),
                ("size", word(&call.size)),
                ("class", byte(&call.class)),
            ],
            Event::Classify(call) => vec![
                ("class", byte(&call.class)),
                ("size", word(&call.size)),
                ("age_ms", word(&call.age_ms)),
                ("tag", word(&call.tag)),
            ],
            Event::Divide(call) => vec![
                ("sent_bytes", sum(&call.sent_bytes)),
                ("queued_bytes", sum(&call.queued_bytes)),
                ("dropped", sum(&call.dropped)),
            ],
            Event::Score(call) => vec![
                ("node", word(&call.node)),
                ("level", byte(&call.level)),
                ("is_parent", byte(&call.is_parent)),
                ("mobility", byte(&call.mobility)),
                ("battery", byte(&call.battery)),
                ("distance_m", word(&call.distance_m)),
                ("rtt_us", word(&call.rtt_us)),
                ("up_s", word(&call.up_s)),
                ("children", word(&call.children)),
            ],
            Event::Admit(call) => call.inputs(row),
            Event::Handle(call) => call.inputs(),
            Event::Carry(call) => vec![
                ("dest", word(&call.dest)),
                ("class", byte(&call.class)),
                ("messages", word(&call.messages)),
                ("bytes", word(&call.bytes)),
                ("age_ms", word(&call.age_ms)),
                ("left_ms", word(&call.left_ms)),
                ("is_own", byte(&call.is_own)),
                ("is_durable", byte(&call.is_durable)),
                ("waiting_messages", word(&call.waiting_messages)),
                ("waiting_bytes", word(&call.waiting_bytes)),
            ],
            _ => Vec::new(),
        }
    }
}

pub(super) fn all_of(rows: usize, columns: &[usize]) -> bool {
    columns.iter().all(|column| *column == rows)
}

/// A value of a call's input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Shown {
    /// Of a column of numbers, or a handler's event.
    Number(u64),
    /// What a node says of itself, its key, or a handler's event.
    Text(String),
}
