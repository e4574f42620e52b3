//! `meshctl demo`: three real nodes in a chain, a policy swapped under load, a bad policy, an absent
//! recipient; and nothing lost, counted from what the receiver saw.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::Args;
use mesh_node::api::{
    ApiError, EventKind, InstallReport, OldState, PeerInfo, PeerState, PluginRow, PluginState, PolicyState,
    Request, RouteReport, Settings, SwapReport, SwapRequest, code,
};
use mesh_node::control::client::Client;
use mesh_node::control::frame::{Target, Wanted};
use mesh_node::message::SendOptions;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::cluster::Cluster;
use self::histogram::Histogram;
use self::traffic::{Phase, Progress, Tally};
use super::Context;
use crate::output::human::{self, BAD, BOLD, DIM, GOOD, styled};
use crate::output::{Output, Pair, Show, View};

pub(super) mod cluster;
mod histogram;
pub(super) mod traffic;

/// Three nodes, a policy swapped under load, nothing lost: in one minute.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  meshctl demo
  meshctl demo --json --no-input          for CI: exit code 1 when anything was lost or doubled
  meshctl demo --rate 20000 --swaps 100

Three nodes run as separate processes in a temporary directory: alice - bob - carol, without a link between
alice and carol. Messages stream from alice to carol while bob's routing policy is swapped, while a bad policy
traps, and while carol is away. Each step is printed as the command that does the same.")]
pub struct Demo {
    /// Messages a second.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(100..=200_000))]
    rate: u64,
    /// Swaps of bob's routing policy.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    swaps: u32,
    /// Seconds of streaming, half of it before the first swap; the bad policy comes on top.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(2..=600))]
    secs: u64,
}

/// What came out.
#[derive(Debug, Serialize)]
struct Report {
    published: u64,
    delivered: u64,
    lost: u64,
    duplicated: u64,
    swaps: u32,
    rollbacks: u32,
    max_pause_ms: f64,
    latency_before: Latency,
    latency_during: Latency,
    counter_continuous: bool,
    redelivered_after_restart: u64,
    msgs_per_s: f64,
    stream_s: f64,
    elapsed_s: f64,
}

#[derive(Debug, Serialize)]
struct Latency {
    p50_us: u64,
    p99_us: u64,
}

impl From<&Histogram> for Latency {
    fn from(histogram: &Histogram) -> Latency {
        Latency { p50_us: histogram.percentile(50.0), p99_us: histogram.percentile(99.0) }
    }
}

/// How long any single step may take before the demo gives up on it.
const STEP: Duration = Duration::from_secs(15);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Silence after which nothing more is expected to arrive.
const QUIET: Duration = Duration::from_millis(300);
/// Messages sent while the recipient is away.
const WHILE_AWAY: u64 = 2_000;

const A: &str = "alice";
const B: &str = "bob";
const C: &str = "carol";
const SLOT: &str = "route";

impl Demo {
    /// Runs it, prints the result and cleans up.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        if context.globals.dry_run {
            context.out.note("three nodes would run in a temporary directory for about half a minute");
            return Ok(());
        }
        // Whatever ends this block, the cluster goes with it: processes, sockets and directory.
        let report = tokio::select! {
            report = Stage::new(&self, &context.out)?.run() => report?,
            () = interrupted() => return Err(ApiError::new(&code::INTERRUPTED, "the demo was interrupted")),
        };
        context.out.print(None, &report)?;
        report.verdict(self.swaps)
    }
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut ctrl_c), Ok(mut term)) => {
            tokio::select! { _ = ctrl_c.recv() => {} _ = term.recv() => {} }
        }
        _ => std::future::pending().await,
    }
}

/// The running demo.
struct Stage<'a> {
    demo: &'a Demo,
    out: &'a Output,
    cluster: Cluster,
    /// The address of the node in the middle.
    bob: String,
    clock: Instant,
    phase: watch::Sender<Phase>,
}

/// The tasks and channels of the stream.
struct Stream {
    sender: JoinHandle<Result<(u64, Duration), ApiError>>,
    receiver: Receiver,
    published: watch::Receiver<u64>,
}

struct Receiver {
    task: JoinHandle<Result<Tally, ApiError>>,
    progress: watch::Receiver<Progress>,
    enough: watch::Sender<bool>,
}

#[derive(Default)]
struct Swaps {
    done: u32,
    longest_us: f64,
    continuous: bool,
}

impl<'a> Stage<'a> {
    fn new(demo: &'a Demo, out: &'a Output) -> Result<Stage<'a>, ApiError> {
        let phase = watch::Sender::new(Phase::Before);
        Ok(Stage { demo, out, cluster: Cluster::new()?, bob: String::new(), clock: Instant::now(), phase })
    }

    async fn run(mut self) -> Result<Report, ApiError> {
        self.chain().await?;
        let stream = self.start_stream().await?;
        self.watch(&stream, Duration::from_secs(self.demo.secs) / 2).await?;
        let (swaps, good) = self.swap_under_load(&stream).await?;
        let rollbacks = self.bad_policy(&good).await?;
        self.phase.send_replace(Phase::Stop);
        let (published, streamed) = join(stream.sender).await?;
        self.everything_arrived(&stream.receiver, published).await?;
        let tally = stream.receiver.finish().await?;
        let (published, redelivered, tally) = self.absent_recipient(published, tally).await?;
        self.cleaned_up().await;
        let lost = tally.missing(0, published);
        Ok(Report {
            published,
            delivered: tally.distinct,
            lost,
            duplicated: tally.duplicated + tally.foreign,
            swaps: swaps.done,
            rollbacks,
            max_pause_ms: swaps.longest_us / 1000.0,
            latency_before: Latency::from(&tally.before),
            latency_during: Latency::from(&tally.during),
            counter_continuous: swaps.continuous,
            redelivered_after_restart: redelivered,
            msgs_per_s: (published - WHILE_AWAY) as f64 / streamed.as_secs_f64().max(1e-9),
            stream_s: streamed.as_secs_f64(),
            elapsed_s: self.clock.elapsed().as_secs_f64(),
        })
    }

    fn chapter(&self, text: &str) {
        self.out.note(styled(BOLD, text));
    }

    fn command(&self, line: &str) {
        self.out.note(format_args!("  {} {line}", styled(DIM, "$")));
    }

    async fn chain(&mut self) -> Result<(), ApiError> {
        self.chapter("three nodes in a chain: alice - bob - carol");
        self.command(&format!("export XDG_RUNTIME_DIR={}", self.cluster.dir().display()));
        self.command(&self.cluster.up_line(B, None));
        self.bob = self.cluster.up(B, None).await?;
        self.up_beside_bob(A).await?;
        self.up_beside_bob(C).await?;
        self.way_to_carol().await?;
        self.command("meshctl -N alice peers");
        let peers: Vec<PeerInfo> = self.cluster.client(A).await?.call(&Request::Peers).await?;
        let direct = peers.iter().any(|peer| peer.name.as_deref() == Some(C) && peer.state == PeerState::Up);
        match direct {
            true => Err(failed("alice has a link to carol, so this is no chain")),
            false => Ok(()),
        }
    }

    async fn up_beside_bob(&mut self, name: &str) -> Result<(), ApiError> {
        self.command(&self.cluster.up_line(name, Some(&self.bob)));
        self.cluster.up(name, Some(&self.bob)).await?;
        Ok(())
    }

    async fn way_to_carol(&self) -> Result<(), ApiError> {
        let mut alice = self.cluster.client(A).await?;
        let deadline = Instant::now() + STEP;
        loop {
            let route = alice.call::<RouteReport>(&Request::RouteExplain { peer: C.to_owned() }).await;
            match route {
                Ok(route) if route.next_hop.is_some() => return Ok(()),
                Err(error) if !error.is(&code::NO_SUCH_NODE) && !error.is(&code::NO_WAY) => {
                    return Err(error);
                }
                _ if Instant::now() > deadline => return Err(failed("alice found no way to carol")),
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    }

    async fn start_stream(&self) -> Result<Stream, ApiError> {
        let rate = self.demo.rate;
        self.chapter(&format!("{} messages a second from alice to carol", human::count(rate)));
        self.command("meshctl -N carol sub --inbox");
        self.command(&format!("meshctl -N alice send carol --rate {rate} --count … x"));
        let receiver = self.receive(Tally::default()).await?;
        let publisher = self.cluster.client(A).await?.publisher().await?;
        let (told, published) = watch::channel(0);
        let target = Target::Node(C.to_owned());
        let phase = self.phase.subscribe();
        let sender = tokio::spawn(traffic::stream(publisher, target, rate, self.clock, phase, told));
        Ok(Stream { sender, receiver, published })
    }

    async fn receive(&self, tally: Tally) -> Result<Receiver, ApiError> {
        let inbox = self.cluster.client(C).await?.subscribe(Wanted::Inbox(None)).await?;
        let (told, progress) = watch::channel(Progress::default());
        let enough = watch::Sender::new(false);
        let task = tokio::spawn(traffic::receive(inbox, tally, self.clock, told, enough.subscribe()));
        Ok(Receiver { task, progress, enough })
    }

    // Lets the stream run for a while and shows it, if somebody looks.
    async fn watch(&self, stream: &Stream, time: Duration) -> Result<(), ApiError> {
        let end = tokio::time::Instant::now() + time;
        while tokio::time::Instant::now() < end {
            let next = (tokio::time::Instant::now() + Duration::from_secs(1)).min(end);
            tokio::time::sleep_until(next).await;
            stream.check()?;
            self.progress(stream);
        }
        Ok(())
    }

    fn progress(&self, stream: &Stream) {
        if std::io::stderr().is_terminal() {
            let (sent, came) = (*stream.published.borrow(), stream.receiver.progress.borrow().distinct);
            let line = format!("    {:>10} sent {:>10} arrived", human::count(sent), human::count(came));
            self.out.note(styled(DIM, line));
        }
    }

    async fn swap_under_load(&self, stream: &Stream) -> Result<(Swaps, InstallReport), ApiError> {
        self.chapter(&format!("bob's routing policy, swapped {} times under this load", self.demo.swaps));
        let mut bob = self.cluster.client(B).await?;
        let even = self.install(&mut bob, "latency", mesh_plugin_host::builtin::LATENCY).await?;
        let odd = self.install(&mut bob, "latency-next", mesh_plugin_host::builtin::LATENCY_NEXT).await?;
        // The first one may find another policy's state in the slot; from here on the counter must go on.
        self.swap(&mut bob, &even, OldState::Reset).await?;
        self.phase.send_replace(Phase::During);
        let every = Duration::from_secs(self.demo.secs).div_f64(2.0 * f64::from(self.demo.swaps));
        let mut beat = tokio::time::interval(every);
        let mut swaps = Swaps { continuous: true, ..Swaps::default() };
        let mut last_count = 0;
        let mut active = &even;
        for round in 0..self.demo.swaps {
            beat.tick().await;
            active = if round % 2 == 0 { &odd } else { &even };
            let report = self.swap(&mut bob, active, OldState::Keep).await?;
            let state: PolicyState = bob.call(&Request::PolicyState { slot: SLOT.to_owned() }).await?;
            let count = state.counter.unwrap_or(0);
            swaps.continuous &= report.state_carried && count == state.state_messages && count >= last_count;
            swaps.longest_us = swaps.longest_us.max(report.pause_us);
            swaps.done += 1;
            last_count = count;
            stream.check()?;
        }
        self.out.note(format_args!("    the policy's counter went on to {}", human::count(last_count)));
        self.progress(stream);
        self.phase.send_replace(Phase::After);
        Ok((swaps, active.clone()))
    }

    async fn install(
        &self,
        bob: &mut Client,
        name: &str,
        component: &[u8],
    ) -> Result<InstallReport, ApiError> {
        self.command(&format!("meshctl -N bob plugin install {name}.wasm"));
        let origin = format!("built-in {name}");
        bob.call_with(
            &Request::PluginInstall { origin, grants: Vec::new(), dry_run: false, allow_large: false },
            component,
        )
        .await
    }

    async fn swap(
        &self,
        bob: &mut Client,
        to: &InstallReport,
        old_state: OldState,
    ) -> Result<SwapReport, ApiError> {
        let revision = to.revision.split_once(':').map_or(&*to.revision, |(_, digits)| digits).to_owned();
        let reset = if old_state == OldState::Reset { " --reset-state" } else { "" };
        self.command(&format!("meshctl -N bob plugin swap {SLOT} {}{reset}", human::revision(&to.revision)));
        let settings = Settings::new();
        let swap = SwapRequest {
            slot: SLOT.to_owned(),
            plugin: revision,
            settings,
            old_state,
            dry_run: false,
            allow_downgrade: false,
            on_failure: None,
        };
        bob.call(&Request::PluginSwap(swap)).await
    }

    async fn bad_policy(&self, good: &InstallReport) -> Result<u32, ApiError> {
        self.chapter("a bad policy: it traps, the built-in stands in, the node goes back by itself");
        let mut events = self.cluster.client(B).await?.events().await?;
        let mut bob = self.cluster.client(B).await?;
        let bad = self.install(&mut bob, "faulty", mesh_plugin_host::builtin::FAULTY).await?;
        self.swap(&mut bob, &bad, OldState::Keep).await?;
        let returned = async {
            loop {
                match events.next().await?.map(|event| event.kind) {
                    Some(EventKind::PluginStruck { reason, strikes, .. }) => {
                        self.out.note(format_args!("    strike {strikes}: {}", human::safe(&reason)));
                    }
                    Some(
                        EventKind::PluginQuarantined { .. }
                        | EventKind::PluginRolledBack { automatic: true, .. },
                    ) => {
                        return Ok(());
                    }
                    Some(_) => {}
                    None => return Err(failed("bob stopped")),
                }
            }
        };
        timeout(STEP, returned).await.map_err(|_| failed("the bad policy was not quarantined"))??;
        self.command("meshctl -N bob plugin list");
        let rows: Vec<PluginRow> = bob.call(&Request::PluginList).await?;
        let decides =
            |row: &&PluginRow| row.slot.as_deref() == Some(SLOT) && row.state == PluginState::Active;
        match rows.iter().find(decides) {
            Some(active) if active.revision == good.revision => Ok(1),
            Some(active) => {
                Err(failed("the slot did not go back to the last good policy").fact("active", &active.plugin))
            }
            None => Err(failed("nothing decides in the slot")),
        }
    }

    async fn everything_arrived(&self, receiver: &Receiver, published: u64) -> Result<(), ApiError> {
        let mut progress = receiver.progress.clone();
        let mut last = progress.borrow_and_update().arrived;
        loop {
            let enough = progress.borrow().distinct >= published;
            let patience = if enough { QUIET } else { STEP };
            // More may come even after the last number: then it is a double.
            match timeout(patience, progress.wait_for(|now| now.arrived != last)).await {
                Ok(Ok(now)) => last = now.arrived,
                Ok(Err(_)) | Err(_) => return Ok(()),
            }
        }
    }

    async fn absent_recipient(&mut self, first: u64, tally: Tally) -> Result<(u64, u64, Tally), ApiError> {
        self.chapter("carol is away while messages are sent to her");
        self.command("meshctl -N carol down");
        self.cluster.down(C).await?;
        let end = first + WHILE_AWAY;
        self.command(&format!("meshctl -N alice send carol --durable --count {WHILE_AWAY} x"));
        let mut alice = self.cluster.client(A).await?.publisher().await?;
        let target = Target::Node(C.to_owned());
        let durable = SendOptions { durable: true, ..SendOptions::default() };
        traffic::send(&mut alice, &target, first..end, self.clock, Phase::After, durable).await?;
        let taken =
            timeout(STEP, alice.flush()).await.map_err(|_| failed("alice did not store the messages"))??;
        if taken.stored != WHILE_AWAY {
            return Err(failed("alice did not store the messages").fact("stored", taken.stored));
        }
        self.up_beside_bob(C).await?;
        let before = tally.distinct;
        let receiver = self.receive(tally).await?;
        self.everything_arrived(&receiver, end).await?;
        let tally = receiver.finish().await?;
        let redelivered = tally.distinct - before;
        self.out.note(format_args!("    {} messages arrived after the restart", human::count(redelivered)));
        Ok((end, redelivered, tally))
    }

    async fn cleaned_up(&mut self) {
        self.chapter("done; the nodes stop and their directory goes");
        for name in [A, C, B] {
            // A node that does not stop is killed when the cluster is dropped.
            let _ = self.cluster.down(name).await;
        }
    }
}

impl Stream {
    // The sender ends only when it is told to, or when something is wrong.
    fn check(&self) -> Result<(), ApiError> {
        let stopped = if self.sender.is_finished() {
            "the stream from alice broke off"
        } else if self.receiver.task.is_finished() {
            "the stream to carol broke off"
        } else {
            return Ok(());
        };
        Err(failed(stopped))
    }
}

impl Receiver {
    async fn finish(self) -> Result<Tally, ApiError> {
        self.enough.send_replace(true);
        timeout(STEP, join(self.task)).await.map_err(|_| failed("carol did not take the acknowledgements"))?
    }
}

async fn join<T>(task: JoinHandle<Result<T, ApiError>>) -> Result<T, ApiError> {
    task.await.map_err(|error| failed(&error.to_string()))?
}

fn failed(what: &str) -> ApiError {
    ApiError::new(&code::DEMO_FAILED, what)
}

impl Report {
    fn verdict(&self, swaps: u32) -> Result<(), ApiError> {
        let broken = [
            (self.lost != 0, "messages were lost"),
            (self.duplicated != 0, "messages were delivered twice"),
            (!self.counter_continuous, "the policy's counter did not go on"),
            (self.swaps != swaps || self.rollbacks == 0, "not every swap happened"),
            (self.redelivered_after_restart != WHILE_AWAY, "not every waiting message arrived"),
        ];
        match broken.iter().find(|(broken, _)| *broken) {
            Some((_, what)) => Err(failed(what)),
            None => Ok(()),
        }
    }
}

impl Show for Report {
    const SCHEMA: &'static str = "demo";

    fn view(&self) -> View {
        let zero =
            |number: u64| if number == 0 { styled(GOOD, number) } else { styled(BAD, human::count(number)) };
        let times = |latency: &Latency| {
            let [p50, p99] = [latency.p50_us, latency.p99_us].map(|us| human::duration(us as f64 / 1e6));
            format!("{p50} p50, {p99} p99")
        };
        let rate = format!(
            "{} a second for {}",
            human::count(self.msgs_per_s as u64),
            human::duration(self.stream_s)
        );
        let counter = if self.counter_continuous {
            styled(GOOD, "went on across every swap")
        } else {
            styled(BAD, "jumped")
        };
        View::Pairs(vec![
            Pair::new(
                "published",
                "published",
                format!("{}   {}", human::count(self.published), styled(DIM, rate)),
            ),
            Pair::new("delivered", "delivered", human::count(self.delivered)),
            Pair::new("lost", "lost", zero(self.lost)),
            Pair::new("duplicated", "duplicated", zero(self.duplicated)),
            Pair::new("swaps", "swaps", self.swaps),
            Pair::new("rollbacks", "automatic rollbacks", self.rollbacks),
            Pair::new("max_pause_ms", "longest pause", human::duration(self.max_pause_ms / 1000.0)),
            Pair::new("latency_before", "latency before", times(&self.latency_before)),
            Pair::new("latency_during", "latency during swaps", times(&self.latency_during)),
            Pair::new("counter_continuous", "the policy's counter", counter),
            Pair::new(
                "redelivered_after_restart",
                "arrived after restart",
                human::count(self.redelivered_after_restart),
            ),
            Pair::new("elapsed_s", "took", human::duration(self.elapsed_s)),
        ])
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}
