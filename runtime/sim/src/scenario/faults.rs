//! `[[fault]]` and `[[malicious]]`: what goes wrong, when, to whom.

use std::time::Duration;

use super::reader::{Findings, Reader};
use super::{Burst, Links, MAX_NODES, units};

/// Something that goes wrong at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// When, after the warm-up.
    pub at: Duration,
    /// For how long; `None` for good, or because it takes no time.
    pub lasts: Option<Duration>,
    /// How often. Default once.
    pub repeat: u32,
    /// The time from one beginning to the next, when repeated.
    pub every: Duration,
    /// What.
    pub kind: FaultKind,
}

/// Which nodes a fault strikes. Those that are drawn by lot are never senders, nor the first node when all know
/// that one.
#[derive(Clone, Debug, PartialEq)]
pub enum Who {
    /// This share of the nodes, drawn by lot.
    Share(f64),
    /// So many, drawn by lot.
    Count(usize),
    /// These.
    Nodes(Vec<usize>),
}

/// What a node has on its disk when it starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// What it had.
    Keep,
    /// Nothing.
    Lose,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultKind {
    /// Nodes stop at once; after `lasts` they start again.
    Crash {
        /// Which.
        who: Who,
        /// Nobody is told: the neighbours notice by silence only. Default true.
        silent: bool,
        /// What they start again with. Default keep.
        store: Store,
    },
    /// Nodes leave in good order; after `lasts` they start again.
    Leave {
        /// Which.
        who: Who,
    },
    /// The mesh falls into parts that do not hear each other.
    Partition {
        /// Parts of equal size. Default 2.
        groups: usize,
        /// Links go silent instead of being closed. Default true.
        silent: bool,
    },
    /// Nothing arrives from one node at another any more.
    Cut {
        /// From here.
        from: usize,
        /// To there.
        to: usize,
        /// And not the other way either. Default false.
        both_ways: bool,
    },
    /// Each node hears nothing from the one before it.
    Ring,
    /// Links behave differently.
    Links(Change),
    /// Nodes stand still and then go on.
    Freeze {
        /// Which.
        who: Who,
    },
    /// Clocks are wrong.
    Clock {
        /// Whose.
        who: Who,
        /// Seconds that the wall clock jumps; negative is back.
        step: f64,
        /// How much too fast both clocks run, in parts of a million.
        drift_ppm: f64,
    },
    /// Nodes go and come all the time.
    Churn {
        /// Share of the nodes that crash in a second.
        rate: f64,
        /// How long each is away. Default 10 s.
        down: Duration,
        /// What they start again with. Default keep.
        store: Store,
        /// Nobody is told. Default true.
        silent: bool,
    },
    /// The policy is exchanged, one node after the other.
    Swap {
        /// The slot.
        slot: String,
        /// The path of a component, `built-in/…`, or `native`.
        plugin: String,
        /// The time over which all nodes follow. Default 10 s.
        over: Duration,
    },
}

/// A change of links: what is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Change {
    /// As in [`Links`].
    pub latency: Option<Duration>,
    /// As in [`Links`].
    pub jitter: Option<Duration>,
    /// As in [`Links`].
    pub loss: Option<f64>,
    /// As in [`Links`].
    pub burst: Option<Burst>,
    /// As in [`Links`].
    pub duplication: Option<f64>,
    /// As in [`Links`].
    pub reordering: Option<f64>,
    /// As in [`Links`].
    pub bandwidth: Option<f64>,
    /// As in [`Links`].
    pub frame_loss: Option<f64>,
}

/// Nodes that mean ill.
#[derive(Clone, Debug, PartialEq)]
pub struct Malicious {
    /// What they do.
    pub lie: Lie,
    /// Which.
    pub who: Who,
    /// From when on, after the warm-up; before that they behave. Default 0 s.
    pub from: Duration,
    /// The node they aim at; `None` for the first sender.
    pub target: Option<usize>,
    /// What each says in a second, for those who say something of their own. Default 10.
    pub per_second: u32,
}

/// What a node that means ill does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Stays linked and forwards nothing.
    Mute,
    /// Forwards nothing that the target has published.
    Censor,
    /// Says of healthy nodes that they are dead, and of dead ones that they live.
    Accuser,
    /// Tells of members that do not exist, and of those that are gone.
    Poisoner,
    /// Sends what it has not the key for, and rubbish.
    Forger,
    /// Sends everything again.
    Replayer,
    /// Says that every way through it costs nothing.
    Lure,
    /// Takes up the target's links, together with others of its kind.
    Sybil,
}

const LIES: [(&str, Lie); 8] = [
    ("mute", Lie::Mute),
    ("censor", Lie::Censor),
    ("accuser", Lie::Accuser),
    ("poisoner", Lie::Poisoner),
    ("forger", Lie::Forger),
    ("replayer", Lie::Replayer),
    ("lure", Lie::Lure),
    ("sybil", Lie::Sybil),
];

impl Lie {
    /// Returns the word that scenarios use.
    pub fn name(self) -> &'static str {
        LIES.iter().find(|(_, lie)| *lie == self).map_or("", |(name, _)| name)
    }
}

impl FaultKind {
    /// Returns the word that scenarios use.
    pub fn name(&self) -> &'static str {
        match self {
            FaultKind::Crash { .. } => "crash",
            FaultKind::Leave { .. } => "leave",
            FaultKind::Partition { .. } => "partition",
            FaultKind::Cut { .. } => "cut",
            FaultKind::Ring => "ring",
            FaultKind::Links(_) => "links",
            FaultKind::Freeze { .. } => "freeze",
            FaultKind::Clock { .. } => "clock",
            FaultKind::Churn { .. } => "churn",
            FaultKind::Swap { .. } => "swap",
        }
    }
}

impl Fault {
    /// Returns when the last repetition has passed, after the warm-up; for good counts as at once.
    pub fn end(&self) -> Duration {
        let last = self.at + self.every * self.repeat.saturating_sub(1);
        let lasts = match &self.kind {
            FaultKind::Swap { over, .. } => *over,
            _ => self.lasts.unwrap_or_default(),
        };
        last + lasts
    }
}

#[derive(Clone, Copy)]
enum Word {
    Crash,
    Leave,
    Partition,
    Cut,
    Ring,
    Links,
    Freeze,
    Clock,
    Churn,
    Swap,
}

const WORDS: [(&str, Word); 10] = [
    ("crash", Word::Crash),
    ("leave", Word::Leave),
    ("partition", Word::Partition),
    ("cut", Word::Cut),
    ("ring", Word::Ring),
    ("links", Word::Links),
    ("freeze", Word::Freeze),
    ("clock", Word::Clock),
    ("churn", Word::Churn),
    ("swap", Word::Swap),
];

/// Reads one `[[fault]]`; `None` when its kind is not known, and then nothing else of it is looked at.
pub(super) fn read(reader: &mut Reader<'_>, nodes: usize, findings: &mut Findings<'_>) -> Option<Fault> {
    let Some(word) = reader.word("kind", &WORDS, findings) else {
        if !reader.has("kind", findings) {
            findings.problem(reader.at(), "a fault has no kind", Some("write kind = \"crash\"".into()));
        }
        return None;
    };
    let kind = kind(word, reader, nodes, findings);
    let at = reader.time("at", findings);
    if !reader.has("at", findings) {
        findings.problem(reader.at(), "a fault has no time", Some("write at = \"10s\"".into()));
    }
    let lasts = match word {
        Word::Swap | Word::Clock => None,
        _ => reader.time_above_zero("for", findings),
    };
    let must_end = matches!(word, Word::Partition | Word::Cut | Word::Ring | Word::Freeze | Word::Churn);
    if must_end && !reader.has("for", findings) {
        let help = Some("write for = \"30s\"".to_owned());
        findings.problem(reader.at(), "this fault has to end: it has no 'for'", help);
    }
    let repeat = reader.count("repeat", 1..=10_000, findings).unwrap_or(1) as u32;
    let every = reader.time_above_zero("every", findings);
    if repeat > 1 && every.is_none() {
        findings.problem(reader.at_key("repeat"), "what is repeated needs 'every'", None);
    }
    let every = every.unwrap_or_default();
    Some(Fault { at: at.unwrap_or_default(), lasts, repeat, every, kind: kind? })
}

fn kind(word: Word, reader: &mut Reader<'_>, nodes: usize, findings: &mut Findings<'_>) -> Option<FaultKind> {
    Some(match word {
        Word::Crash => {
            let who = who(reader, nodes, findings);
            let silent = reader.flag("silent", true, findings);
            FaultKind::Crash { who: who?, silent, store: store(reader, findings) }
        }
        Word::Leave => FaultKind::Leave { who: who(reader, nodes, findings)? },
        Word::Partition => FaultKind::Partition {
            groups: reader.count("groups", 2..=nodes.max(2) as u64, findings).unwrap_or(2) as usize,
            silent: reader.flag("silent", true, findings),
        },
        Word::Cut => cut(reader, nodes, findings)?,
        Word::Ring => FaultKind::Ring,
        Word::Links => FaultKind::Links(change(reader, findings)),
        Word::Freeze => FaultKind::Freeze { who: who(reader, nodes, findings)? },
        Word::Clock => clock(reader, nodes, findings)?,
        Word::Churn => churn(reader, findings)?,
        Word::Swap => swap(reader, findings)?,
    })
}

fn cut(reader: &mut Reader<'_>, nodes: usize, findings: &mut Findings<'_>) -> Option<FaultKind> {
    let last = nodes.saturating_sub(1) as u64;
    let from = reader.count("from", 0..=last, findings);
    let to = reader.count("to", 0..=last, findings);
    let both_ways = reader.flag("both_ways", false, findings);
    for key in ["from", "to"] {
        if !reader.has(key, findings) {
            findings.problem(reader.at(), format!("a cut needs '{key}'"), Some(format!("write {key} = 0")));
        }
    }
    let (from, to) = (from? as usize, to? as usize);
    if from == to {
        findings.problem(reader.at_key("to"), "a cut lies between two nodes", None);
    }
    Some(FaultKind::Cut { from, to, both_ways })
}

fn clock(reader: &mut Reader<'_>, nodes: usize, findings: &mut Findings<'_>) -> Option<FaultKind> {
    let who = who(reader, nodes, findings);
    let step = reader.shift("step", findings).unwrap_or(0.0);
    let drift_ppm = reader.number("drift_ppm", -100_000.0..=100_000.0, findings).unwrap_or(0.0);
    Some(FaultKind::Clock { who: who?, step, drift_ppm })
}

fn churn(reader: &mut Reader<'_>, findings: &mut Findings<'_>) -> Option<FaultKind> {
    let rate = reader.quantity("rate", &units::PACE, findings);
    if !reader.has("rate", findings) {
        findings.problem(reader.at(), "churn has no rate", Some("write rate = \"1%/s\"".into()));
    }
    let down = reader.time_above_zero("down", findings).unwrap_or(Duration::from_secs(10));
    let store = store(reader, findings);
    let silent = reader.flag("silent", true, findings);
    let rate = rate?;
    if rate > 1.0 || rate <= 0.0 {
        findings.problem(reader.at_key("rate"), "the rate is not within 0%/s and 100%/s", None);
    }
    Some(FaultKind::Churn { rate, down, store, silent })
}

fn swap(reader: &mut Reader<'_>, findings: &mut Findings<'_>) -> Option<FaultKind> {
    let slot = reader.text("slot", findings).map(str::to_owned);
    let plugin = reader.text("plugin", findings).map(str::to_owned);
    let over = reader.time("over", findings).unwrap_or(Duration::from_secs(10));
    for key in ["slot", "plugin"] {
        if !reader.has(key, findings) {
            findings.problem(reader.at(), format!("a swap needs '{key}'"), None);
        }
    }
    if let Some(slot) = &slot
        && !crate::plugins::is_slot(slot)
    {
        let help = format!("one of {}", crate::plugins::SLOTS.join(", "));
        findings.problem(reader.at_key("slot"), format!("there is no slot '{slot}'"), Some(help));
    }
    Some(FaultKind::Swap { slot: slot?, plugin: plugin?, over })
}

fn store(reader: &mut Reader<'_>, findings: &mut Findings<'_>) -> Store {
    let words = [("keep", Store::Keep), ("lose", Store::Lose)];
    reader.word("store", &words, findings).unwrap_or(Store::Keep)
}

/// Reads who is struck: exactly one of three keys.
fn who(reader: &mut Reader<'_>, nodes: usize, findings: &mut Findings<'_>) -> Option<Who> {
    let share = reader.share("share", findings);
    let count = reader.count("count", 0..=nodes as u64, findings);
    let named = reader.counts("nodes", 0..=nodes.saturating_sub(1) as u64, findings);
    let given = ["share", "count", "nodes"].into_iter().filter(|key| reader.has(key, findings));
    let given: Vec<&'static str> = given.collect();
    if given.len() != 1 {
        let message = match given.as_slice() {
            [] => "nothing says which nodes".to_owned(),
            several => format!("{} say which nodes, and one must", several.join(" and ")),
        };
        let help = Some("write share = \"10%\", count = 3 or nodes = [0, 4]".to_owned());
        findings.problem(reader.at(), message, help);
        return None;
    }
    let named = named.map(|named| Who::Nodes(named.into_iter().map(|node| node as usize).collect()));
    share.map(Who::Share).or(count.map(|count| Who::Count(count as usize))).or(named)
}

/// Reads the keys of a link model.
pub(super) fn change(reader: &mut Reader<'_>, findings: &mut Findings<'_>) -> Change {
    Change {
        latency: reader.time("latency", findings),
        jitter: reader.time("jitter", findings),
        loss: reader.share("loss", findings),
        burst: burst(reader, findings),
        duplication: reader.share("duplication", findings),
        reordering: reader.share("reordering", findings),
        bandwidth: bandwidth(reader, findings),
        frame_loss: reader.share("frame_loss", findings),
    }
}

fn burst(reader: &mut Reader<'_>, findings: &mut Findings<'_>) -> Option<Burst> {
    let loss = reader.share("burst_loss", findings);
    let length = reader.number("burst_length", 1.0..=100_000.0, findings);
    if length.is_some() && loss.is_none() {
        findings.problem(reader.at_key("burst_length"), "burst_length needs burst_loss", None);
    }
    Some(Burst { loss: loss?, length: length.unwrap_or(10.0) })
}

/// Less carries not even the heartbeats.
const MIN_BANDWIDTH: f64 = 100.0;

fn bandwidth(reader: &mut Reader<'_>, findings: &mut Findings<'_>) -> Option<f64> {
    let rate = reader.quantity("bandwidth", &units::RATE, findings)?;
    if rate < MIN_BANDWIDTH {
        let help = Some("at least 800bit/s".to_owned());
        findings.problem(reader.at_key("bandwidth"), "nothing can be carried with so little", help);
        return None;
    }
    Some(rate)
}

impl Change {
    /// Returns links as they are after the change.
    pub fn apply(&self, links: Links) -> Links {
        Links {
            latency: self.latency.unwrap_or(links.latency),
            jitter: self.jitter.unwrap_or(links.jitter),
            loss: self.loss.unwrap_or(links.loss),
            burst: self.burst.or(links.burst),
            duplication: self.duplication.unwrap_or(links.duplication),
            reordering: self.reordering.unwrap_or(links.reordering),
            bandwidth: self.bandwidth.unwrap_or(links.bandwidth),
            frame_loss: self.frame_loss.unwrap_or(links.frame_loss),
        }
    }
}

/// Reads one `[[malicious]]`.
pub(super) fn read_malicious(
    reader: &mut Reader<'_>,
    nodes: usize,
    findings: &mut Findings<'_>,
) -> Option<Malicious> {
    let Some(lie) = reader.word("kind", &LIES, findings) else {
        if !reader.has("kind", findings) {
            findings.problem(
                reader.at(),
                "malicious nodes have no kind",
                Some("write kind = \"mute\"".into()),
            );
        }
        return None;
    };
    let who = who(reader, nodes, findings);
    let from = reader.time("from", findings).unwrap_or_default();
    let target = reader.count("target", 0..=MAX_NODES.min(nodes.saturating_sub(1) as u64), findings);
    let per_second = reader.count("per_second", 1..=10_000, findings).unwrap_or(10) as u32;
    Some(Malicious { lie, who: who?, from, target: target.map(|node| node as usize), per_second })
}
