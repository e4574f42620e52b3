//! A topology policy that misbehaves as its setting `mode` says, after the host's rehearsal. Without a mode every
//! candidate scores its battery, and all on mains 255.

use std::cell::{Cell, RefCell};

wit_bindgen::generate!({
    path: ["../../../wit/types", "../../../wit/topology"],
    world: "mesh:topology/topology",
    generate_all,
});

use exports::mesh::topology::policy::{Asker, Candidates, Guest, Refusal, Setting};
use mesh::types::common::Value;

struct Hostile;
export!(Hostile);

thread_local! {
    static MODE: RefCell<String> = const { RefCell::new(String::new()) };
    static CALLS: Cell<u32> = const { Cell::new(0) };
}

/// The mode, but for the two calls of the host's rehearsal.
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

    fn score(_now_ms: u64, _asker: Asker, candidates: Candidates) -> Vec<u32> {
        let rows = candidates.node.len();
        match mode().as_str() {
            "trap" => panic!("as asked"),
            #[allow(clippy::empty_loop, reason = "as asked")]
            "loop" => loop {},
            "short-answer" => vec![1; rows - 1],
            "long-answer" => vec![1; rows + 1],
            "no-answer" => Vec::new(),
            "huge-answer" => vec![1; 1 << 20],
            "greedy" => vec![u32::MAX; rows],
            _ => candidates.battery.into_iter().map(u32::from).collect(),
        }
    }

    fn state_version() -> u32 {
        0
    }

    fn save() -> Vec<u8> {
        match mode().as_str() {
            "huge-state" => vec![0; 2 << 20],
            _ => Vec::new(),
        }
    }

    fn load_state(_from_version: u32, _state: Vec<u8>) -> Result<(), Refusal> {
        Ok(())
    }
}
