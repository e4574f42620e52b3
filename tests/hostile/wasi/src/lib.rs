//! A routing policy with the standard library of wasm32-wasip2: it looks for a way out in each batch and puts what
//! it found into its state. Its setting `mode` says what else it does.

use std::cell::RefCell;

mod see;

wit_bindgen::generate!({
    path: ["../../../wit/types", "../../../wit/routing"],
    world: "mesh:routing/routing",
    generate_all,
});

use exports::mesh::routing::policy::{Batch, Guest, Links, Refusal, Setting, Ways};
use mesh::types::common::Value;

struct Hostile;
export!(Hostile);

thread_local! {
    static MODE: RefCell<String> = const { RefCell::new(String::new()) };
    static SEEN: RefCell<String> = const { RefCell::new(String::new()) };
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

    fn observe(_now_ms: u64, _links: Links, _ways: Ways) {}

    fn decide(now_ms: u64, batch: Batch) -> Vec<u32> {
        // The rehearsal is at 0.
        if now_ms > 0 {
            act(&MODE.with_borrow(String::clone));
        }
        SEEN.set(see::everything());
        vec![0; batch.dest.len()]
    }

    fn state_version() -> u32 {
        1
    }

    fn save() -> Vec<u8> {
        SEEN.with_borrow(|seen| seen.clone().into_bytes())
    }

    fn load_state(_from_version: u32, state: Vec<u8>) -> Result<(), Refusal> {
        SEEN.set(String::from_utf8(state).map_err(|_| Refusal::BadState)?);
        Ok(())
    }
}

fn act(mode: &str) {
    match mode {
        "print" => {
            println!("one\ntwo");
            eprint!("half ");
            eprintln!("a line");
        }
        "flood" => (0..40).for_each(|_| println!("{}", "x".repeat(10_000))),
        "exit" => std::process::exit(3),
        "panic" => panic!("as asked"),
        "sleep" => std::thread::sleep(std::time::Duration::from_secs(3_600)),
        _ => {}
    }
}
