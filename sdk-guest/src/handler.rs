//! Handlers: one event in, a list of effects out.

use crate::{Class, Refusal, Settings, load_nothing};

/// The node that the handler runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its id, 32 bytes.
    pub id: Vec<u8>,
    /// Its name.
    pub name: String,
}

/// A message on a subscribed topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The topic.
    pub topic: String,
    /// The id of the node that wrote it, 32 bytes; the host has checked its signature.
    pub origin: Vec<u8>,
    /// The message's id, 32 bytes.
    pub id: Vec<u8>,
    /// What it says.
    pub payload: Vec<u8>,
    /// When the origin says it wrote it, in milliseconds since 1970.
    pub sent_ms: u64,
}

/// What a handler reacts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A timer that [`Effect::SetTimer`] has set.
    Timer(u32),
    /// A message on a subscribed topic.
    Message(Message),
    /// Something that an operator or a program asks.
    Command {
        /// What is asked.
        name: String,
        /// Its arguments; JSON by convention, may be empty.
        payload: Vec<u8>,
    },
}

/// What is to be done. Nothing is done unless the whole call succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Receive the messages of a topic.
    Subscribe(String),
    /// Write a message; the host signs it.
    Publish {
        /// Where to.
        topic: String,
        /// How urgent it is.
        class: Class,
        /// How long it is worth delivering, in milliseconds.
        ttl_ms: u32,
        /// What it says.
        payload: Vec<u8>,
    },
    /// Set or replace a timer.
    SetTimer {
        /// Which.
        id: u32,
        /// Milliseconds from this call on.
        after_ms: u32,
    },
    /// Answer the command of this call.
    Reply(Vec<u8>),
    /// Tell people and programs; shown by `meshctl events`.
    Notify {
        /// What happened.
        kind: String,
        /// The details, JSON.
        payload: Vec<u8>,
    },
    /// Put a value aside; needs the grant `kv`.
    Put {
        /// Its name.
        key: String,
        /// The value.
        value: Vec<u8>,
    },
    /// Forget a value; needs the grant `kv`.
    Forget(String),
}

/// Why a call has no effects. None of it counts against the handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No command of this name is known.
    UnknownCommand(String),
    /// The command's arguments cannot be used; which, and why.
    BadInput(String),
    /// The command cannot be carried out now; why.
    Unavailable(String),
}

/// A handler. Equal calls in equal order must give equal answers.
pub trait Handler: Default {
    /// The version of what [`Handler::save`] writes.
    const STATE_VERSION: u32 = 0;

    /// Takes the settings; called once, before anything else. Answers with subscriptions and timers only.
    ///
    /// # Errors
    /// The reason why they cannot be used; the swap is then called off.
    fn configure(&mut self, node: Node, settings: Settings) -> Result<Vec<Effect>, Refusal>;

    /// Takes in one event. `now_ms` counts from 1970, `seed` is fresh randomness.
    ///
    /// # Errors
    /// The reason why nothing is to be done; the host passes it to whoever asked.
    fn handle(&mut self, now_ms: u64, seed: u64, event: Event) -> Result<Vec<Effect>, Failure>;

    /// Returns the state for the successor and changes nothing; by default there is none.
    fn save(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Takes over the predecessor's state in place of its own. It must accept what its own `save` gave.
    ///
    /// # Errors
    /// The reason why it cannot; the swap is then called off.
    fn load(&mut self, from_version: u32, state: &[u8]) -> Result<(), Refusal> {
        load_nothing(from_version, state)
    }
}

/// Exports a [`Handler`] from this crate; does nothing when not built for WebAssembly.
#[macro_export]
macro_rules! handler {
    ($handler:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Plugin = $handler;
            $crate::__host!(Plugin);
            type Exported = $crate::glue::Export<Plugin>;
    $crate::glue::handler::__export!(Exported with_types_in $crate::glue::handler);
        };
    };
}
