//! `meshctl ping`: round trips to a node, measured inside the node.

use std::time::Duration;

use clap::Args;
use mesh_node::api::{ApiError, ChosenBy, PingReport, Request};

use super::Context;
use super::peers::path_word;
use crate::output::human::{self, DIM, styled};
use crate::output::{Pair, Show, View};

/// Round trips to a node, and who chose the way.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  meshctl ping bob
  meshctl ping bob --count 10 --timeout 5s
  meshctl ping 7f3a09cc --json

The round trips are made by the node itself, on the way that its messages take.")]
pub struct Ping {
    /// The node: its name, its id, or the first six or more digits of the id.
    peer: String,
    /// Round trips.
    #[arg(short, long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
}

/// How long one round trip may take on top of the waiting time.
const PER_TRIP: Duration = Duration::from_millis(250);

impl Ping {
    /// Asks and prints.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let mut connection = context.connect().await?;
        connection.extend(PER_TRIP * self.count);
        let report: PingReport =
            connection.call(&Request::Ping { peer: self.peer, count: self.count }).await?;
        context.out.print(connection.node, &report)
    }
}

impl Show for PingReport {
    const SCHEMA: &'static str = "ping";

    fn view(&self) -> View {
        let name = self.name.as_deref().map_or_else(|| self.peer.short(), human::safe);
        let hops = if self.hops == 1 { "1 hop".to_owned() } else { format!("{} hops", self.hops) };
        let addr = self.addr.as_deref().map(|addr| format!(" {addr}")).unwrap_or_default();
        View::Pairs(vec![
            Pair::new("peer", "peer", format!("{name}   {}", styled(DIM, self.peer))),
            Pair::new("path", "path", format!("{}{addr}, {hops}", path_word(self.path))),
            Pair::new("rtt_s", "round trip", times(self)),
            Pair::new("received", "answers", format!("{} of {}", self.received, self.sent)),
            Pair::new("chosen_by", "chosen by", chosen_by(&self.chosen_by)),
        ])
    }

    fn names(&self) -> Vec<String> {
        vec![self.peer.to_string()]
    }
}

fn times(report: &PingReport) -> String {
    let [median, min, max] = [report.rtt_s, report.min_s, report.max_s].map(human::duration);
    if report.received > 1 { format!("{median}   (min {min}, max {max})") } else { median }
}

/// Returns who chose, and why, in one line.
pub fn chosen_by(chosen: &ChosenBy) -> String {
    let who = format!("{} {} in {}", chosen.plugin, chosen.version, chosen.slot);
    format!(
        "{who} {}: {}",
        styled(DIM, format!("({})", human::revision(&chosen.rev))),
        human::safe(&chosen.reason)
    )
}
