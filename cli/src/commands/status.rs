//! `meshctl status`: how the node is, problems first.

use clap::Args;
use mesh_node::api::{
    ApiError, MemberCounts, PluginRow, PluginState, Queued, Reach, ReachState, Request, Status as Report,
    StoreKind, TuningInfo,
};

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
        let report: Report = context.connect().await?.call(&Request::Status).await?;
        context.out.print(Some(report.node), &report)
    }
}

impl Show for Report {
    const SCHEMA: &'static str = "status";

    fn view(&self) -> View {
        let pairs = View::Pairs(vec![
            Pair::new("name", "name", &self.name),
            Pair::new("node", "identity", self.node),
            Pair::new("version", "version", &self.version),
            Pair::new("uptime_s", "up for", format!("{}, pid {}", human::duration(self.uptime_s), self.pid)),
            Pair::new("data_dir", "store", store(self)),
            Pair::new("listening", "listening", human::or_dash(joined(&self.listening))),
            Pair::new(
                "peers_up",
                "peers",
                format!("{} up, {} known nodes in all", self.peers_up, self.nodes_known),
            ),
            Pair::new("members", "members", members(&self.members)),
            Pair::new("reach", "reach", reach(&self.reach)),
            Pair::new("tuning", "tuning", tuning(&self.tuning)),
            Pair::new("held", "held", queued(&self.held)),
            Pair::new("inbox", "inbox", queued(&self.inbox)),
            Pair::new("queued_bytes", "queued", by_class(self)),
            Pair::new("policies", "policies", policies(&self.policies)),
            Pair::new("rss_bytes", "memory", human::bytes(self.rss_bytes)),
        ]);
        match problems(self) {
            Some(problems) => View::Parts(vec![View::Text(problems), pairs]),
            None => pairs,
        }
    }

    fn names(&self) -> Vec<String> {
        vec![self.name.clone()]
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
