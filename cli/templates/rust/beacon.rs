//! Hears a topic, counts what was said there, and says something when told to.

use mesh_sdk::handler::{Effect, Event, Failure, Handler, Node};
use mesh_sdk::log::{self, Level};
use mesh_sdk::{Class, Refusal, Settings};

/// How long what it says is worth delivering.
const TTL_MS: u32 = 60_000;

/// The topic, and how many messages it has brought.
#[derive(Default)]
pub struct Notes {
    topic: String,
    heard: u64,
}

impl Handler for Notes {
    const STATE_VERSION: u32 = 1;

    fn configure(&mut self, _node: Node, mut settings: Settings) -> Result<Vec<Effect>, Refusal> {
        log::panics();
        self.topic = settings.text("topic", "notes")?;
        settings.finish()?;
        Ok(vec![Effect::Subscribe(self.topic.clone())])
    }

    fn handle(&mut self, _now_ms: u64, _seed: u64, event: Event) -> Result<Vec<Effect>, Failure> {
        match event {
            Event::Message(message) => {
                self.heard += 1;
                log::write(Level::Info, &format!("heard {} bytes", message.payload.len()));
                Ok(vec![Effect::Notify { kind: "note".into(), payload: self.heard_json() }])
            }
            Event::Command { name, payload } => self.command(name, payload),
            Event::Timer(_) => Ok(Vec::new()),
        }
    }

    fn save(&self) -> Vec<u8> {
        self.heard.to_le_bytes().to_vec()
    }

    fn load(&mut self, from_version: u32, state: &[u8]) -> Result<(), Refusal> {
        if from_version != Self::STATE_VERSION {
            return Err(Refusal::UnknownVersion(from_version));
        }
        self.heard = u64::from_le_bytes(state.try_into().map_err(|_| Refusal::BadState)?);
        Ok(())
    }
}

impl Notes {
    fn command(&self, name: String, payload: Vec<u8>) -> Result<Vec<Effect>, Failure> {
        match name.as_str() {
            "count" => Ok(vec![Effect::Reply(self.heard_json())]),
            "say" if payload.is_empty() => Err(Failure::BadInput("there is nothing to say".into())),
            "say" => {
                let reply = format!("{{\"said\":{}}}", payload.len()).into_bytes();
                let topic = self.topic.clone();
                let publish = Effect::Publish { topic, class: Class::Normal, ttl_ms: TTL_MS, payload };
                Ok(vec![publish, Effect::Reply(reply)])
            }
            _ => Err(Failure::UnknownCommand(name)),
        }
    }

    fn heard_json(&self) -> Vec<u8> {
        format!("{{\"heard\":{}}}", self.heard).into_bytes()
    }
}

mesh_sdk::handler!(Notes);

#[cfg(test)]
mod tests {
    use mesh_sdk::handler::Message;

    use super::*;

    fn notes() -> Notes {
        let mut notes = Notes::default();
        notes.configure(Node::default(), Settings::default()).unwrap();
        notes
    }

    fn command(notes: &mut Notes, name: &str, payload: &[u8]) -> Result<Vec<Effect>, Failure> {
        notes.handle(0, 0, Event::Command { name: name.into(), payload: payload.into() })
    }

    #[test]
    fn it_counts_what_it_hears() {
        let mut notes = notes();

        let effects = notes.handle(0, 0, Event::Message(Message::default())).unwrap();

        let payload = b"{\"heard\":1}".to_vec();
        assert_eq!(effects, [Effect::Notify { kind: "note".into(), payload: payload.clone() }]);
        assert_eq!(command(&mut notes, "count", b""), Ok(vec![Effect::Reply(payload)]));
    }

    #[test]
    fn it_says_what_it_is_told_to_and_nothing_else() {
        let mut notes = notes();

        let said = command(&mut notes, "say", b"hi").unwrap();

        assert!(matches!(&said[0], Effect::Publish { payload, .. } if payload == b"hi"));
        assert!(matches!(command(&mut notes, "say", b""), Err(Failure::BadInput(_))));
        assert_eq!(command(&mut notes, "dance", b""), Err(Failure::UnknownCommand("dance".into())));
    }

    #[test]
    fn a_successor_goes_on_counting() {
        let mut old = notes();
        old.handle(0, 0, Event::Message(Message::default())).unwrap();
        let mut new = notes();

        new.load(1, &old.save()).unwrap();

        assert_eq!(new.heard, 1);
        assert_eq!(new.load(1, &[1]), Err(Refusal::BadState));
    }
}
