//! Hierarchy over the mesh: levels, a parent of a higher level, one leader in each cell. Opens no link, reads
//! no clock and sends nothing: members and time go in, changes come out.
//!
//! It is optional. A node without a [`Profile`] takes part in none of it (a flat mesh, PM-85): it is nobody's
//! parent, says nothing about itself and is not asked. Links and routes do not depend on it either; what a
//! hierarchy adds is a link that is kept to the parent, and names for who leads.
//!
//! - A **parent** has a higher level. Candidates are scored by the topology slot, that is by
//!   [`crate::policy::Policies::score`]; the conditions, hysteresis, cooldown and tie-break are the host's,
//!   whatever a policy says ([`hierarchy`]).
//! - A **leader** is elected among the nodes of one level and cell, by what they say of themselves, with the
//!   lower id between equals ([`election`]).
//!
//! ```
//! use mesh_proto::NodeId;
//! use mesh_proto::time::Instant;
//! use mesh_proto::topology::hierarchy::{Hierarchy, Life, Seen};
//! use mesh_proto::topology::{Level, Profile, Standing, Weights};
//!
//! let own = Profile { level: Level::Platform, ..Profile::default() };
//! let squad = Profile { level: Level::Squad, ..Profile::default() };
//! let mut hierarchy = Hierarchy::new(Instant(0), NodeId([1; 32]), own, Weights::default());
//! let seen = Seen {
//!     node: NodeId([2; 32]),
//!     profile: &squad,
//!     standing: Standing::default(),
//!     life: Life::Alive,
//!     since: Instant(0),
//!     rtt_us: None,
//! };
//!
//! hierarchy.evaluate(Instant(0), &[seen], &mut mesh_proto::policy::native::score);
//!
//! assert_eq!(hierarchy.parent(), Some(NodeId([2; 32])));
//! ```

pub mod election;
pub mod hierarchy;
mod profile;
mod score;

pub use profile::{MAX_CELL, Mobility, PROFILE_KEY, Position, Profile, ProfileError, STANDING_KEY, Standing};
pub use score::{Lack, Parts, Weights, distance_m, parts};

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
    /// All levels, lowest first.
    pub const ALL: [Level; 4] = [Level::Platform, Level::Squad, Level::Platoon, Level::Company];

    /// Returns the level with this number, or `None` above 3.
    pub fn from_u8(number: u8) -> Option<Level> {
        Level::ALL.get(usize::from(number)).copied()
    }

    /// Returns the level of this name.
    pub fn from_name(name: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.name() == name)
    }

    /// Returns the name as users write it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Platform => "platform",
            Level::Squad => "squad",
            Level::Platoon => "platoon",
            Level::Company => "company",
        }
    }
}

/// What a node is among those of its level and cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Role {
    /// There is nobody else, or it wants none of it.
    #[default]
    Standalone = 0,
    /// Somebody else leads.
    Member = 1,
    /// It leads.
    Leader = 2,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 3] = [Role::Standalone, Role::Member, Role::Leader];

    /// Returns the role with this number, or `None` above 2.
    pub fn from_u8(number: u8) -> Option<Role> {
        Role::ALL.get(usize::from(number)).copied()
    }

    /// Returns the role of this name.
    pub fn from_name(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }

    /// Returns the name as users write it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Standalone => "standalone",
            Role::Member => "member",
            Role::Leader => "leader",
        }
    }
}

/// How a node comes to its role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// By election.
    #[default]
    Dynamic,
    /// As it was told, for good.
    Static(Role),
    /// As it was told while it is fit for it (PM-90) and somebody who was told the same is not better; else
    /// by election.
    Hybrid(Role),
}

impl Strategy {
    /// Returns the name as users write it, without the role.
    pub fn name(self) -> &'static str {
        match self {
            Strategy::Dynamic => "dynamic",
            Strategy::Static(_) => "static",
            Strategy::Hybrid(_) => "hybrid",
        }
    }

    fn to_u8(self) -> u8 {
        match self {
            Strategy::Dynamic => 0,
            Strategy::Static(role) => 1 + role as u8,
            Strategy::Hybrid(role) => 4 + role as u8,
        }
    }

    fn from_u8(number: u8) -> Option<Strategy> {
        match number {
            0 => Some(Strategy::Dynamic),
            1..=3 => Role::from_u8(number - 1).map(Strategy::Static),
            _ => Role::from_u8(number - 4).map(Strategy::Hybrid),
        }
    }
}
