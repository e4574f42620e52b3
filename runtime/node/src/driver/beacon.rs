//! The beacon calls: questions to the handler, and its answers in the shape of the API.

use mesh_plugin_host::handler::Failure;
use mesh_proto::NodeId;
use serde::Deserialize;
use tokio::sync::oneshot;

use super::Driver;
use crate::api::{ApiError, BeaconReport, BeaconRow, Reply, code};
use crate::handler::{Declined, Job};
use crate::mesh::Answer;

/// The mean radius of the earth in metres, as features.md Part 2 has it.
const EARTH_M: f64 = 6_371_000.0;

impl Driver {
    pub(super) fn ask_beacon(
        &mut self,
        name: &str,
        payload: serde_json::Value,
        around: Option<((f64, f64), f64)>,
        answer: Answer<Reply>,
    ) {
        let payload = if payload.is_null() { Vec::new() } else { payload.to_string().into_bytes() };
        let (reply, asked) = oneshot::channel();
        self.parts.plugins.handler.hand(Job::Command { name: name.to_owned(), payload, answer: reply });
        let own = (self.parts.node.id(), self.parts.node.own_record().facts.name.clone());
        tokio::spawn(async move {
            let report = match asked.await {
                Ok(Ok(bytes)) => beacon_report(&bytes, &own, around),
                Ok(Err(declined)) => Err(handler_failed(&declined)),
                Err(_) => Err(ApiError::new(&code::HANDLER_FAILED, "the handler is overloaded")),
            };
            let _ = answer.send(report.map(Reply::Beacons));
        });
    }
}

fn handler_failed(declined: &Declined) -> ApiError {
    let error = match declined {
        Declined::Failure(Failure::BadInput(_)) => ApiError::new(&code::BAD_VALUE, declined),
        _ => ApiError::new(&code::HANDLER_FAILED, declined),
    };
    match declined {
        Declined::Failure(Failure::Unavailable(_)) => error.help("meshctl beacon set LAT,LON"),
        _ => error.help("meshctl plugin show beacon"),
    }
}

#[derive(Deserialize)]
struct Position {
    lat: f64,
    lon: f64,
}

#[derive(Deserialize)]
struct Beacon {
    node: String,
    #[serde(default)]
    name: String,
    position: Position,
    geohash: String,
    distance_m: Option<f64>,
    age_ms: u64,
    expires_ms: u64,
    #[serde(default)]
    note: String,
}

/// The handler's answer in the shape of the API: a listing, or its own new position.
fn beacon_report(
    bytes: &[u8],
    own: &(NodeId, String),
    around: Option<((f64, f64), f64)>,
) -> Result<BeaconReport, ApiError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Said {
        Listing { beacons: Vec<Beacon> },
        Own { position: Position, geohash: String, note: String },
    }
    let said: Said = serde_json::from_slice(bytes).map_err(|error| {
        ApiError::new(&code::HANDLER_FAILED, format!("its answer cannot be read: {error}"))
    })?;
    let row = |beacon: Beacon| {
        Some(BeaconRow {
            node: beacon.node.parse().ok()?,
            name: Some(beacon.name).filter(|name| !name.is_empty()),
            lat: beacon.position.lat,
            lon: beacon.position.lon,
            geohash: beacon.geohash,
            distance_m: beacon.distance_m,
            note: Some(beacon.note).filter(|note| !note.is_empty()),
            age_s: beacon.age_ms as f64 / 1000.0,
            expires_s: beacon.expires_ms as f64 / 1000.0,
        })
    };
    let mut beacons: Vec<BeaconRow> = match said {
        Said::Listing { beacons } => beacons.into_iter().filter_map(row).collect(),
        Said::Own { position, geohash, note } => vec![BeaconRow {
            node: own.0,
            name: Some(own.1.clone()),
            lat: position.lat,
            lon: position.lon,
            geohash,
            distance_m: Some(0.0),
            note: Some(note).filter(|note| !note.is_empty()),
            age_s: 0.0,
            expires_s: 0.0,
        }],
    };
    if let Some((at, radius_m)) = around {
        for beacon in &mut beacons {
            beacon.distance_m = Some(haversine_m(at, (beacon.lat, beacon.lon)));
        }
        beacons.retain(|beacon| beacon.distance_m.is_some_and(|distance| distance <= radius_m));
        beacons.sort_by(|a, b| a.distance_m.unwrap_or(0.0).total_cmp(&b.distance_m.unwrap_or(0.0)));
    }
    Ok(BeaconReport { cells: Vec::new(), beacons })
}

fn haversine_m(a: (f64, f64), b: (f64, f64)) -> f64 {
    let (lat_a, lat_b) = (a.0.to_radians(), b.0.to_radians());
    let half = |from: f64, to: f64| ((to - from) / 2.0).sin().powi(2);
    let h = half(lat_a, lat_b) + lat_a.cos() * lat_b.cos() * half(a.1.to_radians(), b.1.to_radians());
    2.0 * EARTH_M * h.sqrt().min(1.0).asin()
}
