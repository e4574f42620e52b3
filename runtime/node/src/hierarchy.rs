//! Between what operators say of a node's place and what the core takes: names, units and defaults of this
//! machine. Decides nothing.

use mesh_proto::topology::hierarchy::Row;
use mesh_proto::topology::{Level, Mobility, Position, Profile, Role, Strategy, Weights};
use serde::{Deserialize, Serialize};

use crate::api::{ApiError, ProfileChange, ProfileInfo, ScoreParts, WeightsInfo, code};

/// What the store keeps of a profile.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    profile: ProfileInfo,
    weights: String,
}

/// A profile with the weights beside it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    pub(crate) profile: Profile,
    pub(crate) weights: Weights,
}

impl Place {
    /// Returns the place of a node that nothing was said about: a platform with what this machine has.
    fn of_this_machine() -> Place {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let profile = Profile {
            cores: u16::try_from(cores).unwrap_or(u16::MAX),
            memory_mb: memory_mb().unwrap_or(512),
            ..Profile::default()
        };
        Place { profile, weights: Weights::default() }
    }

    /// Returns what comes of a change, starting from this machine's own place if there is none yet.
    ///
    /// # Errors
    /// `BAD_VALUE` for a name that nothing has and a number out of its range.
    pub(crate) fn changed(before: Option<&Place>, change: &ProfileChange) -> Result<Place, ApiError> {
        let mut place = before.cloned().unwrap_or_else(Place::of_this_machine);
        if let Some(name) = &change.weights {
            place.weights = named("weights", name, Weights::from_name, "default, tactical, distributed")?;
            place.profile.max_children = place.weights.max_children;
        }
        let profile = &mut place.profile;
        if let Some(name) = &change.level {
            profile.level = named("level", name, Level::from_name, "platform, squad, platoon, company")?;
        }
        if let Some(name) = &change.mobility {
            profile.mobility = named("mobility", name, Mobility::from_name, "static, semi-mobile, mobile")?;
        }
        profile.strategy = strategy(profile.strategy, change)?;
        if change.mains || change.battery_percent.is_some() {
            profile.battery = change.battery_percent;
        }
        profile.cell = change.cell.clone().unwrap_or_else(|| profile.cell.clone());
        profile.cpu_used = change.cpu_used_percent.unwrap_or(profile.cpu_used);
        profile.memory_used = change.memory_used_percent.unwrap_or(profile.memory_used);
        profile.cores = change.cores.unwrap_or(profile.cores);
        profile.memory_mb = change.memory_mb.unwrap_or(profile.memory_mb);
        profile.uplink_mbps = change.uplink_mbps.unwrap_or(profile.uplink_mbps);
        profile.max_children = change.max_children.unwrap_or(profile.max_children);
        if let Some(degrees) = change.position {
            profile.position = Some(position(degrees)?);
        }
        profile.check().map_err(|error| ApiError::new(&code::BAD_VALUE, error))?;
        Ok(place)
    }

    /// Returns the bytes that the store keeps.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let stored = Stored { profile: info(&self.profile), weights: self.weights.name().to_owned() };
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// Reads what [`Place::to_bytes`] wrote; `None` when it is damaged.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Place> {
        let Stored { profile, weights } = serde_json::from_slice(bytes).ok()?;
        let change = ProfileChange {
            level: Some(profile.level),
            cell: Some(profile.cell),
            strategy: Some(profile.strategy),
            told_role: profile.told_role,
            mobility: Some(profile.mobility),
            battery_percent: profile.battery_percent,
            mains: profile.battery_percent.is_none(),
            cpu_used_percent: Some(profile.cpu_used_percent),
            memory_used_percent: Some(profile.memory_used_percent),
            cores: Some(profile.cores),
            memory_mb: Some(profile.memory_mb),
            uplink_mbps: Some(profile.uplink_mbps),
            position: profile.position,
            max_children: Some(profile.max_children),
            weights: Some(weights),
        };
        Place::changed(None, &change).ok()
    }
}

fn named<T>(field: &'static str, name: &str, from: fn(&str) -> Option<T>, all: &str) -> Result<T, ApiError> {
    from(name).ok_or_else(|| {
        ApiError::new(&code::BAD_VALUE, format!("there is no {field} called '{name}'")).fact(field, all)
    })
}

/// A role alone makes a dynamic node hybrid: it is a wish, not an order.
fn strategy(before: Strategy, change: &ProfileChange) -> Result<Strategy, ApiError> {
    let (was, role) = match before {
        Strategy::Dynamic => ("dynamic", None),
        Strategy::Static(role) => ("static", Some(role)),
        Strategy::Hybrid(role) => ("hybrid", Some(role)),
    };
    let told = change.told_role.as_deref();
    let told =
        told.map(|name| named("role", name, Role::from_name, "leader, member, standalone")).transpose()?;
    let wanted = match (&change.strategy, told) {
        (Some(strategy), _) => strategy.as_str(),
        (None, Some(_)) if was == "dynamic" => "hybrid",
        (None, _) => was,
    };
    match (wanted, told.or(role)) {
        ("dynamic", _) if told.is_some() => Err(ApiError::new(
            &code::BAD_VALUE,
            "a role is for the strategies static and hybrid: dynamic nodes elect",
        )),
        ("dynamic", _) => Ok(Strategy::Dynamic),
        ("static", Some(role)) => Ok(Strategy::Static(role)),
        ("hybrid", Some(role)) => Ok(Strategy::Hybrid(role)),
        ("static" | "hybrid", None) => Err(ApiError::new(
            &code::BAD_VALUE,
            format!("the strategy {wanted} needs a role: leader, member or standalone"),
        )),
        _ => named("strategy", wanted, |_| None, "dynamic, static, hybrid"),
    }
}

fn position((lat, lon): (f64, f64)) -> Result<Position, ApiError> {
    if lat.is_finite() && lon.is_finite() && lat.abs() <= 90.0 && lon.abs() <= 180.0 {
        let e7 = |degrees: f64| (degrees * 1e7).round() as i32;
        return Ok(Position { lat_e7: e7(lat), lon_e7: e7(lon) });
    }
    Err(ApiError::new(&code::BAD_VALUE, "latitudes are -90 to 90, longitudes -180 to 180"))
}

/// Returns a profile as users see it.
pub(crate) fn info(profile: &Profile) -> ProfileInfo {
    let told_role = match profile.strategy {
        Strategy::Dynamic => None,
        Strategy::Static(role) | Strategy::Hybrid(role) => Some(role.name().to_owned()),
    };
    let degrees = |e7: i32| f64::from(e7) / 1e7;
    ProfileInfo {
        level: profile.level.name().to_owned(),
        cell: profile.cell.clone(),
        strategy: profile.strategy.name().to_owned(),
        told_role,
        mobility: profile.mobility.name().to_owned(),
        battery_percent: profile.battery,
        cpu_used_percent: profile.cpu_used,
        memory_used_percent: profile.memory_used,
        cores: profile.cores,
        memory_mb: profile.memory_mb,
        uplink_mbps: profile.uplink_mbps,
        position: profile.position.map(|at| (degrees(at.lat_e7), degrees(at.lon_e7))),
        max_children: profile.max_children,
    }
}

/// Returns weights as users see them.
pub(crate) fn weights_info(weights: &Weights) -> WeightsInfo {
    WeightsInfo {
        name: weights.name().to_owned(),
        mobility: weights.mobility,
        resources: weights.resources,
        battery: weights.battery,
        proximity: weights.proximity,
        max_distance_m: weights.max_distance_m,
    }
}

/// Returns the arithmetic of a row as users see it.
pub(crate) fn parts_info(row: &Row, weights: &Weights) -> ScoreParts {
    let parts = row.parts;
    ScoreParts {
        mobility: parts.mobility,
        resources: parts.resources,
        battery: parts.battery,
        proximity: parts.proximity,
        total: parts.total(weights),
    }
}

/// Returns the memory of this machine in MB.
fn memory_mb() -> Option<u32> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.split_whitespace().next()?.parse().ok()?;
    u32::try_from(kib * 1024 / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(level: &str) -> ProfileChange {
        ProfileChange { level: Some(level.into()), ..ProfileChange::default() }
    }

    #[test]
    fn a_change_keeps_what_it_does_not_name() {
        let first = ProfileChange {
            cell: Some("alpha".into()),
            battery_percent: Some(80),
            position: Some((52.5163, 13.3777)),
            weights: Some("tactical".into()),
            ..change("squad")
        };
        let before = Place::changed(None, &first).expect("it is well-formed");
        assert_eq!(before.profile.max_children, 5);

        let after = Place::changed(Some(&before), &ProfileChange { mains: true, ..ProfileChange::default() });

        let want = Place { profile: Profile { battery: None, ..before.profile.clone() }, ..before };
        assert_eq!(after, Ok(want));
    }

    #[test]
    fn what_is_stored_comes_back() {
        let all = ProfileChange {
            strategy: Some("hybrid".into()),
            told_role: Some("leader".into()),
            battery_percent: Some(7),
            position: Some((-33.8568, 151.2153)),
            weights: Some("distributed".into()),
            max_children: Some(3),
            ..change("platoon")
        };
        for change in [all, ProfileChange::default()] {
            let place = Place::changed(None, &change).expect("it is well-formed");

            assert_eq!(Place::from_bytes(&place.to_bytes()), Some(place));
        }
        assert_eq!(Place::from_bytes(b"{}"), None);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let empty = ProfileChange::default;
        for (change, want) in [
            (change("brigade"), "there is no level called 'brigade'"),
            (
                ProfileChange { mobility: Some("fast".into()), ..empty() },
                "there is no mobility called 'fast'",
            ),
            (ProfileChange { battery_percent: Some(101), ..empty() }, "battery of 101 % is above 100 %"),
            (
                ProfileChange { position: Some((91.0, 0.0)), ..empty() },
                "latitudes are -90 to 90, longitudes -180 to 180",
            ),
            (
                ProfileChange { strategy: Some("static".into()), ..empty() },
                "the strategy static needs a role: leader, member or standalone",
            ),
            (
                ProfileChange {
                    strategy: Some("dynamic".into()),
                    told_role: Some("leader".into()),
                    ..empty()
                },
                "a role is for the strategies static and hybrid: dynamic nodes elect",
            ),
        ] {
            let error = Place::changed(None, &change).expect_err(want);
            assert_eq!((error.code.as_str(), error.message.as_str()), (code::BAD_VALUE.id, want));
        }
    }

    #[test]
    fn a_role_alone_is_a_wish_and_a_strategy_keeps_it() {
        let with = |before, strategy: Option<&str>, role: Option<&str>| {
            let change = ProfileChange {
                strategy: strategy.map(Into::into),
                told_role: role.map(Into::into),
                ..ProfileChange::default()
            };
            super::strategy(before, &change).expect("it is well-formed")
        };
        assert_eq!(with(Strategy::Dynamic, None, Some("leader")), Strategy::Hybrid(Role::Leader));
        assert_eq!(
            with(Strategy::Hybrid(Role::Leader), Some("static"), None),
            Strategy::Static(Role::Leader)
        );
        assert_eq!(
            with(Strategy::Static(Role::Leader), None, Some("member")),
            Strategy::Static(Role::Member)
        );
        assert_eq!(with(Strategy::Static(Role::Leader), Some("dynamic"), None), Strategy::Dynamic);
    }
}
