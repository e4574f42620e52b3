//! Handlers: translates events and effects.

use super::handler::exports::mesh::handler::events::{self as calls, Guest, Refusal, SelfInfo, Setting};
use super::{Export, Hosted, settings};
use crate::Class;
use crate::handler::{Effect, Event, Failure, Handler, Message, Node};

impl<P: Handler + Hosted> Guest for Export<P> {
    fn configure(node: SelfInfo, given: Vec<Setting>) -> Result<Vec<calls::Effect>, Refusal> {
        let node = Node { id: node.node, name: node.name };
        let effects = P::cell().with(|handler| handler.configure(node, settings(given)))?;
        Ok(effects.into_iter().map(Into::into).collect())
    }

    fn handle(now_ms: u64, seed: u64, event: calls::Event) -> Result<Vec<calls::Effect>, calls::Failure> {
        let effects = P::cell().with(|handler| handler.handle(now_ms, seed, event.into()))?;
        Ok(effects.into_iter().map(Into::into).collect())
    }

    fn state_version() -> u32 {
        P::STATE_VERSION
    }

    fn save() -> Vec<u8> {
        P::cell().with(|handler| handler.save())
    }

    fn load_state(from_version: u32, state: Vec<u8>) -> Result<(), Refusal> {
        P::cell().with(|handler| handler.load(from_version, &state).map_err(Into::into))
    }
}

impl From<calls::Event> for Event {
    fn from(event: calls::Event) -> Event {
        match event {
            calls::Event::Timer(id) => Event::Timer(id),
            calls::Event::Message(message) => Event::Message(Message {
                topic: message.topic,
                origin: message.origin,
                id: message.id,
                payload: message.payload,
                sent_ms: message.sent_ms,
            }),
            calls::Event::Command(command) => Event::Command { name: command.name, payload: command.payload },
        }
    }
}

impl From<Effect> for calls::Effect {
    fn from(effect: Effect) -> Self {
        match effect {
            Effect::Subscribe(topic) => calls::Effect::Subscribe(topic),
            Effect::Publish { topic, class, ttl_ms, payload } => {
                calls::Effect::Publish(calls::Publication { topic, class: class.into(), ttl_ms, payload })
            }
            Effect::SetTimer { id, after_ms } => calls::Effect::SetTimer(calls::Timer { id, after_ms }),
            Effect::Reply(payload) => calls::Effect::Reply(payload),
            Effect::Notify { kind, payload } => calls::Effect::Notify(calls::Notice { kind, payload }),
            Effect::Put { key, value } => calls::Effect::Put(calls::Entry { key, value }),
            Effect::Forget(key) => calls::Effect::Forget(key),
        }
    }
}

impl From<Class> for calls::Class {
    fn from(class: Class) -> Self {
        match class {
            Class::Critical => calls::Class::Critical,
            Class::High => calls::Class::High,
            Class::Normal => calls::Class::Normal,
            Class::Low => calls::Class::Low,
            Class::Bulk => calls::Class::Bulk,
        }
    }
}

impl From<Failure> for calls::Failure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::UnknownCommand(name) => calls::Failure::UnknownCommand(name),
            Failure::BadInput(reason) => calls::Failure::BadInput(reason),
            Failure::Unavailable(reason) => calls::Failure::Unavailable(reason),
        }
    }
}
