//! `meshctl topology`: the mesh as this node knows it, and its place in the hierarchy.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use mesh_node::api::{
    ApiError, HierarchyReport, ProfileReport, Request, Topology as Report, TopologyNode, code,
};
use mesh_proto::NodeId;

use super::Context;
use crate::output::human;
use crate::output::{Column, Rows, Show, View};

mod explain;
pub mod profile;

/// The mesh as this node knows it, and its place in the hierarchy.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_long_help = "\
Examples:
  meshctl topology
  meshctl topology explain
  meshctl topology --dot | dot -Tsvg > mesh.svg
  meshctl topology --mermaid >> README.md
  meshctl topology --json

It is put together from what the nodes tell about themselves, signed by them; a node that has just gone may
still be in it.")]
pub struct Topology {
    /// As a Graphviz graph.
    #[arg(long, conflicts_with_all = ["mermaid", "json"])]
    dot: bool,
    /// As a Mermaid graph, for Markdown.
    #[arg(long, conflicts_with = "json")]
    mermaid: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// This node's role and parent, and why: the candidates with the arithmetic of their scores.
    #[command(after_long_help = "\
Examples:
  meshctl topology explain
  meshctl topology explain --json --fields parent,candidates

The parts are what the native built-in sees; SCORE is what decided. A plugin in the slot topology may score
otherwise: meshctl plugin swap topology built-in/steady")]
    Explain,
    /// Take part in the hierarchy, or as something else.
    #[command(after_long_help = "\
Examples:
  meshctl topology set --level squad --cell alpha
  meshctl topology set --battery 80
  meshctl topology set --role leader --strategy static
  meshctl topology set --weights tactical --at 52.5163,13.3777

What is not given stays as it is. It is kept, and holds after a restart.")]
    Set(Box<profile::Profile>),
    /// Take part in the hierarchy no more.
    #[command(after_long_help = "\
Examples:
  meshctl topology leave")]
    Leave,
}

impl Topology {
    /// Asks and prints.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        if let Some(command) = self.command {
            return command.run(context).await;
        }
        let mut connection = context.connect().await?;
        let report: Report = connection.call(&Request::Topology).await?;
        match (self.dot, self.mermaid) {
            (true, _) => context.out.data(&dot(&report)),
            (_, true) => context.out.data(&mermaid(&report)),
            _ => context.out.print(connection.node, &report),
        }
    }
}

impl Command {
    async fn run(self, context: &Context) -> Result<(), ApiError> {
        let dry_run = context.globals.dry_run;
        let request = match &self {
            Command::Explain => Request::TopologyExplain,
            Command::Set(profile) if profile.change().is_empty() => {
                return Err(ApiError::new(&code::USAGE, "nothing is to be different")
                    .help("meshctl topology set --help"));
            }
            Command::Set(profile) => Request::TopologySet { change: Box::new(profile.change()), dry_run },
            Command::Leave => Request::TopologyLeave { dry_run },
        };
        let mut connection = context.connect().await?;
        match self {
            Command::Explain => {
                let report: HierarchyReport = connection.call(&request).await?;
                context.out.print(connection.node, &report)
            }
            Command::Set(_) | Command::Leave => {
                let report: ProfileReport = connection.call(&request).await?;
                context.out.print(connection.node, &report)
            }
        }
    }
}

const COLUMNS: &[Column] = &[
    Column::text("name", "NAME", 0),
    Column::text("links", "LINKS", 0),
    Column::text("addrs", "ADDR", 2),
    Column::number("heard_s", "HEARD", 1),
    Column::text("node", "NODE", 3),
];

impl Show for Report {
    const SCHEMA: &'static str = "topology";

    fn view(&self) -> View {
        let labels = labels(self);
        let mut rows = Rows::new(COLUMNS, "no node is known");
        for node in &self.nodes {
            let links = self.links.iter().filter_map(|link| match (link.from, link.to) {
                (from, to) if from == node.node => Some(label(&labels, &to)),
                (from, to) if to == node.node => Some(label(&labels, &from)),
                _ => None,
            });
            let links: Vec<String> = links.collect();
            rows.push([
                name(node),
                human::or_dash(Some(links.join(" ")).filter(|links| !links.is_empty())),
                human::or_dash(node.addrs.first()),
                human::duration(node.heard_s),
                node.node.short(),
            ]);
        }
        View::Rows(rows)
    }

    fn names(&self) -> Vec<String> {
        self.nodes.iter().map(name).collect()
    }
}

fn name(node: &TopologyNode) -> String {
    node.name.as_deref().map_or_else(|| node.node.short(), human::safe)
}

fn labels(report: &Report) -> BTreeMap<NodeId, String> {
    report.nodes.iter().map(|node| (node.node, name(node))).collect()
}

fn label(labels: &BTreeMap<NodeId, String>, node: &NodeId) -> String {
    labels.get(node).cloned().unwrap_or_else(|| node.short())
}

// Names come from other nodes: everything that could end the quoted text goes.
fn quotable(label: &str) -> String {
    label.chars().filter(|&c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ')).collect()
}

fn dot(report: &Report) -> String {
    let mut text = String::from("graph mesh {\n  node [shape=box, style=rounded];\n");
    for node in &report.nodes {
        text += &format!("  \"{}\" [label=\"{}\"];\n", node.node.short(), quotable(&name(node)));
    }
    for link in &report.links {
        let rtt = link.rtt_s.map(|rtt| format!(" [label=\"{}\"]", human::duration(rtt))).unwrap_or_default();
        text += &format!("  \"{}\" -- \"{}\"{rtt};\n", link.from.short(), link.to.short());
    }
    text + "}\n"
}

fn mermaid(report: &Report) -> String {
    let mut text = String::from("graph LR\n");
    for node in &report.nodes {
        text += &format!("  n{}[\"{}\"]\n", node.node.short(), quotable(&name(node)));
    }
    for link in &report.links {
        let rtt = link.rtt_s.map(|rtt| format!("|{}|", human::duration(rtt))).unwrap_or_default();
        text += &format!("  n{} ---{rtt} n{}\n", link.from.short(), link.to.short());
    }
    text
}

#[cfg(test)]
mod tests {
    use mesh_node::api::Link;

    use super::*;

    fn report() -> Report {
        let node = |id: u8, name: &str| TopologyNode {
            node: NodeId([id; 32]),
            name: (!name.is_empty()).then(|| name.to_owned()),
            addrs: vec![],
            heard_s: 0.0,
        };
        let link = Link { from: NodeId([1; 32]), to: NodeId([2; 32]), rtt_s: Some(0.000_41) };
        Report { nodes: vec![node(1, "alice"), node(2, "b\"]; evil"), node(3, "")], links: vec![link] }
    }

    #[test]
    fn graphs_hold_every_node_and_link_and_no_foreign_syntax() {
        assert_eq!(
            dot(&report()),
            "graph mesh {\n  node [shape=box, style=rounded];\n  \"01010101\" [label=\"alice\"];\n  \
             \"02020202\" [label=\"b evil\"];\n  \"03030303\" [label=\"03030303\"];\n  \
             \"01010101\" -- \"02020202\" [label=\"0.41 ms\"];\n}\n"
        );
        assert_eq!(
            mermaid(&report()),
            "graph LR\n  n01010101[\"alice\"]\n  n02020202[\"b evil\"]\n  n03030303[\"03030303\"]\n  \
             n01010101 ---|0.41 ms| n02020202\n"
        );
    }
}
