//! A handler that does what the command it is given says, right or wrong. An unknown command is declined, so the
//! host's rehearsal passes.

wit_bindgen::generate!({
    path: ["../../../wit/types", "../../../wit/handler"],
    world: "mesh:handler/handler",
    generate_all,
});

use exports::mesh::handler::events::{
    Class, Effect, Entry, Event, Failure, Guest, Notice, Publication, Refusal, SelfInfo, Setting, Timer,
};
use mesh::handler::{kv, log};
use mesh::types::common::Value;

struct Hostile;
export!(Hostile);

impl Guest for Hostile {
    fn configure(_node: SelfInfo, settings: Vec<Setting>) -> Result<Vec<Effect>, Refusal> {
        let mut effects = vec![Effect::Subscribe("hostile".into())];
        for setting in settings {
            if let Value::Text(mode) = setting.value
                && mode == "publish-in-configure"
            {
                effects.push(publication(1));
            }
        }
        Ok(effects)
    }

    fn handle(_now_ms: u64, _seed: u64, event: Event) -> Result<Vec<Effect>, Failure> {
        let Event::Command(command) = event else { return Ok(vec![Effect::Reply(Vec::new())]) };
        match command.name.as_str() {
            "echo" => Ok(vec![Effect::Reply(command.payload)]),
            "loop" => loop {
                std::hint::black_box(0);
            },
            "trap" => panic!("as asked"),
            "many-effects" => Ok((0..257).map(|_| Effect::Forget("x".into())).collect()),
            "large-effect" => Ok(vec![publication((64 << 10) + 1)]),
            "two-replies" => Ok(vec![Effect::Reply(Vec::new()), Effect::Reply(Vec::new())]),
            "empty-name" => Ok(vec![Effect::Subscribe(String::new())]),
            "fast-timer" => {
                Ok(vec![Effect::SetTimer(Timer { id: 1, after_ms: 0 }), Effect::Reply(Vec::new())])
            }
            "fill-store" => Ok((0..17).map(|number| put(&number.to_string(), 64 << 10)).collect()),
            "put" => Ok(vec![put("key", 3), Effect::Reply(Vec::new())]),
            "get" => Ok(vec![Effect::Reply(kv::get("key").unwrap_or_default())]),
            "ask-often" => {
                for _ in 0..1_000_000 {
                    std::hint::black_box(kv::get("key"));
                }
                Ok(Vec::new())
            }
            "log-often" => {
                for _ in 0..1_000 {
                    log::write(log::Level::Info, &"x".repeat(10_000));
                }
                Ok(vec![Effect::Reply(Vec::new())])
            }
            "notify" => Ok(vec![Effect::Notify(Notice { kind: "hostile".into(), payload: Vec::new() })]),
            name => Err(Failure::UnknownCommand(name.into())),
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

fn publication(bytes: usize) -> Effect {
    Effect::Publish(Publication {
        topic: "hostile".into(),
        class: Class::Normal,
        ttl_ms: 1_000,
        payload: vec![0; bytes],
    })
}

fn put(key: &str, bytes: usize) -> Effect {
    Effect::Put(Entry { key: key.into(), value: vec![7; bytes] })
}
