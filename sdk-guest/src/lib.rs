//! The guest side of Meshwork plugins: implement one trait, add one macro line.
//!
//! A plugin is a plain struct. It sees headers or events and returns verdicts or effects; it has no clock,
//! no randomness and no I/O of its own. Natively it is an ordinary library, so `cargo test` needs neither
//! WebAssembly nor a mock; for `wasm32-unknown-unknown` the macro line adds the exports of its kind.
//!
//! ```
//! use mesh_sdk::routing::{Header, Routing, Verdict, View};
//!
//! /// Sends everything by the neighbour with the shortest round trip.
//! #[derive(Default)]
//! struct Nearest(Option<u32>);
//!
//! impl Routing for Nearest {
//!     fn observe(&mut self, view: &View) {
//!         self.0 = (0..).zip(&view.links).min_by_key(|(_, link)| link.rtt_us).map(|(row, _)| row);
//!     }
//!
//!     fn route(&mut self, header: &Header) -> Verdict {
//!         match self.0 {
//!             Some(row) if header.ingress != Some(row) => Verdict::Via(row),
//!             _ => Verdict::Abstain,
//!         }
//!     }
//! }
//!
//! mesh_sdk::routing!(Nearest);
//! # fn main() {}
//! ```

pub mod admission;
pub mod carry;
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod glue;
pub mod handler;
pub mod kv;
pub mod log;
pub mod qos;
pub mod routing;
mod settings;
pub mod topology;

pub use settings::{Refusal, Settings, Value};

/// The five service classes, most urgent first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Emergency traffic; never evicted, never preempted.
    Critical = 0,
    /// Commands and alerts.
    High = 1,
    /// The default.
    #[default]
    Normal = 2,
    /// Telemetry.
    Low = 3,
    /// Anything that can wait for days.
    Bulk = 4,
}

impl Class {
    /// All classes, most urgent first.
    pub const ALL: [Class; 5] = [Class::Critical, Class::High, Class::Normal, Class::Low, Class::Bulk];

    /// Returns the class with this number; the host sends none above 4, which would be bulk.
    #[inline]
    pub fn from_u8(number: u8) -> Class {
        match number {
            0 => Class::Critical,
            1 => Class::High,
            2 => Class::Normal,
            3 => Class::Low,
            _ => Class::Bulk,
        }
    }

    /// Returns the class with this name, such as `normal`.
    pub fn from_name(name: &str) -> Option<Class> {
        ["critical", "high", "normal", "low", "bulk"]
            .iter()
            .position(|known| *known == name)
            .map(|at| Class::ALL[at])
    }

    /// Returns the next less urgent class; bulk stays bulk.
    pub fn demoted(self) -> Class {
        Class::from_u8(self as u8 + 1)
    }
}

/// Takes over nothing: the `load` of plugins that save nothing.
fn load_nothing(from_version: u32, state: &[u8]) -> Result<(), Refusal> {
    match state {
        [] => Ok(()),
        _ => Err(Refusal::UnknownVersion(from_version)),
    }
}
