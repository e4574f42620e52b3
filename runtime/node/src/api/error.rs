//! The one shape of an error: a code, a sentence, facts, and what to do next.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A failed call, as it crosses the control socket and as the user sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// `MESH-` and a family letter with three digits; explained by `meshctl explain CODE`.
    pub code: String,
    /// What went wrong, in one sentence, without a full stop.
    pub message: String,
    /// Details, each a name and a value.
    pub facts: Vec<(String, String)>,
    /// What to do next: commands that can be pasted.
    pub help: Vec<String>,
    /// What the process exits with.
    pub exit: u8,
}

/// One documented kind of error; see [`super::code`] for all of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// `MESH-N101` and so on. Never reused for something else.
    pub id: &'static str,
    /// What the process exits with.
    pub exit: u8,
    /// The kind of error, in a few words.
    pub title: &'static str,
    /// What `meshctl explain` prints: what it means, why it happens, what to do.
    pub text: &'static str,
}

impl ApiError {
    /// Makes an error of this kind.
    pub fn new(code: &'static Code, message: impl fmt::Display) -> ApiError {
        ApiError {
            code: code.id.to_owned(),
            message: message.to_string(),
            facts: Vec::new(),
            help: Vec::new(),
            exit: code.exit,
        }
    }

    /// Adds a detail.
    #[must_use]
    pub fn fact(mut self, name: &str, value: impl fmt::Display) -> ApiError {
        self.facts.push((name.to_owned(), value.to_string()));
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn help(mut self, line: impl fmt::Display) -> ApiError {
        self.help.push(line.to_string());
        self
    }

    /// Puts what is meant in place of a word such as `SLOT` in the help, so that it can be pasted.
    #[must_use]
    pub fn filled(mut self, placeholder: &str, meant: &str) -> ApiError {
        let word = |word: &str| if word == placeholder { meant.to_owned() } else { word.to_owned() };
        for line in &mut self.help {
            *line = line.split(' ').map(word).collect::<Vec<_>>().join(" ");
        }
        self
    }

    /// Says whether the error is of this kind.
    pub fn is(&self, code: &Code) -> bool {
        self.code == code.id
    }
}
