//! How an operator wants a binding to be run: who answers when it fails, and limits below the host's own.
//!
//! Limits go down only. What stands here belongs to a revision in a slot, so that a rollback brings it back.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::limits;
use crate::load::Kind;

/// Who answers in the place of a plugin that fails, or is quarantined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnFailure {
    /// The native built-in; a quarantine brings back the revision before.
    #[default]
    Fallback,
    /// Nobody: routes are held and topics dropped, classes become the lowest, no parent is wanted, no new link is made,
    /// nothing is kept that may be refused.
    FailClosed,
    /// What restrains least: any way that the host allows, the class that was asked for, every parent, every link,
    /// everything kept.
    FailOpen,
}

impl OnFailure {
    /// All of them.
    pub const ALL: [OnFailure; 3] = [OnFailure::Fallback, OnFailure::FailClosed, OnFailure::FailOpen];

    /// Returns what holds for a kind unless its operator says otherwise: without its guard a door stays shut.
    pub fn of(kind: Kind) -> OnFailure {
        if kind.is_guard() { OnFailure::FailClosed } else { OnFailure::Fallback }
    }

    /// Returns `fallback`, `fail-closed` or `fail-open`.
    pub fn name(self) -> &'static str {
        match self {
            OnFailure::Fallback => "fallback",
            OnFailure::FailClosed => "fail-closed",
            OnFailure::FailOpen => "fail-open",
        }
    }
}

impl fmt::Display for OnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no failure mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a failure mode is fallback, fail-closed or fail-open")]
pub struct NoSuchMode;

impl FromStr for OnFailure {
    type Err = NoSuchMode;

    fn from_str(text: &str) -> Result<OnFailure, NoSuchMode> {
        OnFailure::ALL.into_iter().find(|mode| mode.name() == text).ok_or(NoSuchMode)
    }
}

/// What the operator lowered; `None` is the host's own limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lowered {
    /// Time for a call, in whole milliseconds, which is what the engine's clock ticks in.
    pub deadline: Option<Duration>,
    /// Bytes of linear memory.
    pub memory: Option<usize>,
    /// Log lines a second; 0 keeps none.
    pub log_lines: Option<u32>,
}

/// What a binding is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Time for a call.
    pub deadline: Duration,
    /// Bytes of linear memory.
    pub memory: usize,
    /// Log lines a second.
    pub log_lines: u32,
}

/// How a binding is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Who answers when it fails.
    pub on_failure: OnFailure,
    /// Its limits, as far as they are lower than the host's.
    pub lowered: Lowered,
}

/// Why a limit is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLimit {
    /// It is outside what the host allows.
    #[error("the {what} is at least {least} and at most {most}, which is the host's own limit")]
    OutOfRange {
        /// Which.
        what: &'static str,
        /// The least value, in the unit of `most`.
        least: u64,
        /// The host's own limit: milliseconds, bytes or lines a second.
        most: u64,
    },
    /// The running instance has more already.
    #[error("the plugin uses {used} bytes of memory already")]
    InUse {
        /// Bytes.
        used: usize,
    },
}

/// The least memory that can be asked for: a page.
const LEAST_MEMORY: usize = 64 << 10;

impl Terms {
    /// Returns how a plugin of this kind is run unless its operator says otherwise.
    pub fn of(kind: Kind) -> Terms {
        Terms { on_failure: OnFailure::of(kind), lowered: Lowered::default() }
    }
}

impl Bounds {
    /// Returns the host's own limits for plugins of a kind (faults.md section 3).
    pub fn caps(kind: Kind) -> Bounds {
        let deadline = if kind == Kind::Handler { limits::HANDLER_CALL } else { limits::POLICY_CALL };
        Bounds { deadline, memory: limits::MEMORY_BYTES, log_lines: limits::LOG_LINES_PER_S }
    }
}

impl Lowered {
    /// Returns what applies to a plugin of this kind.
    pub fn bounds(&self, kind: Kind) -> Bounds {
        let caps = Bounds::caps(kind);
        Bounds {
            deadline: self.deadline.map_or(caps.deadline, |asked| asked.min(caps.deadline)),
            memory: self.memory.map_or(caps.memory, |asked| asked.min(caps.memory)),
            log_lines: self.log_lines.map_or(caps.log_lines, |asked| asked.min(caps.log_lines)),
        }
    }

    /// Checks that no limit goes up.
    ///
    /// # Errors
    /// The first that does, or that is too low to run anything with.
    pub fn check(&self, kind: Kind) -> Result<(), BadLimit> {
        let caps = Bounds::caps(kind);
        let within = |what, asked: Option<u64>, least: u64, most: u64| match asked {
            Some(asked) if !(least..=most).contains(&asked) => {
                Err(BadLimit::OutOfRange { what, least, most })
            }
            _ => Ok(()),
        };
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        within("deadline in milliseconds", self.deadline.map(ms), 1, ms(caps.deadline))?;
        let bytes = self.memory.map(|bytes| bytes as u64);
        within("memory in bytes", bytes, LEAST_MEMORY as u64, caps.memory as u64)?;
        within("log lines a second", self.log_lines.map(u64::from), 0, caps.log_lines.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_go_down_only() {
        let ms = Duration::from_millis;
        for (deadline, memory, log_lines, good) in [
            (None, None, None, true),
            (Some(ms(1)), Some(LEAST_MEMORY), Some(0), true),
            (Some(ms(5)), Some(limits::MEMORY_BYTES), Some(limits::LOG_LINES_PER_S), true),
            (Some(ms(6)), None, None, false),
            (Some(Duration::from_micros(900)), None, None, false),
            (None, Some(limits::MEMORY_BYTES + 1), None, false),
            (None, Some(LEAST_MEMORY - 1), None, false),
            (None, None, Some(limits::LOG_LINES_PER_S + 1), false),
        ] {
            let asked = Lowered { deadline, memory, log_lines };
            assert_eq!(asked.check(Kind::Routing).is_ok(), good, "{asked:?}");
        }
        let handler = Lowered { deadline: Some(ms(50)), ..Lowered::default() };
        assert!(handler.check(Kind::Handler).is_ok() && handler.check(Kind::Qos).is_err());
    }
}
