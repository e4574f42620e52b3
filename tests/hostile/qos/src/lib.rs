//! A QoS policy that misbehaves as its setting `mode` says, after the host's rehearsal. Without a mode every
//! message keeps its class.

use std::cell::{Cell, RefCell};

wit_bindgen::generate!({
    path: ["../../../wit/types", "../../../wit/qos"],
    world: "mesh:qos/qos",
    generate_all,
});

use exports::mesh::qos::policy::{Batch, Guest, Load, Refusal, Setting, Shares};
use mesh::types::common::Value;

struct Hostile;
export!(Hostile);

thread_local! {
    static MODE: RefCell<String> = const { RefCell::new(String::new()) };
    static CALLS: Cell<u32> = const { Cell::new(0) };
}

/// The mode, but for the first of the two calls of the host's rehearsal.
fn mode() -> String {
    CALLS.set(CALLS.get() + 1);
    if CALLS.get() > 2 { MODE.with_borrow(String::clone) } else { String::new() }
}

impl Guest for Hostile {
    fn configure(settings: Vec<Setting>) -> Result<(), Refusal> {
        for setting in settings {
            match setting.value {
                Value::Text(mode) => MODE.set(mode),
                _ => return Err(Refusal::BadSetting(setting.name)),
            }
        }
        Ok(())
    }

    fn classify(_now_ms: u64, batch: Batch) -> Vec<u8> {
        match mode().as_str() {
            "trap" => panic!("as asked"),
            "unknown-class" => vec![77; batch.class.len()],
            "short-answer" => vec![0; batch.class.len() - 1],
            _ => batch.class,
        }
    }

    fn divide(_now_ms: u64, _load: Load) -> Shares {
        match mode().as_str() {
            "four-shares" => Shares { guaranteed: vec![25; 4], burst: vec![25; 4] },
            "greedy" => Shares { guaranteed: vec![0, 0, 0, 0, 255], burst: vec![0, 0, 0, 0, 255] },
            _ => Shares { guaranteed: vec![20, 30, 20, 15, 5], burst: vec![80, 60, 40, 30, 20] },
        }
    }

    fn state_version() -> u32 {
        0
    }

    fn save() -> Vec<u8> {
        Vec::new()
    }

    fn load_state(_from_version: u32, _state: Vec<u8>) -> Result<(), Refusal> {
        Ok(())
    }
}
