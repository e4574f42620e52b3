//! `meshctl plugin stats`: how plugins run.

use clap::Args;
use mesh_node::api::{ApiError, JournalExtent, Request, StatsRow};

use super::{Context, state_word};
use crate::output::human;
use crate::output::{Column, Pair, Rows, Show, View};

/// How plugins run: calls, messages, times, memory, failures; and what their decision journals hold.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  meshctl plugin stats
  meshctl plugin stats route          with the spread of the call times, and how far back the journal reaches
  meshctl plugin stats --json --fields slot,calls,p99_s,traps

Each plugin is counted for itself: what decides now, what stands by for a rollback, what is in quarantine.")]
pub struct Stats {
    #[arg(help = concat!("The slot: ", slots!(), "; all when absent"))]
    slot: Option<String>,
}

impl Stats {
    /// Asks the node and prints.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let mut node = context.connect().await?;
        let rows: Vec<StatsRow> = node.call(&Request::PluginStats { slot: self.slot }).await?;
        context.out.print(node.node, &rows)
    }
}

const COLUMNS: &[Column] = &[
    Column::text("slot", "SLOT", 0),
    Column::text("plugin", "PLUGIN", 0),
    Column::text("state", "STATE", 2),
    Column::number("calls", "CALLS", 1),
    Column::number("calls_per_s", "CALLS/S", 3),
    Column::number("messages", "MESSAGES", 1),
    Column::number("fallbacks", "FALLBACKS", 2),
    Column::number("traps", "TRAPS", 0),
    Column::number("p50_s", "P50", 4),
    Column::number("p90_s", "P90", 5),
    Column::number("p99_s", "P99", 1),
    Column::number("p999_s", "P99.9", 4),
    Column::number("max_s", "MAX", 4),
    Column::number("memory_bytes", "MEMORY", 3),
    Column::number("memory_most_bytes", "MOST", 5),
    Column::number("journal", "JOURNAL", 5),
];

impl Show for Vec<StatsRow> {
    const SCHEMA: &'static str = "plugin-stats";

    fn view(&self) -> View {
        let mut rows = Rows::new(COLUMNS, "there is no slot");
        for row in self {
            let time = |seconds: Option<f64>| human::or_dash(seconds.map(human::duration));
            rows.push([
                row.slot.clone(),
                human::safe(&row.plugin.to_string()),
                state_word(row.state),
                human::count(row.calls),
                human::or_dash(row.calls_per_s.map(|calls| human::count(calls.round() as u64))),
                human::count(row.messages),
                human::count(row.fallbacks),
                row.traps.to_string(),
                time(row.p50_s),
                time(row.p90_s),
                time(row.p99_s),
                time(row.p999_s),
                time(row.max_s),
                human::bytes(row.memory_bytes),
                human::bytes(row.memory_most_bytes),
                human::or_dash(row.journal.map(|journal| human::bytes(journal.bytes))),
            ]);
        }
        match &self[..] {
            [first, others @ ..] if others.iter().all(|row| row.slot == first.slot) => {
                let head = [View::Rows(rows), switches(first)];
                View::Parts(head.into_iter().chain(self.iter().flat_map(more)).collect())
            }
            _ => View::Rows(rows),
        }
    }

    fn names(&self) -> Vec<String> {
        self.iter().map(|row| row.slot.clone()).collect()
    }
}

fn switches(row: &StatsRow) -> View {
    let switches = format!("{}, {} back, {} quarantines", row.swaps, row.rollbacks, row.quarantines);
    let journal = row.journal.map_or_else(|| "none".to_owned(), |journal| held(&journal));
    View::Pairs(vec![Pair::new("swaps", "swaps", switches), Pair::new("journal", "journal", journal)])
}

/// What one plugin has logged too much, and the spread of its call times.
fn more(row: &StatsRow) -> [View; 3] {
    let title = format!("\n{} ({})\n", human::safe(&row.plugin.to_string()), state_word(row.state));
    let pairs = vec![
        Pair::new("log_dropped", "log lines dropped", human::count(row.log_dropped)),
        Pair::new("timed_calls", "timed calls", human::count(row.timed_calls)),
    ];
    [View::Text(title), View::Pairs(pairs), histogram(row)]
}

fn held(journal: &JournalExtent) -> String {
    let JournalExtent { entries, dropped, bytes, most_bytes, since } = journal;
    let since = since.map(|since| format!(" since {since}")).unwrap_or_default();
    format!(
        "{} entries{since}, {} of {}; {} gave way",
        human::count(*entries),
        human::bytes(*bytes),
        human::bytes(*most_bytes),
        human::count(*dropped)
    )
}

/// A bar for each class; the longest has this many cells.
const BAR: u64 = 40;

fn histogram(row: &StatsRow) -> View {
    let most = row.histogram.iter().map(|class| class.count).max().unwrap_or(0).max(1);
    let line = |class: &mesh_node::api::TimeClass| {
        let cells = usize::try_from((class.count * BAR).div_ceil(most)).unwrap_or(0);
        let time = human::duration(class.up_to_s);
        format!("{time:>10}  {:<40}  {}\n", "█".repeat(cells), human::count(class.count))
    };
    View::Text(row.histogram.iter().map(line).collect())
}
