//! `meshctl bench swap`: what hot swaps cost the traffic through a node, and what ten thousand of them leave behind.
//!
//! Real node processes. Lost and doubled messages are counted from the numbers that the receiver saw.

use std::time::{Duration, Instant};

use clap::Args;
use mesh_node::api::{
    ApiError, InstallReport, OldState, Request, RouteReport, Settings, Status, SwapReport, SwapRequest, code,
};
use mesh_node::control::client::Client;
use mesh_node::control::frame::{Target, Wanted};
use mesh_plugin_host::builtin;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::args::duration;
use crate::commands::Context;
use crate::commands::demo::cluster::Cluster;
use crate::commands::demo::traffic::{self, Phase, Progress, Tally};
use crate::connect::within;
use crate::output::human::{self, BAD, GOOD, styled};
use crate::output::{Pair, Show, View};

/// What to measure.
#[derive(Debug, Args)]
pub struct Swap {
    /// Messages a second through the node whose policy is swapped.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(100..=200_000))]
    rate: u64,
    /// How long, half of it without swaps.
    #[arg(long = "for", value_parser = duration, default_value = "20s", value_name = "TIME")]
    time: Duration,
    /// Swaps in the other half.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    swaps: u32,
    /// Swap this often in a row instead, without traffic, and look at memory, files and mappings.
    #[arg(long, value_name = "N", conflicts_with_all = ["rate", "time", "swaps"],
          value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    count: Option<u32>,
}

/// Swaps under load.
#[derive(Debug, Serialize)]
struct UnderLoad {
    rate: u64,
    msgs_per_s: f64,
    published: u64,
    delivered: u64,
    lost: u64,
    duplicated: u64,
    swaps: u32,
    max_pause_us: f64,
    steady_p50_us: u64,
    steady_p99_us: u64,
    swapping_p50_us: u64,
    swapping_p99_us: u64,
    p99_ratio: f64,
    rss_before_bytes: u64,
    rss_after_bytes: u64,
}

/// Swaps in a row.
#[derive(Debug, Serialize)]
struct InARow {
    swaps: u32,
    warm_up: u32,
    swaps_per_s: f64,
    max_pause_us: f64,
    rss_before_bytes: u64,
    rss_after_bytes: u64,
    rss_growth: f64,
    files_before: usize,
    files_after: usize,
    mappings_before: usize,
    mappings_after: usize,
}

const SLOT: &str = "route";
const FROM: &str = "alice";
const VIA: &str = "bob";
const TO: &str = "carol";
/// How long any single step may take.
const STEP: Duration = Duration::from_secs(20);
/// Silence after which nothing more is expected to arrive.
const QUIET: Duration = Duration::from_millis(500);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// The stream before anything is measured.
const WARM_UP: Duration = Duration::from_secs(1);
/// What `--for` may be.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(3600);
/// Times with and without swaps take turns, so that a change of the machine's mood hits both.
const TURNS: u32 = 4;

impl Swap {
    /// Measures and prints.
    ///
    /// # Errors
    /// `BENCH_FAILED` when a node fails or anything was lost or doubled.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        if let Some(count) = self.count {
            context.out.note(format_args!("a node, its routing policy swapped {count} times in a row"));
            return context.out.print(None, &in_a_row(count).await?);
        }
        if !(SHORTEST..=LONGEST).contains(&self.time) {
            return Err(
                ApiError::new(&code::BAD_VALUE, "--for is 1s to 1h").help("meshctl bench swap --for 20s")
            );
        }
        context.out.note("three nodes in a chain; the routing policy of the one in the middle is swapped");
        let report = self.under_load().await?;
        context.out.print(None, &report)?;
        match report.lost + report.duplicated {
            0 => Ok(()),
            _ => Err(failed("messages were lost or delivered twice")),
        }
    }

    async fn under_load(&self) -> Result<UnderLoad, ApiError> {
        let cluster = chain().await?;
        let mut slot = Slot::of(&cluster).await?;
        let stream = Stream::start(&cluster, self.rate).await?;
        tokio::time::sleep(WARM_UP).await;
        let rss_before_bytes = slot.status().await?.rss_bytes;
        let turn = self.time / (2 * TURNS);
        let (mut done, mut pauses) = (0, Vec::new());
        for round in 1..=TURNS {
            stream.phase.send_replace(Phase::Before);
            tokio::time::sleep(turn).await;
            stream.phase.send_replace(Phase::During);
            let until = self.swaps * round / TURNS;
            pauses.push(slot.swap_within(turn, until - done).await?);
            done = until;
        }
        stream.phase.send_replace(Phase::Stop);
        let rss_after_bytes = slot.status().await?.rss_bytes;
        let (published, streamed, tally) = stream.finish().await?;
        let [steady_p99_us, swapping_p99_us] =
            [&tally.before, &tally.during].map(|times| times.percentile(99.0));
        Ok(UnderLoad {
            rate: self.rate,
            msgs_per_s: published as f64 / streamed.as_secs_f64().max(1e-9),
            published,
            delivered: tally.distinct,
            lost: tally.missing(0, published),
            duplicated: tally.duplicated + tally.foreign,
            swaps: done,
            max_pause_us: pauses.into_iter().fold(0.0, f64::max),
            steady_p50_us: tally.before.percentile(50.0),
            steady_p99_us,
            swapping_p50_us: tally.during.percentile(50.0),
            swapping_p99_us,
            p99_ratio: swapping_p99_us as f64 / steady_p99_us.max(1) as f64,
            rss_before_bytes,
            rss_after_bytes,
        })
    }
}

async fn in_a_row(count: u32) -> Result<InARow, ApiError> {
    let mut cluster = Cluster::new()?;
    cluster.up(VIA, None).await?;
    let mut slot = Slot::of(&cluster).await?;
    // What is allocated once is there after the first ones.
    let warm_up = (count / 10).max(10);
    slot.swap_times(warm_up).await?;
    let before = Footprint::of(&slot.status().await?);
    let begun = Instant::now();
    let max_pause_us = slot.swap_times(count).await?;
    let swaps_per_s = f64::from(count) / begun.elapsed().as_secs_f64().max(1e-9);
    let after = Footprint::of(&slot.status().await?);
    Ok(InARow {
        swaps: count,
        warm_up,
        swaps_per_s,
        max_pause_us,
        rss_before_bytes: before.rss_bytes,
        rss_after_bytes: after.rss_bytes,
        rss_growth: after.rss_bytes as f64 / before.rss_bytes.max(1) as f64 - 1.0,
        files_before: before.files,
        files_after: after.files,
        mappings_before: before.mappings,
        mappings_after: after.mappings,
    })
}

/// What a process holds; 0 where the system does not tell.
struct Footprint {
    rss_bytes: u64,
    files: usize,
    mappings: usize,
}

impl Footprint {
    fn of(status: &Status) -> Footprint {
        let dir = format!("/proc/{}", status.pid);
        let files = std::fs::read_dir(format!("{dir}/fd")).map_or(0, Iterator::count);
        let mappings = std::fs::read_to_string(format!("{dir}/maps")).map_or(0, |maps| maps.lines().count());
        Footprint { rss_bytes: status.rss_bytes, files, mappings }
    }
}

async fn chain() -> Result<Cluster, ApiError> {
    let mut cluster = Cluster::new()?;
    let via = cluster.up(VIA, None).await?;
    cluster.up(FROM, Some(&via)).await?;
    cluster.up(TO, Some(&via)).await?;
    let mut from = cluster.client(FROM).await?;
    let found = async {
        loop {
            let route = from.call::<RouteReport>(&Request::RouteExplain { peer: TO.to_owned() }).await;
            match route {
                Ok(route) if route.next_hop.is_some() => return Ok(()),
                Err(error) if !error.is(&code::NO_SUCH_NODE) && !error.is(&code::NO_WAY) => {
                    return Err(error);
                }
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    };
    timeout(STEP, found).await.map_err(|_| failed("no way was found to the receiver"))??;
    Ok(cluster)
}

/// The slot that is swapped, with two revisions that take each other's state.
struct Slot {
    node: Client,
    revisions: [String; 2],
    next: usize,
}

impl Slot {
    async fn of(cluster: &Cluster) -> Result<Slot, ApiError> {
        let mut node = cluster.client(VIA).await?;
        let mut revisions = Vec::new();
        for (name, component) in [("latency", builtin::LATENCY), ("latency-next", builtin::LATENCY_NEXT)] {
            let origin = format!("built-in {name}");
            let request =
                Request::PluginInstall { origin, grants: Vec::new(), dry_run: false, allow_large: false };
            let installed: InstallReport = within(STEP, node.call_with(&request, component)).await?;
            let digits =
                installed.revision.split_once(':').map_or(&*installed.revision, |(_, digits)| digits);
            revisions.push(digits.to_owned());
        }
        let revisions = revisions.try_into().map_err(|_| failed("there are not two revisions"))?;
        let mut slot = Slot { node, revisions, next: 0 };
        // The first one may find the state of another policy.
        slot.swap(OldState::Reset).await?;
        Ok(slot)
    }

    async fn status(&mut self) -> Result<Status, ApiError> {
        within(STEP, self.node.call(&Request::Status)).await
    }

    /// Swaps to the other one, and returns how long decisions waited, in microseconds.
    async fn swap(&mut self, old_state: OldState) -> Result<f64, ApiError> {
        let swap = SwapRequest {
            slot: SLOT.to_owned(),
            plugin: self.revisions[self.next].clone(),
            settings: Settings::new(),
            old_state,
            dry_run: false,
            allow_downgrade: false,
            on_failure: None,
        };
        self.next = 1 - self.next;
        let report: SwapReport = within(STEP, self.node.call(&Request::PluginSwap(swap))).await?;
        match report.state_carried || old_state == OldState::Reset {
            true => Ok(report.pause_us),
            false => Err(failed("a swap left the state behind")),
        }
    }

    async fn swap_times(&mut self, times: u32) -> Result<f64, ApiError> {
        let mut longest = 0.0f64;
        for _ in 0..times {
            longest = longest.max(self.swap(OldState::Keep).await?);
        }
        Ok(longest)
    }

    /// Spreads the swaps over the time, and uses up all of it.
    async fn swap_within(&mut self, time: Duration, times: u32) -> Result<f64, ApiError> {
        let end = tokio::time::Instant::now() + time;
        let mut longest = 0.0f64;
        let mut beat = tokio::time::interval(time / times.max(1));
        for _ in 0..times {
            beat.tick().await;
            longest = longest.max(self.swap(OldState::Keep).await?);
        }
        tokio::time::sleep_until(end).await;
        Ok(longest)
    }
}

/// The stream through the node, and the count of what arrives.
struct Stream {
    phase: watch::Sender<Phase>,
    enough: watch::Sender<bool>,
    progress: watch::Receiver<Progress>,
    sender: JoinHandle<Result<(u64, Duration), ApiError>>,
    receiver: JoinHandle<Result<Tally, ApiError>>,
}

impl Stream {
    async fn start(cluster: &Cluster, rate: u64) -> Result<Stream, ApiError> {
        let clock = Instant::now();
        let (phase, enough) = (watch::Sender::new(Phase::After), watch::Sender::new(false));
        let (told, progress) = watch::channel(Progress::default());
        let inbox = within(STEP, cluster.client(TO).await?.subscribe(Wanted::Inbox(None))).await?;
        let publisher = within(STEP, cluster.client(FROM).await?.publisher()).await?;
        let receiver =
            tokio::spawn(traffic::receive(inbox, Tally::default(), clock, told, enough.subscribe()));
        let (published, _) = watch::channel(0);
        let target = Target::Node(TO.to_owned());
        let sender =
            tokio::spawn(traffic::stream(publisher, target, rate, clock, phase.subscribe(), published));
        Ok(Stream { phase, enough, progress, sender, receiver })
    }

    /// Waits for the last messages, and for what should not come after them.
    async fn finish(mut self) -> Result<(u64, Duration, Tally), ApiError> {
        let (published, streamed) = join(self.sender).await?;
        let mut last = 0;
        loop {
            let patience = if self.progress.borrow().distinct >= published { QUIET } else { STEP };
            match timeout(patience, self.progress.wait_for(|now| now.arrived != last)).await {
                Ok(Ok(now)) => last = now.arrived,
                Ok(Err(_)) | Err(_) => break,
            }
        }
        self.enough.send_replace(true);
        Ok((published, streamed, join(self.receiver).await?))
    }
}

async fn join<T>(task: JoinHandle<Result<T, ApiError>>) -> Result<T, ApiError> {
    timeout(STEP, task).await.map_err(|_| failed("the stream did not end"))?.map_err(failed)?
}

fn failed(why: impl std::fmt::Display) -> ApiError {
    ApiError::new(&code::BENCH_FAILED, why)
}

fn zero(number: u64) -> String {
    if number == 0 { styled(GOOD, number) } else { styled(BAD, human::count(number)) }
}

fn us(us: f64) -> String {
    human::duration(us / 1e6)
}

fn from_to(before: u64, after: u64) -> String {
    format!("{} -> {}", human::bytes(before), human::bytes(after))
}

impl Show for UnderLoad {
    const SCHEMA: &'static str = "bench-swap-load";

    fn view(&self) -> View {
        let rate = human::count(self.msgs_per_s as u64);
        let times = |p50: u64, p99: u64| format!("{} p50, {} p99", us(p50 as f64), us(p99 as f64));
        View::Pairs(vec![
            Pair::new("published", "published", format!("{}, {rate} a second", human::count(self.published))),
            Pair::new("delivered", "delivered", human::count(self.delivered)),
            Pair::new("lost", "lost", zero(self.lost)),
            Pair::new("duplicated", "duplicated", zero(self.duplicated)),
            Pair::new("swaps", "swaps", self.swaps),
            Pair::new("max_pause_us", "longest pause", us(self.max_pause_us)),
            Pair::new("steady_p99_us", "latency steady", times(self.steady_p50_us, self.steady_p99_us)),
            Pair::new(
                "swapping_p99_us",
                "latency swapping",
                times(self.swapping_p50_us, self.swapping_p99_us),
            ),
            Pair::new("p99_ratio", "p99 swapping to steady", format!("{:.2}x", self.p99_ratio)),
            Pair::new("rss_after_bytes", "resident", from_to(self.rss_before_bytes, self.rss_after_bytes)),
        ])
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Show for InARow {
    const SCHEMA: &'static str = "bench-swap-row";

    fn view(&self) -> View {
        let growth = format!("{:+.1} %", self.rss_growth * 100.0);
        let resident = format!("{}, {growth}", from_to(self.rss_before_bytes, self.rss_after_bytes));
        View::Pairs(vec![
            Pair::new("swaps", "swaps", human::count(self.swaps.into())),
            Pair::new("warm_up", "before them", human::count(self.warm_up.into())),
            Pair::new("swaps_per_s", "a second", format!("{:.0}", self.swaps_per_s)),
            Pair::new("max_pause_us", "longest pause", us(self.max_pause_us)),
            Pair::new("rss_growth", "resident", resident),
            Pair::new("files_after", "open files", format!("{} -> {}", self.files_before, self.files_after)),
            Pair::new(
                "mappings_after",
                "memory mappings",
                format!("{} -> {}", self.mappings_before, self.mappings_after),
            ),
        ])
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}
