//! `meshctl bench plugin`: what a decision costs, packing and unpacking included, and what a swap costs.

use clap::Args;
use mesh_node::api::{ApiError, code};
use mesh_plugin_host::{Engine, bench};
use serde::Serialize;

use crate::commands::Context;
use crate::output::human;
use crate::output::{Column, Rows, Show, View};

/// What to measure.
#[derive(Debug, Args)]
pub struct Plugin {
    /// Measure the hand-over of a swap instead, with little state and with much.
    #[arg(long)]
    swap: bool,
}

/// One slot and batch size.
#[derive(Debug, Serialize)]
struct Decision {
    slot: &'static str,
    batch: usize,
    wasm_ns_per_msg: f64,
    native_ns_per_msg: Option<f64>,
    journal_ratio: f64,
}

/// One size of state.
#[derive(Debug, Serialize)]
struct Swap {
    state_bytes: usize,
    swaps: usize,
    p50_us: f64,
    max_us: f64,
    max_with_first_batch_us: f64,
}

impl Plugin {
    /// Measures and prints.
    ///
    /// # Errors
    /// `BENCH_FAILED` when a plugin cannot be run.
    pub fn run(self, context: &Context) -> Result<(), ApiError> {
        let engine = Engine::new(None).map_err(failed)?;
        if self.swap {
            context.out.note("the routing slot, swapped between two batches");
            let rows: Vec<Swap> = bench::swap(&engine).map_err(failed)?.into_iter().map(Swap::from).collect();
            return context.out.print(None, &rows);
        }
        context.out.note("each slot's component against its native built-in; a few seconds");
        let rows: Vec<Decision> =
            bench::policy(&engine).map_err(failed)?.into_iter().map(Decision::from).collect();
        context.out.print(None, &rows)
    }
}

fn failed(why: impl std::fmt::Display) -> ApiError {
    ApiError::new(&code::BENCH_FAILED, why)
}

impl From<bench::BenchRow> for Decision {
    fn from(row: bench::BenchRow) -> Decision {
        let bench::BenchRow { slot, batch, wasm_ns_per_msg, native_ns_per_msg, journal_ratio } = row;
        Decision { slot, batch, wasm_ns_per_msg, native_ns_per_msg, journal_ratio }
    }
}

impl From<bench::SwapRow> for Swap {
    fn from(row: bench::SwapRow) -> Swap {
        let bench::SwapRow { state_bytes, swaps, p50_us, max_us, max_with_first_batch_us } = row;
        Swap { state_bytes, swaps, p50_us, max_us, max_with_first_batch_us }
    }
}

const DECISION: &[Column] = &[
    Column::text("slot", "SLOT", 0),
    Column::number("batch", "BATCH", 0),
    Column::number("wasm_ns_per_msg", "COMPONENT ns/msg", 0),
    Column::number("native_ns_per_msg", "NATIVE ns/msg", 0),
    Column::number("ratio", "RATIO", 1),
    Column::number("journal_ratio", "WITH JOURNAL", 1),
];

impl Show for Vec<Decision> {
    const SCHEMA: &'static str = "bench-plugin";

    fn view(&self) -> View {
        let mut rows = Rows::new(DECISION, "nothing was measured");
        for row in self {
            rows.push([
                row.slot.to_owned(),
                row.batch.to_string(),
                format!("{:.1}", row.wasm_ns_per_msg),
                human::or_dash(row.native_ns_per_msg.map(|native| format!("{native:.1}"))),
                human::or_dash(
                    row.native_ns_per_msg
                        .map(|native| format!("{:.1}x", row.wasm_ns_per_msg / native.max(1e-9))),
                ),
                format!("{:.2}x", row.journal_ratio),
            ]);
        }
        View::Rows(rows)
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

const SWAP: &[Column] = &[
    Column::number("state_bytes", "STATE", 0),
    Column::number("swaps", "SWAPS", 1),
    Column::number("p50_us", "PAUSE p50", 0),
    Column::number("max_us", "PAUSE MAX", 0),
    Column::number("max_with_first_batch_us", "MAX WITH FIRST BATCH", 0),
];

impl Show for Vec<Swap> {
    const SCHEMA: &'static str = "bench-swap";

    fn view(&self) -> View {
        let mut rows = Rows::new(SWAP, "nothing was measured");
        for row in self {
            let [p50, max, batch] = [row.p50_us, row.max_us, row.max_with_first_batch_us];
            let [p50, max, batch] = [p50, max, batch].map(|us| human::duration(us / 1e6));
            rows.push([human::bytes(row.state_bytes as u64), row.swaps.to_string(), p50, max, batch]);
        }
        View::Rows(rows)
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}
