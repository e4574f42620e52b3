//! What a handler is told and what it answers, as plain values.

use mesh_proto::policy::Class;
use serde::{Deserialize, Serialize};

use crate::journal::hex;

/// A message on a subscribed topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message<P = Vec<u8>> {
    /// The topic as the handler named it.
    pub topic: String,
    /// Who wrote it; the caller has checked the signature.
    #[serde(with = "hex::key")]
    pub origin: [u8; 32],
    /// Its id.
    #[serde(with = "hex::key")]
    pub id: [u8; 32],
    /// What it says.
    pub payload: P,
    /// When the origin says it wrote it, in milliseconds since 1970.
    pub sent_ms: u64,
}

/// What a handler reacts to. `P` stands for bytes: themselves, or in a recording what is told of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event<P = Vec<u8>> {
    /// A timer that an [`Effect::SetTimer`] has set.
    Timer(u32),
    /// A message on a subscribed topic.
    Message(Message<P>),
    /// Something that an operator or a program asks.
    Command {
        /// What is asked.
        name: String,
        /// Its arguments.
        payload: P,
    },
}

/// What a handler asks for. All effects of a call happen, in order, or none. `P` is as in [`Event`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect<P = Vec<u8>> {
    /// Deliver the messages of this topic to it from now on.
    Subscribe(String),
    /// Write a message.
    Publish {
        /// Where to.
        topic: String,
        /// How urgent it is.
        #[serde(with = "class")]
        class: Class,
        /// How long it is worth delivering, in milliseconds.
        ttl_ms: u32,
        /// What it says.
        payload: P,
    },
    /// Set or replace a timer.
    SetTimer {
        /// Which.
        id: u32,
        /// Milliseconds from this call on, at least [`MIN_TIMER_MS`](super::MIN_TIMER_MS).
        after_ms: u32,
    },
    /// Answer the command of this call; at most one.
    Reply(P),
    /// Tell people and programs.
    Notify {
        /// What happened.
        kind: String,
        /// The details, JSON.
        payload: P,
    },
    /// Keep a value; the slot has put it into its store already, the caller makes it durable.
    Put {
        /// Its name.
        key: String,
        /// The value.
        value: P,
    },
    /// Forget a value; the slot has done so already.
    Forget(String),
}

impl<P> Event<P> {
    /// Returns the bytes that came with it; a timer has none.
    pub(crate) fn payload(&self) -> Option<&P> {
        match self {
            Event::Timer(_) => None,
            Event::Message(message) => Some(&message.payload),
            Event::Command { payload, .. } => Some(payload),
        }
    }

    /// Puts something else in the place of its bytes; `None` when `to` has nothing.
    pub(crate) fn map<'a, Q>(&'a self, to: impl FnOnce(&'a P) -> Option<Q>) -> Option<Event<Q>> {
        Some(match self {
            Event::Timer(id) => Event::Timer(*id),
            Event::Message(message) => Event::Message(Message {
                topic: message.topic.clone(),
                origin: message.origin,
                id: message.id,
                payload: to(&message.payload)?,
                sent_ms: message.sent_ms,
            }),
            Event::Command { name, payload } => Event::Command { name: name.clone(), payload: to(payload)? },
        })
    }
}

impl<P> Effect<P> {
    /// Returns the bytes that go with it, of those that have some.
    pub(crate) fn payload(&self) -> Option<&P> {
        match self {
            Effect::Publish { payload, .. } | Effect::Notify { payload, .. } | Effect::Reply(payload) => {
                Some(payload)
            }
            Effect::Put { value, .. } => Some(value),
            Effect::Subscribe(_) | Effect::SetTimer { .. } | Effect::Forget(_) => None,
        }
    }

    /// Puts something else in the place of its bytes.
    pub(crate) fn map<'a, Q>(&'a self, to: impl FnOnce(&'a P) -> Q) -> Effect<Q> {
        match self {
            Effect::Subscribe(topic) => Effect::Subscribe(topic.clone()),
            Effect::Publish { topic, class, ttl_ms, payload } => {
                Effect::Publish { topic: topic.clone(), class: *class, ttl_ms: *ttl_ms, payload: to(payload) }
            }
            Effect::SetTimer { id, after_ms } => Effect::SetTimer { id: *id, after_ms: *after_ms },
            Effect::Reply(payload) => Effect::Reply(to(payload)),
            Effect::Notify { kind, payload } => Effect::Notify { kind: kind.clone(), payload: to(payload) },
            Effect::Put { key, value } => Effect::Put { key: key.clone(), value: to(value) },
            Effect::Forget(key) => Effect::Forget(key.clone()),
        }
    }
}

/// A class by its name.
mod class {
    use mesh_proto::policy::Class;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(class: &Class, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(class.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Class, D::Error> {
        let name = String::deserialize(from)?;
        let known = Class::ALL.into_iter().find(|class| class.name() == name);
        known.ok_or_else(|| de::Error::custom("there is no such class"))
    }
}
