//! `meshctl bench net`: starts both sides as processes, alternates node and baseline, prints medians.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use clap::Args;
use mesh_node::api::{ApiError, code};
use mesh_node::bench::BaselineReport;
use serde::Serialize;

use super::node::{Role, Said};
use crate::commands::Context;
use crate::output::human;
use crate::output::{Column, Rows, Show, View};

/// How much, how long, how often.
#[derive(Debug, Args)]
pub struct Net {
    /// Bytes of a message; the first eight are its number.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(8..=65_536), value_name = "BYTES")]
    size: u32,
    /// Seconds of each run.
    #[arg(long, default_value_t = 3.0, value_name = "SECS")]
    secs: f64,
    /// Runs of each kind.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100), value_name = "N")]
    rounds: u32,
}

/// The medians of the runs.
#[derive(Debug, Serialize)]
struct Report {
    size: u32,
    secs: f64,
    rounds: u32,
    #[serde(flatten)]
    node: Figures,
    baseline: Figures,
    ratio: f64,
}

/// One kind's figures.
#[derive(Clone, Debug, Serialize)]
struct Figures {
    msgs_per_s: f64,
    mb_per_s: f64,
    tx_cpu_us_per_msg: f64,
    rx_cpu_us_per_msg: f64,
    rx_peak_rss_mib: f64,
    gaps: u64,
}

impl Net {
    /// Measures and prints.
    pub fn run(self, context: &Context) -> Result<(), ApiError> {
        if !(0.1..=600.0).contains(&self.secs) {
            return Err(
                ApiError::new(&code::BAD_VALUE, "a run takes 0.1 to 600 seconds").fact("secs", self.secs)
            );
        }
        let (mut nodes, mut bare) = (Vec::new(), Vec::new());
        for round in 1..=self.rounds {
            context.out.note(format_args!("round {round} of {}: two nodes", self.rounds));
            nodes.push(self.measure(Role::NodeReceive, Role::NodeSend)?);
            context.out.note(format_args!("round {round} of {}: bare stream", self.rounds));
            bare.push(self.measure(Role::BareReceive, Role::BareSend)?);
        }
        let (node, baseline) = (medians(&nodes), medians(&bare));
        let ratio = node.msgs_per_s / baseline.msgs_per_s.max(1e-9);
        let report = Report { size: self.size, secs: self.secs, rounds: self.rounds, node, baseline, ratio };
        context.out.print(None, &report)
    }

    fn measure(&self, receive: Role, send: Role) -> Result<Figures, ApiError> {
        let mut receiver = Side::start(self, receive, None)?;
        let Said::Listening { addr } = receiver.next()? else {
            return Err(failed("the receiver did not listen"));
        };
        let mut sender = Side::start(self, send, Some(&addr))?;
        let (sent, received) = (sender.done()?, receiver.done()?);
        Ok(Figures {
            msgs_per_s: received.msgs_per_s,
            mb_per_s: received.mb_per_s,
            tx_cpu_us_per_msg: sent.cpu_us_per_msg,
            rx_cpu_us_per_msg: received.cpu_us_per_msg,
            rx_peak_rss_mib: received.peak_rss_mib,
            // A message that was sent and never came leaves no number that could be checked.
            gaps: received.gaps + sent.msgs.saturating_sub(received.msgs),
        })
    }
}

/// One process; it goes when this value goes.
struct Side {
    child: Child,
    says: Lines<BufReader<ChildStdout>>,
}

impl Drop for Side {
    fn drop(&mut self) {
        // It has usually ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Side {
    fn start(net: &Net, role: Role, to: Option<&str>) -> Result<Side, ApiError> {
        let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
        let mut command = Command::new(program);
        command.args(["bench", "net-node", role.name()]);
        command.args(["--size", &net.size.to_string(), "--secs", &net.secs.to_string()]);
        if let Some(addr) = to {
            command.args(["--to", addr]);
        }
        // Its stdin closes with this process, and then it ends.
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
        let mut child = child.map_err(|error| failed(error.to_string()))?;
        let stdout = child.stdout.take().ok_or_else(|| failed("no pipe"))?;
        Ok(Side { child, says: BufReader::new(stdout).lines() })
    }

    fn next(&mut self) -> Result<Said, ApiError> {
        match self.says.next() {
            Some(Ok(line)) => serde_json::from_str(&line).map_err(|error| failed(error.to_string())),
            Some(Err(error)) => Err(failed(error.to_string())),
            None => Err(failed("a side ended before it was done")),
        }
    }

    fn done(&mut self) -> Result<BaselineReport, ApiError> {
        match self.next()? {
            Said::Done { report } => Ok(report),
            Said::Listening { .. } => Err(failed("a side listened twice")),
        }
    }
}

fn medians(runs: &[Figures]) -> Figures {
    let of = |figure: fn(&Figures) -> f64| median(runs.iter().map(figure).collect());
    Figures {
        msgs_per_s: of(|run| run.msgs_per_s),
        mb_per_s: of(|run| run.mb_per_s),
        tx_cpu_us_per_msg: of(|run| run.tx_cpu_us_per_msg),
        rx_cpu_us_per_msg: of(|run| run.rx_cpu_us_per_msg),
        rx_peak_rss_mib: of(|run| run.rx_peak_rss_mib),
        // All of them: a gap in one run must not hide behind a clean other one.
        gaps: runs.iter().map(|run| run.gaps).sum(),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match (values.len(), values.len() / 2) {
        (0, _) => 0.0,
        (len, middle) if len % 2 == 1 => values[middle],
        (_, middle) => f64::midpoint(values[middle - 1], values[middle]),
    }
}

fn failed(why: impl Into<String>) -> ApiError {
    ApiError::new(&code::BENCH_FAILED, why.into())
}

const COLUMNS: &[Column] = &[
    Column::text("kind", "", 0),
    Column::number("msgs_per_s", "MSGS/S", 0),
    Column::number("mb_per_s", "MB/S", 1),
    Column::number("tx_cpu_us_per_msg", "TX CPU µs", 2),
    Column::number("rx_cpu_us_per_msg", "RX CPU µs", 2),
    Column::number("rx_peak_rss_mib", "RX PEAK MiB", 3),
    Column::number("gaps", "GAPS", 0),
];

impl Show for Report {
    const SCHEMA: &'static str = "bench-net";

    fn view(&self) -> View {
        let mut rows = Rows::new(COLUMNS, "");
        for (kind, run) in [("two nodes", &self.node), ("bare stream", &self.baseline)] {
            rows.push([
                kind.to_owned(),
                human::count(run.msgs_per_s as u64),
                format!("{:.1}", run.mb_per_s),
                format!("{:.2}", run.tx_cpu_us_per_msg),
                format!("{:.2}", run.rx_cpu_us_per_msg),
                format!("{:.0}", run.rx_peak_rss_mib),
                run.gaps.to_string(),
            ]);
        }
        let ratio =
            format!("{} B messages: the nodes reach {:.2} of the bare stream\n", self.size, self.ratio);
        View::Parts(vec![View::Rows(rows), View::Text(ratio)])
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_take_the_middle() {
        for (values, want) in
            [(vec![3.0, 1.0, 2.0], 2.0), (vec![4.0, 1.0], 2.5), (vec![], 0.0), (vec![7.0], 7.0)]
        {
            assert_eq!(median(values), want);
        }
    }
}
