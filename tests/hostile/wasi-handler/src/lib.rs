//! A handler with the standard library of wasm32-wasip2: it answers each command with what it found when it looked
//! for a way out.

#[path = "../../wasi/src/see.rs"]
mod see;

wit_bindgen::generate!({
    path: ["../../../wit/types", "../../../wit/handler"],
    world: "mesh:handler/handler",
    generate_all,
});

use exports::mesh::handler::events::{Effect, Event, Failure, Guest, Refusal, SelfInfo, Setting};

struct Hostile;
export!(Hostile);

impl Guest for Hostile {
    fn configure(_node: SelfInfo, _settings: Vec<Setting>) -> Result<Vec<Effect>, Refusal> {
        Ok(Vec::new())
    }

    fn handle(_now_ms: u64, _seed: u64, event: Event) -> Result<Vec<Effect>, Failure> {
        match event {
            Event::Command(_) => Ok(vec![Effect::Reply(see::everything().into_bytes())]),
            _ => Ok(Vec::new()),
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
