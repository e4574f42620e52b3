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
            Some(Trap::Interrupt) => return Fault::Deadline { limit },
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

/// Appends the innermost frames that have names.
fn with_frames(mut reason: String, error: &wasmtime::Error) -> String {
    if let Some(backtrace) = error.downcast_ref::<wasmtime::WasmBacktrace>() {
        let names = backtrace.frames().iter().filter_map(|frame| frame.func_name());
        for name in names.take(3) {
            reason.push_str(" in ");
            reason.push_str(name);
        }
    }
    clip(reason)
}
