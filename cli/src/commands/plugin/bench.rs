//! `meshctl plugin bench`: what one plugin's calls cost, against what its slot has without it, in one run.

use clap::Args;
use mesh_node::api::{ApiError, Setting, code};
use mesh_plugin_host::bench::{self, CallRow};
use mesh_plugin_host::{Cache, Engine, inspect};
use serde::Serialize;

use super::{Context, local, setting};
use crate::output::human::{self, WARN, styled};
use crate::output::{Column, Pair, Rows, Show, View};

/// Measure a plugin.
#[derive(Debug, Args)]
pub struct Bench {
    /// A component, a package, or built-in/NAME; what was built of the project here when absent.
    plugin: Option<String>,
    /// A setting of the plugin.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<(String, Setting)>,
}

/// What the plugin's calls cost.
#[derive(Debug, Serialize)]
struct BenchReport {
    plugin: String,
    version: String,
    slot: &'static str,
    size_bytes: usize,
    compile_s: f64,
    cached: bool,
    baseline: &'static str,
    calls: Vec<Row>,
    /// Where it failed, when not all sizes of batch could be measured.
    failed: Option<Failed>,
}

/// The size of batch that a plugin does not manage.
#[derive(Debug, Serialize)]
struct Failed {
    batch: usize,
    reason: String,
}

/// What one call costs.
#[derive(Debug, Serialize)]
struct Row {
    call: &'static str,
    batch: usize,
    calls_per_s: f64,
    p50_us: f64,
    p99_us: f64,
    fuel: u64,
    baseline_us: f64,
    ratio: f64,
}

impl Bench {
    /// Measures and prints.
    pub fn run(self, context: &Context) -> Result<(), ApiError> {
        let plugin = match self.plugin {
            Some(plugin) => plugin,
            None => local::built_here()?.display().to_string(),
        };
        let component = local::component(&plugin)?;
        inspect(&component).map_err(|error| local::refused(&error))?;
        let engine = local::engine()?;
        let loaded = local::loaded(&engine, &component)?;
        let settings = local::settings(&loaded, &self.settings)?;
        context.out.note("the plugin against what its slot has without it; some seconds");
        let metered = Engine::metered(cache()).map_err(|error| ApiError::new(&code::INTERNAL, error))?;
        let measured = bench::plugin(&engine, &metered, &component, &settings)
            .map_err(|error| ApiError::new(&code::BENCH_FAILED, error))?;
        let revision = loaded.revision();
        let report = BenchReport {
            plugin: revision.name.clone(),
            version: revision.version.clone(),
            slot: loaded.kind().slot(),
            size_bytes: component.len(),
            compile_s: loaded.compile_time().as_secs_f64(),
            cached: loaded.is_cached(),
            baseline: measured.baseline,
            calls: measured.rows.into_iter().map(Row::from).collect(),
            failed: measured.failed.map(|(batch, why)| Failed { batch, reason: why.to_string() }),
        };
        context.out.print(None, &report)
    }
}

fn cache() -> Option<Cache> {
    local::cache_dir().and_then(|dir| Cache::open(dir).ok())
}

impl From<CallRow> for Row {
    fn from(row: CallRow) -> Row {
        Row {
            call: row.call,
            batch: row.batch,
            calls_per_s: row.calls_per_s,
            p50_us: row.p50_ns / 1e3,
            p99_us: row.p99_ns / 1e3,
            fuel: row.fuel,
            baseline_us: row.baseline_ns / 1e3,
            ratio: row.ratio(),
        }
    }
}

const COLUMNS: &[Column] = &[
    Column::text("call", "CALL", 0),
    Column::number("batch", "BATCH", 0),
    Column::number("calls_per_s", "CALLS/S", 1),
    Column::number("p50_us", "P50", 0),
    Column::number("p99_us", "P99", 0),
    Column::number("fuel", "FUEL", 2),
    Column::number("baseline_us", "BASELINE", 1),
    Column::number("ratio", "RATIO", 0),
];

impl Show for BenchReport {
    const SCHEMA: &'static str = "plugin-bench";

    fn view(&self) -> View {
        let cached = if self.cached { " (cached)" } else { "" };
        let pairs = vec![
            Pair::new("plugin", "plugin", human::safe(&format!("{} {}", self.plugin, self.version))),
            Pair::new("slot", "slot", self.slot),
            Pair::new("size_bytes", "size", human::bytes(self.size_bytes as u64)),
            Pair::new("compile_s", "compile", format!("{}{cached}", human::duration(self.compile_s))),
            Pair::new("baseline", "baseline", self.baseline),
        ];
        let mut rows = Rows::new(COLUMNS, "nothing was measured");
        let micros = |us: f64| format!("{us:.2} µs");
        for row in &self.calls {
            rows.push([
                row.call.to_owned(),
                row.batch.to_string(),
                human::count(row.calls_per_s as u64),
                micros(row.p50_us),
                micros(row.p99_us),
                human::count(row.fuel),
                micros(row.baseline_us),
                format!("{:.1}x", row.ratio),
            ]);
        }
        let failed = self.failed.as_ref().map(|failed| {
            let text =
                format!("not measured: {} a call, because {}", failed.batch, human::safe(&failed.reason));
            View::Text(format!("{}\n", styled(WARN, text)))
        });
        View::Parts([View::Pairs(pairs), View::Rows(rows)].into_iter().chain(failed).collect())
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}
