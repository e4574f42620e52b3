//! The log of a slot: what its plugins say and what happens to them. Bounded in lines and bytes, and in lines a
//! second; what is dropped is counted and said.

use std::collections::VecDeque;

use crate::limits;
use crate::load::Revision;

/// How much a line matters, most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// Something is broken.
    Error,
    /// Something needs a look.
    Warn,
    /// Something happened.
    Info,
    /// For the author.
    Debug,
}

impl LogLevel {
    /// All of them.
    pub const ALL: [LogLevel; 4] = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug];

    /// Returns `error`, `warn`, `info` or `debug`.
    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
        }
    }

    /// Passes what a plugin says on to the log of the program.
    pub(crate) fn trace(self, plugin: &str, text: &str) {
        match self {
            LogLevel::Error => tracing::error!(plugin, "{text}"),
            LogLevel::Warn => tracing::warn!(plugin, "{text}"),
            LogLevel::Info => tracing::info!(plugin, "{text}"),
            LogLevel::Debug => tracing::debug!(plugin, "{text}"),
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Its number in the slot, from 1 on, without gaps but for what was pushed out.
    pub number: u64,
    /// When, by the caller's clock.
    pub at_ms: u64,
    /// How much it matters.
    pub level: LogLevel,
    /// The plugin that says it; `None` for the host.
    pub plugin: Option<String>,
    /// What it says.
    pub text: String,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    lines: VecDeque<LogLine>,
    bytes: usize,
    last_number: u64,
    /// The second that is counted, and what plugins said in it.
    second: u64,
    said: u32,
    said_bytes: usize,
    /// Lines that were too many in that second.
    dropped_now: u64,
}

impl Log {
    /// Notes what the host has to say.
    pub(super) fn tell(&mut self, now_ms: u64, level: LogLevel, text: String) {
        self.keep(now_ms, level, None, text);
    }

    /// Notes what a plugin says, as long as it does not say too much; says whether it did.
    pub(super) fn say(
        &mut self,
        now_ms: u64,
        revision: &Revision,
        lines_per_s: u32,
        (level, text): (LogLevel, String),
    ) -> bool {
        if self.second != now_ms / 1000 {
            self.next_second(now_ms, lines_per_s);
        }
        self.said += 1;
        self.said_bytes += text.len();
        if self.said > lines_per_s || self.said_bytes > limits::LOG_BYTES_PER_S {
            self.dropped_now += 1;
            return false;
        }
        level.trace(&revision.name, &text);
        self.keep(now_ms, level, Some(revision.to_string()), text);
        true
    }

    fn next_second(&mut self, now_ms: u64, lines_per_s: u32) {
        if self.dropped_now > 0 {
            let text = format!("{} lines were too many: {lines_per_s} a second are kept", self.dropped_now);
            self.tell(now_ms, LogLevel::Warn, text);
        }
        (self.second, self.said, self.said_bytes, self.dropped_now) = (now_ms / 1000, 0, 0, 0);
    }

    fn keep(&mut self, at_ms: u64, level: LogLevel, plugin: Option<String>, text: String) {
        self.last_number += 1;
        self.bytes += text.len();
        self.lines.push_back(LogLine { number: self.last_number, at_ms, level, plugin, text });
        while self.lines.len() > limits::LOG_KEPT_LINES || self.bytes > limits::LOG_KEPT_BYTES {
            let Some(gone) = self.lines.pop_front() else { return };
            self.bytes -= gone.text.len();
        }
    }

    /// Returns the lines after this number, oldest first.
    pub(super) fn after(&self, number: u64) -> Vec<LogLine> {
        self.lines.iter().skip_while(|line| line.number <= number).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision() -> Revision {
        Revision { name: "a/b".into(), version: "1.0.0".into(), digest: [0; 32] }
    }

    fn say(log: &mut Log, now_ms: u64, text: &str) -> bool {
        log.say(now_ms, &revision(), 2, (LogLevel::Info, text.to_owned()))
    }

    #[test]
    fn what_is_too_much_in_a_second_is_counted_and_said_in_the_next() {
        let mut log = Log::default();
        let kept = ["one", "two", "three", "four"].map(|text| say(&mut log, 1_500, text));
        say(&mut log, 2_000, "five");

        let lines = log.after(0);
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["one", "two", "2 lines were too many: 2 a second are kept", "five"]);
        assert_eq!((kept, lines[2].plugin.as_deref()), ([true, true, false, false], None));
        assert_eq!(log.after(3).len(), 1);
    }

    #[test]
    fn the_oldest_lines_give_way() {
        let mut log = Log::default();
        for n in 0..limits::LOG_KEPT_LINES + 10 {
            log.tell(n as u64, LogLevel::Info, format!("line {n}"));
        }
        assert_eq!(log.after(0).first().map(|line| line.number), Some(11));

        log.tell(0, LogLevel::Info, "x".repeat(limits::LOG_KEPT_BYTES));
        assert_eq!(log.after(0).len(), 1);
    }
}
