//! `meshctl trace`: what became of a message, and why.

use std::time::Duration;

use clap::{Args, Subcommand};
use mesh_node::api::{ApiError, Request, WhyAnswer, WhyDecision, WhyHop, WhyReport, WhyState};

use super::Context;
use crate::output::human::{self, BAD, DIM, GOOD, WARN, styled};
use crate::output::{Column, Pair, Rows, Show, View};

/// What became of a message, and why.
#[derive(Debug, Args)]
pub struct Trace {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every decision on one message, over all hops that it took.
    #[command(after_long_help = "\
Examples:
  meshctl send bob \"hello\" --json --fields first_id
  meshctl trace why 7f3a09cc
  meshctl trace why 7f3a09cc --json

The node asks the author of the message and then each node that it came to; every one answers from what it remembers:
the next hop, the revision that chose it, the one that kept or refused what has no way, the host's correction if there
was one, and what the calls cost. A node that
has forgotten the message, or does not answer, is shown as that.")]
    Why {
        /// The message's id as 'send' and 'sub' print it, or its first eight or more digits.
        message: String,
    },
}

/// Each hop may be waited for as long as a node waits for one that does not answer.
const PER_HOP: Duration = Duration::from_secs(4);
const HOPS: u32 = 10;

impl Trace {
    /// Asks and prints.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let Command::Why { message } = self.command;
        let mut node = context.connect().await?;
        node.extend(PER_HOP * HOPS);
        let report: WhyReport = node.call(&Request::TraceWhy { message }).await?;
        context.out.print(node.node, &report)
    }
}

const COLUMNS: &[Column] = &[
    Column::number("hops", "HOP", 0),
    Column::text("node", "NODE", 0),
    Column::text("fate", "DID", 0),
    Column::text("to", "TO", 0),
    Column::text("reason", "WHY", 1),
    Column::text("route", "ROUTING", 1),
    Column::text("qos", "CLASS", 2),
    Column::text("carry", "CARRY", 1),
    Column::text("clamp", "OVERRULED", 1),
];

impl Show for WhyReport {
    const SCHEMA: &'static str = "trace-why";

    fn view(&self) -> View {
        let complete = match self.complete {
            true => styled(GOOD, "yes"),
            false => styled(WARN, "no: some nodes cannot say what they did"),
        };
        let head = View::Pairs(vec![
            Pair::new("message", "message", self.message),
            Pair::new("origin", "from", author(self)),
            Pair::new("dest", "to", recipient(self)),
            Pair::new("complete", "complete", complete),
        ]);
        let mut rows = Rows::new(COLUMNS, "nobody knows the message");
        for hop in &self.hops {
            hop.decisions.iter().for_each(|decision| rows.push(row(hop, decision)));
            if hop.decisions.is_empty() {
                rows.push(silent(hop));
            }
        }
        View::Parts(vec![head, View::Rows(rows)])
    }

    fn names(&self) -> Vec<String> {
        self.hops.iter().map(|hop| hop.node.to_string()).collect()
    }
}

fn author(report: &WhyReport) -> String {
    let hop = report.hops.iter().find(|hop| hop.node == report.origin);
    hop.map_or_else(|| report.origin.to_string(), called)
}

fn recipient(report: &WhyReport) -> String {
    let hop = report.hops.iter().find(|hop| hop.node.to_string() == report.dest);
    hop.map_or_else(|| human::safe(&report.dest), called)
}

fn called(hop: &WhyHop) -> String {
    hop.name.as_deref().map_or_else(|| hop.node.short(), human::safe)
}

fn row(hop: &WhyHop, decision: &WhyDecision) -> [String; 9] {
    let style = match decision.fate.as_str() {
        "delivered" | "sent" => GOOD,
        "held" => WARN,
        _ => BAD,
    };
    let to: Vec<String> = decision.to.iter().map(|node| human::safe(node)).collect();
    let class = decision.class.as_deref().unwrap_or(&decision.asked_class);
    [
        decision.hops.to_string(),
        called(hop),
        styled(style, human::safe(&decision.fate)),
        human::or_dash(Some(to.join(" ")).filter(|to| !to.is_empty())),
        human::safe(&decision.reason),
        human::or_dash(decision.route.as_ref().map(said)),
        format!("{}{}", human::safe(class), decision.qos.as_ref().map(by).unwrap_or_default()),
        human::or_dash(decision.carry.as_ref().map(said)),
        human::or_dash(decision.clamp.as_deref().map(human::safe)),
    ]
}

fn said(answer: &WhyAnswer) -> String {
    format!("{}{}", human::safe(&answer.answer), by(answer))
}

/// Who said it, with its revision and its price, as far as the journal still has it.
fn by(answer: &WhyAnswer) -> String {
    let Some(plugin) = &answer.plugin else { return styled(DIM, " (the journal has dropped the call)") };
    let version = answer.version.as_deref().filter(|version| !version.is_empty());
    let version = version.map(|version| format!(" {}", human::safe(version))).unwrap_or_default();
    let rev = answer.rev.as_deref().filter(|rev| *rev != "native").map(human::revision);
    let rev = rev.map(|rev| format!(" {}", human::safe(&rev))).unwrap_or_default();
    let cost = answer.cost_us.map(|us| format!(", {}", human::duration(us / 1e6))).unwrap_or_default();
    let instead = match answer.by.as_deref() {
        Some("fallback-fault") => ", failed: the built-in answered",
        Some("canary") => ", on trial",
        Some("fallback-absent") => ", not asked: the built-in answered",
        _ => "",
    };
    styled(DIM, format!(" by {}{version}{rev}{cost}{instead}", human::safe(plugin)))
}

fn silent(hop: &WhyHop) -> [String; 9] {
    let (word, why) = match hop.state {
        WhyState::NoAnswer => (styled(BAD, "no answer"), "it did not answer within 3 s"),
        WhyState::Forgotten => (styled(WARN, "forgotten"), "its memory does not reach back so far"),
        WhyState::NotSeen => (styled(DIM, "not seen"), "the message did not come here"),
        WhyState::Known => (String::new(), ""),
    };
    let dash = || "–".to_owned();
    [dash(), called(hop), word, dash(), why.to_owned(), dash(), dash(), dash(), dash()]
}
