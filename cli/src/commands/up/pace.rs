//! How many links a node has, how fast it beats, what it tells of itself: options, and what they come to.

use std::time::Duration;

use clap::Args;
use mesh_node::{LinkPolicy, Tuning};

use crate::args::duration;

/// Options about the mesh; what is not given is as the profile says.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Mesh options")]
pub struct Pace {
    /// How many links: adaptive, MIN..MAX, or explicit for the --join addresses only.
    ///
    /// Adaptive is 2..3 in a mesh of up to 16 nodes and 5..7 in a larger one.
    #[arg(long, value_parser = links, default_value = "adaptive", value_name = "BOUNDS")]
    links: LinkPolicy,
    /// Four times as patient: for links of some hundred milliseconds that lose packets.
    #[arg(long, conflicts_with = "large")]
    wan: bool,
    /// For thousands of nodes: slower, and known by a sample.
    #[arg(long)]
    large: bool,
    /// How often neighbours hear that this node lives [default: 500ms].
    #[arg(long, value_parser = duration, value_name = "TIME")]
    heartbeat: Option<Duration>,
    /// How sure it must be that a neighbour is gone, 1 to 16; lower is sooner [default: 8].
    #[arg(long, value_parser = number, value_name = "N")]
    phi: Option<f64>,
    /// How often it compares with a neighbour what both know [default: 1s].
    #[arg(long, value_parser = duration, value_name = "TIME")]
    gossip: Option<Duration>,
    /// How often it looks at the number of its links [default: 5s].
    #[arg(long, value_parser = duration, value_name = "TIME")]
    rebalance: Option<Duration>,
    /// Nodes that it knows at most; a larger mesh is known by a sample [default: 4096].
    #[arg(long, value_name = "N")]
    members: Option<usize>,
    /// What all nodes shall know of this one. May be given several times.
    #[arg(long = "label", value_parser = label, value_name = "KEY=VALUE")]
    labels: Vec<(String, String)>,
}

impl Pace {
    /// Returns whom the node links to.
    pub fn links(&self) -> LinkPolicy {
        self.links
    }

    /// Returns the labels, in the order given.
    pub fn labels(&self) -> &[(String, String)] {
        &self.labels
    }

    /// Returns the profile with what was given beside it.
    pub fn tuning(&self) -> Tuning {
        let profile = match (self.wan, self.large) {
            (true, _) => Tuning::wan(),
            (_, true) => Tuning::large(),
            _ => Tuning::default(),
        };
        Tuning {
            heartbeat: self.heartbeat.unwrap_or(profile.heartbeat),
            phi: self.phi.unwrap_or(profile.phi),
            gossip: self.gossip.unwrap_or(profile.gossip),
            rebalance: self.rebalance.unwrap_or(profile.rebalance),
            members: self.members.unwrap_or(profile.members),
            ..profile
        }
    }
}

fn links(text: &str) -> Result<LinkPolicy, String> {
    match text {
        "adaptive" | "auto" => return Ok(LinkPolicy::Adaptive),
        "explicit" => return Ok(LinkPolicy::Explicit),
        _ => {}
    }
    if let Some((min, max)) = text.split_once("..")
        && let (Ok(min), Ok(max)) = (min.parse(), max.parse())
    {
        return Ok(LinkPolicy::Auto { min, max });
    }
    let numbers: Vec<&str> =
        text.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty()).collect();
    let near = match numbers[..] {
        [one] => format!("; did you mean {one}..{one}?"),
        [min, max] => format!("; did you mean {min}..{max}?"),
        _ => String::new(),
    };
    Err(format!("it is adaptive, explicit or MIN..MAX, such as 2..3{near}"))
}

fn number(text: &str) -> Result<f64, String> {
    let point = text.replace(',', ".");
    match (text.parse::<f64>(), point.parse::<f64>()) {
        (Ok(number), _) if number.is_finite() => Ok(number),
        (Err(_), Ok(_)) => Err(format!("it is a number; did you mean {point}?")),
        _ => Err("it is a number, such as 8 or 6.5".to_owned()),
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label is KEY=VALUE, such as region=eu".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // MN-53.
    #[test]
    fn bounds_on_links_are_read_and_a_wrong_form_names_the_right_one() {
        assert_eq!(links("2..3"), Ok(LinkPolicy::Auto { min: 2, max: 3 }));
        assert_eq!(links("adaptive"), Ok(LinkPolicy::Adaptive));
        assert_eq!(links("explicit"), Ok(LinkPolicy::Explicit));
        for (text, near) in [("3", "3..3"), ("2-3", "2..3"), ("2...4", "2..4"), ("2..", "2..2")] {
            assert!(
                links(text).is_err_and(|told| told.ends_with(&format!("did you mean {near}?"))),
                "{text}"
            );
        }
        assert!(links("many").is_err_and(|told| told.ends_with("such as 2..3")));
    }

    // MN-16, MN-50e, MN-55, MN-56, MN-57.
    #[test]
    fn what_is_given_goes_before_the_profile() {
        let wan = Pace { wan: true, ..Pace::default() };
        assert_eq!(wan.tuning(), Tuning::wan());
        let beat = Duration::from_millis(700);
        let both = Pace { heartbeat: Some(beat), phi: Some(3.0), ..wan };
        assert_eq!(both.tuning(), Tuning { heartbeat: beat, phi: 3.0, ..Tuning::wan() });
        assert_eq!(Pace { large: true, ..Pace::default() }.tuning(), Tuning::large());
        assert_eq!(Pace::default().tuning(), Tuning::default());
    }

    #[test]
    fn numbers_and_labels_are_read() {
        assert_eq!(number("6.5"), Ok(6.5));
        assert_eq!(number("6,5"), Err("it is a number; did you mean 6.5?".to_owned()));
        assert!(number("nan").is_err() && number("x").is_err());
        assert_eq!(label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(label("region").is_err() && label("=eu").is_err());
    }
}
