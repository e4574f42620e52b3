//! `meshctl plugin limits`: what the plugin in a slot is held to.

use clap::Subcommand;
use mesh_node::api::{ApiError, LimitReport, LimitRow, LimitTo, Operation, Request};

use super::Context;
use super::operate::operate;
use crate::args;
use crate::output::human::{self, DIM, styled};
use crate::output::{Column, Pair, Rows, Show, View};

/// Limits of a running plugin.
#[derive(Debug, Subcommand)]
pub enum Limits {
    /// Each limit, what was used of it, and what would do.
    #[command(after_long_help = "\
Examples:
  meshctl plugin limits show route
  meshctl plugin limits show route --json")]
    Show {
        #[arg(help = super::SLOT)]
        slot: String,
    },
    /// Lower limits, at once and without a switch; 'host' gives the host's own back.
    #[command(after_long_help = "\
Examples:
  meshctl plugin limits set route --deadline 2ms --memory 4MiB
  meshctl plugin limits set beacon --log-rate 50/s
  meshctl plugin limits set route --deadline host
  meshctl plugin limits set route --deadline 2ms --dry-run

Limits go down from the host's own, never up. They belong to what is in the slot: a swap brings the host's own back,
a rollback those of the revision before.")]
    Set {
        #[arg(help = super::SLOT)]
        slot: String,
        /// Time for a call, in whole milliseconds, or 'host'.
        #[arg(long, value_name = "TIME", value_parser = deadline, required_unless_present_any = ["memory", "log_rate"])]
        deadline: Option<LimitTo>,
        /// Linear memory, such as 4MiB or 500000B, or 'host'.
        #[arg(long, value_name = "SIZE", value_parser = memory)]
        memory: Option<LimitTo>,
        /// Log lines a second, such as 50/s, or 'host'.
        #[arg(long, value_name = "RATE", value_parser = log_rate)]
        log_rate: Option<LimitTo>,
    },
}

impl Limits {
    /// Asks the node and prints.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        match self {
            Limits::Show { slot } => {
                let mut node = context.connect().await?;
                let report: LimitReport = node.call(&Request::PluginLimits { slot }).await?;
                context.out.print(node.node, &report)
            }
            Limits::Set { slot, deadline: deadline_ms, memory: memory_bytes, log_rate } => {
                operate(context, Operation::Limit { slot, deadline_ms, memory_bytes, log_rate }).await
            }
        }
    }
}

fn or_host(text: &str, parse: impl FnOnce(&str) -> Result<u64, String>) -> Result<LimitTo, String> {
    if text == "host" { Ok(LimitTo::Host) } else { Ok(LimitTo::To(parse(text)?)) }
}

fn deadline(text: &str) -> Result<LimitTo, String> {
    or_host(text, |text| {
        let time = args::duration(text)?;
        match u64::try_from(time.as_millis()) {
            Ok(ms) if ms > 0 && time.subsec_nanos() % 1_000_000 == 0 => Ok(ms),
            _ => Err("a deadline is in whole milliseconds, such as 2ms".to_owned()),
        }
    })
}

fn memory(text: &str) -> Result<LimitTo, String> {
    or_host(text, args::size)
}

fn log_rate(text: &str) -> Result<LimitTo, String> {
    or_host(text, |text| {
        let number = text.strip_suffix("/s").unwrap_or(text);
        number.parse().map_err(|_| "a rate is lines a second, such as 50/s".to_owned())
    })
}

const COLUMNS: &[Column] = &[
    Column::text("name", "LIMIT", 0),
    Column::number("limit", "IS", 0),
    Column::number("host", "HOST", 1),
    Column::number("p50", "P50", 3),
    Column::number("p99", "P99", 2),
    Column::number("max", "MAX", 1),
    Column::number("suggestion", "WOULD DO", 2),
];

impl Show for LimitReport {
    const SCHEMA: &'static str = "plugin-limits";

    fn view(&self) -> View {
        let name = format!("{} ({})", self.plugin, human::revision(&self.plugin.revision));
        let head =
            vec![Pair::new("slot", "slot", &self.slot), Pair::new("plugin", "plugin", human::safe(&name))];
        let mut rows = Rows::new(COLUMNS, "");
        for row in &self.limits {
            let shown = |value: Option<f64>| human::or_dash(value.map(|value| in_unit(row, value)));
            rows.push([
                row.name.clone(),
                in_unit(row, row.limit),
                in_unit(row, row.host),
                shown(row.p50),
                shown(row.p99),
                shown(row.max),
                shown(row.suggestion),
            ]);
        }
        let hint =
            styled(DIM, format!("change them: meshctl plugin limits set {} --deadline 2ms", self.slot));
        View::Parts(vec![View::Pairs(head), View::Rows(rows), View::Text(format!("{hint}\n"))])
    }

    fn names(&self) -> Vec<String> {
        self.limits.iter().map(|row| row.name.clone()).collect()
    }
}

fn in_unit(row: &LimitRow, value: f64) -> String {
    match row.unit.as_str() {
        "ms" => human::duration(value / 1e3),
        "bytes" => human::bytes(value as u64),
        unit => format!("{value} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_with_their_units() {
        for (text, want) in
            [("2ms", Some(2)), ("1s", Some(1000)), ("0.5ms", None), ("0ms", None), ("x", None)]
        {
            assert_eq!(deadline(text).ok(), want.map(LimitTo::To), "{text}");
        }
        for (text, want) in
            [("4MiB", Some(4 << 20)), ("64KiB", Some(64 << 10)), ("7B", Some(7)), ("7", None), ("4MB", None)]
        {
            assert_eq!(memory(text).ok(), want.map(LimitTo::To), "{text}");
        }
        for (text, want) in [("50/s", Some(50)), ("0", Some(0)), ("-1/s", None)] {
            assert_eq!(log_rate(text).ok(), want.map(LimitTo::To), "{text}");
        }
        assert_eq!(deadline("host"), Ok(LimitTo::Host));
    }
}
