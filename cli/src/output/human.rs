//! Numbers as people read them.

use anstyle::{AnsiColor, Style};

/// For what is well.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// For what needs a look.
pub const WARN: Style = AnsiColor::Yellow.on_default();
/// For what is broken.
pub const BAD: Style = AnsiColor::Red.on_default();
/// For what matters less.
pub const DIM: Style = Style::new().dimmed();
/// For headings.
pub const BOLD: Style = Style::new().bold();

/// Wraps a text in a style.
pub fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Returns a length of time with the unit that suits it: `38 µs`, `0.41 ms`, `1.2 s`, `3 min`, `2 h`, `3 d`.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s <= 0.0 => "0 s".to_owned(),
        s if s < 0.000_1 => format!("{:.0} µs", s * 1e6),
        s if s < 0.01 => format!("{:.2} ms", s * 1e3),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3600.0),
        s => format!("{:.0} d", s / 86_400.0),
    }
}

/// Returns a size with the unit that suits it: `312 B`, `17 KiB`, `1.2 MiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 10.0 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.0} {}", UNITS[unit]) }
}

/// Returns a number with a thin group mark, as in `12,345`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Returns a number of things: `1 error`, `2 errors`.
pub fn counted(number: usize, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {one}{plural}", count(number as u64))
}

/// Returns the text, or a dash for none.
pub fn or_dash(text: Option<impl std::fmt::Display>) -> String {
    text.map_or_else(|| "–".to_owned(), |text| text.to_string())
}

/// Returns a revision short enough for a table: the first eight digits after the algorithm.
pub fn revision(revision: &str) -> String {
    match revision.split_once(':') {
        Some((_, digits)) => digits.chars().take(8).collect(),
        None => revision.to_owned(),
    }
}

/// Makes text from strangers safe to show: control characters, which could drive a terminal, become spaces.
pub fn safe(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_the_unit_that_suits_them() {
        for (seconds, want) in [
            (0.0, "0 s"),
            (0.000_038, "38 µs"),
            (0.000_41, "0.41 ms"),
            (0.031, "31 ms"),
            (1.25, "1.2 s"),
            (59.0, "59 s"),
            (180.0, "3 min"),
            (7200.0, "2 h"),
            (259_200.0, "3 d"),
        ] {
            assert_eq!(duration(seconds), want, "{seconds}");
        }
    }

    #[test]
    fn sizes_take_the_unit_that_suits_them() {
        for (size, want) in
            [(312, "312 B"), (17 << 10, "17 KiB"), (1_300_000, "1.2 MiB"), (u64::MAX, "16777216 TiB")]
        {
            assert_eq!(bytes(size), want);
        }
        assert_eq!(
            (count(7), count(1234), count(1_234_567)),
            ("7".into(), "1,234".into(), "1,234,567".into())
        );
    }

    #[test]
    fn a_stranger_cannot_drive_the_terminal() {
        assert_eq!(safe("a\x1b[2Jb\nc"), "a [2Jb c");
    }
}
