//! Carry policies: what a node keeps for others that cannot be reached now.

use crate::{Class, Refusal, Settings, load_nothing};

/// The answer of [`Carry::worth`] that refuses a run.
pub const REFUSE: u8 = 0;

/// What waits here, and how much may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// When the host asks, in milliseconds.
    pub now_ms: u64,
    /// Messages that wait for all nodes together.
    pub messages: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Payload bytes that may wait for all nodes together.
    pub most_bytes: u64,
    /// Messages that may wait for one node.
    pub most_messages_each: u64,
    /// Payload bytes that may wait for one node.
    pub most_bytes_each: u64,
}

/// A run of messages that has to wait: what one origin wrote at once for one node. It is kept or refused as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// A small number that stands for the recipient.
    pub dest: u32,
    /// The class that its origin asked for.
    pub class: Class,
    /// Messages.
    pub messages: u32,
    /// Their payload bytes.
    pub bytes: u32,
    /// Milliseconds since the origin wrote them, by the origin's clock.
    pub age_ms: u32,
    /// Milliseconds until they expire.
    pub left_ms: u32,
    /// Whether this node wrote them.
    pub is_own: bool,
    /// Whether the origin was promised that they survive a restart.
    pub is_durable: bool,
    /// Messages that wait for that recipient already.
    pub waiting_messages: u32,
    /// Their payload bytes.
    pub waiting_bytes: u32,
}

/// A carry policy. Equal calls in equal order must give equal answers.
///
/// The host keeps what this node wrote, what is durable and what is critical, whatever is answered: a refusal of these
/// counts as the lowest worth. Lifetimes and room are the host's too.
///
/// ```
/// use mesh_sdk::Class;
/// use mesh_sdk::carry::{Carry, REFUSE, Room, Run};
///
/// /// Keeps nothing bulky, and lets the urgent go first.
/// #[derive(Default)]
/// struct Light;
///
/// impl Carry for Light {
///     fn worth(&mut self, _: &Room, run: &Run) -> u8 {
///         match run.class {
///             Class::Bulk => REFUSE,
///             class => 200 - 40 * class as u8,
///         }
///     }
/// }
///
/// mesh_sdk::carry!(Light);
/// # fn main() {}
/// ```
pub trait Carry: Default {
    /// The version of what [`Carry::save`] writes.
    const STATE_VERSION: u32 = 0;

    /// Takes the settings; called once, before anything else. By default there are none.
    ///
    /// # Errors
    /// The reason why they cannot be used; the swap is then called off.
    fn configure(&mut self, settings: Settings) -> Result<(), Refusal> {
        settings.finish()
    }

    /// Called once before the runs of one call are judged, in the order of their rows.
    fn begin(&mut self, room: &Room, runs: &[Run]) {
        let _ = (room, runs);
    }

    /// Returns what it is worth to keep, or [`REFUSE`]. Of what is kept for a node the lowest gives way first when room
    /// runs out, among equals the oldest; the origin of the highest goes first when there is a way again.
    fn worth(&mut self, room: &Room, run: &Run) -> u8;

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

/// Exports a [`Carry`] policy from this crate; does nothing when not built for WebAssembly.
#[macro_export]
macro_rules! carry {
    ($policy:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Plugin = $policy;
            $crate::__host!(Plugin);
            type Exported = $crate::glue::Export<Plugin>;
    $crate::glue::carry::__export!(Exported with_types_in $crate::glue::carry);
        };
    };
}
