//! `meshctl sim list` and `show`: what comes with the program.

use clap::Args;
use mesh_node::api::{ApiError, code};
use mesh_sim::{Scenario, expect, library};
use serde::Serialize;

use crate::commands::Context;
use crate::output::{Column, Rows, Show as Printed, View, human};

/// What to list.
#[derive(Debug, Args)]
pub struct List {
    /// The figures of a report instead, which an [expect] can compare.
    #[arg(long)]
    figures: bool,
}

/// One shipped scenario.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    nodes: usize,
    time_s: f64,
    covers: Vec<String>,
    description: String,
}

/// One figure of a report.
#[derive(Debug, Serialize)]
struct Figure {
    figure: &'static str,
    about: &'static str,
}

impl List {
    /// Prints the list.
    pub fn run(self, context: &Context) -> Result<(), ApiError> {
        if self.figures {
            let figure = |metric: &expect::Metric| Figure { figure: metric.name, about: metric.about };
            return context.out.print(None, &expect::METRICS.iter().map(figure).collect::<Vec<_>>());
        }
        let rows = library::ALL.iter().map(Row::of).collect::<Result<Vec<_>, _>>()?;
        context.out.print(None, &rows)
    }
}

impl Row {
    fn of(shipped: &library::Shipped) -> Result<Row, ApiError> {
        let scenario =
            Scenario::parse(shipped.name, shipped.text, &[]).map_err(|error| super::bad_scenario(&error))?;
        Ok(Row {
            nodes: scenario.nodes,
            time_s: scenario.total().as_secs_f64(),
            name: scenario.name,
            covers: scenario.covers,
            description: scenario.description,
        })
    }
}

impl Printed for Vec<Row> {
    const SCHEMA: &'static str = "sim-list";

    fn view(&self) -> View {
        let columns = [
            Column::text("name", "NAME", 0),
            Column::number("nodes", "NODES", 1),
            Column::number("time_s", "TIME", 2),
            Column::text("covers", "COVERS", 3),
            Column::text("description", "WHAT HAPPENS", 0),
        ];
        let mut rows = Rows::new(&columns, "no scenario comes with this program");
        for row in self {
            rows.push([
                row.name.clone(),
                row.nodes.to_string(),
                human::duration(row.time_s),
                row.covers.join(" "),
                row.description.clone(),
            ]);
        }
        View::Rows(rows)
    }

    fn names(&self) -> Vec<String> {
        self.iter().map(|row| row.name.clone()).collect()
    }
}

impl Printed for Vec<Figure> {
    const SCHEMA: &'static str = "sim-figures";

    fn view(&self) -> View {
        let columns = [Column::text("figure", "FIGURE", 0), Column::text("about", "WHAT IT SAYS", 0)];
        let mut rows = Rows::new(&columns, "there are no figures");
        for row in self {
            rows.push([row.figure.to_owned(), row.about.to_owned()]);
        }
        View::Rows(rows)
    }

    fn names(&self) -> Vec<String> {
        self.iter().map(|row| row.figure.to_owned()).collect()
    }
}

/// Which scenario to print.
#[derive(Debug, Args)]
pub struct Show {
    /// A name from the list.
    name: String,
}

/// A shipped scenario as it is.
#[derive(Debug, Serialize)]
struct Shown {
    name: &'static str,
    text: &'static str,
}

impl Show {
    /// Prints the scenario.
    pub fn run(self, context: &Context) -> Result<(), ApiError> {
        let shipped = find(&self.name)?;
        context.out.print(None, &Shown { name: shipped.name, text: shipped.text })
    }
}

impl Printed for Shown {
    const SCHEMA: &'static str = "sim-scenario";

    fn view(&self) -> View {
        View::Text(self.text.to_owned())
    }

    fn names(&self) -> Vec<String> {
        vec![self.name.to_owned()]
    }
}

/// Finds a shipped scenario, or says which one was probably meant.
pub(super) fn find(name: &str) -> Result<&'static library::Shipped, ApiError> {
    library::find(name).ok_or_else(|| {
        let told = ApiError::new(&code::NO_SUCH_SCENARIO, format!("no scenario is called '{name}'"));
        match library::nearest(name) {
            Some(meant) => told.help(format!("did you mean '{meant}'?")),
            None => told.help("meshctl sim list"),
        }
    })
}
