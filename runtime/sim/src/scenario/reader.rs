//! Reads tables key by key, and collects everything that is wrong on the way.
//!
//! A key that is read is a known key, so there is no second list of keys that could differ from what is read.

use std::time::Duration;

use super::problem::{Problem, Source, nearest};
use super::tree::{At, Entry, Item, Table, Value};
use super::units::{self, Units, Wrong};

/// What is wrong so far, and which keys were looked for.
pub(crate) struct Findings<'a> {
    sources: &'a [Source],
    problems: Vec<(At, Problem)>,
    /// Section and key of everything that was asked for.
    asked: Vec<(String, &'static str)>,
    unknown: Vec<Unknown>,
}

struct Unknown {
    section: String,
    key: String,
    at: At,
}

impl<'a> Findings<'a> {
    pub(crate) fn new(sources: &'a [Source]) -> Findings<'a> {
        Findings { sources, problems: Vec::new(), asked: Vec::new(), unknown: Vec::new() }
    }

    pub(crate) fn problem(&mut self, at: At, message: impl Into<String>, help: Option<String>) {
        let problem = self.sources[at.source].problem(at.offset, message.into(), help);
        self.problems.push((at, problem));
    }

    fn wrong(&mut self, at: At, key: &str, wrong: Wrong) {
        self.problem(at, format!("{key}: {}", wrong.message), Some(wrong.help));
    }

    /// Returns all problems in the order of the text. Only now every known key has been asked for.
    pub(crate) fn into_problems(mut self) -> Vec<Problem> {
        for unknown in std::mem::take(&mut self.unknown) {
            let help = self.meant(&unknown);
            let message = match unknown.section.as_str() {
                "" => format!("there is no section '{}'", unknown.key),
                section => format!("there is no key '{}' in [{section}]", unknown.key),
            };
            self.problem(unknown.at, message, help);
        }
        self.problems.sort_by_key(|(at, _)| (at.source, at.offset));
        // A key that is read twice is wrong once.
        self.problems.dedup_by(|(_, one), (_, other)| one == other);
        self.problems.into_iter().map(|(_, problem)| problem).collect()
    }

    /// Returns what an unknown key was probably meant to be: a key of the same section, the same key of
    /// another, or any of the keys there are.
    fn meant(&self, unknown: &Unknown) -> Option<String> {
        let here =
            || self.asked.iter().filter(|(section, _)| *section == unknown.section).map(|(_, key)| *key);
        if let Some(key) = nearest(&unknown.key, here()) {
            return Some(format!("did you mean '{key}'?"));
        }
        match self.asked.iter().find(|(_, key)| *key == unknown.key) {
            Some((section, key)) if section.is_empty() => {
                return Some(format!("'{key}' is a section: write [{key}]"));
            }
            Some((section, key)) => return Some(format!("'{key}' belongs to [{section}]")),
            None => {}
        }
        let mut known: Vec<&str> = here().collect();
        known.sort_unstable();
        known.dedup();
        (!known.is_empty()).then(|| format!("known are {}", known.join(", ")))
    }
}

/// One table that is being read.
pub(crate) struct Reader<'t> {
    table: &'t Table,
    /// The name of the section, as in `[links]`; empty for the whole file.
    section: String,
    /// Where a missing key is told.
    at: At,
    asked: Vec<&'static str>,
}

impl<'t> Reader<'t> {
    pub(crate) fn new(table: &'t Table, section: &str, at: At) -> Reader<'t> {
        Reader { table, section: section.to_owned(), at, asked: Vec::new() }
    }

    pub(crate) fn at(&self) -> At {
        self.at
    }

    /// Returns where a key stands, or its table.
    pub(crate) fn at_key(&self, key: &str) -> At {
        self.table.get(key).map_or(self.at, |entry| entry.item.at)
    }

    pub(crate) fn has(&mut self, key: &'static str, findings: &mut Findings<'_>) -> bool {
        self.entry(key, findings).is_some()
    }

    fn entry(&mut self, key: &'static str, findings: &mut Findings<'_>) -> Option<&'t Entry> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
            findings.asked.push((self.section.clone(), key));
        }
        self.table.get(key)
    }

    pub(crate) fn item(&mut self, key: &'static str, findings: &mut Findings<'_>) -> Option<&'t Item> {
        self.entry(key, findings).map(|entry| &entry.item)
    }

    /// Returns every key with its value, known or not.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'t Entry> {
        self.table.entries.iter()
    }

    /// Reads a table of its own; an absent one is empty.
    pub(crate) fn section(&mut self, key: &'static str, findings: &mut Findings<'_>) -> Reader<'t> {
        static EMPTY: Table = Table { entries: Vec::new() };
        let at = self.at;
        match self.item(key, findings) {
            Some(Item { at, value: Value::Table(table) }) => Reader::new(table, key, *at),
            Some(other) => {
                findings.problem(
                    other.at,
                    format!("{key} is a section, not {}", other.what()),
                    Some(format!("write [{key}] and its keys below")),
                );
                Reader::new(&EMPTY, key, other.at)
            }
            None => Reader::new(&EMPTY, key, at),
        }
    }

    /// Reads a list of tables, as `[[fault]]` makes one.
    pub(crate) fn sections(&mut self, key: &'static str, findings: &mut Findings<'_>) -> Vec<Reader<'t>> {
        let Some(item) = self.item(key, findings) else { return Vec::new() };
        let mut readers = Vec::new();
        let list = match &item.value {
            Value::List(list) => list.as_slice(),
            _ => std::slice::from_ref(item),
        };
        let is_list = matches!(item.value, Value::List(_));
        for element in list {
            match &element.value {
                Value::Table(table) if is_list => readers.push(Reader::new(table, key, element.at)),
                _ => findings.problem(
                    element.at,
                    format!("{key} is a list of sections, not {}", element.what()),
                    Some(format!("write [[{key}]] before each")),
                ),
            }
        }
        readers
    }

    /// Tells every key that nobody asked for.
    pub(crate) fn done(self, findings: &mut Findings<'_>) {
        for entry in &self.table.entries {
            if !self.asked.contains(&entry.key.as_str()) {
                let unknown = Unknown { section: self.section.clone(), key: entry.key.clone(), at: entry.at };
                findings.unknown.push(unknown);
            }
        }
    }

    pub(crate) fn text(&mut self, key: &'static str, findings: &mut Findings<'_>) -> Option<&'t str> {
        let item = self.item(key, findings)?;
        match &item.value {
            Value::Text(text) => Some(text),
            _ => {
                let message = format!("{key} is text, not {}", item.what());
                findings.problem(item.at, message, Some("put it in quotation marks".to_owned()));
                None
            }
        }
    }

    /// Reads one word out of a list of words.
    pub(crate) fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
        findings: &mut Findings<'_>,
    ) -> Option<T> {
        let text = self.text(key, findings)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let names = words.iter().map(|(word, _)| *word);
        let help = match nearest(text, names.clone()) {
            Some(word) => format!("did you mean \"{word}\"?"),
            None => format!("one of {}", names.collect::<Vec<_>>().join(", ")),
        };
        findings.problem(self.at_key(key), format!("{key} cannot be \"{text}\""), Some(help));
        None
    }

    pub(crate) fn flag(&mut self, key: &'static str, default: bool, findings: &mut Findings<'_>) -> bool {
        let Some(item) = self.item(key, findings) else { return default };
        if let Value::Bool(value) = item.value {
            return value;
        }
        let message = format!("{key} is true or false, not {}", item.what());
        findings.problem(item.at, message, None);
        default
    }

    /// Reads a whole number within a range.
    pub(crate) fn count(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<u64>,
        findings: &mut Findings<'_>,
    ) -> Option<u64> {
        let item = self.item(key, findings)?;
        count_of(item, key, range, findings)
    }

    /// Reads whole numbers within a range.
    pub(crate) fn counts(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<u64>,
        findings: &mut Findings<'_>,
    ) -> Option<Vec<u64>> {
        let item = self.item(key, findings)?;
        let Value::List(list) = &item.value else {
            findings.problem(
                item.at,
                format!("{key} is a list, not {}", item.what()),
                Some("write [0, 1]".into()),
            );
            return None;
        };
        list.iter().map(|item| count_of(item, key, range.clone(), findings)).collect()
    }

    /// Reads a plain number within a range.
    pub(crate) fn number(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<f64>,
        findings: &mut Findings<'_>,
    ) -> Option<f64> {
        let item = self.item(key, findings)?;
        let value = match item.value {
            Value::Integer(number) => number as f64,
            Value::Float(number) => number,
            _ => {
                findings.problem(item.at, format!("{key} is a number, not {}", item.what()), None);
                return None;
            }
        };
        if range.contains(&value) {
            return Some(value);
        }
        let message = format!("{key} is {value}, which is not within {} and {}", range.start(), range.end());
        findings.problem(item.at, message, None);
        None
    }

    /// Reads a quantity in its base unit.
    pub(crate) fn quantity(
        &mut self,
        key: &'static str,
        units: &Units,
        findings: &mut Findings<'_>,
    ) -> Option<f64> {
        self.with_unit(key, |text| units.read(text), units, findings)
    }

    /// Reads a time.
    pub(crate) fn time(&mut self, key: &'static str, findings: &mut Findings<'_>) -> Option<Duration> {
        self.quantity(key, &units::TIME, findings).map(units::seconds)
    }

    /// Reads a time that must pass.
    pub(crate) fn time_above_zero(
        &mut self,
        key: &'static str,
        findings: &mut Findings<'_>,
    ) -> Option<Duration> {
        let time = self.time(key, findings)?;
        if time.is_zero() {
            findings.problem(self.at_key(key), format!("{key} must be longer than nothing"), None);
            return None;
        }
        Some(time)
    }

    /// Reads seconds that may be negative.
    pub(crate) fn shift(&mut self, key: &'static str, findings: &mut Findings<'_>) -> Option<f64> {
        self.with_unit(key, |text| units::TIME.read_signed(text), &units::TIME, findings)
    }

    /// Reads a share from 0 to 1.
    pub(crate) fn share(&mut self, key: &'static str, findings: &mut Findings<'_>) -> Option<f64> {
        let share = self.quantity(key, &units::SHARE, findings)?;
        if share <= 1.0 {
            return Some(share);
        }
        findings.problem(self.at_key(key), format!("{key} is more than 100%"), None);
        None
    }

    fn with_unit(
        &mut self,
        key: &'static str,
        read: impl Fn(&str) -> Result<f64, Wrong>,
        units: &Units,
        findings: &mut Findings<'_>,
    ) -> Option<f64> {
        let item = self.item(key, findings)?;
        let value = match &item.value {
            Value::Text(text) => read(text),
            // Nothing of anything needs no unit.
            Value::Integer(0) => Ok(0.0),
            _ => Err(units.bare(&item.what())),
        };
        value.map_err(|wrong| findings.wrong(item.at, key, wrong)).ok()
    }
}

fn count_of(
    item: &Item,
    key: &str,
    range: std::ops::RangeInclusive<u64>,
    findings: &mut Findings<'_>,
) -> Option<u64> {
    let Value::Integer(number) = item.value else {
        findings.problem(item.at, format!("{key} is a whole number, not {}", item.what()), None);
        return None;
    };
    match u64::try_from(number) {
        Ok(number) if range.contains(&number) => Some(number),
        _ => {
            let message =
                format!("{key} is {number}, which is not within {} and {}", range.start(), range.end());
            findings.problem(item.at, message, None);
            None
        }
    }
}
