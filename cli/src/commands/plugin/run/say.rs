//! What `plugin run` prints: one line for each thing that happened, as text or as JSON.

use std::time::Duration;

use mesh_node::api::{ApiError, EventKind, LogRow, PluginRow, Request, Time};
use mesh_node::control::client::Events;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use super::Bound;
use crate::commands::Context;
use crate::connect::Connection;
use crate::output::human::{self, BAD, DIM, GOOD, WARN, styled};
use crate::output::{Output, now};

/// One thing that happened.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Told<'a> {
    /// There is a node to run in.
    Ready {
        /// Its name.
        node: &'a str,
        /// The slot.
        slot: &'a str,
        /// Whether it is somebody else's.
        attached: bool,
    },
    /// A revision decides.
    Live(Live<'a>),
    /// A build or a swap failed; what ran before goes on.
    Failed {
        /// The files that changed before.
        changed: &'a [String],
        /// Why.
        #[serde(flatten)]
        error: &'a ApiError,
    },
    /// What the revision has done since it is live.
    Stats(&'a PluginRow),
    /// The plugin wrote a line.
    Log {
        /// How much it matters.
        level: &'a str,
        /// What it says.
        text: &'a str,
    },
    /// The plugin failed in a call, or was taken out.
    Trap {
        /// What it did.
        reason: String,
        /// Whether it is not asked any more.
        quarantined: bool,
    },
    /// It is over.
    Stopped {
        /// The node.
        node: &'a str,
        /// What the slot of somebody else's node has now.
        restored: Option<String>,
    },
}

/// A revision that decides.
#[derive(Serialize)]
pub struct Live<'a> {
    /// The files that changed before; none at the start.
    pub changed: &'a [String],
    /// Seconds of the build.
    pub build_s: f64,
    /// Bytes of the component.
    pub size_bytes: u64,
    /// Seconds from the change, or from the start of the command.
    pub live_s: f64,
    /// The swap.
    #[serde(flatten)]
    pub bound: Bound,
}

#[derive(Serialize)]
struct At<'a> {
    at: Time,
    #[serde(flatten)]
    told: &'a Told<'a>,
}

/// Prints lines with the time of day.
pub struct Say {
    out: Output,
}

impl Say {
    /// Prints as the command line asks for.
    pub fn new(context: &Context) -> Say {
        Say { out: context.out.clone() }
    }

    /// Prints one.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn tell(&self, told: &Told<'_>) -> Result<(), ApiError> {
        let at = now();
        // RFC 3339 has the time of day at this place.
        let clock = at.to_string().get(11..19).unwrap_or_default().to_owned();
        let text = format!("{} {}", styled(DIM, clock), text(told));
        self.out.line("plugin-run", &At { at, told }, &text)
    }
}

/// How often the node is asked for what the plugin has said.
const EVERY: Duration = Duration::from_millis(250);

/// The log of a slot, from now on.
pub struct Log {
    node: Connection,
    slot: &'static str,
    after: u64,
}

impl Log {
    /// Begins behind what is in the log already.
    ///
    /// # Errors
    /// When the node is gone.
    pub async fn of(node: Connection, slot: &'static str) -> Result<Log, ApiError> {
        let mut log = Log { node, slot, after: 0 };
        log.next().await?;
        Ok(log)
    }

    async fn next(&mut self) -> Result<Vec<LogRow>, ApiError> {
        let request = Request::PluginLog { slot: self.slot.to_owned(), after: self.after };
        let lines: Vec<LogRow> = self.node.call(&request).await?;
        self.after = lines.last().map_or(self.after, |last| last.number);
        Ok(lines)
    }
}

/// Prints what the plugin says and does, until the node ends.
///
/// # Errors
/// `CONNECTION_LOST` when the node ends.
pub async fn chatter(say: &Say, mut events: Events, mut log: Log) -> Result<(), ApiError> {
    let mut look = interval(EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            event = events.next() => match event? {
                Some(event) => {
                    if let Some(told) = trap(log.slot, event.kind) {
                        say.tell(&told)?;
                    }
                }
                None => return Err(ended()),
            },
            _ = look.tick() => {
                // A node that is busy now is asked again; one that has ended ends the events.
                let lines = log.next().await.unwrap_or_default();
                // What the host says of the plugin comes as an event.
                for line in lines.iter().filter(|line| line.plugin.is_some()) {
                    say.tell(&Told::Log { level: &line.level, text: &line.text })?;
                }
            }
        }
    }
}

fn ended() -> ApiError {
    ApiError::new(&mesh_node::api::code::CONNECTION_LOST, "the node has ended").help("meshctl up --detach")
}

fn trap(slot: &str, kind: EventKind) -> Option<Told<'static>> {
    match kind {
        EventKind::PluginStruck { slot: of, reason, .. } if of == slot => {
            Some(Told::Trap { reason, quarantined: false })
        }
        EventKind::PluginQuarantined { slot: of, successor, .. } if of == slot => {
            Some(Told::Trap { reason: format!("{successor} took over"), quarantined: true })
        }
        _ => None,
    }
}

fn text(told: &Told<'_>) -> String {
    match told {
        Told::Ready { node, slot, attached: true } => {
            format!("{} in the slot {slot} of {}", styled(WARN, "dev override"), human::safe(node))
        }
        Told::Ready { node, slot, attached: false } => {
            format!(
                "private node {} is up, slot {slot}; look at it with: meshctl -N {} status",
                human::safe(node),
                human::safe(node)
            )
        }
        Told::Live(live) => live_text(live),
        Told::Failed { changed, error } => failed_text(changed, error),
        Told::Stats(row) => format!(
            "{} calls/s, p99 {}, {} traps",
            human::or_dash(row.calls_per_s.map(|calls| human::count(calls.round() as u64))),
            human::or_dash(row.p99_s.map(human::duration)),
            row.traps
        ),
        Told::Log { level, text } => {
            let style = match *level {
                "error" => BAD,
                "warn" => WARN,
                _ => DIM,
            };
            format!("{} {}", styled(style, format!("{level:<5}")), human::safe(text))
        }
        Told::Trap { reason, quarantined } => {
            let word = if *quarantined { "quarantined" } else { "trap" };
            format!("{} {}", styled(BAD, word), human::safe(reason))
        }
        Told::Stopped { restored: Some(plugin), .. } => {
            format!("stopped; {} decides again", human::safe(plugin))
        }
        Told::Stopped { node, restored: None } => format!("stopped, {} is gone", human::safe(node)),
    }
}

fn live_text(live: &Live<'_>) -> String {
    let Bound { slot, revision, swap_s, state, why, .. } = &live.bound;
    let head = format!("{}built {}", changed_text(live.changed), human::duration(live.build_s));
    let revision = human::revision(revision);
    if *state == "same revision" {
        return format!("{head} → rev {revision}, the same as before");
    }
    let why = why.as_deref().map_or_else(String::new, |why| format!(": {}", human::safe(why)));
    let state = match *state {
        "none" => "no state".to_owned(),
        word => format!("state {word}{why}"),
    };
    let swapped = styled(GOOD, format!("swapped {slot}"));
    let (swap, live) = (human::duration(*swap_s), human::duration(live.live_s));
    format!("{head} → rev {revision} → {swapped} in {swap} ({state}), live after {live}")
}

fn changed_text(changed: &[String]) -> String {
    match changed {
        [] => String::new(),
        [one] => format!("changed {} → ", human::safe(one)),
        [one, others @ ..] => format!("changed {} and {} more → ", human::safe(one), others.len()),
    }
}

fn failed_text(changed: &[String], error: &ApiError) -> String {
    let mut text = format!(
        "{}{} {}",
        changed_text(changed),
        styled(BAD, error.code.as_str()),
        human::safe(&error.message)
    );
    for (name, value) in &error.facts {
        // A compiler's lines stay as they are but for what could drive the terminal.
        let lines: Vec<String> = value.lines().map(human::safe).collect();
        match lines.as_slice() {
            [one] => text += &format!("\n  {name}  {one}"),
            many => text += &format!("\n{}", many.join("\n")),
        }
    }
    for help in &error.help {
        text += &format!("\nhelp: {}", human::safe(help));
    }
    text + "\n" + &styled(WARN, "what ran before goes on")
}
