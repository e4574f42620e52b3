//! The one shape of an error on stderr.

use std::io::Write;

use anstyle::{AnsiColor, Style};
use mesh_node::api::ApiError;
use serde_json::json;

const RED: Style = AnsiColor::Red.on_default().bold();
const HELP: Style = AnsiColor::Cyan.on_default().bold();
const DIM: Style = Style::new().dimmed();

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
        "facts": error.facts.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "help": error.help,
        "exit": error.exit,
    })
}

fn as_text(error: &ApiError) -> String {
    let code = &error.code;
    let mut text = format!("{RED}error[{code}]{RED:#}: {}\n", error.message);
    let width = error.facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, value) in &error.facts {
        text += &format!("  {DIM}{name:<width$}{DIM:#}   {value}\n");
    }
    for line in &error.help {
        text += &format!("{HELP}help{HELP:#}: {line}\n");
    }
    text + &format!("{DIM}more: meshctl explain {code}{DIM:#}\n")
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
}
