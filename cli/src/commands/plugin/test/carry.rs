//! Cases of carry policies: runs of messages that have to wait in, what each is worth out.

use mesh_plugin_host::alone::Alone;
use mesh_plugin_host::{Loaded, PrepareError, Settings, prepare_carry};
use mesh_proto::policy::{CarryBatch, CarryRow, REFUSE, Room};
use serde::Deserialize;
use toml::Spanned;

use super::cases::{self, Check, ClassName};

cases::case! {
    /// One case.
    pub struct Case {
        #[serde(default)]
        now_ms: u64,
        #[serde(default)]
        room: RoomRow,
        #[serde(default)]
        runs: Vec<RunRow>,
    }
}

/// An empty node with the bounds of any other, unless the case says otherwise.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RoomRow {
    messages: u64,
    bytes: u64,
    most_bytes: u64,
    most_messages_each: u64,
    most_bytes_each: u64,
}

impl Default for RoomRow {
    fn default() -> RoomRow {
        RoomRow {
            messages: 0,
            bytes: 0,
            most_bytes: 256 << 20,
            most_messages_each: 100_000,
            most_bytes_each: 64 << 20,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RunRow {
    #[serde(default)]
    dest: u32,
    class: Option<ClassName>,
    #[serde(default = "one")]
    messages: u32,
    #[serde(default = "usual_size")]
    bytes: u32,
    #[serde(default)]
    age_ms: u32,
    #[serde(default = "an_hour")]
    left_ms: u32,
    #[serde(default)]
    is_own: bool,
    #[serde(default)]
    is_durable: bool,
    #[serde(default)]
    waiting_messages: u32,
    #[serde(default)]
    waiting_bytes: u32,
    expect: Option<Spanned<Expected>>,
}

fn one() -> u32 {
    1
}

fn usual_size() -> u32 {
    100
}

fn an_hour() -> u32 {
    3_600_000
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Expected {
    Worth(u8),
    Word(Word),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    Refuse,
}

impl From<Expected> for u8 {
    fn from(expected: Expected) -> u8 {
        match expected {
            Expected::Worth(worth) => worth,
            Expected::Word(Word::Refuse) => REFUSE,
        }
    }
}

impl cases::Case for Case {
    fn ask(&self, loaded: &Loaded, settings: &Settings, check: &mut Check<'_>) -> Result<(), PrepareError> {
        let mut policy = Alone::new(prepare_carry(loaded, settings)?);
        match policy.worth(self.now_ms, &self.room(), &self.batch()) {
            Ok(worths) => {
                let expected = self.runs.iter().map(|run| &run.expect);
                check.answers(expected, &worths, |at| format!("run {}", at + 1), text);
            }
            Err(fault) => check.fault("the batch", &fault),
        }
        Ok(())
    }
}

impl Case {
    fn room(&self) -> Room {
        let RoomRow { messages, bytes, most_bytes, most_messages_each, most_bytes_each } = self.room;
        Room { messages, bytes, most_bytes, most_messages_each, most_bytes_each }
    }

    fn batch(&self) -> CarryBatch {
        let mut batch = CarryBatch::default();
        for run in &self.runs {
            batch.push(CarryRow {
                dest: run.dest,
                class: run.class.unwrap_or(ClassName::Normal).into(),
                messages: run.messages,
                bytes: run.bytes,
                age_ms: run.age_ms,
                left_ms: run.left_ms,
                is_own: run.is_own,
                is_durable: run.is_durable,
                waiting_messages: run.waiting_messages,
                waiting_bytes: run.waiting_bytes,
            });
        }
        batch
    }
}

fn text(worth: u8) -> String {
    match worth {
        REFUSE => "refuse".to_owned(),
        worth => worth.to_string(),
    }
}
