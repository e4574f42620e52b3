//! What a plugin can do wrong in a call. Each costs one answer of the native built-in and one strike.

use std::time::Duration;

use wasmtime::Trap;

use crate::settings::{Refusal, clip};

/// One failed call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It ran longer than a call may.
    #[error("it ran longer than {limit:?}")]
    Deadline {
        /// What a call may take.
        limit: Duration,
    },
    /// It trapped: a panic, an overflow of its stack, a pointer out of bounds.
    #[error("it trapped: {reason}")]
    Trap {
        /// What the engine says, with the innermost frames.
        reason: String,
    },
    /// Its answer makes the host allocate more than an answer may.
    #[error("its answer is larger than {max} bytes")]
    TooMuch {
        /// What an answer may have.
        max: usize,
    },
    /// Its answer has another number of rows than the call.
    #[error("it answered {got} rows to {asked}")]
    Rows {
        /// Rows of the call.
        asked: usize,
        /// Rows of the answer.
        got: usize,
    },
    /// It named a neighbour that does not exist.
    #[error("it sent row {row} to neighbour {answer}, and there are {links}")]
    UnknownNeighbour {
        /// Of the batch.
        row: usize,
        /// What it answered.
        answer: u32,
        /// Neighbours of the view.
        links: usize,
    },
    /// It named a class that does not exist.
    #[error("it put row {row} into class {answer}")]
    UnknownClass {
        /// Of the batch.
        row: usize,
        /// What it answered.
        answer: u8,
    },
    /// It saved more state than it may.
    #[error("it saved {len} bytes of state, {max} are the limit")]
    StateTooLarge {
        /// What it saved.
        len: usize,
        /// What it may save.
        max: usize,
    },
    /// A fresh instance refused what an earlier one had taken.
    #[error("started anew, {0}")]
    Refused(Refusal),
    /// A handler asked for an effect that it may not have.
    #[error("its effect {effect} {reason}")]
    Effect {
        /// Which kind.
        effect: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// It cannot be instantiated.
    #[error("it cannot be started: {reason}")]
    Start {
        /// What the engine says.
        reason: String,
    },
}

impl Fault {
    /// Reads the engine's error of a call that had `limit`.
    pub(crate) fn of(error: &wasmtime::Error, limit: Duration) -> Fault {
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt | Trap::OutOfFuel) => return Fault::Deadline { limit },
            Some(trap) => return Fault::Trap { reason: with_frames(trap.to_string(), error) },
            None => {}
        }
        let reason = format!("{:#}", error.root_cause());
        if reason.contains("fuel allocated for hostcalls has been exhausted") {
            return Fault::TooMuch { max: crate::limits::ANSWER_BYTES };
        }
        Fault::Trap { reason: with_frames(reason, error) }
    }
}

/// Appends the innermost frames that have names and are the plugin's own.
fn with_frames(mut reason: String, error: &wasmtime::Error) -> String {
    const NOT_ITS_OWN: [&str; 5] = ["core", "std", "alloc", "__rustc", "rust_panic"];
    if let Some(backtrace) = error.downcast_ref::<wasmtime::WasmBacktrace>() {
        // The text has the names demangled, one a line, behind the module's and an exclamation mark.
        let text = backtrace.to_string();
        let names = text.lines().filter_map(|line| line.split_once('!')).map(|(_, name)| name.trim());
        let is_own = |name: &String| {
            let start = name.trim_start_matches('<').split([':', ' ']).next();
            start.is_none_or(|start| !NOT_ITS_OWN.contains(&start))
        };
        for name in names.map(without_hashes).filter(is_own).take(2) {
            reason.push_str(" in ");
            reason.push_str(&name);
        }
    }
    clip(reason)
}

/// Drops the hash of each crate from a demangled name: `core[8f2a1c0d9e8b7a65]::fmt` is `core::fmt` to people.
fn without_hashes(name: &str) -> String {
    let mut out = String::new();
    let mut rest = name;
    while let Some((before, after)) = rest.split_once('[') {
        out.push_str(before);
        rest = match after.split_once(']') {
            Some((hash, after)) if hash.len() == 16 && hash.bytes().all(|c| c.is_ascii_hexdigit()) => after,
            _ => {
                out.push('[');
                after
            }
        };
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::without_hashes;

    #[test]
    fn hashes_are_dropped_and_slices_stay() {
        for (name, want) in [
            ("std[a543996e6e7dbf1e]::panicking::{closure#0}", "std::panicking::{closure#0}"),
            ("<[u8] as x[a543996e6e7dbf1e]::Y>::z", "<[u8] as x::Y>::z"),
            ("open[", "open["),
        ] {
            assert_eq!(without_hashes(name), want);
        }
    }
}
