//! What a node may be started with: ranges of its intervals, forms of its labels. Clamps nothing; says what is
//! wrong.

use std::time::Duration;

use mesh_proto::directory::LinkPolicy;
use mesh_proto::node::MAX_LINKS;
use mesh_proto::tuning::Tuning;

use crate::StartError;

/// Labels of a node, at most.
pub const MAX_LABELS: usize = 8;
/// Bytes of a label's key, at most.
pub const MAX_LABEL_KEY: usize = 24;
/// Bytes of all labels, keys and values, at most: they stand in a record of 1,024 bytes with other things.
pub const MAX_LABEL_BYTES: usize = 256;

const LEAST: Duration = Duration::from_millis(10);
/// Neighbours believe no longer pause between heartbeats.
const GREATEST_HEARTBEAT: Duration = Duration::from_secs(60);
const GREATEST: Duration = Duration::from_secs(3600);

/// Checks intervals and sizes.
pub(crate) fn tuning(tuning: &Tuning) -> Result<(), StartError> {
    interval("heartbeat", tuning.heartbeat, GREATEST_HEARTBEAT, "10ms to 60s")?;
    for (what, value) in [
        ("suspicion", tuning.suspicion),
        ("gossip", tuning.gossip),
        ("rebalance", tuning.rebalance),
        ("graft", tuning.graft),
        ("offer", tuning.offer),
    ] {
        interval(what, value, GREATEST, "10ms to 1h")?;
    }
    if !(1.0..=16.0).contains(&tuning.phi) {
        return Err(out_of_range("phi", tuning.phi, "1 to 16"));
    }
    if !(8..=65_536).contains(&tuning.members) {
        return Err(out_of_range("members", tuning.members, "8 to 65536"));
    }
    Ok(())
}

fn interval(
    what: &'static str,
    value: Duration,
    greatest: Duration,
    range: &'static str,
) -> Result<(), StartError> {
    if (LEAST..=greatest).contains(&value) { Ok(()) } else { Err(out_of_range(what, written(value), range)) }
}

/// Returns a duration as it is written on a command line.
fn written(value: Duration) -> String {
    if value.subsec_millis() == 0 {
        format!("{}s", value.as_secs())
    } else {
        format!("{}ms", value.as_millis())
    }
}

fn out_of_range(what: &'static str, value: impl ToString, range: &'static str) -> StartError {
    StartError::OutOfRange { what, value: value.to_string(), range }
}

/// Checks the bounds on the number of links.
pub(crate) fn links(links: LinkPolicy) -> Result<(), StartError> {
    match links {
        LinkPolicy::Auto { min, max } if min < 1 || min > max || max > MAX_LINKS / 2 => {
            Err(out_of_range("links", format!("{min}..{max}"), "1..1 to 32..32, the lower bound first"))
        }
        _ => Ok(()),
    }
}

/// Checks the operator's labels.
pub(crate) fn labels(labels: &std::collections::BTreeMap<String, String>) -> Result<(), StartError> {
    let bad = |label: &str, why: String| StartError::BadLabel { label: label.to_owned(), why };
    for (key, value) in labels {
        let well_formed = (1..=MAX_LABEL_KEY).contains(&key.len())
            && key.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'));
        if !well_formed {
            let why = format!("a key has 1 to {MAX_LABEL_KEY} letters, digits, '-', '_' and '.'");
            return Err(bad(key, why));
        }
        if value.chars().any(char::is_control) {
            return Err(bad(key, "its value holds control characters".to_owned()));
        }
    }
    let bytes: usize = labels.iter().map(|(key, value)| key.len() + value.len()).sum();
    if labels.len() > MAX_LABELS || bytes > MAX_LABEL_BYTES {
        let last = labels.keys().last().map_or("", String::as_str);
        let why = format!(
            "{} labels of {bytes} bytes exceed {MAX_LABELS} labels of {MAX_LABEL_BYTES} bytes",
            labels.len()
        );
        return Err(bad(last, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    // MN-53, MN-55, MN-56, MN-57.
    #[test]
    fn what_is_out_of_range_is_named_with_its_range() {
        let ms = Duration::from_millis;
        let lan = Tuning::default();
        for (tuned, want) in [
            (lan, None),
            (Tuning::wan(), None),
            (Tuning::large(), None),
            (Tuning { heartbeat: ms(9), ..lan }, Some("heartbeat of 9ms is not within 10ms to 60s")),
            (Tuning { heartbeat: ms(500_000), ..lan }, Some("heartbeat of 500s is not within 10ms to 60s")),
            (Tuning { gossip: ms(1), ..lan }, Some("gossip of 1ms is not within 10ms to 1h")),
            (Tuning { phi: 0.5, ..lan }, Some("phi of 0.5 is not within 1 to 16")),
            (Tuning { phi: f64::NAN, ..lan }, Some("phi of NaN is not within 1 to 16")),
            (Tuning { members: 7, ..lan }, Some("members of 7 is not within 8 to 65536")),
        ] {
            assert_eq!(tuning(&tuned).err().map(|error| error.to_string()).as_deref(), want);
            // The core would clamp nothing that passes here.
            assert!(want.is_some() || tuned.clamped() == tuned);
        }
        for (min, max, good) in [(1, 1, true), (2, 3, true), (0, 3, false), (3, 2, false), (2, 33, false)] {
            assert_eq!(links(LinkPolicy::Auto { min, max }).is_ok(), good, "{min}..{max}");
        }
    }

    #[test]
    fn labels_fit_into_a_record() {
        let of = |rows: &[(&str, &str)]| {
            let rows = rows.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            labels(&rows.collect::<BTreeMap<_, _>>())
        };
        assert!(of(&[("region", "eu"), ("rack.1", "über")]).is_ok());
        assert!(of(&[("", "x")]).is_err());
        assert!(of(&[("a b", "x")]).is_err());
        assert!(of(&[(&"k".repeat(25), "x")]).is_err());
        assert!(of(&[("k", "a\nb")]).is_err());
        assert!(of(&[("k", &"x".repeat(256))]).is_err());
        let many: Vec<String> = (0..9).map(|n| format!("k{n}")).collect();
        assert!(of(&many.iter().map(|key| (key.as_str(), "x")).collect::<Vec<_>>()).is_err());
    }
}
