//! What this node lets all others know of itself: its plugins, its transports, its load. Labels come from the
//! operator. Says nothing twice; the core signs and spreads it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mesh_plugin_host::{PolicySlot, Revision};
use mesh_proto::node::Input;

use super::Driver;
use super::clock::processor_time;
use crate::plugins::plugin_ref;

/// How often the load may change: every change is a new record that goes to all.
const LOAD_EVERY: Duration = Duration::from_secs(10);
/// One step of the load, in percent of one processor.
const LOAD_STEP: f64 = 25.0;
/// How far the load must be from the last step told, so that one between two steps does not go to and fro.
const LOAD_PLAY: f64 = 0.75;
/// Bytes of a value that names a plugin, at most, so that all slots fit beside the labels.
const MAX_PLUGIN: usize = 96;
/// Digits of a plugin's digest that are told.
const DIGITS: usize = 16;

#[derive(Debug)]
pub(super) struct OwnState {
    told: BTreeMap<String, Vec<u8>>,
    load: Load,
}

/// The use of processors, in coarse steps.
#[derive(Debug)]
struct Load {
    step: u32,
    at: Instant,
    used: Duration,
}

impl OwnState {
    pub(super) fn new(now: Instant) -> OwnState {
        OwnState { told: BTreeMap::new(), load: Load { step: 0, at: now, used: processor_time() } }
    }

    /// Returns what is to be told of these keys, and notes that it is.
    fn news(&mut self, state: Vec<(String, String)>) -> Vec<Input> {
        let mut inputs = Vec::new();
        for (key, value) in state {
            let value = value.into_bytes();
            if self.told.get(&key) != Some(&value) {
                self.told.insert(key.clone(), value.clone());
                inputs.push(Input::SetState { key, value: Some(value) });
            }
        }
        inputs
    }
}

impl Load {
    /// Returns the step of the load, given the time that this process has had on processors so far.
    fn measure(&mut self, now: Instant, used: Duration) -> u32 {
        let passed = now.saturating_duration_since(self.at);
        if passed >= LOAD_EVERY {
            let share = used.saturating_sub(self.used).as_secs_f64() / passed.as_secs_f64();
            let steps = share * 100.0 / LOAD_STEP;
            if (steps - f64::from(self.step)).abs() > LOAD_PLAY {
                self.step = steps.round() as u32;
            }
            (self.at, self.used) = (now, used);
        }
        self.step
    }
}

impl Driver {
    /// Tells what has changed.
    pub(super) fn publish_own(&mut self) {
        let mut state: Vec<(String, String)> = Vec::new();
        for slot in PolicySlot::ALL {
            let active = self.parts.plugins.set.status(slot).active;
            let key = format!("slot.{}", slot.name());
            // A record has little room, and most nodes leave these two to their native built-ins.
            let is_quiet = matches!(slot, PolicySlot::Admission | PolicySlot::Carry);
            if !is_quiet || active.is_some() || self.own_state.told.contains_key(&key) {
                state.push((key, named(slot.name(), active.as_ref())));
            }
        }
        let handler = mesh_plugin_host::Kind::Handler.slot();
        state.push((format!("slot.{handler}"), named(handler, self.parts.plugins.bound(handler))));
        let schemes: Vec<&str> = self.parts.transports.iter().map(|transport| transport.scheme()).collect();
        state.push(("transports".to_owned(), schemes.join(",")));
        let step = self.own_state.load.measure(Instant::now(), processor_time());
        state.push(("load".to_owned(), format!("{:.0}", f64::from(step) * LOAD_STEP)));
        let labels = self.parts.labels.iter();
        state.extend(labels.map(|(key, value)| (format!("label.{key}"), value.clone())));
        let news = self.own_state.news(state);
        self.inputs.extend(news);
    }
}

/// Returns `NAME@VERSION DIGEST`, or `native/…@VERSION` without one.
fn named(slot: &str, revision: Option<&Revision>) -> String {
    let plugin = plugin_ref(slot, revision);
    let digest = match plugin.revision.split_once(':') {
        Some((kind, digits)) => format!(" {kind}:{}", digits.chars().take(DIGITS).collect::<String>()),
        None => String::new(),
    };
    let mut text = format!("{}@{}", plugin.plugin, plugin.version);
    while text.len() + digest.len() > MAX_PLUGIN {
        text.pop();
    }
    text + &digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_changes_by_steps_and_not_between_two_of_them() {
        let start = Instant::now();
        let mut load = Load { step: 0, at: start, used: Duration::ZERO };
        let (mut at, mut used) = (start, Duration::ZERO);
        let mut after = |seconds: u64, percent: u32| {
            at += Duration::from_secs(seconds);
            used += Duration::from_secs(seconds) * percent / 100;
            load.measure(at, used)
        };

        assert_eq!(after(5, 100), 0, "too soon");
        assert_eq!(after(5, 0), 2, "half of ten seconds");
        assert_eq!(after(10, 63), 2, "half a step away");
        assert_eq!(after(10, 37), 2, "half a step away");
        assert_eq!(after(10, 190), 8);
        assert_eq!(after(10, 0), 0);
    }

    #[test]
    fn what_was_told_is_not_told_again() {
        let mut own = OwnState::new(Instant::now());
        let state =
            || vec![("load".to_owned(), "25".to_owned()), ("transports".to_owned(), "quic".to_owned())];

        assert_eq!(own.news(state()).len(), 2);
        assert_eq!(own.news(state()).len(), 0);
    }

    #[test]
    fn a_plugin_is_told_by_name_version_and_digest_within_its_bound() {
        let revision = Revision {
            name: "acme/".to_owned() + &"x".repeat(200),
            version: "1.0.0".into(),
            digest: [7; 32],
        };

        let text = named("route", Some(&revision));

        assert_eq!(text.len(), MAX_PLUGIN);
        assert!(text.ends_with(" blake3:0707070707070707"), "{text}");
        assert_eq!(named("route", None), format!("native/fastest@{}", env!("CARGO_PKG_VERSION")));
    }
}
