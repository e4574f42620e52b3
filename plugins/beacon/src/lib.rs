//! Tells on a topic where this node is, remembers who else is there, and says who comes near and who goes.

use std::collections::BTreeMap;

use mesh_sdk::handler::{Effect, Event, Failure, Handler, Message, Node};
use mesh_sdk::{Class, Refusal, Settings, kv, log};
use serde::{Deserialize, Serialize};

mod config;
mod document;
mod geohash;

use config::Config;
use document::{Document, MAX_BYTES, Position, hex};
use geohash::{Cell, distance_m};

const COMPOSE: u32 = 1;
const SWEEP: u32 = 2;
/// The first beacon follows soon after the start, when links have come up.
const FIRST_MS: u32 = 500;
/// Where the position outlives a restart.
const POSITION_KEY: &str = "position";
/// Where the text beside it does, and under which name it stands in a document's metadata.
const NOTE_KEY: &str = "note";
/// Bytes of that text.
const MAX_NOTE: usize = 256;
/// Characters of the cell in a document.
const DOCUMENT_PRECISION: u8 = 7;
/// Bytes of a reply; the host takes 64 KiB.
const MAX_REPLY: usize = 60 << 10;
/// Bytes of the saved state; the host takes 1 MiB.
const MAX_STATE: usize = 900 << 10;

/// The handler.
#[derive(Default)]
pub struct Beacon {
    node_id: String,
    name: String,
    config: Option<Config>,
    state: State,
}

/// What a successor takes over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    position: Option<Position>,
    #[serde(default)]
    note: String,
    seen: BTreeMap<String, Seen>,
    sent: u64,
}

/// What is remembered of another node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Seen {
    document: Document,
    first_ms: u64,
    last_ms: u64,
    /// It is in our cell or in one that touches it, and we have said so.
    is_near: bool,
}

/// One entry of a reply.
#[derive(Serialize)]
struct Row<'a> {
    node: &'a str,
    name: &'a str,
    position: Position,
    geohash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    distance_m: Option<f64>,
    near: bool,
    age_ms: u64,
    /// Until it is forgotten, unless it is heard again.
    expires_ms: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    note: &'a str,
    hierarchy_level: &'a str,
    capabilities: &'a [String],
}

#[derive(Serialize)]
struct Listing<'a> {
    beacons: Vec<Row<'a>>,
    /// Entries that did not fit into one reply.
    left_out: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    lat: f64,
    lon: f64,
    #[serde(default)]
    alt: Option<f64>,
    #[serde(default)]
    note: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Near {
    radius_m: Option<f64>,
    geohash: Option<String>,
}

impl Handler for Beacon {
    const STATE_VERSION: u32 = 1;

    fn configure(&mut self, node: Node, settings: Settings) -> Result<Vec<Effect>, Refusal> {
        log::panics();
        let config = Config::read(settings)?;
        self.node_id = hex(&node.id);
        self.name = node.name;
        let stored = kv::get(POSITION_KEY).and_then(|bytes| serde_json::from_slice(&bytes).ok());
        self.state.position = stored.filter(Position::is_valid).or(config.position);
        self.state.note = kv::get(NOTE_KEY).and_then(|note| String::from_utf8(note).ok()).unwrap_or_default();
        let effects = vec![
            Effect::Subscribe(config.topic.clone()),
            Effect::SetTimer { id: COMPOSE, after_ms: FIRST_MS },
            Effect::SetTimer { id: SWEEP, after_ms: config.sweep_ms },
        ];
        self.config = Some(config);
        Ok(effects)
    }

    fn handle(&mut self, now_ms: u64, seed: u64, event: Event) -> Result<Vec<Effect>, Failure> {
        match event {
            Event::Timer(COMPOSE) => Ok(self.on_period(now_ms, seed)),
            Event::Timer(SWEEP) => Ok(self.on_sweep(now_ms)),
            Event::Timer(_) => Ok(Vec::new()),
            Event::Message(message) => self.on_beacon(now_ms, &message),
            Event::Command { name, payload } => self.on_command(now_ms, name, &payload),
        }
    }

    fn save(&self) -> Vec<u8> {
        let mut state = self.state.clone();
        loop {
            match serde_json::to_vec(&state) {
                Ok(bytes) if bytes.len() <= MAX_STATE => return bytes,
                // The largest possible documents do not all fit: half of them are heard again soon.
                _ => state.seen = state.seen.into_iter().step_by(2).collect(),
            }
        }
    }

    fn load(&mut self, from_version: u32, state: &[u8]) -> Result<(), Refusal> {
        if from_version != Self::STATE_VERSION {
            return Err(Refusal::UnknownVersion(from_version));
        }
        self.state = serde_json::from_slice(state).map_err(|_| Refusal::BadState)?;
        Ok(())
    }
}

impl Beacon {
    fn config(&self) -> &Config {
        self.config.as_ref().expect("the host configures before it calls")
    }

    fn on_period(&mut self, now_ms: u64, seed: u64) -> Vec<Effect> {
        // A tenth more or less, so that the beacons of a mesh that started together spread out.
        let period = u64::from(self.config().period_ms);
        let after_ms = period * 9 / 10 + seed % (period / 5).max(1);
        let mut effects = vec![Effect::SetTimer { id: COMPOSE, after_ms: after_ms as u32 }];
        effects.extend(self.compose(now_ms));
        effects
    }

    /// Returns the beacon, when there is a position to tell.
    fn compose(&mut self, now_ms: u64) -> Option<Effect> {
        let position = self.state.position?;
        let config = self.config();
        let document = Document {
            node_id: self.node_id.clone(),
            name: self.name.chars().take(64).collect(),
            position,
            geohash: Cell::at(position.lat, position.lon, DOCUMENT_PRECISION).name(),
            hierarchy_level: config.level.clone(),
            capabilities: config.capabilities.clone(),
            operational: true,
            timestamp: now_ms / 1_000,
            mobility: config.mobility.clone(),
            can_parent: config.can_parent,
            parent_priority: config.parent_priority,
            metadata: self.metadata(),
            ..Document::default()
        };
        let payload = serde_json::to_vec(&document).ok().filter(|bytes| bytes.len() <= MAX_BYTES)?;
        let effect = Effect::Publish {
            topic: config.topic.clone(),
            class: Class::Low,
            ttl_ms: config.ttl_ms,
            payload,
        };
        self.state.sent += 1;
        Some(effect)
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        let note = Some(&self.state.note).filter(|note| !note.is_empty());
        note.map(|note| (NOTE_KEY.to_owned(), note.clone())).into_iter().collect()
    }

    fn on_beacon(&mut self, now_ms: u64, message: &Message) -> Result<Vec<Effect>, Failure> {
        let node_id = hex(&message.origin);
        if node_id == self.node_id {
            return Ok(Vec::new());
        }
        let document =
            Document::read(&message.payload, &node_id).map_err(|reason| Failure::BadInput(reason.into()))?;
        if self.is_expired(now_ms, message.sent_ms) {
            return Ok(Vec::new());
        }
        let before = self.state.seen.get(&node_id);
        if before.is_some_and(|before| before.document.timestamp > document.timestamp) {
            return Ok(Vec::new());
        }
        if !self.is_in_range(&document.position) {
            let gone = self.state.seen.remove(&node_id);
            return Ok(gone.and_then(|gone| self.left(&node_id, &gone, "moved")).into_iter().collect());
        }
        let (first_ms, was_near) = before.map_or((now_ms, false), |before| (before.first_ms, before.is_near));
        let is_near = self.is_near(&document.position);
        let seen = Seen { document, first_ms, last_ms: now_ms, is_near };
        let mut effects = Vec::new();
        match (was_near, is_near) {
            (false, true) => effects.push(self.notice("beacon-entered", &node_id, &seen, None)),
            (true, false) => effects.push(self.notice("beacon-left", &node_id, &seen, Some("moved"))),
            _ => {}
        }
        self.state.seen.insert(node_id, seen);
        effects.extend(self.make_room());
        Ok(effects)
    }

    /// Forgets the node that has been silent for longest when there are too many.
    fn make_room(&mut self) -> Option<Effect> {
        if self.state.seen.len() <= self.config().max_beacons {
            return None;
        }
        let oldest = self.state.seen.iter().min_by_key(|(_, seen)| seen.last_ms)?.0.clone();
        let gone = self.state.seen.remove(&oldest)?;
        self.left(&oldest, &gone, "crowded out")
    }

    fn on_sweep(&mut self, now_ms: u64) -> Vec<Effect> {
        let ttl_ms = u64::from(self.config().ttl_ms);
        let mut effects = vec![Effect::SetTimer { id: SWEEP, after_ms: self.config().sweep_ms }];
        let is_silent = |seen: &Seen| now_ms.saturating_sub(seen.last_ms) > ttl_ms;
        let (silent, seen) =
            std::mem::take(&mut self.state.seen).into_iter().partition(|(_, seen)| is_silent(seen));
        self.state.seen = seen;
        let silent: BTreeMap<String, Seen> = silent;
        effects.extend(
            silent.iter().filter_map(|(node, gone)| self.left(node, gone, "expired")).take(MAX_NOTICES),
        );
        effects
    }

    fn on_command(&mut self, now_ms: u64, name: String, payload: &[u8]) -> Result<Vec<Effect>, Failure> {
        match name.as_str() {
            "set-position" => self.set_position(now_ms, payload),
            "list" => Ok(vec![self.reply(now_ms, |_| true)]),
            "near" => self.near(now_ms, payload),
            _ => Err(Failure::UnknownCommand(name)),
        }
    }

    fn set_position(&mut self, now_ms: u64, payload: &[u8]) -> Result<Vec<Effect>, Failure> {
        let Place { lat, lon, alt, note } = arguments(payload)?;
        let position = Position { lat, lon, alt };
        if !position.is_valid() {
            return Err(Failure::BadInput("lat is -90 to 90, lon is -180 to 180".into()));
        }
        let note = note.unwrap_or_default();
        if note.len() > MAX_NOTE {
            return Err(Failure::BadInput(format!("a note has at most {MAX_NOTE} bytes")));
        }
        self.state.position = Some(position);
        self.state.note.clone_from(&note);
        let value = serde_json::to_vec(&position).unwrap_or_default();
        let geohash = Cell::at(position.lat, position.lon, self.config().precision).name();
        let answer = serde_json::json!({ "position": position, "geohash": geohash, "note": note });
        let mut effects = vec![
            Effect::Put { key: POSITION_KEY.into(), value },
            Effect::Put { key: NOTE_KEY.into(), value: note.into_bytes() },
            Effect::Reply(answer.to_string().into_bytes()),
        ];
        effects.extend(self.compose(now_ms));
        effects.extend(self.look_around());
        Ok(effects)
    }

    /// Says who is near from here and was not before, and the other way round.
    fn look_around(&mut self) -> Vec<Effect> {
        let mut seen = std::mem::take(&mut self.state.seen);
        let mut effects = Vec::new();
        for (node, other) in &mut seen {
            let is_near = self.is_near(&other.document.position);
            if is_near != other.is_near && effects.len() < MAX_NOTICES {
                other.is_near = is_near;
                effects.push(match is_near {
                    true => self.notice("beacon-entered", node, other, None),
                    false => self.notice("beacon-left", node, other, Some("moved")),
                });
            }
        }
        self.state.seen = seen;
        effects
    }

    fn near(&self, now_ms: u64, payload: &[u8]) -> Result<Vec<Effect>, Failure> {
        let wish =
            if payload.is_empty() { Near { radius_m: None, geohash: None } } else { arguments(payload)? };
        let effect = match wish {
            Near { geohash: Some(prefix), radius_m: None } => {
                self.reply(now_ms, |seen| name_of(&seen.document.position, 9).starts_with(&prefix))
            }
            Near { radius_m, geohash: None } => {
                let here = self.state.position.ok_or_else(|| {
                    Failure::Unavailable("this node has no position: use set-position first".into())
                })?;
                match radius_m {
                    Some(radius) => {
                        self.reply(now_ms, |seen| between(&here, &seen.document.position) <= radius)
                    }
                    None => self.reply(now_ms, |seen| self.is_near(&seen.document.position)),
                }
            }
            Near { .. } => return Err(Failure::BadInput("give radius_m or geohash, not both".into())),
        };
        Ok(vec![effect])
    }

    /// Lists those that `wanted` picks, the nearest first.
    fn reply(&self, now_ms: u64, wanted: impl Fn(&Seen) -> bool) -> Effect {
        let picked = self.state.seen.iter().filter(|(_, seen)| wanted(seen));
        let mut beacons: Vec<Row> = picked.map(|(node, seen)| self.row(now_ms, node, seen)).collect();
        let distance = |row: &Row| row.distance_m.unwrap_or(0.0);
        beacons.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
        let mut listing = Listing { beacons, left_out: 0 };
        loop {
            match serde_json::to_vec(&listing) {
                Ok(bytes) if bytes.len() <= MAX_REPLY => return Effect::Reply(bytes),
                _ => {
                    let keep = listing.beacons.len() / 2;
                    listing.left_out += listing.beacons.len() - keep;
                    listing.beacons.truncate(keep);
                }
            }
        }
    }

    fn row<'a>(&self, now_ms: u64, node: &'a str, seen: &'a Seen) -> Row<'a> {
        let document = &seen.document;
        Row {
            node,
            name: &document.name,
            position: document.position,
            geohash: name_of(&document.position, self.config().precision),
            distance_m: self.state.position.map(|here| between(&here, &document.position).round()),
            near: seen.is_near,
            age_ms: now_ms.saturating_sub(seen.last_ms),
            expires_ms: (seen.last_ms + u64::from(self.config().ttl_ms)).saturating_sub(now_ms),
            note: document.metadata.get(NOTE_KEY).map_or("", String::as_str),
            hierarchy_level: &document.hierarchy_level,
            capabilities: &document.capabilities,
        }
    }

    fn is_expired(&self, now_ms: u64, sent_ms: u64) -> bool {
        now_ms.saturating_sub(sent_ms) > u64::from(self.config().ttl_ms)
    }

    fn is_in_range(&self, other: &Position) -> bool {
        match (self.config().range_m, &self.state.position) {
            (Some(range), Some(here)) => between(here, other) <= range,
            _ => true,
        }
    }

    /// In our cell or in one that touches it; everybody, while we do not know where we are.
    fn is_near(&self, other: &Position) -> bool {
        let Some(here) = &self.state.position else { return true };
        let precision = self.config().precision;
        let ours = Cell::at(here.lat, here.lon, precision);
        let theirs = Cell::at(other.lat, other.lon, precision);
        ours == theirs || ours.neighbours().contains(&theirs)
    }

    fn left(&self, node: &str, gone: &Seen, reason: &str) -> Option<Effect> {
        gone.is_near.then(|| self.notice("beacon-left", node, gone, Some(reason)))
    }

    fn notice(&self, kind: &str, node: &str, seen: &Seen, reason: Option<&str>) -> Effect {
        let document = &seen.document;
        let mut details = serde_json::json!({
            "node": node,
            "name": document.name,
            "geohash": name_of(&document.position, self.config().precision),
        });
        if let Some(here) = &self.state.position {
            details["distance_m"] = between(here, &document.position).round().into();
        }
        if let Some(reason) = reason {
            details["reason"] = reason.into();
        }
        Effect::Notify { kind: kind.into(), payload: details.to_string().into_bytes() }
    }
}

/// Notices of one call; the host takes 256 effects.
const MAX_NOTICES: usize = 200;

fn arguments<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(payload).map_err(|error| Failure::BadInput(error.to_string()))
}

fn name_of(position: &Position, precision: u8) -> String {
    Cell::at(position.lat, position.lon, precision).name()
}

fn between(a: &Position, b: &Position) -> f64 {
    distance_m((a.lat, a.lon), (b.lat, b.lon))
}

mesh_sdk::handler!(Beacon);

#[cfg(test)]
mod tests;
