//! Topology policies: how good a parent each candidate is.

use crate::{Refusal, Settings, load_nothing};

/// How high a node stands, lowest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// A single device.
    #[default]
    Platform = 0,
    /// A handful of platforms.
    Squad = 1,
    /// A handful of squads.
    Platoon = 2,
    /// A handful of platoons.
    Company = 3,
}

impl Level {
    /// Returns the level with this number; the host sends none above 3, which would be a company.
    pub fn from_u8(number: u8) -> Level {
        match number {
            0 => Level::Platform,
            1 => Level::Squad,
            2 => Level::Platoon,
            _ => Level::Company,
        }
    }
}

/// How much a node moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Mobility {
    /// It stays where it is.
    #[default]
    Static = 0,
    /// It moves now and then.
    SemiMobile = 1,
    /// It moves all the time.
    Mobile = 2,
}

impl Mobility {
    /// Returns the kind with this number; the host sends none above 2, which would be mobile.
    pub fn from_u8(number: u8) -> Mobility {
        match number {
            0 => Mobility::Static,
            1 => Mobility::SemiMobile,
            _ => Mobility::Mobile,
        }
    }
}

/// What the operator wants weighed, in permille, 1000 together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Standing still.
    pub mobility: u32,
    /// Free processors and memory.
    pub resources: u32,
    /// The battery.
    pub battery: u32,
    /// Being near.
    pub proximity: u32,
}

impl Default for Weights {
    fn default() -> Self {
        Weights { mobility: 300, resources: 300, battery: 200, proximity: 200 }
    }
}

/// Who asks for a parent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// How high it stands.
    pub level: Level,
    /// How much it moves.
    pub mobility: Mobility,
    /// Percent of its battery; `None` on mains.
    pub battery: Option<u8>,
    /// How its operator wants candidates weighed.
    pub weights: Weights,
    /// Metres to a parent, at most; `None` for any distance.
    pub max_distance_m: Option<u32>,
}

/// One candidate. All of them live, stand higher and have room; the host has seen to that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// When the candidates are scored, in milliseconds.
    pub now_ms: u64,
    /// A small number that stands for the node for as long as it is a candidate.
    pub node: u32,
    /// How high it stands.
    pub level: Level,
    /// Whether it is in the cell of the one that asks.
    pub same_cell: bool,
    /// Whether it is the present parent.
    pub is_parent: bool,
    /// How much it moves.
    pub mobility: Mobility,
    /// Percent of its battery; `None` on mains.
    pub battery: Option<u8>,
    /// Percent of its processors in use.
    pub cpu_used: u8,
    /// Percent of its memory in use.
    pub memory_used: u8,
    /// Its processors.
    pub cores: u32,
    /// Its memory in MB.
    pub memory_mb: u32,
    /// What it can send, in Mbit/s.
    pub uplink_mbps: u32,
    /// Metres to it, if that is known.
    pub distance_m: Option<u32>,
    /// Round trip in microseconds, if there is a link.
    pub rtt_us: Option<u32>,
    /// Seconds since it was last seen to come up.
    pub up_s: u32,
    /// Children that it has, the one that asks excepted.
    pub children: u32,
    /// Children that it takes.
    pub max_children: u32,
}

/// A topology policy. Equal calls in equal order must give equal scores.
///
/// ```
/// use mesh_sdk::topology::{Candidate, Asker, Topology};
///
/// /// Prefers whoever has the fewest children.
/// #[derive(Default)]
/// struct Spread;
///
/// impl Topology for Spread {
///     fn score(&mut self, _: &Asker, candidate: &Candidate) -> u32 {
///         1000 / (1 + candidate.children)
///     }
/// }
///
/// mesh_sdk::topology!(Spread);
/// # fn main() {}
/// ```
pub trait Topology: Default {
    /// The version of what [`Topology::save`] writes.
    const STATE_VERSION: u32 = 0;

    /// Takes the settings; called once, before anything else. By default there are none.
    ///
    /// # Errors
    /// The reason why they cannot be used; the swap is then called off.
    fn configure(&mut self, settings: Settings) -> Result<(), Refusal> {
        settings.finish()
    }

    /// Called once before the candidates of one evaluation are scored, in the order of their rows.
    fn begin(&mut self, asker: &Asker, candidates: &[Candidate]) {
        let _ = (asker, candidates);
    }

    /// Returns how good a parent it is, 0 to 1000; what is above counts as 1000.
    fn score(&mut self, asker: &Asker, candidate: &Candidate) -> u32;

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

/// Exports a [`Topology`] policy from this crate; does nothing when not built for WebAssembly.
#[macro_export]
macro_rules! topology {
    ($policy:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Plugin = $policy;
            $crate::__host!(Plugin);
            type Exported = $crate::glue::Export<Plugin>;
    $crate::glue::topology::__export!(Exported with_types_in $crate::glue::topology);
        };
    };
}
