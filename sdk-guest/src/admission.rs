//! Admission policies: which nodes this one has links to.

use std::fmt;

use crate::{Refusal, Settings, load_nothing};

/// How a link comes about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Approach {
    /// The other node has made it.
    #[default]
    Inbound,
    /// This node would make it.
    Outbound,
    /// It is there.
    Standing,
}

/// What this node takes another one for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Health {
    /// Nothing is known of it yet but its key.
    #[default]
    Unknown,
    /// It lives.
    Alive,
    /// It may have failed.
    Suspect,
    /// It is taken for dead.
    Dead,
    /// It has left in an orderly way.
    Left,
}

/// The public key of a node; in text, 64 hex digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeKey(pub [u8; 32]);

impl fmt::Display for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A node at the far end of a link, or of one that could be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visitor {
    /// Its public key; the link proves that it has the private one.
    pub node: NodeKey,
    /// What it calls itself; empty while nothing is known. Nothing stops two nodes from using one name.
    pub name: String,
    /// What it says of itself, key and value, signed by it, ordered by key.
    pub labels: Vec<(String, String)>,
    /// What this node takes it for.
    pub health: Health,
    /// How the link comes about.
    pub approach: Approach,
}

impl Visitor {
    /// Returns what it says of itself under this key.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}

/// The node that asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// When it asks, in milliseconds.
    pub now_ms: u64,
    /// Links that it has.
    pub links: u32,
    /// Links that it wants, at least.
    pub least: u32,
    /// Links that it keeps, at most.
    pub most: u32,
    /// Nodes that it knows, itself included.
    pub members: u32,
}

/// An admission policy. Equal calls in equal order must give equal answers.
///
/// ```
/// use mesh_sdk::admission::{Admission, Place, Visitor};
///
/// /// Keeps to its own region, and lets nobody in of whom nothing is known.
/// #[derive(Default)]
/// struct Regional;
///
/// impl Admission for Regional {
///     fn admit(&mut self, _: &Place, visitor: &Visitor) -> bool {
///         visitor.label("region") == Some("eu")
///     }
/// }
///
/// mesh_sdk::admission!(Regional);
/// # fn main() {}
/// ```
pub trait Admission: Default {
    /// The version of what [`Admission::save`] writes.
    const STATE_VERSION: u32 = 0;

    /// Takes the settings; called once, before anything else. By default there are none.
    ///
    /// # Errors
    /// The reason why they cannot be used; the swap is then called off.
    fn configure(&mut self, settings: Settings) -> Result<(), Refusal> {
        settings.finish()
    }

    /// Called once before the visitors of one call are judged, in the order of their rows.
    fn begin(&mut self, place: &Place, visitors: &[Visitor]) {
        let _ = (place, visitors);
    }

    /// Says whether there may be a link to it.
    fn admit(&mut self, place: &Place, visitor: &Visitor) -> bool;

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

/// Exports an [`Admission`] policy from this crate; does nothing when not built for WebAssembly.
#[macro_export]
macro_rules! admission {
    ($policy:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Plugin = $policy;
            $crate::__host!(Plugin);
            type Exported = $crate::glue::Export<Plugin>;
    $crate::glue::admission::__export!(Exported with_types_in $crate::glue::admission);
        };
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_as_hex_digits_and_a_label_is_found_by_its_key() {
        let labels = [("region", "eu"), ("role", "relay")].map(|(key, value)| (key.into(), value.into()));
        let visitor = Visitor { node: NodeKey([0xab; 32]), labels: labels.into(), ..Visitor::default() };

        assert_eq!(visitor.node.to_string(), "ab".repeat(32));
        assert_eq!((visitor.label("role"), visitor.label("rol")), (Some("relay"), None));
    }
}
