//! `meshctl plugin logs`: what plugins say, and what happens to them.

use std::time::Duration;

use clap::{Args, ValueEnum};
use mesh_node::api::{ApiError, LogRow, Request};

use super::Context;
use crate::args;
use crate::output::human::{self, BAD, DIM, WARN, styled};
use crate::output::now;

/// The log of a slot: what its plugins say, and what happens to them.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  meshctl plugin logs beacon
  meshctl plugin logs route -f --level warn
  meshctl plugin logs route --since 10m --json

A node keeps the last 1,024 lines of each slot, at most 256 KiB, until it stops. Policies have no log: their lines are
the host's, about them.")]
pub struct Logs {
    #[arg(help = super::SLOT)]
    slot: String,
    /// Go on until the node stops.
    #[arg(short, long)]
    follow: bool,
    /// Only lines that matter this much or more.
    #[arg(long, value_enum, default_value = "debug", hide_default_value = true)]
    level: Level,
    /// Only lines that are not older.
    #[arg(long, value_name = "TIME", value_parser = args::duration)]
    since: Option<Duration>,
}

/// How much a line matters, most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

/// How often a log that is followed is asked for.
const EVERY: Duration = Duration::from_millis(250);

impl Logs {
    /// Prints what is there, and with `-f` what comes.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let mut node = context.connect().await?;
        let since = self.since.map(|since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        let from_ms = since.map_or(0, |since| now().0.saturating_sub(since));
        let mut after = 0;
        loop {
            let request = Request::PluginLog { slot: self.slot.clone(), after };
            let lines: Vec<LogRow> = node.call(&request).await?;
            if let (true, Some(first)) = (after > 0, lines.first().filter(|first| first.number > after + 1)) {
                context.out.note(format_args!("{} lines were pushed out", first.number - after - 1));
            }
            after = lines.last().map_or(after, |last| last.number);
            for line in lines.iter().filter(|line| line.at.0 >= from_ms && self.shows(&line.level)) {
                context.out.line("plugin-log", line, &text(line))?;
            }
            if !self.follow {
                return Ok(());
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    fn shows(&self, level: &str) -> bool {
        let rank = |wanted: &str| {
            let names = Level::value_variants().iter().filter_map(ValueEnum::to_possible_value);
            names.map(|name| name.get_name().to_owned()).position(|name| name == wanted)
        };
        let most = Level::value_variants().iter().position(|known| *known == self.level);
        rank(level) <= most
    }
}

fn text(line: &LogRow) -> String {
    // RFC 3339 has the time of day at this place.
    let at = line.at.to_string();
    let style = match line.level.as_str() {
        "error" => BAD,
        "warn" => WARN,
        "info" => human::BOLD,
        _ => DIM,
    };
    let who = line.plugin.as_deref().unwrap_or("host");
    let level = styled(style, format!("{:<5}", line.level));
    let clock = styled(DIM, at.get(11..23).unwrap_or_default());
    format!("{clock}  {level}  {}: {}", human::safe(who), human::safe(&line.text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_shows_itself_and_what_matters_more() {
        let logs = Logs { slot: "route".into(), follow: false, level: Level::Warn, since: None };

        let shown = ["error", "warn", "info", "debug"].map(|level| logs.shows(level));

        assert_eq!(shown, [true, true, false, false]);
    }
}
