//! Quantities as scenarios write them: text of a number and a unit.

use std::time::Duration;

/// Why a text is no quantity: what is wrong, and how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) message: String,
    pub(crate) help: String,
}

/// The units of one kind of quantity: each with its name and its size in the base unit, as a fraction.
pub(crate) struct Units {
    /// What the quantity is, as in "a time".
    what: &'static str,
    /// How one is written.
    example: &'static str,
    units: &'static [(&'static str, f64, f64)],
}

pub(crate) const TIME: Units = Units {
    what: "a time",
    example: "\"250ms\", \"5s\", \"2m\" or \"1h\"",
    units: &[
        ("us", 1.0, 1e6),
        ("ms", 1.0, 1e3),
        ("s", 1.0, 1.0),
        ("m", 60.0, 1.0),
        ("min", 60.0, 1.0),
        ("h", 3600.0, 1.0),
        ("d", 86_400.0, 1.0),
    ],
};
pub(crate) const SHARE: Units =
    Units { what: "a share", example: "\"10%\"", units: &[("%", 1.0, 100.0), ("ppm", 1.0, 1e6)] };
/// Base unit: bytes a second.
pub(crate) const RATE: Units = Units {
    what: "a bandwidth",
    example: "\"256kbit/s\", \"1Mbit/s\" or \"10MB/s\"",
    units: &[
        ("bit/s", 1.0, 8.0),
        ("kbit/s", 125.0, 1.0),
        ("Mbit/s", 125_000.0, 1.0),
        ("Gbit/s", 125_000_000.0, 1.0),
        ("B/s", 1.0, 1.0),
        ("kB/s", 1e3, 1.0),
        ("MB/s", 1e6, 1.0),
        ("GB/s", 1e9, 1.0),
    ],
};
/// Base unit: bytes.
pub(crate) const SIZE: Units = Units {
    what: "a size",
    example: "\"256B\" or \"64KiB\"",
    units: &[
        ("B", 1.0, 1.0),
        ("kB", 1e3, 1.0),
        ("KiB", 1024.0, 1.0),
        ("MB", 1e6, 1.0),
        ("MiB", 1_048_576.0, 1.0),
    ],
};
/// Base unit: the whole mesh a second.
pub(crate) const PACE: Units =
    Units { what: "a pace", example: "\"1%/s\"", units: &[("%/s", 1.0, 100.0), ("%/m", 1.0, 6000.0)] };

impl Units {
    /// Reads a quantity that is not negative, in the base unit.
    pub(crate) fn read(&self, text: &str) -> Result<f64, Wrong> {
        let value = self.value(text)?;
        if value < 0.0 { Err(self.wrong(format!("'{text}' is negative"))) } else { Ok(value) }
    }

    /// Reads a quantity that may be negative, in the base unit.
    pub(crate) fn read_signed(&self, text: &str) -> Result<f64, Wrong> {
        self.value(text)
    }

    /// Says that a number alone is not enough.
    pub(crate) fn bare(&self, number: &str) -> Wrong {
        self.wrong(format!("{number} has no unit"))
    }

    fn value(&self, text: &str) -> Result<f64, Wrong> {
        let trimmed = text.trim();
        let is_number = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | '_');
        let end = trimmed.find(|c| !is_number(c)).unwrap_or(trimmed.len());
        let (number, unit) = (trimmed[..end].replace('_', ""), trimmed[end..].trim());
        let Ok(number) = number.parse::<f64>() else {
            return Err(self.wrong(format!("'{text}' is not {}", self.what)));
        };
        if unit.is_empty() {
            return Err(self.bare(&format!("'{text}'")));
        }
        match self.units.iter().find(|(name, ..)| *name == unit) {
            // Rounded, so that 99.9 % is 0.999 and not a hair beside it.
            Some(&(_, times, per)) => Ok((number * times / per * 1e12).round() / 1e12),
            None => Err(self.wrong(format!("'{unit}' is not a unit of {}", self.what))),
        }
    }

    fn wrong(&self, message: String) -> Wrong {
        Wrong { message, help: format!("write {}", self.example) }
    }
}

/// Returns a time of so many seconds, at most 2^40 of them.
pub(crate) fn seconds(value: f64) -> Duration {
    Duration::from_micros((value.clamp(0.0, (1u64 << 40) as f64) * 1e6).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_in_their_base_unit() {
        for (units, text, want) in [
            (&TIME, "250ms", Some(0.25)),
            (&TIME, " 1.5 h ", Some(5400.0)),
            (&TIME, "10us", Some(1e-5)),
            (&TIME, "5", None),
            (&TIME, "-5s", None),
            (&TIME, "5 parsecs", None),
            (&TIME, "", None),
            (&SHARE, "10%", Some(0.1)),
            (&SHARE, "0.1", None),
            (&RATE, "1Mbit/s", Some(125_000.0)),
            (&RATE, "1MB/s", Some(1e6)),
            (&RATE, "1Mb", None),
            (&SIZE, "64KiB", Some(65_536.0)),
            (&SIZE, "1_000B", Some(1000.0)),
            (&PACE, "1%/s", Some(0.01)),
        ] {
            let read = units.read(text).ok();
            let is_same = match (read, want) {
                (Some(read), Some(want)) => (read - want).abs() < 1e-9 * want.abs(),
                (read, want) => read == want,
            };
            assert!(is_same, "{text}: {read:?}");
        }
        assert_eq!(TIME.read_signed("-1h"), Ok(-3600.0));
    }

    #[test]
    fn what_is_no_quantity_is_told_how_it_is_written() {
        let wrong = TIME.read("5 parsecs").unwrap_err();
        assert_eq!(wrong.message, "'parsecs' is not a unit of a time");
        assert_eq!(wrong.help, "write \"250ms\", \"5s\", \"2m\" or \"1h\"");
    }
}
