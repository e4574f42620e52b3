//! `meshctl status`: how the node is, problems first.

use clap::Args;
use mesh_node::api::{
    ApiError, Counters, MemberCounts, PluginRow, PluginState, Queued, Reach, ReachState, Request,
    Status as Report, StoreKind, TuningInfo,
};
use serde::Serialize;

use super::Context;
use super::plugin::state_word;
use crate::output::human::{self, BAD, DIM, WARN, styled};
use crate::output::{Pair, Show, View};

/// How the node is, problems first.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  meshctl status
  meshctl -N alice status --json
  meshctl status --json --fields peers_up,rss_bytes")]
pub struct Status {}

impl Status {
    /// Asks and prints.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let mut node = context.connect().await?;
        let status: Report = node.call(&Request::Status).await?;
        let vetoes = Vetoes::of(&node.call(&Request::Counters).await?);
        context.out.print(Some(status.node), &Told { status, vetoes })
    }
}

/// How a node is.
#[derive(Debug, Serialize)]
struct Told {
    #[serde(flatten)]
    status: Report,
    vetoes: Vetoes,
}

/// What the policies in `admission` and `carry` kept out since the start.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Vetoes {
    /// Links.
    not_admitted: u64,
    /// Dials of nodes that were heard of.
    not_dialed: u64,
    /// Messages for nodes that could not be reached.
    not_carried: u64,
}

impl Vetoes {
    fn of(counters: &Counters) -> Vetoes {
        let count = |name: &str| counters.0.get(name).copied().unwrap_or_default();
        Vetoes {
            not_admitted: count("links_not_admitted"),
            not_dialed: count("dials_not_admitted"),
            not_carried: count("dropped_not_carried"),
        }
    }

    fn text(&self) -> String {
        let parts = [
            (self.not_admitted, "links not let in"),
            (self.not_dialed, "dials not made"),
            (self.not_carried, "messages not kept"),
        ];
        let text: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{} {what}", human::count(*count)))
            .collect();
        if text.is_empty() { "nothing".to_owned() } else { text.join(", ") }
    }
}

impl Show for Told {
    const SCHEMA: &'static str = "status";

    fn view(&self) -> View {
        let Told { status, vetoes } = self;
        let pairs = View::Pairs(vec![
            Pair::new("name", "name", &status.name),
            Pair::new("node", "identity", status.node),
            Pair::new("version", "version", &status.version),
            Pair::new(
                "uptime_s",
                "up for",
                format!("{}, pid {}", human::duration(status.uptime_s), status.pid),
            ),
            Pair::new("data_dir", "store", store(status)),
            Pair::new("listening", "listening", human::or_dash(joined(&status.listening))),
            Pair::new(
                "peers_up",
                "peers",
                format!("{} up, {} known nodes in all", status.peers_up, status.nodes_known),
            ),
            Pair::new("members", "members", members(&status.members)),
            Pair::new("reach", "reach", reach(&status.reach)),
            Pair::new("tuning", "tuning", tuning(&status.tuning)),
            Pair::new("held", "held", queued(&status.held)),
            Pair::new("inbox", "inbox", queued(&status.inbox)),
            Pair::new("queued_bytes", "queued", by_class(status)),
            Pair::new("policies", "policies", policies(&status.policies)),
            Pair::new("vetoes", "vetoed", vetoes.text()),
            Pair::new("rss_bytes", "memory", human::bytes(status.rss_bytes)),
        ]);
        match problems(status) {
            Some(problems) => View::Parts(vec![View::Text(problems), pairs]),
            None => pairs,
        }
    }

    fn names(&self) -> Vec<String> {
        vec![self.status.name.clone()]
    }
}

/// Returns what runs in the slots, in one line: `route=built-in/latency qos=built-in/class-fair`.
pub fn policies(rows: &[PluginRow]) -> String {
    let mut text = Vec::new();
    for row in rows.iter().filter(|row| row.state != PluginState::Standby) {
        let slot = row.slot.as_deref().unwrap_or("–");
        let state = if row.state == PluginState::Active {
            String::new()
        } else {
            format!(" ({})", state_word(row.state))
        };
        text.push(format!("{slot}={}{state}", row.plugin));
    }
    human::or_dash(joined(&text))
}

fn problems(status: &Report) -> Option<String> {
    let mut text = String::new();
    for problem in &status.problems {
        text += &format!(
            "{} {}",
            styled(BAD, format!("problem[{}]:", problem.code)),
            human::safe(&problem.message)
        );
        text.push('\n');
        if let Some(help) = &problem.help {
            text += &format!("  {}\n", styled(DIM, help));
        }
    }
    (!text.is_empty()).then_some(text)
}

fn store(status: &Report) -> String {
    match (&status.data_dir, status.store) {
        (Some(dir), StoreKind::Redb) => dir.display().to_string(),
        _ => styled(WARN, "in memory, gone with the process"),
    }
}

fn queued(queued: &Queued) -> String {
    if queued.messages == 0 {
        return "nothing".to_owned();
    }
    format!("{} messages, {}", human::count(queued.messages), human::bytes(queued.bytes))
}

fn by_class(status: &Report) -> String {
    let q = &status.queued_bytes;
    let classes =
        [("critical", q.critical), ("high", q.high), ("normal", q.normal), ("low", q.low), ("bulk", q.bulk)];
    let waiting: Vec<_> = classes.iter().filter(|(_, bytes)| *bytes > 0).collect();
    let text: Vec<_> =
        waiting.iter().map(|(class, bytes)| format!("{class} {}", human::bytes(*bytes))).collect();
    if text.is_empty() { "nothing".to_owned() } else { text.join(", ") }
}

fn members(counts: &MemberCounts) -> String {
    let states = [("suspect", counts.suspect), ("dead", counts.dead), ("left", counts.left)];
    let others =
        states.iter().filter(|(_, count)| *count > 0).map(|(state, count)| format!(", {count} {state}"));
    let sample = if counts.sample { " (a sample of a larger mesh)" } else { "" };
    format!("{} alive{}{sample}", counts.alive, others.collect::<String>())
}

fn reach(reach: &Reach) -> String {
    let since = human::duration(reach.since_s);
    match reach.state {
        ReachState::Linked => format!("linked for {since}"),
        ReachState::Alone => styled(DIM, "alone: no other node is known"),
        ReachState::Recovering => styled(WARN, format!("Recovering… for {since}")),
        ReachState::Offline => styled(BAD, format!("offline for {since}")),
    }
}

fn tuning(tuning: &TuningInfo) -> String {
    let TuningInfo { links, heartbeat_s, phi, .. } = tuning;
    format!("links {links}, heartbeat {}, phi {phi}", human::duration(*heartbeat_s))
}

fn joined(texts: &[String]) -> Option<String> {
    (!texts.is_empty()).then(|| texts.join("  "))
}
