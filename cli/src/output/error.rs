//! The one shape of an error on stderr.

use std::io::Write;

use anstyle::{AnsiColor, Style};
use mesh_node::api::ApiError;
use serde_json::{Map, Value, json};

use super::human::safe;

const RED: Style = AnsiColor::Red.on_default().bold();
const HELP: Style = AnsiColor::Cyan.on_default().bold();
const DIM: Style = Style::new().dimmed();
/// The longest name of a fact that the values of the others stand behind.
const WIDEST: usize = 40;

/// Prints an error: one line of JSON for programs, else the code, the cause, the facts, what to do next and
/// where to read more.
pub fn print_error(error: &ApiError, json: bool) {
    let mut out = anstream::stderr().lock();
    // Nothing is left to tell it to when stderr is closed.
    let _ = if json { writeln!(out, "{}", as_json(error)) } else { write!(out, "{}", as_text(error)) };
}

fn as_json(error: &ApiError) -> serde_json::Value {
    json!({
        "schema": "meshctl.error/v1",
        "code": error.code,
        "message": error.message,
        "facts": facts(&error.facts),
        "help": error.help,
        "exit": error.exit,
    })
}

/// A name that stands for several values has them in a list.
fn facts(facts: &[(String, String)]) -> Map<String, Value> {
    let mut all = Map::new();
    for (name, value) in facts {
        let value = Value::from(value.as_str());
        match all.get_mut(name) {
            None => drop(all.insert(name.clone(), value)),
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    all
}

fn as_text(error: &ApiError) -> String {
    let code = &error.code;
    let mut text = format!("{RED}error[{code}]{RED:#}: {}\n", lines(&error.message));
    let width = error.facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).min(WIDEST);
    for (name, value) in &error.facts {
        text += &format!("  {DIM}{:<width$}{DIM:#}   {}\n", safe(name), lines(value));
    }
    for line in &error.help {
        text += &format!("{HELP}help{HELP:#}: {}\n", lines(line));
    }
    text + &format!("{DIM}more: meshctl explain {code}{DIM:#}\n")
}

// Errors repeat what plugins, manifests and other nodes say, and the terminal is the user's.
fn lines(text: &str) -> String {
    text.lines().map(safe).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use mesh_node::api::code;

    use super::*;

    #[test]
    fn an_error_has_code_cause_facts_help_and_where_to_read_more() {
        let error = ApiError::new(&code::SEVERAL_NODES, "two nodes run here")
            .fact("alice", "pid 7")
            .fact("bo", "pid 8")
            .help("meshctl -N alice status");

        let text = anstream::adapter::strip_str(&as_text(&error)).to_string();

        assert_eq!(
            text,
            "error[MESH-N102]: two nodes run here\n  alice   pid 7\n  bo      pid 8\n\
             help: meshctl -N alice status\nmore: meshctl explain MESH-N102\n"
        );
        assert_eq!(as_json(&error)["facts"]["bo"], "pid 8");
        assert_eq!(as_json(&error)["exit"], 2);
    }

    #[test]
    fn what_strangers_say_in_an_error_cannot_drive_the_terminal() {
        let error = ApiError::new(&code::BAD_MANIFEST, "slots\x1b[2J")
            .fact("\x1b]0;x", "one\x07\ntwo\x1b[1A")
            .fact(&"n".repeat(100_000), "three")
            .help("meshctl \x1b[8m");

        let text = as_text(&error);

        assert!(text.contains("slots [2J\n") && text.contains("one \ntwo [1A\n"), "{}", &text[..200]);
        let stripped = anstream::adapter::strip_str(&text).to_string();
        assert!(!stripped.contains(|c: char| c.is_control() && c != '\n'), "{}", &stripped[..200]);
        assert!(stripped.contains("help: meshctl  [8m\n"));
    }

    #[test]
    fn facts_of_one_name_are_all_there() {
        let error =
            ApiError::new(&code::CHECK_FAILED, "x").fact("a", 1).fact("error", "one").fact("error", "two");
        let error = error.fact("error", "three");

        assert_eq!(as_json(&error)["facts"], json!({"a": "1", "error": ["one", "two", "three"]}));
    }
}
