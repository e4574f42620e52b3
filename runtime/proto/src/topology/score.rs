//! Scores in permille: the weights, the parts they weigh, and what a parent must have.
//!
//! Plain sums, products and square roots only: these are the same on every machine, where a library's sine or
//! exponential may differ in the last digit and with it the outcome of a run.

use super::{Level, Mobility, Position, Profile};
use crate::policy::{MAINS, UNKNOWN};

/// How candidates for a parent are weighed, in permille; the four weights are 1000 together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Of standing still.
    pub mobility: u32,
    /// Of free processors and memory.
    pub resources: u32,
    /// Of the battery.
    pub battery: u32,
    /// Of being near.
    pub proximity: u32,
    /// Metres to a parent, at most; `None` is any distance, and then all are equally near.
    pub max_distance_m: Option<u32>,
    /// Children that a node takes unless its profile says otherwise.
    pub max_children: u16,
}

impl Default for Weights {
    /// 30/30/20/20 %, 10 km, 10 children: peat-mesh's default selection (PM-81).
    fn default() -> Self {
        Weights {
            mobility: 300,
            resources: 300,
            battery: 200,
            proximity: 200,
            max_distance_m: Some(10_000),
            max_children: 10,
        }
    }
}

impl Weights {
    /// 40/25/15/20 %, 2 km, 5 children: for groups on the move (PM-81).
    pub fn tactical() -> Weights {
        Weights {
            mobility: 400,
            resources: 250,
            battery: 150,
            proximity: 200,
            max_distance_m: Some(2_000),
            max_children: 5,
        }
    }

    /// 20/40/20/20 %, any distance, 15 children: for sites that are far apart (PM-81).
    pub fn distributed() -> Weights {
        Weights {
            mobility: 200,
            resources: 400,
            battery: 200,
            proximity: 200,
            max_distance_m: None,
            max_children: 15,
        }
    }

    /// Returns the preset of this name: `default`, `tactical` or `distributed`.
    pub fn from_name(name: &str) -> Option<Weights> {
        match name {
            "default" => Some(Weights::default()),
            "tactical" => Some(Weights::tactical()),
            "distributed" => Some(Weights::distributed()),
            _ => None,
        }
    }

    /// Returns the name of the preset that it is, or `custom`.
    pub fn name(&self) -> &'static str {
        let names = ["default", "tactical", "distributed"];
        names.into_iter().find(|name| Weights::from_name(name) == Some(*self)).unwrap_or("custom")
    }
}

/// What the native built-in sees in one candidate, each in permille.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// 1000 for a node that stands still, 600 for one that moves now and then, 300 for one that always does.
    pub mobility: u32,
    /// The mean of free processors and free memory.
    pub resources: u32,
    /// Of the battery; 1000 on mains.
    pub battery: u32,
    /// e^(-d / (max/3)); 500 when a position is not known.
    pub proximity: u32,
}

impl Parts {
    /// Reads them from the columns of [`crate::policy::Candidates`]; `used` is of processors and memory.
    pub(crate) fn of(
        mobility: u8,
        used: [u8; 2],
        battery: u8,
        distance_m: u32,
        max_distance_m: Option<u32>,
    ) -> Parts {
        Parts {
            mobility: self::mobility(mobility),
            resources: resources(used),
            battery: self::battery(battery),
            proximity: proximity(distance_m, max_distance_m),
        }
    }

    /// Returns the weighted sum, 0 to 1000.
    pub fn total(&self, weights: &Weights) -> u32 {
        let sum = u64::from(self.mobility) * u64::from(weights.mobility)
            + u64::from(self.resources) * u64::from(weights.resources)
            + u64::from(self.battery) * u64::from(weights.battery)
            + u64::from(self.proximity) * u64::from(weights.proximity);
        (sum / 1000).min(1000) as u32
    }
}

/// Returns the parts of one candidate's score.
pub fn parts(profile: &Profile, distance_m: Option<u32>, weights: &Weights) -> Parts {
    let used = [profile.cpu_used, profile.memory_used];
    let (battery, distance_m) = (profile.battery.unwrap_or(MAINS), distance_m.unwrap_or(UNKNOWN));
    Parts::of(profile.mobility as u8, used, battery, distance_m, weights.max_distance_m)
}

pub(crate) fn mobility(mobility: u8) -> u32 {
    // As in peat-mesh: 1.0, 0.6, 0.3.
    match Mobility::from_u8(mobility) {
        Some(Mobility::Static) => 1000,
        Some(Mobility::SemiMobile) => 600,
        Some(Mobility::Mobile) | None => 300,
    }
}

pub(crate) fn resources(used: [u8; 2]) -> u32 {
    used.iter().map(|used| 100 - u32::from(*used.min(&100))).sum::<u32>() * 5
}

pub(crate) fn battery(percent: u8) -> u32 {
    u32::from(percent.min(100)) * 10
}

fn proximity(distance_m: u32, max_m: Option<u32>) -> u32 {
    match max_m {
        _ if distance_m == UNKNOWN => 500,
        None => 1000,
        Some(max) => (exp_neg(f64::from(distance_m) * 3.0 / f64::from(max.max(1))) * 1000.0 + 0.5) as u32,
    }
}

/// e^-x for x of at least 0: (e^(-x/4096))^4096, whose inner part a short series gives exactly enough.
fn exp_neg(x: f64) -> f64 {
    let small = x.min(64.0) / 4096.0;
    let mut power = 1.0 - small * (1.0 - small / 2.0 * (1.0 - small / 3.0 * (1.0 - small / 4.0)));
    for _ in 0..12 {
        power *= power;
    }
    power
}

/// The cosine of an angle in radians of at most a quarter turn, by its series; right to 1e-7.
fn cos(angle: f64) -> f64 {
    let square = angle * angle;
    let terms = [132.0, 90.0, 56.0, 30.0, 12.0, 2.0];
    terms.into_iter().fold(1.0, |inner, divisor| 1.0 - square / divisor * inner)
}

/// Returns the distance between two points in metres, on a map that is true at their middle latitude.
///
/// Right to 0.1 % within 50 km; too long by up to a half for points on different continents, where nobody
/// asks how near a parent is.
pub fn distance_m(a: Position, b: Position) -> u32 {
    const EARTH_M: f64 = 6_371_008.8;
    let radians = |e7: i64| e7 as f64 * (std::f64::consts::PI / 180.0 / 1e7);
    let turn = 3_600_000_000;
    let apart = (i64::from(a.lon_e7) - i64::from(b.lon_e7)).rem_euclid(turn);
    let north = radians(i64::from(a.lat_e7) - i64::from(b.lat_e7));
    let middle = radians((i64::from(a.lat_e7) + i64::from(b.lat_e7)) / 2);
    let east = radians(apart.min(turn - apart)) * cos(middle);
    ((north * north + east * east).sqrt() * EARTH_M + 0.5) as u32
}

/// What a node lacks to be a parent (PM-90).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// It has fewer than 2 processors.
    Cores,
    /// It has less than 512 MB of memory.
    Memory,
    /// It can send less than 10 Mbit/s.
    Uplink,
    /// 80 % of its processors are in use, or more.
    Cpu,
    /// 80 % of its memory is in use, or more.
    MemoryUsed,
    /// Its battery is below 20 %.
    Battery,
    /// It takes no children.
    Children,
}

impl Lack {
    /// Returns what is lacking, in a few words.
    pub fn reason(self) -> &'static str {
        match self {
            Lack::Cores => "fewer than 2 cores",
            Lack::Memory => "less than 512 MB of memory",
            Lack::Uplink => "an uplink below 10 Mbit/s",
            Lack::Cpu => "80 % of its cpu in use",
            Lack::MemoryUsed => "80 % of its memory in use",
            Lack::Battery => "a battery below 20 %",
            Lack::Children => "it takes no children",
        }
    }
}

impl Profile {
    /// Returns what it lacks to be a parent, if anything.
    pub fn lacks(&self) -> Option<Lack> {
        let conditions = [
            (self.cores >= 2, Lack::Cores),
            (self.memory_mb >= 512, Lack::Memory),
            (self.uplink_mbps >= 10, Lack::Uplink),
            (self.cpu_used < 80, Lack::Cpu),
            (self.memory_used < 80, Lack::MemoryUsed),
            (self.battery.is_none_or(|percent| percent >= 20), Lack::Battery),
            (self.max_children > 0, Lack::Children),
        ];
        conditions.into_iter().find(|(is_met, _)| !is_met).map(|(_, lack)| lack)
    }

    /// Says whether a node of this profile could stand above one of that level.
    pub fn is_above(&self, level: Level) -> bool {
        self.level > level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lat: f64, lon: f64) -> Position {
        Position { lat_e7: (lat * 1e7) as i32, lon_e7: (lon * 1e7) as i32 }
    }

    // PM-81: the formula, at points that can be checked by hand.
    #[test]
    fn a_node_is_the_nearer_the_higher_its_proximity() {
        for (distance_m, max_m, want) in [
            (0, Some(10_000), 1000),
            (1_000, Some(10_000), 741),
            (3_333, Some(10_000), 368),
            (10_000, Some(10_000), 50),
            (2_000, Some(2_000), 50),
            (4_000_000_000, Some(1), 0),
            (4_000_000_000, None, 1000),
            (UNKNOWN, Some(10_000), 500),
        ] {
            assert_eq!(proximity(distance_m, max_m), want, "{distance_m} m of {max_m:?}");
        }
    }

    #[test]
    fn the_exponential_and_the_cosine_are_right() {
        for step in 0..=400 {
            let x = f64::from(step) / 40.0;
            assert!((exp_neg(x) - (-x).exp()).abs() < 1e-9, "e^-{x}");
        }
        for step in -90..=90 {
            let angle = f64::from(step).to_radians();
            assert!((cos(angle) - angle.cos()).abs() < 1e-6, "cos {step}");
        }
    }

    #[test]
    fn distances_are_right_also_across_the_antimeridian() {
        for (a, b, want) in [
            (at(52.52, 13.405), at(52.52, 13.405), 0),
            (at(52.52, 13.405), at(52.53, 13.405), 1_112),
            (at(52.52, 13.405), at(52.52, 13.42), 1_015),
            (at(0.0, 179.995), at(0.0, -179.995), 1_112),
            (at(-17.7, 177.4), at(-17.8, 177.5), 15_357),
        ] {
            let got = distance_m(a, b);
            assert!(got.abs_diff(want) <= want / 500 + 1, "{a:?} to {b:?}: {got}, not {want}");
            assert_eq!(got, distance_m(b, a));
        }
    }

    // PM-81: .3 x static + .3 x 75 % free + .2 x 80 % battery + .2 x 0 m.
    #[test]
    fn a_score_is_the_weighted_sum_of_its_parts() {
        let profile = Profile { battery: Some(80), cpu_used: 20, memory_used: 30, ..Profile::default() };

        let parts = parts(&profile, Some(0), &Weights::default());

        assert_eq!(parts, Parts { mobility: 1000, resources: 750, battery: 800, proximity: 1000 });
        assert_eq!(parts.total(&Weights::default()), 300 + 225 + 160 + 200);
        assert_eq!(parts.total(&Weights::tactical()), 400 + 187 + 120 + 200);
        assert_eq!(parts.total(&Weights::distributed()), 200 + 300 + 160 + 200);
    }

    #[test]
    fn every_preset_weighs_a_thousand_and_has_its_name() {
        for name in ["default", "tactical", "distributed"] {
            let weights = Weights::from_name(name).expect("it is a preset");
            assert_eq!(weights.mobility + weights.resources + weights.battery + weights.proximity, 1000);
            assert_eq!(weights.name(), name);
        }
        assert_eq!(Weights { mobility: 1, ..Weights::default() }.name(), "custom");
    }

    // PM-90: each requirement by itself, at its bound.
    #[test]
    fn a_parent_must_meet_every_requirement() {
        let good = Profile { cpu_used: 79, memory_used: 79, battery: Some(20), ..Profile::default() };
        assert_eq!(good.lacks(), None);
        for (profile, want) in [
            (Profile { cores: 1, ..good.clone() }, Lack::Cores),
            (Profile { memory_mb: 511, ..good.clone() }, Lack::Memory),
            (Profile { uplink_mbps: 9, ..good.clone() }, Lack::Uplink),
            (Profile { cpu_used: 80, ..good.clone() }, Lack::Cpu),
            (Profile { memory_used: 80, ..good.clone() }, Lack::MemoryUsed),
            (Profile { battery: Some(19), ..good.clone() }, Lack::Battery),
            (Profile { max_children: 0, ..good.clone() }, Lack::Children),
        ] {
            assert_eq!(profile.lacks(), Some(want));
        }
    }
}
