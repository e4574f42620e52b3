//! What a node says of itself for the hierarchy, and its bytes in the node's signed record.

use super::{Level, Role, Strategy};
use crate::frame::Violation;
use crate::id::NodeId;
use crate::policy::MAINS;
use crate::wire::{Reader, put_text};

/// The key of a node's [`Profile`] in the state of its record.
pub const PROFILE_KEY: &str = "profile";
/// The key of a node's [`Standing`] in the state of its record.
pub const STANDING_KEY: &str = "standing";
/// Bytes of the name of a cell, at most.
pub const MAX_CELL: usize = 32;

const LAYOUT: u8 = 1;
const MAX_LAT_E7: i32 = 900_000_000;
const MAX_LON_E7: i32 = 1_800_000_000;

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
    /// All kinds, the steadiest first.
    pub const ALL: [Mobility; 3] = [Mobility::Static, Mobility::SemiMobile, Mobility::Mobile];

    /// Returns the kind with this number, or `None` above 2.
    pub fn from_u8(number: u8) -> Option<Mobility> {
        Mobility::ALL.get(usize::from(number)).copied()
    }

    /// Returns the kind of this name.
    pub fn from_name(name: &str) -> Option<Mobility> {
        Mobility::ALL.into_iter().find(|mobility| mobility.name() == name)
    }

    /// Returns the name as users write it.
    pub fn name(self) -> &'static str {
        match self {
            Mobility::Static => "static",
            Mobility::SemiMobile => "semi-mobile",
            Mobility::Mobile => "mobile",
        }
    }
}

/// A point on the earth, in 1e-7 degrees (11 mm at the equator).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// North, -900000000 to 900000000.
    pub lat_e7: i32,
    /// East, -1800000000 to 1800000000.
    pub lon_e7: i32,
}

/// What a node says of itself for the hierarchy. The default meets every requirement of a parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// How high it stands.
    pub level: Level,
    /// The group at its level that it belongs to, at most [`MAX_CELL`] bytes; empty is a name as well.
    pub cell: String,
    /// How it comes to its role.
    pub strategy: Strategy,
    /// How much it moves.
    pub mobility: Mobility,
    /// Percent of its battery; `None` on mains.
    pub battery: Option<u8>,
    /// Percent of its processors in use.
    pub cpu_used: u8,
    /// Percent of its memory in use.
    pub memory_used: u8,
    /// Its processors.
    pub cores: u16,
    /// Its memory in MB.
    pub memory_mb: u32,
    /// What it can send, in Mbit/s.
    pub uplink_mbps: u32,
    /// Where it is; `None` when it does not know or does not say.
    pub position: Option<Position>,
    /// Children that it takes, at most; 0 is nobody's parent.
    pub max_children: u16,
}

impl Default for Profile {
    fn default() -> Self {
        Profile {
            level: Level::Platform,
            cell: String::new(),
            strategy: Strategy::Dynamic,
            mobility: Mobility::Static,
            battery: None,
            cpu_used: 0,
            memory_used: 0,
            cores: 2,
            memory_mb: 512,
            uplink_mbps: 10,
            position: None,
            max_children: super::Weights::default().max_children,
        }
    }
}

/// Why a profile cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// The cell's name is too long.
    #[error("the name of a cell has {len} bytes, {max} are the limit")]
    CellTooLong {
        /// Its length.
        len: usize,
        /// What it may have.
        max: usize,
    },
    /// The cell's name has control characters.
    #[error("the name of a cell has characters that cannot be printed")]
    BadCell,
    /// A percentage is above 100.
    #[error("{field} of {value} % is above 100 %")]
    Percent {
        /// Which.
        field: &'static str,
        /// What it is.
        value: u8,
    },
    /// There is no such place.
    #[error("{lat_e7}, {lon_e7} (in 1e-7 degrees) is no place on the earth")]
    Position {
        /// Degrees north times 1e7.
        lat_e7: i32,
        /// Degrees east times 1e7.
        lon_e7: i32,
    },
}

impl Profile {
    /// Says whether every field is in its range.
    ///
    /// # Errors
    /// The first field that is not.
    pub fn check(&self) -> Result<(), ProfileError> {
        if self.cell.len() > MAX_CELL {
            return Err(ProfileError::CellTooLong { len: self.cell.len(), max: MAX_CELL });
        }
        if self.cell.chars().any(char::is_control) {
            return Err(ProfileError::BadCell);
        }
        let percents =
            [("battery", self.battery), ("cpu", Some(self.cpu_used)), ("memory", Some(self.memory_used))];
        for (field, value) in percents {
            if let Some(value) = value.filter(|value| *value > 100) {
                return Err(ProfileError::Percent { field, value });
            }
        }
        match self.position {
            Some(Position { lat_e7, lon_e7 })
                if lat_e7.unsigned_abs() > MAX_LAT_E7.unsigned_abs()
                    || lon_e7.unsigned_abs() > MAX_LON_E7.unsigned_abs() =>
            {
                Err(ProfileError::Position { lat_e7, lon_e7 })
            }
            _ => Ok(()),
        }
    }

    /// Returns the one encoding of a profile that passes [`Profile::check`], 21 to 61 bytes; docs/topology.md
    /// has the table.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![
            LAYOUT,
            self.level as u8,
            self.strategy.to_u8(),
            self.mobility as u8,
            self.battery.unwrap_or(MAINS),
            self.cpu_used,
            self.memory_used,
        ];
        out.extend_from_slice(&self.cores.to_le_bytes());
        out.extend_from_slice(&self.memory_mb.to_le_bytes());
        out.extend_from_slice(&self.uplink_mbps.to_le_bytes());
        out.extend_from_slice(&self.max_children.to_le_bytes());
        out.push(u8::from(self.position.is_some()));
        if let Some(position) = self.position {
            out.extend_from_slice(&position.lat_e7.to_le_bytes());
            out.extend_from_slice(&position.lon_e7.to_le_bytes());
        }
        put_text(&mut out, &self.cell);
        out
    }

    /// Reads what [`Profile::to_bytes`] wrote; `None` for anything else. A node whose profile cannot be read
    /// has none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Profile> {
        let mut reader = Reader(bytes);
        let profile = Profile::read(&mut reader).ok()??;
        (reader.end().is_ok() && profile.check().is_ok()).then_some(profile)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Option<Profile>, Violation> {
        let [layout, level, strategy, mobility, battery, cpu_used, memory_used] = reader.array()?;
        let (Some(level), Some(strategy), Some(mobility)) =
            (Level::from_u8(level), Strategy::from_u8(strategy), Mobility::from_u8(mobility))
        else {
            return Ok(None);
        };
        let (cores, memory_mb, uplink_mbps) = (reader.u16()?, reader.u32()?, reader.u32()?);
        let max_children = reader.u16()?;
        let position = match reader.u8()? {
            0 => None,
            1 => Some(Position {
                lat_e7: i32::from_le_bytes(reader.array()?),
                lon_e7: i32::from_le_bytes(reader.array()?),
            }),
            _ => return Ok(None),
        };
        let cell = reader.text()?;
        let battery = (battery != MAINS).then_some(battery);
        Ok((layout == LAYOUT).then_some(Profile {
            level,
            cell,
            strategy,
            mobility,
            battery,
            cpu_used,
            memory_used,
            cores,
            memory_mb,
            uplink_mbps,
            position,
            max_children,
        }))
    }
}

/// What a node says of its place in the hierarchy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its role in its cell.
    pub role: Role,
    /// Its parent.
    pub parent: Option<NodeId>,
}

impl Standing {
    /// Returns its one encoding: the role, then the parent's id if there is one.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![self.role as u8];
        if let Some(parent) = self.parent {
            out.extend_from_slice(&parent.0);
        }
        out
    }

    /// Reads what [`Standing::to_bytes`] wrote; `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Standing> {
        let (role, parent) = bytes.split_first()?;
        let role = Role::from_u8(*role)?;
        let parent = match parent {
            [] => None,
            id => Some(NodeId(id.try_into().ok()?)),
        };
        Some(Standing { role, parent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Profile {
        Profile {
            level: Level::Platoon,
            cell: "alpha".into(),
            strategy: Strategy::Hybrid(Role::Leader),
            mobility: Mobility::SemiMobile,
            battery: Some(80),
            cpu_used: 12,
            memory_used: 34,
            cores: 8,
            memory_mb: 16_384,
            uplink_mbps: 1_000,
            position: Some(Position { lat_e7: -337_000_000, lon_e7: 1_512_000_000 }),
            max_children: 15,
        }
    }

    // PM-81, I4: one encoding, and nothing else is read.
    #[test]
    fn a_profile_comes_back_and_no_other_bytes_are_one() {
        for profile in [full(), Profile::default()] {
            let bytes = profile.to_bytes();

            assert!((21..=61).contains(&bytes.len()));
            assert_eq!(Profile::from_bytes(&bytes), Some(profile));
            for len in 0..bytes.len() {
                assert_eq!(Profile::from_bytes(&bytes[..len]), None, "{len} bytes");
            }
            let longer = [bytes.as_slice(), &[0]].concat();
            assert_eq!(Profile::from_bytes(&longer), None);
        }
    }

    // The example of docs/topology.md.
    #[test]
    fn the_bytes_are_those_of_the_documentation() {
        let hex: String = full().to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();

        assert_eq!(hex, "01020601500c22080000400000e80300000f0001c0c9e9eb004a1f5a05616c706861");
    }

    #[test]
    fn whatever_is_read_has_the_bytes_it_was_read_from() {
        let mut rng = fastrand::Rng::with_seed(81);
        let mut read = 0;
        for _ in 0..20_000 {
            let mut bytes = full().to_bytes();
            for _ in 0..rng.usize(1..4) {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
            }
            if let Some(profile) = Profile::from_bytes(&bytes) {
                read += 1;
                assert_eq!(profile.to_bytes(), bytes);
            }
        }
        assert!(read > 1_000, "{read}");
    }

    #[test]
    fn a_field_out_of_its_range_is_named() {
        for (profile, want) in [
            (
                Profile { cell: "x".repeat(33), ..full() },
                ProfileError::CellTooLong { len: 33, max: MAX_CELL },
            ),
            (Profile { cell: "a\nb".into(), ..full() }, ProfileError::BadCell),
            (
                Profile { battery: Some(101), ..full() },
                ProfileError::Percent { field: "battery", value: 101 },
            ),
            (
                Profile { position: Some(Position { lat_e7: 900_000_001, lon_e7: 0 }), ..full() },
                ProfileError::Position { lat_e7: 900_000_001, lon_e7: 0 },
            ),
            (
                Profile { position: Some(Position { lat_e7: 0, lon_e7: i32::MIN }), ..full() },
                ProfileError::Position { lat_e7: 0, lon_e7: i32::MIN },
            ),
        ] {
            assert_eq!(profile.check(), Err(want));
        }
    }

    #[test]
    fn a_standing_comes_back_and_no_other_bytes_are_one() {
        for standing in [
            Standing::default(),
            Standing { role: Role::Leader, parent: None },
            Standing { role: Role::Member, parent: Some(NodeId([7; 32])) },
        ] {
            assert_eq!(Standing::from_bytes(&standing.to_bytes()), Some(standing));
        }
        for bad in [&[][..], &[3], &[0, 1], &[0; 34]] {
            assert_eq!(Standing::from_bytes(bad), None, "{bad:?}");
        }
    }
}
