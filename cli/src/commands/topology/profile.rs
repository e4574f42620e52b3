//! What a node is in the hierarchy, as options of `up` and `topology set`.

use clap::Args;
use mesh_node::api::ProfileChange;

/// What this node is in the hierarchy; any of it makes it take part.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Hierarchy options")]
pub struct Profile {
    /// How high it stands: platform, squad, platoon or company. Its parent stands higher.
    #[arg(long, value_name = "LEVEL", hide_possible_values = true, value_parser = ["platform", "squad", "platoon", "company"])]
    level: Option<String>,
    /// The group at its level: each has one leader.
    #[arg(long, value_name = "NAME")]
    cell: Option<String>,
    /// What it shall be in its cell, if it is fit for it: leader, member or standalone.
    #[arg(long, value_name = "ROLE", hide_possible_values = true, value_parser = ["leader", "member", "standalone"])]
    role: Option<String>,
    /// How it comes to its role: dynamic elects, static is as told, hybrid as told while it is fit.
    #[arg(long, value_name = "STRATEGY", hide_possible_values = true, value_parser = ["dynamic", "static", "hybrid"])]
    strategy: Option<String>,
    /// How much it moves: static, semi-mobile or mobile.
    #[arg(long, value_name = "KIND", hide_possible_values = true, value_parser = ["static", "semi-mobile", "mobile"])]
    mobility: Option<String>,
    /// Percent of its battery, or mains.
    #[arg(long, value_name = "PERCENT|mains", value_parser = battery)]
    battery: Option<Battery>,
    /// Percent of its processors in use; 80 is too much for a parent.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(..=100))]
    cpu_used: Option<u8>,
    /// Percent of its memory in use; 80 is too much for a parent.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(..=100))]
    memory_used: Option<u8>,
    /// Its processors, when not those of this machine; a parent has 2.
    #[arg(long, value_name = "N")]
    cores: Option<u16>,
    /// Its memory in MB, when not that of this machine; a parent has 512.
    #[arg(long, value_name = "MB")]
    memory_mb: Option<u32>,
    /// What it can send, in Mbit/s [default: 10]; a parent has 10.
    #[arg(long, value_name = "MBIT")]
    uplink: Option<u32>,
    /// Where it is, as LAT,LON in degrees.
    #[arg(long, value_name = "LAT,LON", value_parser = crate::commands::beacon::point, allow_hyphen_values = true)]
    at: Option<(f64, f64)>,
    /// Children that it takes; as the weights say when absent.
    #[arg(long, value_name = "N")]
    max_children: Option<u16>,
    /// How it weighs candidates for its parent: default, tactical or distributed. See topology explain.
    #[arg(long, value_name = "PRESET", hide_possible_values = true, value_parser = ["default", "tactical", "distributed"])]
    weights: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Battery {
    Percent(u8),
    Mains,
}

fn battery(text: &str) -> Result<Battery, String> {
    match text.trim_end_matches('%').parse() {
        _ if text == "mains" => Ok(Battery::Mains),
        Ok(percent @ 0..=100) => Ok(Battery::Percent(percent)),
        _ => Err("it is mains, or percent from 0 to 100, such as 80".to_owned()),
    }
}

impl Profile {
    /// Returns what is to be different.
    pub fn change(&self) -> ProfileChange {
        let given = self.clone();
        ProfileChange {
            level: given.level,
            cell: given.cell,
            strategy: given.strategy,
            told_role: given.role,
            mobility: given.mobility,
            battery_percent: match given.battery {
                Some(Battery::Percent(percent)) => Some(percent),
                Some(Battery::Mains) | None => None,
            },
            mains: given.battery == Some(Battery::Mains),
            cpu_used_percent: given.cpu_used,
            memory_used_percent: given.memory_used,
            cores: given.cores,
            memory_mb: given.memory_mb,
            uplink_mbps: given.uplink,
            position: given.at,
            max_children: given.max_children,
            weights: given.weights,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_battery_is_percent_or_mains() {
        for (text, want) in [
            ("80", Some(Battery::Percent(80))),
            ("0%", Some(Battery::Percent(0))),
            ("mains", Some(Battery::Mains)),
            ("101", None),
            ("-1", None),
            ("full", None),
        ] {
            assert_eq!(battery(text).ok(), want, "{text}");
        }
    }

    #[test]
    fn nothing_given_changes_nothing() {
        assert!(Profile::default().change().is_empty());
        let mains = Profile { battery: Some(Battery::Mains), ..Profile::default() };
        assert!(mains.change().mains && mains.change().battery_percent.is_none());
    }
}
