//! What an operator does to the plugin in a slot: checked against how the slot is, done by whoever owns it, told to
//! people.

use std::time::Duration;

use mesh_plugin_host::{Kind, Lowered, OperateError, SlotStatus, Terms};

use crate::api::LimitTo;

/// One thing that is done to a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Pause,
    Resume,
    Lower(Lowering),
}

/// Which limits are to be others.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lowering {
    /// In milliseconds.
    pub(crate) deadline: Option<LimitTo>,
    /// In bytes.
    pub(crate) memory: Option<LimitTo>,
    /// In lines a second.
    pub(crate) log_lines: Option<LimitTo>,
}

impl Lowering {
    /// Returns the terms that follow on those of a slot.
    pub(crate) fn terms(&self, before: &SlotStatus) -> Terms {
        let Lowered { deadline, memory, log_lines } = before.lowered;
        let lowered = Lowered {
            deadline: follow(self.deadline, deadline, Duration::from_millis),
            memory: follow(self.memory, memory, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
            log_lines: follow(self.log_lines, log_lines, |lines| u32::try_from(lines).unwrap_or(u32::MAX)),
        };
        Terms { on_failure: before.on_failure, lowered }
    }
}

fn follow<T>(to: Option<LimitTo>, before: Option<T>, of: impl FnOnce(u64) -> T) -> Option<T> {
    match to {
        None => before,
        Some(LimitTo::Host) => None,
        Some(LimitTo::To(value)) => Some(of(value)),
    }
}

impl Act {
    /// Says whether it could be done, as far as the slot's status tells.
    pub(crate) fn check(&self, kind: Kind, before: &SlotStatus) -> Result<(), OperateError> {
        match self {
            Act::Pause if before.paused => Err(OperateError::Paused),
            Act::Resume if before.paused || before.quarantined.is_some() => Ok(()),
            Act::Resume => Err(OperateError::NothingToResume),
            Act::Pause | Act::Lower(_) if before.active.is_none() => Err(OperateError::NoPlugin),
            Act::Pause => Ok(()),
            Act::Lower(lowering) => Ok(lowering.terms(before).lowered.check(kind)?),
        }
    }

    /// Says in a word what was done.
    pub(crate) fn done(&self) -> &'static str {
        match self {
            Act::Pause => "paused",
            Act::Resume => "resumed",
            Act::Lower(_) => "held to other limits",
        }
    }

    /// Returns the command that takes it back.
    pub(crate) fn undo(&self, before: &SlotStatus) -> String {
        let slot = before.slot;
        match self {
            Act::Pause => format!("meshctl plugin resume {slot}"),
            Act::Resume if before.paused => format!("meshctl plugin pause {slot}"),
            Act::Resume => format!("meshctl plugin rollback {slot}"),
            Act::Lower(lowering) => {
                let Lowered { deadline, memory, log_lines } = before.lowered;
                let mut line = format!("meshctl plugin limits set {slot}");
                let mut option = |is_changed: bool, name: &str, before: Option<String>| {
                    if is_changed {
                        line.push_str(&format!(" --{name} {}", before.as_deref().unwrap_or("host")));
                    }
                };
                let ms = |limit: Duration| format!("{}ms", limit.as_millis());
                option(lowering.deadline.is_some(), "deadline", deadline.map(ms));
                option(lowering.memory.is_some(), "memory", memory.map(|bytes| format!("{bytes}B")));
                option(lowering.log_lines.is_some(), "log-rate", log_lines.map(|n| format!("{n}/s")));
                line
            }
        }
    }
}
