//! An admission policy that misbehaves as its setting `mode` says, after the host's rehearsal. Without a mode it lets in
//! whoever's key begins with an even byte, and knows how many it was asked about.

use std::cell::{Cell, RefCell};

wit_bindgen::generate!({
    path: ["../../../wit/types", "../../../wit/admission"],
    world: "mesh:admission/admission",
    generate_all,
});

use exports::mesh::admission::policy::{Guest, Place, Refusal, Setting, Visitor};
use mesh::types::common::Value;

struct Hostile;
export!(Hostile);

thread_local! {
    static MODE: RefCell<String> = const { RefCell::new(String::new()) };
    static CALLS: Cell<u32> = const { Cell::new(0) };
    static ASKED: Cell<u32> = const { Cell::new(0) };
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

    fn admit(_now_ms: u64, _place: Place, visitors: Vec<Visitor>) -> Vec<bool> {
        let rows = visitors.len();
        ASKED.set(ASKED.get() + rows as u32);
        match mode().as_str() {
            "trap" => panic!("as asked"),
            #[allow(clippy::empty_loop, reason = "as asked")]
            "loop" => loop {},
            "short-answer" => vec![true; rows - 1],
            "long-answer" => vec![true; rows + 1],
            "no-answer" => Vec::new(),
            "huge-answer" => vec![true; 4 << 20],
            "memory-bomb" => bomb(),
            "everybody" => vec![true; rows],
            _ => visitors.iter().map(|visitor| visitor.node[0] % 2 == 0).collect(),
        }
    }

    fn state_version() -> u32 {
        1
    }

    fn save() -> Vec<u8> {
        match mode().as_str() {
            "huge-state" => vec![0; 2 << 20],
            _ => ASKED.get().to_le_bytes().to_vec(),
        }
    }

    fn load_state(_from_version: u32, state: Vec<u8>) -> Result<(), Refusal> {
        let asked = state.try_into().map_err(|_| Refusal::BadState)?;
        ASKED.set(u32::from_le_bytes(asked));
        Ok(())
    }
}

/// Takes memory until there is none.
fn bomb<T>() -> Vec<T> {
    let mut taken: Vec<Vec<u8>> = Vec::new();
    loop {
        taken.push(vec![1; 1 << 20]);
    }
}
