//! The beacon document: what nodes tell about themselves. Read from strangers: everything has a bound.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Bytes of a document.
pub const MAX_BYTES: usize = 4096;
const MAX_ENTRIES: usize = 32;

/// A beacon document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Whose, as 64 hexadecimal digits.
    pub node_id: String,
    /// Its name; not part of peat-mesh's document.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where.
    pub position: Position,
    /// The cell, with as many characters as the sender likes.
    pub geohash: String,
    /// Its rank: `Platform`, `Squad`, `Platoon` or `Company`.
    #[serde(default)]
    pub hierarchy_level: String,
    /// What it can do.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Whether it works.
    #[serde(default)]
    pub operational: bool,
    /// When, in seconds since 1970.
    pub timestamp: u64,
    /// `Static`, `Mobile` or `SemiMobile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mobility: Option<String>,
    /// Whether others may choose it as their parent.
    #[serde(default)]
    pub can_parent: bool,
    /// How gladly.
    #[serde(default)]
    pub parent_priority: u8,
    /// What it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Anything else.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// A place on the globe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Degrees north.
    pub lat: f64,
    /// Degrees east.
    pub lon: f64,
    /// Metres above the sea.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alt: Option<f64>,
}

/// What a node has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Cores.
    pub cpu_cores: u32,
    /// Memory.
    pub memory_mb: u32,
    /// Bandwidth.
    pub bandwidth_mbps: u32,
    /// Load of the cores.
    pub cpu_usage_percent: u8,
    /// Load of the memory.
    pub memory_usage_percent: u8,
    /// Charge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub battery_percent: Option<u8>,
}

impl Position {
    /// Says whether it is on the globe.
    pub fn is_valid(&self) -> bool {
        (-90.0..=90.0).contains(&self.lat)
            && (-180.0..=180.0).contains(&self.lon)
            && self.alt.is_none_or(f64::is_finite)
    }
}

impl Document {
    /// Reads a document of the node with this id.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(bytes: &[u8], node_id: &str) -> Result<Document, &'static str> {
        if bytes.len() > MAX_BYTES {
            return Err("the beacon is larger than 4096 bytes");
        }
        let document: Document =
            serde_json::from_slice(bytes).map_err(|_| "the beacon is no beacon document")?;
        if document.node_id != node_id {
            return Err("the beacon names another node than its sender");
        }
        if !document.position.is_valid() {
            return Err("the beacon's position is not on the globe");
        }
        if document.capabilities.len() > MAX_ENTRIES || document.metadata.len() > MAX_ENTRIES {
            return Err("the beacon has too many entries");
        }
        Ok(document)
    }
}

/// Writes bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}
