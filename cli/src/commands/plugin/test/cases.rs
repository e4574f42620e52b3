//! Table cases: files of TOML, read with the place of everything that can be wrong.

use std::fmt;

use mesh_node::api::{ApiError, code};
use mesh_plugin_host::{Fault, Kind, Loaded, PrepareError, Settings, Value};
use mesh_proto::policy::Class;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;

use super::{Ran, admission, carry, handler, qos, routing, topology};

/// Cases of one file.
const MAX_CASES: usize = 10_000;

/// One file of cases.
pub struct File<'a> {
    /// Its name, for people.
    pub name: &'a str,
    /// What is in it.
    pub text: &'a str,
    /// Only cases whose name contains this.
    pub only: Option<&'a str>,
}

/// Returns the names of the cases in a file, whatever else may be wrong with it.
pub fn names(text: &str) -> Vec<String> {
    let table: toml::Table = text.parse().unwrap_or_default();
    let cases = table.get("case").and_then(toml::Value::as_array).into_iter().flatten();
    cases.filter_map(|case| Some(case.get("name")?.as_str()?.to_owned())).collect()
}

/// One answer that was not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The file.
    pub file: String,
    /// The line of what was expected, from 1.
    pub line: usize,
    /// The name of the case.
    pub case: String,
    /// Which answer.
    pub what: String,
    /// What was expected.
    pub expected: String,
    /// What came.
    pub actual: String,
}

impl Failure {
    /// Returns `file:line`.
    pub fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { case, what, expected, actual, .. } = self;
        write!(f, "\"{case}\", {what}: expected {expected}, got {actual}")
    }
}

/// What every case has.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// What it is called.
    pub name: &'a str,
    /// What the plugin is configured with.
    pub settings: &'a toml::Table,
    /// What a refusal of them must contain, if they must be refused.
    pub refused: Option<&'a Spanned<String>>,
}

/// A case that was read from a file.
pub trait Headed: DeserializeOwned {
    /// Returns what every case has.
    fn head(&self) -> Head<'_>;
}

/// Defines the cases of one kind of plugin: a struct with the keys of [`Head`] and with its own, in which a key that is
/// not among them is an error. A shared struct cannot do this: serde does not know what is unknown once it flattens.
macro_rules! case {
    ($(#[$meta:meta])* pub struct $name:ident { $($own:tt)* }) => {
        $(#[$meta])*
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            name: String,
            #[serde(default)]
            settings: toml::Table,
            refused: Option<toml::Spanned<String>>,
            $($own)*
        }

        impl $crate::commands::plugin::test::cases::Headed for $name {
            fn head(&self) -> $crate::commands::plugin::test::cases::Head<'_> {
                $crate::commands::plugin::test::cases::Head {
                    name: &self.name,
                    settings: &self.settings,
                    refused: self.refused.as_ref(),
                }
            }
        }
    };
}
pub(super) use case;

/// A case of one kind of plugin.
pub trait Case: Headed {
    /// Refuses what is no case, because it could not fail or asks for two things at once.
    ///
    /// # Errors
    /// The offset in the file, and why.
    fn validate(&self) -> Result<(), (usize, String)> {
        Ok(())
    }
    /// Starts an instance and asks it.
    ///
    /// # Errors
    /// Why it cannot be started.
    fn ask(&self, loaded: &Loaded, settings: &Settings, check: &mut Check<'_>) -> Result<(), PrepareError>;
}

/// Takes down what is wrong with one case.
pub struct Check<'a> {
    file: &'a File<'a>,
    line: usize,
    case: String,
    failures: Vec<Failure>,
}

impl Check<'_> {
    /// Takes down a difference at this offset of the file.
    pub fn differs(
        &mut self,
        at: usize,
        what: impl Into<String>,
        expected: impl Into<String>,
        actual: impl Into<String>,
    ) {
        self.failures.push(Failure {
            file: self.file.name.to_owned(),
            line: self.file.line(at),
            case: self.case.clone(),
            what: what.into(),
            expected: expected.into(),
            actual: actual.into(),
        });
    }

    /// Takes down the rows whose answers are not what was expected of them; `what` names a row by its number, from 0.
    pub fn answers<'e, E, A>(
        &mut self,
        expected: impl Iterator<Item = &'e Option<Spanned<E>>>,
        got: &[A],
        what: impl Fn(usize) -> String,
        text: impl Fn(A) -> String,
    ) where
        E: Copy + 'e,
        A: Copy + PartialEq + From<E>,
    {
        for (at, (expected, &got)) in expected.zip(got).enumerate() {
            let Some(expected) = expected else { continue };
            let wanted = A::from(*expected.get_ref());
            if wanted != got {
                self.differs(expected.span().start, what(at), text(wanted), text(got));
            }
        }
    }

    /// Takes down that a call gave no answer at all.
    pub fn fault(&mut self, call: &str, fault: &Fault) {
        let line = self.line;
        self.failures.push(Failure {
            file: self.file.name.to_owned(),
            line,
            case: self.case.clone(),
            what: call.to_owned(),
            expected: "an answer".to_owned(),
            actual: format!("none: {fault}"),
        });
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(bound = "C: DeserializeOwned")]
struct Cases<C> {
    #[serde(default)]
    case: Vec<Spanned<C>>,
}

impl File<'_> {
    /// Runs its cases against a plugin.
    ///
    /// # Errors
    /// `BAD_CASES` with the place.
    pub fn run(&self, loaded: &Loaded) -> Result<Ran, ApiError> {
        match loaded.kind() {
            Kind::Routing => self.run_as::<routing::Case>(loaded),
            Kind::Qos => self.run_as::<qos::Case>(loaded),
            Kind::Topology => self.run_as::<topology::Case>(loaded),
            Kind::Admission => self.run_as::<admission::Case>(loaded),
            Kind::Carry => self.run_as::<carry::Case>(loaded),
            Kind::Handler => self.run_as::<handler::Case>(loaded),
        }
    }

    fn run_as<C: Case>(&self, loaded: &Loaded) -> Result<Ran, ApiError> {
        let cases: Cases<C> = toml::from_str(self.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            self.bad(at, error.message())
        })?;
        if cases.case.len() > MAX_CASES {
            return Err(self.bad(0, &format!("it has more than {MAX_CASES} cases")));
        }
        for case in &cases.case {
            case.get_ref().validate().map_err(|(at, why)| self.bad(at, &why))?;
        }
        let mut ran = Ran::default();
        for case in &cases.case {
            if self.only.is_none_or(|only| case.get_ref().head().name.contains(only)) {
                ran.cases += 1;
                ran.failures.extend(self.run_case(case, loaded)?);
            }
        }
        Ok(ran)
    }

    fn run_case<C: Case>(&self, case: &Spanned<C>, loaded: &Loaded) -> Result<Vec<Failure>, ApiError> {
        let (at, case) = (case.span().start, case.get_ref());
        let Head { name, settings, refused } = case.head();
        let settings = settings_of(settings).map_err(|why| self.bad(at, &why))?;
        let mut check = Check { file: self, line: self.line(at), case: name.to_owned(), failures: vec![] };
        match (case.ask(loaded, &settings, &mut check), refused) {
            (Ok(()), None) => {}
            (Ok(()), Some(expected)) => {
                let wanted = format!("a refusal that names {}", expected.get_ref());
                check.differs(expected.span().start, "the settings", wanted, "they were taken");
            }
            (Err(error), Some(expected)) if error.to_string().contains(expected.get_ref().as_str()) => {}
            (Err(error), expected) => {
                let wanted = expected.map_or_else(
                    || "a start".to_owned(),
                    |text| format!("a refusal that names {}", text.get_ref()),
                );
                check.differs(
                    expected.map_or(at, |text| text.span().start),
                    "the start",
                    wanted,
                    error.to_string(),
                );
            }
        }
        Ok(check.failures)
    }

    fn line(&self, at: usize) -> usize {
        self.text.as_bytes()[..at.min(self.text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
    }

    fn bad(&self, at: usize, why: &str) -> ApiError {
        let before = self.text.get(..at).unwrap_or_default();
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        let place = format!("{}:{}:{column}", self.name, self.line(at));
        ApiError::new(&code::BAD_CASES, format!("{place}: {why}")).help("correct the file")
    }
}

fn settings_of(table: &toml::Table) -> Result<Settings, String> {
    let value = |(name, value): (&String, &toml::Value)| {
        let value = match value {
            toml::Value::Boolean(flag) => Value::Flag(*flag),
            toml::Value::Integer(integer) => Value::Integer(*integer),
            toml::Value::Float(number) => Value::Number(*number),
            toml::Value::String(text) => Value::Text(text.clone()),
            _ => return Err(format!("the setting {name} is no flag, number or text")),
        };
        Ok((name.clone(), value))
    };
    table.iter().map(value).collect()
}

/// A class by its name.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassName {
    /// The most urgent.
    Critical,
    /// Commands and alerts.
    High,
    /// The usual one.
    Normal,
    /// Telemetry.
    Low,
    /// What can wait.
    Bulk,
}

impl From<ClassName> for Class {
    fn from(name: ClassName) -> Class {
        match name {
            ClassName::Critical => Class::Critical,
            ClassName::High => Class::High,
            ClassName::Normal => Class::Normal,
            ClassName::Low => Class::Low,
            ClassName::Bulk => Class::Bulk,
        }
    }
}

/// What an id may be, for people.
pub const ID: &str = "at most 64 hex digits, two a byte";

/// Reads an id; what is missing is zeros.
pub fn id_of(text: &str) -> Option<[u8; 32]> {
    let is_id =
        text.len() <= 64 && text.len().is_multiple_of(2) && text.bytes().all(|b| b.is_ascii_hexdigit());
    let digit = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    is_id.then(|| std::array::from_fn(|at| digit(2 * at).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use mesh_plugin_host::{Engine, Grants, builtin, load};

    use super::*;

    fn run(component: &[u8], text: &str) -> Result<Ran, ApiError> {
        let engine = Engine::new(None).unwrap();
        let loaded = load(&engine, component, Grants::ALL).unwrap();
        File { name: "tests/x.toml", text, only: None }.run(&loaded)
    }

    #[test]
    fn a_wrong_answer_is_told_with_line_case_expected_and_actual() {
        let text = "[[case]]\nname = \"near\"\nlinks = [{ rtt_us = 5 }]\nways = [{ dest = 7, via = 0 }]\n\
                    messages = [\n  { dest = 7, expect = 0 },\n  { dest = 7, expect = \"drop\" },\n]\n";

        let ran = run(builtin::LATENCY, text).unwrap();

        assert_eq!((ran.cases, ran.failures.len()), (1, 1));
        assert_eq!(ran.failures[0].place(), "tests/x.toml:7");
        assert_eq!(ran.failures[0].to_string(), "\"near\", message 2: expected drop, got neighbour 0");
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place() {
        let error = run(builtin::LATENCY, "[[case]]\nname = \"x\"\nlinx = []\n").unwrap_err();

        assert!(error.is(&code::BAD_CASES) && error.message.starts_with("tests/x.toml:3:1: "), "{error}");
        assert!(error.message.contains("linx") && error.message.contains("links"), "{error}");
    }

    #[test]
    fn what_cannot_fail_or_asks_for_two_things_is_refused_with_its_place() {
        let repeat = run(builtin::LATENCY, "[[case]]\nname = \"x\"\nrepeat = 0\n").unwrap_err();
        assert!(repeat.message.starts_with("tests/x.toml:3:10: "), "{repeat}");
        for (event, why) in [
            ("{}", "none of them"),
            ("{ command = \"a\", timer = 1 }", "command, timer"),
            ("{ timer = 1, payload = \"a\" }", "payload does not belong to timer"),
            ("{ command = \"a\", topic = \"b\" }", "topic does not belong to command"),
            ("{ message = \"a\", origin = \"xy\" }", "hex"),
            ("{ message = \"a\", origin = \"abc\" }", "hex"),
            ("{ timer = 1, expect = [], failure = \"bad-input\" }", "expect and failure"),
            ("{ timer = 1, expect = [{}] }", "none of them"),
            ("{ timer = 1, expect = [{ put = \"a\", forget = \"b\" }] }", "put, forget"),
            (
                "{ timer = 1, expect = [{ reply = \"a\", payload = \"b\" }] }",
                "payload does not belong to reply",
            ),
            ("{ timer = 1, expect = [{ put = \"a\", after_ms = 1 }] }", "after_ms does not belong to put"),
        ] {
            let text = format!("[[case]]\nname = \"x\"\nevents = [\n  {event},\n]\n");
            let error = run(builtin::BEACON, &text).unwrap_err();
            assert!(
                error.is(&code::BAD_CASES) && error.message.starts_with("tests/x.toml:4:"),
                "{event}: {error}"
            );
            assert!(error.message.contains(why), "{event}: {error}");
        }
    }

    #[test]
    fn visitors_and_runs_are_asked_about_and_named_by_their_numbers() {
        for (component, rows, want) in [
            (
                builtin::GUEST_LIST,
                "settings = { deny = \"eve\" }\n\
                 visitors = [{ name = \"bob\", expect = true }, { name = \"eve\", expect = true }]",
                "\"x\", visitor 2: expected true, got false",
            ),
            (
                builtin::SHORT_MEMORY,
                "runs = [{ class = \"low\", expect = 55 }, { age_ms = 9_999_999, expect = 1 }]",
                "\"x\", run 2: expected 1, got refuse",
            ),
        ] {
            let ran = run(component, &format!("[[case]]\nname = \"x\"\n{rows}\n")).unwrap();

            let failures: Vec<String> = ran.failures.iter().map(ToString::to_string).collect();
            assert_eq!(failures, [want]);
        }
    }

    #[test]
    fn visitors_that_no_node_would_show_are_refused_with_their_place() {
        let many = "{}, ".repeat(65);
        for (visitors, why) in [("{ node = \"abc\" }", "hex"), (many.as_str(), "at most 64")] {
            let text = format!("[[case]]\nname = \"x\"\nvisitors = [{visitors}]\n");
            let error = run(builtin::GUEST_LIST, &text).unwrap_err();

            assert!(error.is(&code::BAD_CASES) && error.message.starts_with("tests/x.toml:3:"), "{error}");
            assert!(error.message.contains(why), "{error}");
        }
    }

    #[test]
    fn a_failure_that_was_not_expected_is_told_with_the_line_of_its_event() {
        let text = "[[case]]\nname = \"x\"\nevents = [\n  { timer = 77 },\n  { command = \"no such\" },\n]\n";

        let ran = run(builtin::BEACON, text).unwrap();

        assert_eq!(ran.failures.first().map(Failure::place).as_deref(), Some("tests/x.toml:5"), "{ran:?}");
    }

    #[test]
    fn a_fault_in_a_call_is_a_failure_of_the_case_and_names_the_trap() {
        let text = "[[case]]\nname = \"many\"\nlinks = [{}]\nways = [{ dest = 7, via = 0 }]\nrepeat = 20_000\n\
                    messages = [{ dest = 7, expect = 0 }]\n";

        let ran = run(builtin::FAULTY, text).unwrap();

        assert!(ran.failures[0].to_string().contains("trapped"), "{:?}", ran.failures);
    }

    #[test]
    fn settings_that_are_taken_or_refused_against_expectation_fail() {
        for (settings, expected, fails) in [
            ("margin_percent = 5", "", false),
            ("margin_percent = -1", "", true),
            ("margin_percent = -1", "refused = \"margin_percent\"", false),
            ("margin_percent = -1", "refused = \"margin_us\"", true),
            ("margin_percent = 5", "refused = \"margin_percent\"", true),
        ] {
            let text = format!("[[case]]\nname = \"x\"\nsettings = {{ {settings} }}\n{expected}\n");
            assert_eq!(run(builtin::LATENCY, &text).unwrap().failures.len(), usize::from(fails), "{text}");
        }
    }
}
