//! `meshctl sim diff`: two runs side by side.

use std::path::PathBuf;

use clap::Args;
use mesh_node::api::{ApiError, code};
use mesh_sim::expect::{METRICS, Metric};
use mesh_sim::saved::Parting;
use mesh_sim::{Outcome, Report, SavedRun};
use serde::Serialize;

use super::replay::load;
use super::run::{Choice, Plan, What, plugin};
use crate::commands::Context;
use crate::output::human::{DIM, styled};
use crate::output::{Column, Rows, Show, View, human};

/// What to compare.
#[derive(Debug, Args)]
pub struct Diff {
    #[command(flatten)]
    what: What,
    /// A second saved run.
    #[arg(conflicts_with_all = ["plugins", "against"])]
    other: Option<PathBuf>,
    /// The plugins of the one side; the scenario's own when absent.
    #[arg(long = "plugin", value_name = "SLOT=PLUGIN", value_parser = plugin)]
    plugins: Vec<Choice>,
    /// The plugins of the other side.
    #[arg(long, value_name = "SLOT=PLUGIN", value_parser = plugin)]
    against: Vec<Choice>,
}

/// Two runs and their figures.
#[derive(Debug, Serialize)]
struct Compared {
    a: Side,
    b: Side,
    equal: bool,
    parting: Option<Parting>,
    figures: Vec<Row>,
}

/// What one run was.
#[derive(Debug, Serialize)]
struct Side {
    scenario: String,
    nodes: u64,
    seed: u64,
    plugins: Vec<String>,
    trace_hash: String,
}

/// One figure of both.
#[derive(Debug, Serialize)]
struct Row {
    figure: &'static str,
    a: Option<f64>,
    b: Option<f64>,
    /// From the one to the other, as a share of the one; `None` from nothing.
    change: Option<f64>,
}

impl Diff {
    /// Compares and prints.
    pub fn run(self, context: &Context) -> Result<(), ApiError> {
        let (a, b) = match &self.other {
            Some(other) => {
                let (a, b) = (load(self.what.scenario.as_ref())?, load(other)?);
                (a.outcome, b.outcome)
            }
            None if self.against.is_empty() => {
                let told = ApiError::new(&code::USAGE, "there is nothing to compare with");
                return Err(told
                    .help("meshctl sim diff before.json after.json")
                    .help(format!("meshctl sim diff {} --against routing=PLUGIN", self.what.scenario)));
            }
            None => (self.side(context, &self.plugins)?, self.side(context, &self.against)?),
        };
        context.out.print(None, &compare(&a, &b))
    }

    fn side(&self, context: &Context, plugins: &[Choice]) -> Result<Outcome, ApiError> {
        let plan: Plan = self.what.plan(plugins)?;
        let loaded = plan.plugins(&plan.scenario()?)?;
        plan.run(context, &loaded)
    }
}

fn compare(a: &Outcome, b: &Outcome) -> Compared {
    let saved = SavedRun { outcome: a.clone(), ..SavedRun::default() };
    let parting = saved.parting(b);
    let figures = METRICS.iter().map(|metric| Row::of(metric, &a.report, &b.report)).collect();
    Compared { a: Side::of(&a.report), b: Side::of(&b.report), equal: parting.is_none(), parting, figures }
}

impl Side {
    fn of(report: &Report) -> Side {
        let plugins = report.plugins.iter().map(|row| format!("{} {}", row.plugin, row.version)).collect();
        Side {
            scenario: report.scenario.clone(),
            nodes: report.nodes,
            seed: report.seed,
            plugins,
            trace_hash: report.trace_hash.clone(),
        }
    }

    fn title(&self) -> String {
        let plugins = match self.plugins.as_slice() {
            [] => "native policies".to_owned(),
            plugins => plugins.join(", "),
        };
        format!("{}, {} nodes, seed {}, {plugins}", self.scenario, self.nodes, self.seed)
    }
}

impl Row {
    fn of(metric: &'static Metric, a: &Report, b: &Report) -> Row {
        let (a, b) = (metric.value(a), metric.value(b));
        let change = a.zip(b).filter(|(a, _)| *a != 0.0).map(|(a, b)| (b - a) / a);
        Row { figure: metric.name, a, b, change }
    }
}

impl Show for Compared {
    const SCHEMA: &'static str = "sim-diff";

    fn view(&self) -> View {
        let columns = [
            Column::text("figure", "FIGURE", 0),
            Column::number("a", "A", 0),
            Column::number("b", "B", 0),
            Column::number("change", "CHANGE", 0),
        ];
        let mut rows = Rows::new(&columns, "neither has a figure");
        let shown = |metric: &Metric, value: Option<f64>| value.map(|value| metric.show(value));
        for (row, metric) in self.figures.iter().zip(METRICS) {
            if row.a.is_none() && row.b.is_none() {
                continue;
            }
            let change = match row.change {
                Some(change) if change.abs() >= 0.0005 => format!("{:+.1} %", change * 100.0),
                _ if row.a == row.b => styled(DIM, "="),
                _ => String::new(),
            };
            rows.push([
                row.figure.to_owned(),
                human::or_dash(shown(metric, row.a)),
                human::or_dash(shown(metric, row.b)),
                change,
            ]);
        }
        let mut head = format!("A  {}\nB  {}\n", self.a.title(), self.b.title());
        head += &match &self.parting {
            None => "Both are the same run, to the last byte.\n".to_owned(),
            Some(parting) => {
                format!("They part between {} s and {} s.\n", parting.equal_until_s, parting.differs_at_s)
            }
        };
        View::Parts(vec![View::Rows(rows), View::Text(head)])
    }

    fn names(&self) -> Vec<String> {
        vec![self.a.trace_hash.clone(), self.b.trace_hash.clone()]
    }
}
