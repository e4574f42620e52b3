//! `meshctl route`: ways through the mesh, and who chose them.

use clap::{Args, Subcommand};
use mesh_node::api::{ApiError, Request, RouteReport, RouteState};

use super::Context;
use super::ping::chosen_by;
use crate::output::human::{self, BAD, DIM, GOOD, WARN, styled};
use crate::output::{Column, Pair, Rows, Show, View};

/// Ways through the mesh.
#[derive(Debug, Args)]
pub struct Route {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The ways to a node, and why one was chosen.
    #[command(after_long_help = "\
Examples:
  meshctl route explain bob
  meshctl route explain 7f3a09cc --json

The question is put to the routing policy itself: the answer is the next hop that a message would take now,
with the revision that chose it and the host's correction, if there was one.")]
    Explain {
        /// The node: its name, its id, or the first six or more digits of the id.
        peer: String,
    },
}

impl Route {
    /// Asks and prints.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let Command::Explain { peer } = self.command;
        let mut connection = context.connect().await?;
        let report: RouteReport = connection.call(&Request::RouteExplain { peer }).await?;
        context.out.print(connection.node, &report)
    }
}

const COLUMNS: &[Column] = &[
    Column::text("chosen", "", 0),
    Column::text("via", "VIA", 0),
    Column::number("cost_us", "COST", 0),
    Column::number("hops", "HOPS", 0),
];

impl Show for RouteReport {
    const SCHEMA: &'static str = "route";

    fn view(&self) -> View {
        let name = self.name.as_deref().map_or_else(|| self.destination.short(), human::safe);
        let next_hop = self.next_hop.as_deref().map_or_else(|| no_way(self.state), human::safe);
        let held =
            format!("{} messages, {}", human::count(self.held.messages), human::bytes(self.held.bytes));
        let head = View::Pairs(vec![
            Pair::new(
                "destination",
                "destination",
                format!("{name}   {}", styled(human::DIM, self.destination)),
            ),
            Pair::new("next_hop", "next hop", next_hop),
            Pair::new("chosen_by", "chosen by", chosen_by(&self.chosen_by)),
            Pair::new("held", "waiting", if self.held.messages == 0 { "nothing".to_owned() } else { held }),
        ]);
        let mut rows = Rows::new(COLUMNS, "no way is known");
        for way in &self.ways {
            rows.push([
                if way.chosen { styled(GOOD, "chosen") } else { String::new() },
                human::safe(&way.via),
                human::duration(way.cost_us as f64 / 1e6),
                way.hops.to_string(),
            ]);
        }
        View::Parts(vec![head, View::Rows(rows)])
    }

    fn names(&self) -> Vec<String> {
        self.next_hop.iter().cloned().collect()
    }
}

fn no_way(state: RouteState) -> String {
    match state {
        RouteState::This => "none needed: it is this node".to_owned(),
        RouteState::Dead => styled(BAD, "none: the node is dead; messages wait"),
        RouteState::Left => styled(DIM, "none: the node has left; messages wait"),
        RouteState::Unknown => styled(WARN, "none: no such node is known; looking for it, messages wait"),
        RouteState::Found | RouteState::Searching => styled(WARN, "none yet: looking for one, messages wait"),
    }
}
