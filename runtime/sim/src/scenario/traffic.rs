//! `[[traffic]]`: what is sent, by whom, how often.

use std::time::Duration;

use mesh_proto::policy::Class;

use super::reader::{Findings, Reader};
use super::{CLASSES, MAX_MESSAGES, MAX_NODES, units};

/// One stream of messages, or several alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// To whom.
    pub kind: TrafficKind,
    /// Messages. Default 30.
    pub count: u64,
    /// The time between two. Default 1 s.
    pub every: Duration,
    /// When the first one is sent, after the warm-up. Default 0 s.
    pub start: Duration,
    /// Payload bytes. Default 256.
    pub size: usize,
    /// The class, taken in turn. Default normal.
    pub classes: Vec<Class>,
    /// Whether they must survive a crash of those who hold them.
    pub durable: bool,
    /// How long a message is of use; `None` for what its class says.
    pub lifetime: Option<Duration>,
}

/// To whom messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficKind {
    /// To all, from so many nodes in turn.
    Broadcast {
        /// Default 1; 0 for all.
        senders: usize,
    },
    /// From one node to another, for so many pairs in turn.
    Unicast {
        /// Default 1.
        pairs: usize,
    },
}

/// The largest payload: what one message may have.
const MAX_SIZE: f64 = 1_000_000.0;

pub(super) fn read(reader: &mut Reader<'_>, findings: &mut Findings<'_>) -> Option<Traffic> {
    let kind = reader.word("kind", &[("broadcast", true), ("unicast", false)], findings);
    let Some(is_broadcast) = kind else {
        if !reader.has("kind", findings) {
            findings.problem(reader.at(), "traffic has no kind", Some("write kind = \"broadcast\"".into()));
        }
        return None;
    };
    let kind = match is_broadcast {
        true => TrafficKind::Broadcast { senders: senders(reader, findings) },
        false => TrafficKind::Unicast { pairs: small(reader.count("pairs", 1..=MAX_NODES, findings), 1) },
    };
    Some(Traffic {
        kind,
        count: reader.count("count", 1..=MAX_MESSAGES, findings).unwrap_or(30),
        every: reader.time_above_zero("every", findings).unwrap_or(Duration::from_secs(1)),
        start: reader.time("start", findings).unwrap_or_default(),
        size: size(reader, findings),
        classes: classes(reader, findings),
        durable: reader.flag("durable", false, findings),
        lifetime: reader.time_above_zero("lifetime", findings),
    })
}

fn small(count: Option<u64>, default: usize) -> usize {
    count.and_then(|count| usize::try_from(count).ok()).unwrap_or(default)
}

fn senders(reader: &mut Reader<'_>, findings: &mut Findings<'_>) -> usize {
    use super::tree::Value;
    match reader.item("senders", findings).map(|item| &item.value) {
        Some(Value::Text(_)) => reader.word("senders", &[("all", 0)], findings).unwrap_or(1),
        _ => small(reader.count("senders", 1..=MAX_NODES, findings), 1),
    }
}

fn size(reader: &mut Reader<'_>, findings: &mut Findings<'_>) -> usize {
    let Some(size) = reader.quantity("size", &units::SIZE, findings) else { return 256 };
    // The number of the message stands in the payload.
    if !(16.0..=MAX_SIZE).contains(&size) {
        let message = format!("size is {size} bytes, which is not within 16 and {MAX_SIZE}");
        findings.problem(reader.at_key("size"), message, None);
    }
    size as usize
}

fn classes(reader: &mut Reader<'_>, findings: &mut Findings<'_>) -> Vec<Class> {
    use super::tree::Value;
    if reader.has("class", findings) {
        let class = reader.word("class", &CLASSES, findings);
        return vec![class.unwrap_or(Class::Normal)];
    }
    let Some(item) = reader.item("classes", findings) else { return vec![Class::Normal] };
    let names: Vec<&str> = match &item.value {
        Value::List(list) => list
            .iter()
            .filter_map(|item| if let Value::Text(name) = &item.value { Some(name.as_str()) } else { None })
            .collect(),
        _ => Vec::new(),
    };
    let known = names.iter().filter_map(|name| CLASSES.iter().find(|(known, _)| known == name));
    let classes: Vec<Class> = known.map(|&(_, class)| class).collect();
    if classes.is_empty() || classes.len() != names.len() {
        let help = "a list of critical, high, normal, low and bulk".to_owned();
        findings.problem(item.at, "classes names what is no class", Some(help));
    }
    classes
}
