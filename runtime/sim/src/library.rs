//! The scenarios that come with the program.

/// A scenario that comes with the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shipped {
    /// What it is asked for by.
    pub name: &'static str,
    /// Its text, to be copied and changed.
    pub text: &'static str,
}

macro_rules! shipped {
    ($($name:literal)*) => {
        /// All of them, in the order in which they are listed: the plain ones first.
        pub static ALL: &[Shipped] = &[$(Shipped {
            name: $name,
            text: include_str!(concat!("../scenarios/", $name, ".toml")),
        }),*];
    };
}

shipped! {
    "steady" "thousands" "many-senders" "unicast" "idle" "idle-500"
    "loss-10" "loss-ladder" "rough-links" "broken-frames"
    "silent-node" "leave" "detection" "freeze" "clock-skew"
    "crash-10" "crash-30" "crash-50" "crash-80" "crash-90" "churn"
    "partition-heal" "one-way-cuts" "flapping" "herd" "rolling-swap"
    "covert-flash" "censor" "liars" "poisoning" "forgers" "replayed" "lure" "eclipse" "sybil-boot"
    "big-digests"
}

/// Returns the scenario with this name.
///
/// ```
/// assert!(mesh_sim::library::find("steady").unwrap().text.contains("[scenario]"));
/// assert_eq!(mesh_sim::library::find("unheard-of"), None);
/// ```
pub fn find(name: &str) -> Option<&'static Shipped> {
    ALL.iter().find(|shipped| shipped.name == name)
}

/// Returns the name that was probably meant.
pub fn nearest(name: &str) -> Option<&'static str> {
    crate::scenario::nearest(name, ALL.iter().map(|shipped| shipped.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scenario;

    #[test]
    fn every_scenario_is_named_as_it_says_and_says_what_it_covers() {
        for shipped in ALL {
            let file = format!("{}.toml", shipped.name);
            let scenario =
                Scenario::parse(&file, shipped.text, &[]).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(scenario.name, shipped.name);
            assert!(!scenario.description.is_empty() && !scenario.covers.is_empty(), "{}", shipped.name);
            assert!(!scenario.expect.is_empty(), "{} expects nothing", shipped.name);
        }
    }

    #[test]
    fn every_scenario_can_be_made_smaller_and_larger() {
        for shipped in ALL {
            for nodes in [20, 1000] {
                let overrides = [format!("scenario.nodes={nodes}")];
                let scenario = Scenario::parse(shipped.name, shipped.text, &overrides);
                assert_eq!(scenario.unwrap_or_else(|error| panic!("{error}")).nodes, nodes);
            }
        }
    }

    #[test]
    fn every_file_is_listed() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let files = std::fs::read_dir(dir).unwrap().count();
        assert_eq!(files, ALL.len());
    }
}
