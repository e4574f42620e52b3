//! What a plugin can do wrong in a call. Each costs one answer of the native built-in and one strike.

use std::time::Duration;

use wasmtime::Trap;

use crate::post_mortem::PostMortem;
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
        /// What the guest said before it gave up, or else the engine, with the innermost frames.
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
    pub(crate) fn of(error: &wasmtime::Error, limit: Duration, dead: &PostMortem) -> Fault {
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt | Trap::OutOfFuel) => return Fault::Deadline { limit },
            Some(trap) => return Fault::Trap { reason: in_words(trap.to_string(), dead) },
            None => {}
        }
        let reason = format!("{:#}", error.root_cause());
        if reason.contains("fuel allocated for hostcalls has been exhausted") {
            return Fault::TooMuch { max: crate::limits::ANSWER_BYTES };
        }
        Fault::Trap { reason: in_words(reason, dead) }
    }
}

/// Says the guest's own words if it left any, else the engine's, and where it was.
fn in_words(engine: String, dead: &PostMortem) -> String {
    /// Functions of the plugin that a line for people has room for.
    const SHOWN: usize = 2;
    let mut reason = dead.panic.as_ref().map_or(engine, |panic| format!("it panicked: {panic}"));
    for name in dead.own_frames().take(SHOWN) {
        reason.push_str(" in ");
        reason.push_str(name);
    }
    clip(reason)
}
