//! The commands that are printed, to be pasted: those that address a node name the one that the user named.
//!
//! Whoever writes such a line, the node or a command here, writes it without `-N`. Only [`Addressee`] knows how the
//! user reached the node.

use mesh_node::api::ApiError;

use super::undo::word;

const PROGRAM: &str = "meshctl ";
/// Commands that talk to a running node.
const TO_A_NODE: &[&str] = &[
    "beacon", "down", "events", "id", "members", "peers", "ping", "plugin", "pub", "route", "send", "status",
    "sub", "topology", "trace",
];
/// Those of `plugin` that talk to none.
const LOCAL: &[&str] =
    &["bench", "build", "call", "check", "key", "new", "publish", "run", "sign", "test", "wit"];

/// The node that the user named, as an option of the commands that are printed.
#[derive(Clone, Debug, Default)]
pub struct Addressee {
    option: Option<String>,
}

impl Addressee {
    /// Takes what the user gave to `--node`.
    pub fn new(node: Option<&str>) -> Addressee {
        Addressee { option: node.map(|node| format!("-N {} ", word(node))) }
    }

    /// Returns text for people, in which every command that addresses a node names it.
    pub fn text(&self, text: String) -> String {
        match &self.option {
            Some(option) => inserted(&text, option, |before| !before.is_some_and(is_of_a_word)),
            None => text,
        }
    }

    /// Returns JSON, in which the strings that are commands name the node. What else a string says may be a plugin's
    /// or another node's, and stays as it is.
    pub fn json(&self, json: String) -> String {
        match &self.option {
            Some(option) => {
                let escaped = serde_json::Value::from(option.as_str()).to_string();
                inserted(&json, escaped.trim_matches('"'), |before| before == Some('"'))
            }
            None => json,
        }
    }

    /// Returns the error with help that names the node.
    pub fn error(&self, mut error: ApiError) -> ApiError {
        error.help = error.help.into_iter().map(|line| self.text(line)).collect();
        error
    }
}

/// Puts the option behind the program's name, where a command begins that addresses a node.
fn inserted(text: &str, option: &str, begins: impl Fn(Option<char>) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    for (at, _) in text.match_indices(PROGRAM) {
        let behind = at + PROGRAM.len();
        if begins(unstyled_end(&text[..at]).chars().next_back()) && addresses_a_node(&text[behind..]) {
            out.push_str(&text[copied..behind]);
            out.push_str(option);
            copied = behind;
        }
    }
    out.push_str(&text[copied..]);
    out
}

/// Leaves out the styles that begin where a text ends: they are no part of a word.
fn unstyled_end(mut text: &str) -> &str {
    while let Some(at) = text.rfind("\x1b[") {
        let is_style = text[at + 2..]
            .strip_suffix('m')
            .is_some_and(|codes| codes.bytes().all(|byte| byte.is_ascii_digit() || byte == b';'));
        if !is_style {
            break;
        }
        text = &text[..at];
    }
    text
}

fn addresses_a_node(arguments: &str) -> bool {
    let mut words = arguments.split(|c: char| !is_of_a_word(c));
    match words.next() {
        Some("plugin") => !words.next().is_some_and(|word| LOCAL.contains(&word)),
        Some(word) => TO_A_NODE.contains(&word),
        None => false,
    }
}

fn is_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || "-_./".contains(c)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn commands_that_address_a_node_name_it_and_others_do_not() {
        let bob = Addressee::new(Some("bob"));
        for (text, want) in [
            ("undo  meshctl plugin rollback route\n", "undo  meshctl -N bob plugin rollback route\n"),
            ("'meshctl events', 'meshctl peers'", "'meshctl -N bob events', 'meshctl -N bob peers'"),
            ("\x1b[1m\x1b[2mmeshctl plugin gc\x1b[0m", "\x1b[1m\x1b[2mmeshctl -N bob plugin gc\x1b[0m"),
            ("[2mmeshctl plugin gc", "[2mmeshctl plugin gc"),
            ("meshctl -N carl down", "meshctl -N carl down"),
            ("meshctl plugin sign x.wasm", "meshctl plugin sign x.wasm"),
            ("meshctl up --detach", "meshctl up --detach"),
            ("/opt/meshctl plugin list", "/opt/meshctl plugin list"),
            ("meshctl plugin gc", "meshctl -N bob plugin gc"),
        ] {
            assert_eq!(bob.text(text.to_owned()), want);
            assert_eq!(Addressee::default().text(text.to_owned()), text);
        }
    }

    #[test]
    fn a_socket_is_one_word_in_text_and_in_json() {
        let there = Addressee::new(Some("/run/my \"x\"/bob.sock"));

        let json = there.json(r#"{"undo":"meshctl plugin gc","note":"say meshctl peers"}"#.to_owned());

        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["undo"], r#"meshctl -N '/run/my "x"/bob.sock' plugin gc"#);
        assert_eq!(value["note"], "say meshctl peers");
    }

    #[test]
    fn the_commands_are_those_of_the_command_line() {
        let cli = Cli::command();
        for name in TO_A_NODE {
            assert!(cli.find_subcommand(name).is_some(), "{name}");
        }
        let plugin = cli.find_subcommand("plugin").unwrap();
        for name in LOCAL {
            assert!(plugin.find_subcommand(name).is_some(), "{name}");
        }
    }
}
