//! Geohash cells as whole numbers: encoding, neighbours, distances. Longitudes wrap, and north of the
//! northernmost row lies the same row on the other side of the globe.

const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
/// As the beacon document has it.
const EARTH_RADIUS_M: f64 = 6_371_000.0;

/// One cell of the grid of one precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// Characters of its name.
    precision: u8,
    x: u64,
    y: u64,
}

impl Cell {
    /// Returns the cell with `precision` characters, 1 to 12, that holds the position. Longitudes beyond 180
    /// degrees wrap.
    pub fn at(lat: f64, lon: f64, precision: u8) -> Cell {
        let precision = precision.clamp(1, 12);
        let (columns, rows) = grid(precision);
        let x = (lon + 180.0).rem_euclid(360.0) / 360.0 * columns as f64;
        let y = (lat.clamp(-90.0, 90.0) + 90.0) / 180.0 * rows as f64;
        // The pole, and a longitude that was rounded up, belong to the last cell.
        Cell { precision, x: (x as u64).min(columns - 1), y: (y as u64).min(rows - 1) }
    }

    /// Returns the cell's name.
    pub fn name(self) -> String {
        let bits = 5 * u32::from(self.precision);
        let (mut x_left, mut y_left) = (bits.div_ceil(2), bits / 2);
        let mut name = String::new();
        let mut character = 0;
        for bit in 0..bits {
            let (axis, left) = if bit % 2 == 0 { (self.x, &mut x_left) } else { (self.y, &mut y_left) };
            *left -= 1;
            character = character << 1 | (axis >> *left & 1) as usize;
            if bit % 5 == 4 {
                name.push(char::from(ALPHABET[character]));
                character = 0;
            }
        }
        name
    }

    /// Returns the cells that touch this one, at most eight, each once, without this one.
    pub fn neighbours(self) -> Vec<Cell> {
        let mut cells: Vec<Cell> = (-1..=1)
            .flat_map(|dy| (-1..=1).map(move |dx| (dx, dy)))
            .map(|(dx, dy)| self.moved(dx, dy))
            .filter(|cell| *cell != self)
            .collect();
        cells.sort_unstable();
        cells.dedup();
        cells
    }

    fn moved(self, dx: i64, dy: i64) -> Cell {
        let (columns, rows) = grid(self.precision);
        let x = (self.x as i64 + dx).rem_euclid(columns as i64) as u64;
        match self.y.checked_add_signed(dy).filter(|&y| y < rows) {
            Some(y) => Cell { x, y, ..self },
            // Over the pole: the same row, half a turn away.
            None => Cell { x: (x + columns / 2) % columns, ..self },
        }
    }
}

/// Columns and rows of the grid.
fn grid(precision: u8) -> (u64, u64) {
    let bits = 5 * u32::from(precision);
    (1 << bits.div_ceil(2), 1 << (bits / 2))
}

/// Returns the great-circle distance in metres.
pub fn distance_m(a: (f64, f64), b: (f64, f64)) -> f64 {
    let [lat_a, lon_a, lat_b, lon_b] = [a.0, a.1, b.0, b.1].map(f64::to_radians);
    let half = |angle: f64| (angle / 2.0).sin().powi(2);
    let h = half(lat_b - lat_a) + lat_a.cos() * lat_b.cos() * half(lon_b - lon_a);
    2.0 * EARTH_RADIUS_M * h.clamp(0.0, 1.0).sqrt().asin()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PM-89.
    #[test]
    fn known_places_get_their_published_names() {
        for (lat, lon, want) in [
            (57.64911, 10.40744, "u4pruydqqvj"),
            (42.6, -5.6, "ezs42e44y"),
            (37.7749, -122.4194, "9q8yyk8yt"),
            (-25.382708, -49.265506, "6gkzwgjzn"),
            (0.0, 0.0, "s00000000"),
            (90.0, 180.0, "bpbpbpbpb"),
            (-90.0, -180.0, "000000000"),
        ] {
            for precision in 1..=want.len() {
                assert_eq!(Cell::at(lat, lon, precision as u8).name(), want[..precision], "{lat} {lon}");
            }
        }
    }

    #[test]
    fn the_neighbours_are_the_eight_around() {
        let names: Vec<String> =
            Cell::at(57.64911, 10.40744, 5).neighbours().iter().map(|c| c.name()).collect();

        for want in ["u4prg", "u4prv", "u4prt", "u4prs", "u4pre", "u4prf", "u4prc", "u4pr9"] {
            let is_neighbour = names.iter().any(|name| name == want);
            assert_eq!(is_neighbour, touches("u4pru", want), "{want} in {names:?}");
        }
        assert_eq!(names.len(), 8);
    }

    /// Whether two cells of precision 5 touch, from their boxes.
    fn touches(a: &str, b: &str) -> bool {
        let [(ax, ay), (bx, by)] = [a, b].map(|name| {
            let bits: Vec<u64> = name
                .bytes()
                .flat_map(|c| {
                    let at = ALPHABET.iter().position(|known| *known == c).unwrap() as u64;
                    (0..5).rev().map(move |bit| at >> bit & 1)
                })
                .collect();
            let axis = |from| bits.iter().skip(from).step_by(2).fold(0i64, |x, bit| x << 1 | *bit as i64);
            (axis(0), axis(1))
        });
        a != b && (ax - bx).abs() <= 1 && (ay - by).abs() <= 1
    }

    #[test]
    fn the_antimeridian_separates_nobody() {
        let east = Cell::at(10.0, 179.9999, 7);
        let west = Cell::at(10.0, -179.9999, 7);

        assert!(east.neighbours().contains(&west));
        assert!(west.neighbours().contains(&east));
        assert!(distance_m((10.0, 179.9999), (10.0, -179.9999)) < 25.0);
    }

    #[test]
    fn across_a_pole_lies_the_other_side() {
        for lat in [89.9999, -89.9999] {
            let here = Cell::at(lat, 10.0, 6);
            let opposite = Cell::at(lat, -170.0, 6);

            assert!(here.neighbours().contains(&opposite), "{lat}");
        }
        assert!(distance_m((89.9999, 10.0), (89.9999, -170.0)) < 25.0);
    }

    #[test]
    fn neighbourhood_is_mutual_everywhere() {
        for lat in [-90.0, -89.99, -45.0, 0.0, 60.0, 89.99, 90.0] {
            for lon in [-180.0, -179.999, 0.0, 90.0, 179.999] {
                for precision in 5..=9 {
                    let cell = Cell::at(lat, lon, precision);
                    for neighbour in cell.neighbours() {
                        assert!(neighbour.neighbours().contains(&cell), "{lat} {lon} {precision}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_degree_at_the_equator_has_111_kilometres() {
        let metres = distance_m((0.0, 0.0), (0.0, 1.0));

        assert!((metres - 111_194.9).abs() < 0.1, "{metres}");
    }
}
