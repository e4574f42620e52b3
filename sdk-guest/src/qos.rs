//! QoS policies: which class each message has at this hop, and how a link is shared.

use crate::{Class, Refusal, Settings, load_nothing};

/// What a policy sees of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// When the batch is decided, in milliseconds.
    pub now_ms: u64,
    /// The class that its origin asked for.
    pub class: Class,
    /// Payload bytes.
    pub size: u32,
    /// Milliseconds since the origin wrote it, by the origin's clock.
    pub age_ms: u32,
    /// The topic's tag; 0 for a message to a node.
    pub tag: u32,
}

/// What went over the links since the last call, by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Bytes handed to links.
    pub sent_bytes: [u64; 5],
    /// Bytes waiting now.
    pub queued_bytes: [u64; 5],
    /// Messages dropped: expired, over budget, or by a policy.
    pub dropped: [u64; 5],
}

/// How a link is shared between the classes, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// What a class gets however busy the others are.
    pub guaranteed: [u8; 5],
    /// What it may take while others leave room.
    pub burst: [u8; 5],
}

impl Default for Shares {
    /// 20/30/20/15/5 guaranteed and 80/60/40/30/20 burst, as in peat-mesh; 10 % stay for control traffic.
    fn default() -> Self {
        Self { guaranteed: [20, 30, 20, 15, 5], burst: [80, 60, 40, 30, 20] }
    }
}

/// A QoS policy. Equal calls in equal order must give equal answers.
pub trait Qos: Default {
    /// The version of what [`Qos::save`] writes.
    const STATE_VERSION: u32 = 0;

    /// Takes the settings; called once, before anything else. By default there are none.
    ///
    /// # Errors
    /// The reason why they cannot be used; the swap is then called off.
    fn configure(&mut self, settings: Settings) -> Result<(), Refusal> {
        settings.finish()
    }

    /// Returns the class of one message at this hop, or `None` to drop it.
    fn classify(&mut self, header: &Header) -> Option<Class>;

    /// Returns how a link is shared; called every few seconds and after a swap.
    fn divide(&mut self, now_ms: u64, load: &Load) -> Shares {
        let _ = (now_ms, load);
        Shares::default()
    }

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

/// Exports a [`Qos`] policy from this crate; does nothing when not built for WebAssembly.
#[macro_export]
macro_rules! qos {
    ($policy:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Plugin = $policy;
            $crate::__host!(Plugin);
            type Exported = $crate::glue::Export<Plugin>;
    $crate::glue::qos::__export!(Exported with_types_in $crate::glue::qos);
        };
    };
}
