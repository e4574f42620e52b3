//! Routing policies: which neighbour each message goes to next.

use crate::{Class, Refusal, Settings, load_nothing};

/// One live neighbour; its row number stands for it until the next view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Smoothed round-trip time in microseconds.
    pub rtt_us: u32,
    /// Lost packets per million.
    pub loss_ppm: u32,
    /// Bytes waiting for this link.
    pub queued_bytes: u32,
}

/// One known way to a distant node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// The destination, a small number that keeps its meaning while the node runs.
    pub dest: u32,
    /// The row of the neighbour that offers the way.
    pub via: u32,
    /// The cost from that neighbour on, in microseconds, as it tells it.
    pub cost_us: u32,
    /// Hops from that neighbour on; 0 when it is the destination itself.
    pub hops: u8,
}

/// What is known around the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// When it was taken, in milliseconds.
    pub now_ms: u64,
    /// The live neighbours, a row each.
    pub links: Vec<Link>,
    /// The known ways, sorted by `dest`.
    pub ways: Vec<Way>,
}

impl View {
    /// Returns the cost of a way from here: the round trip to its neighbour and what that one tells.
    pub fn cost_us(&self, way: &Way) -> u64 {
        let rtt = self.links.get(way.via as usize).map_or(u32::MAX, |link| link.rtt_us);
        u64::from(rtt) + u64::from(way.cost_us)
    }
}

/// Where a message goes in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dest {
    /// A node, by its number.
    Node(u32),
    /// The subscribers of a topic, by its tag.
    Topic(u32),
}

/// What a policy sees of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// When the batch is decided, in milliseconds.
    pub now_ms: u64,
    /// Where it goes in the end.
    pub dest: Dest,
    /// The row of the neighbour it came from; `None` when this node wrote it.
    pub ingress: Option<u32>,
    /// Payload bytes.
    pub size: u32,
    /// The class that its origin asked for.
    pub class: Class,
}

/// What is to be done with one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it to the neighbour in this row. The host refuses the row it came from.
    Via(u32),
    /// Drop it.
    Drop,
    /// Hold it until a way appears.
    Hold,
    /// Let the host decide.
    Abstain,
}

/// A routing policy. Equal calls in equal order must give equal verdicts.
pub trait Routing: Default {
    /// The version of what [`Routing::save`] writes.
    const STATE_VERSION: u32 = 0;

    /// Takes the settings; called once, before anything else. By default there are none.
    ///
    /// # Errors
    /// The reason why they cannot be used; the swap is then called off.
    fn configure(&mut self, settings: Settings) -> Result<(), Refusal> {
        settings.finish()
    }

    /// Takes in what changed around the node; called before the first message and after every change.
    fn observe(&mut self, view: &View) {
        let _ = view;
    }

    /// Decides on one message.
    fn route(&mut self, header: &Header) -> Verdict;

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

/// Exports a [`Routing`] policy from this crate; does nothing when not built for WebAssembly.
#[macro_export]
macro_rules! routing {
    ($policy:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Plugin = $policy;
            $crate::__host!(Plugin);
            type Exported = $crate::glue::Export<Plugin>;
    $crate::glue::routing::__export!(Exported with_types_in $crate::glue::routing);
        };
    };
}
