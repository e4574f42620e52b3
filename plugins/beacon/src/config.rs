//! Settings and their presets.

use mesh_sdk::{Refusal, Settings};

use crate::document::Position;

/// Nodes that are remembered; about 400 bytes each.
const MAX_BEACONS: i64 = 2_000;

/// The settings of a beacon handler.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub topic: String,
    pub period_ms: u32,
    pub ttl_ms: u32,
    pub sweep_ms: u32,
    pub precision: u8,
    /// Beacons from farther away are not remembered; `None` remembers all.
    pub range_m: Option<f64>,
    pub max_beacons: usize,
    pub level: String,
    pub mobility: Option<String>,
    pub capabilities: Vec<String>,
    pub can_parent: bool,
    pub parent_priority: u8,
    pub position: Option<Position>,
}

impl Config {
    /// Reads the settings on top of their preset.
    pub fn read(mut settings: Settings) -> Result<Config, Refusal> {
        let bad = |name: &str| Refusal::BadSetting(name.to_owned());
        // Cell, range, period, time to live, sweep: peat-mesh's presets.
        let (precision, range_m, period_s, ttl_s, sweep_s) =
            match settings.text("preset", "default")?.as_str() {
                "default" => (7, 5_000.0, 5, 30, 5),
                "tactical" => (8, 2_000.0, 3, 15, 3),
                "distributed" => (5, 0.0, 10, 60, 10),
                "hybrid" => (6, 10_000.0, 5, 30, 5),
                _ => return Err(bad("preset")),
            };
        let topic = settings.text("topic", "mesh/beacon")?;
        if topic.is_empty() || topic.len() > 256 {
            return Err(bad("topic"));
        }
        let range_m = settings.number("range_m", range_m, 0.0..=20_100_000.0)?;
        let period_ms = settings.integer("period_ms", period_s * 1_000, 1_000..=3_600_000)?;
        let capabilities = settings.text("capabilities", "")?;
        let capabilities: Vec<String> =
            capabilities.split(',').map(str::trim).filter(|name| !name.is_empty()).map(Into::into).collect();
        if capabilities.len() > 32 {
            return Err(bad("capabilities"));
        }
        let config = Config {
            topic,
            period_ms: period_ms as u32,
            ttl_ms: settings.integer("ttl_ms", ttl_s * 1_000, 1_000..=86_400_000)? as u32,
            sweep_ms: settings.integer("sweep_ms", sweep_s * 1_000, 1_000..=3_600_000)? as u32,
            precision: settings.integer("precision", precision, 5..=9)? as u8,
            range_m: (range_m > 0.0).then_some(range_m),
            max_beacons: settings.integer("max_beacons", 1_000, 1..=MAX_BEACONS)? as usize,
            level: one_of(&mut settings, "level", "Platform", &["Platform", "Squad", "Platoon", "Company"])?,
            mobility: match one_of(&mut settings, "mobility", "", &["", "Static", "Mobile", "SemiMobile"])? {
                none if none.is_empty() => None,
                mobility => Some(mobility),
            },
            capabilities,
            can_parent: settings.flag("can_parent", false)?,
            parent_priority: settings.integer("parent_priority", 0, 0..=255)? as u8,
            position: position(&mut settings)?,
        };
        settings.finish()?;
        // Also when the period is given and the time to live is the preset's.
        if config.ttl_ms < config.period_ms {
            return Err(bad("ttl_ms"));
        }
        Ok(config)
    }
}

fn one_of(settings: &mut Settings, name: &str, default: &str, known: &[&str]) -> Result<String, Refusal> {
    let text = settings.text(name, default)?;
    if known.contains(&text.as_str()) { Ok(text) } else { Err(Refusal::BadSetting(name.to_owned())) }
}

/// Latitude and longitude come together or not at all.
fn position(settings: &mut Settings) -> Result<Option<Position>, Refusal> {
    let unset = f64::NAN;
    let mut degrees = |name, most: f64| match settings.take(name) {
        None => Ok(unset),
        Some(value) => Settings::from([(name, value)]).number(name, unset, -most..=most),
    };
    let (lat, lon) = (degrees("lat", 90.0)?, degrees("lon", 180.0)?);
    match (lat.is_nan(), lon.is_nan()) {
        (true, true) => Ok(None),
        (false, false) => Ok(Some(Position { lat, lon, alt: None })),
        (true, false) => Err(Refusal::BadSetting("lat".into())),
        (false, true) => Err(Refusal::BadSetting("lon".into())),
    }
}
