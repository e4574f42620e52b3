//! `meshctl beacon`: where this node and others are.

use clap::{Args, Subcommand};
use mesh_node::api::{ApiError, BeaconReport, BeaconSpec, Request, code};

use super::Context;
use crate::output::human;
use crate::output::{Column, Rows, Show, View};

/// Positions: where this node and others are.
#[derive(Debug, Args)]
pub struct Beacon {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say where this node is, from now on.
    #[command(after_long_help = "\
Examples:
  meshctl beacon set 52.5163,13.3777
  meshctl beacon set -33.8568,151.2153 --note \"relay on the roof\"

How often it is told and how long it is remembered are settings of the handler:
  meshctl plugin swap beacon built-in/beacon --set period_ms=10000 --set ttl_ms=60000")]
    Set {
        /// Degrees north and east, as LAT,LON.
        #[arg(value_parser = point, allow_hyphen_values = true, value_name = "LAT,LON")]
        at: (f64, f64),
        /// Metres above the sea.
        #[arg(long, value_name = "METRES", allow_hyphen_values = true)]
        alt: Option<f64>,
        /// A short text beside it.
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
    /// All beacons heard and not expired.
    #[command(after_long_help = "\
Examples:
  meshctl beacon list
  meshctl beacon list --json --fields beacons")]
    List,
    /// The beacons around a point, nearest first.
    #[command(after_long_help = "\
Examples:
  meshctl beacon near --radius 500
  meshctl beacon near 52.5163,13.3777 --radius 2000 --json")]
    Near {
        /// Degrees north and east, as LAT,LON; this node's own position when absent.
        #[arg(value_parser = point, allow_hyphen_values = true, value_name = "LAT,LON")]
        at: Option<(f64, f64)>,
        /// Metres around it.
        #[arg(long, default_value_t = 1000.0, value_name = "METRES")]
        radius: f64,
    },
}

impl Beacon {
    /// Asks and prints.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let request = self.command.request()?;
        if let (true, Request::BeaconSet(spec)) = (context.globals.dry_run, &request) {
            context.out.note(format_args!("this node would tell {},{} from now on", spec.lat, spec.lon));
            return Ok(());
        }
        let mut connection = context.connect().await?;
        let report: BeaconReport = connection.call(&request).await?;
        context.out.print(connection.node, &report)
    }
}

impl Command {
    fn request(self) -> Result<Request, ApiError> {
        match self {
            Command::Set { at: (lat, lon), alt, note } => {
                Ok(Request::BeaconSet(BeaconSpec { lat, lon, alt_m: alt, note }))
            }
            Command::List => Ok(Request::BeaconList),
            Command::Near { radius, .. } if !(radius > 0.0 && radius <= 20_037_509.0) => {
                let message = "the radius is between 0 and 20,037,509 metres, half the way around the earth";
                Err(ApiError::new(&code::BAD_VALUE, message).fact("radius", radius))
            }
            Command::Near { at, radius } => Ok(Request::BeaconNear { at, radius_m: radius }),
        }
    }
}

/// Reads a position as LAT,LON in degrees.
pub fn point(text: &str) -> Result<(f64, f64), String> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    let parsed = text.split_once(',').and_then(|(lat, lon)| Some((number(lat)?, number(lon)?)));
    let (lat, lon) = parsed.ok_or("a position is LAT,LON in degrees, such as 52.5163,13.3777")?;
    if lat.abs() > 90.0 || lon.abs() > 180.0 {
        return Err("latitudes are -90 to 90, longitudes -180 to 180".to_owned());
    }
    Ok((lat, lon))
}

const COLUMNS: &[Column] = &[
    Column::text("name", "NAME", 0),
    Column::text("geohash", "CELL", 1),
    Column::number("lat", "LAT", 1),
    Column::number("lon", "LON", 1),
    Column::number("distance_m", "DISTANCE", 0),
    Column::number("age_s", "HEARD", 2),
    Column::number("expires_s", "EXPIRES", 3),
    Column::text("note", "NOTE", 4),
    Column::text("node", "NODE", 5),
];

impl Show for BeaconReport {
    const SCHEMA: &'static str = "beacons";

    fn view(&self) -> View {
        let mut rows = Rows::new(COLUMNS, "no beacon is heard; tell yours with: meshctl beacon set LAT,LON");
        for beacon in &self.beacons {
            rows.push([
                beacon.name.as_deref().map_or_else(|| beacon.node.short(), human::safe),
                human::safe(&beacon.geohash),
                format!("{:.5}", beacon.lat),
                format!("{:.5}", beacon.lon),
                human::or_dash(beacon.distance_m.map(distance)),
                human::duration(beacon.age_s),
                human::duration(beacon.expires_s),
                human::or_dash(beacon.note.as_deref().map(human::safe)),
                beacon.node.short(),
            ]);
        }
        View::Rows(rows)
    }

    fn names(&self) -> Vec<String> {
        self.beacons.iter().map(|beacon| beacon.node.to_string()).collect()
    }
}

fn distance(metres: f64) -> String {
    if metres < 10_000.0 { format!("{metres:.0} m") } else { format!("{:.0} km", metres / 1000.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_and_their_range_is_kept() {
        for (text, want) in [
            ("52.5163,13.3777", Some((52.5163, 13.3777))),
            ("-90, 180", Some((-90.0, 180.0))),
            ("90.1,0", None),
            ("0,-180.5", None),
            ("NaN,0", None),
            ("inf,0", None),
            ("52.5163", None),
            ("1,2,3", None),
        ] {
            assert_eq!(point(text).ok(), want, "{text}");
        }
    }
}
