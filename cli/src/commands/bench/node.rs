//! One side of `bench net`: a node with a publisher or a subscriber beside it on one thread, or one end of
//! the bare stream.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use clap::{Args, ValueEnum};
use mesh_node::api::{ApiError, code};
use mesh_node::bench::{BaselineReport, baseline_receive, baseline_send, peak_rss_mib, process_cpu};
use mesh_node::message::{Delivery, Filter, SendOptions};
use mesh_node::{Mesh, Subscription};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::commands::{block_on, start};

/// Which side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// A node with a subscriber.
    NodeReceive,
    /// A node with a publisher.
    NodeSend,
    /// The receiving end of a bare stream.
    BareReceive,
    /// The sending end of a bare stream.
    BareSend,
}

impl Role {
    /// Returns the word on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Role::NodeReceive => "node-receive",
            Role::NodeSend => "node-send",
            Role::BareReceive => "bare-receive",
            Role::BareSend => "bare-send",
        }
    }
}

/// What a side says, a line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// The other side can come.
    Listening {
        /// Here.
        addr: String,
    },
    /// It is over.
    Done {
        /// What came out.
        report: BaselineReport,
    },
}

/// One side of `bench net`, in a process of its own.
#[derive(Debug, Args)]
pub struct NetNode {
    /// Which side.
    role: Role,
    #[arg(long)]
    size: usize,
    #[arg(long)]
    secs: f64,
    /// The other side.
    #[arg(long)]
    to: Option<String>,
}

const TOPIC: &str = "bench";
/// Payload bytes of one hand-over to the node: what one run carries, so that a signature is shared as widely
/// as it can be.
const CHUNK: usize = mesh_proto::run::MAX_RUN_BYTES;
/// The number of a message that only tells the sender that a subscriber is there.
const PROBE: u64 = u64::MAX - 1;
/// The number of the last message.
const END: u64 = u64::MAX;
/// The receiver's answer to a probe.
const HERE: &[u8] = b"here";
/// The receiver's answer to the last message.
const DONE: &[u8] = b"done";
/// How long the sides look for each other.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the sender looks for a subscriber.
const PROBE_EVERY: Duration = Duration::from_millis(20);
/// Silence after which the receiver takes the rest for lost.
const QUIET: Duration = Duration::from_secs(2);

impl NetNode {
    /// Runs the side and prints what came out.
    pub fn run(self) -> Result<(), ApiError> {
        // Ends with the process that started it.
        std::thread::spawn(|| {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            std::process::exit(143);
        });
        let report = block_on(async {
            match self.role {
                Role::NodeReceive => receive(self.size).await,
                Role::NodeSend => send(self.to()?, self.size, self.secs).await,
                Role::BareReceive => {
                    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
                    let ready = |addr: SocketAddr| say(&Said::Listening { addr: addr.to_string() });
                    baseline_receive(listen, self.size, ready).await.map_err(failed)
                }
                Role::BareSend => {
                    let to = self.to()?.parse().map_err(failed)?;
                    baseline_send(to, self.size, self.secs).await.map_err(failed)
                }
            }
        })?;
        say(&Said::Done { report });
        Ok(())
    }

    fn to(&self) -> Result<&str, ApiError> {
        self.to.as_deref().ok_or_else(|| failed("the sender needs the receiver's address"))
    }
}

fn say(what: &Said) {
    // The process that started this one reads it, or is gone and wants nothing any more.
    println!("{}", serde_json::to_string(what).unwrap_or_default());
}

async fn node(join: &[&str]) -> Result<Mesh, ApiError> {
    let options = start::Options {
        listen: vec!["127.0.0.1:0".to_owned()],
        join: join.iter().map(|&addr| addr.to_owned()).collect(),
        ..start::Options::default()
    };
    start::node(options).await
}

async fn receive(size: usize) -> Result<BaselineReport, ApiError> {
    let mesh = node(&[]).await?;
    let mut messages = mesh.subscribe(Filter::Topic(TOPIC.to_owned())).await?;
    let addr = mesh.local_addrs().into_iter().next().ok_or_else(|| failed("the node listens nowhere"))?;
    say(&Said::Listening { addr });
    let mut count = Count::default();
    while !count.ended {
        let patience = if count.first.is_some() { QUIET } else { PATIENCE };
        match timeout(patience, messages.next_parcel()).await {
            Ok(Some(Ok(parcel))) => {
                if let Some(answer) = count.see(parcel.payloads()) {
                    let answer = vec![Bytes::from_static(answer)];
                    mesh.send(parcel.origin(), answer, SendOptions::default()).await?;
                }
            }
            // What was skipped shows in the numbers.
            Ok(Some(Err(_))) => {}
            Ok(None) | Err(_) => break,
        }
    }
    let report = count.report(size).ok_or_else(|| failed("no message arrived"))?;
    mesh.shutdown().await;
    Ok(report)
}

async fn send(to: &str, size: usize, secs: f64) -> Result<BaselineReport, ApiError> {
    let mesh = node(&[to]).await?;
    let mut answers = mesh.subscribe(Filter::Inbox { from_offset: None }).await?;
    let found = async {
        loop {
            mesh.publish(TOPIC, vec![message(PROBE, size)], SendOptions::default()).await?;
            if let Ok(()) = timeout(PROBE_EVERY, answer(&mut answers, HERE)).await {
                return Ok::<(), ApiError>(());
            }
        }
    };
    timeout(PATIENCE, found).await.map_err(|_| failed("no subscriber was found"))??;
    let start = Moment::now();
    let mut next = 0;
    while start.wall.elapsed().as_secs_f64() < secs {
        mesh.publish(TOPIC, batch(&mut next, size), SendOptions::default()).await?;
    }
    mesh.publish(TOPIC, vec![message(END, size)], SendOptions::default()).await?;
    // Without an answer the end was lost, and the receiver's count will tell.
    let _ = timeout(PATIENCE, answer(&mut answers, DONE)).await;
    let report = report(next, size, 0, start, Moment::now());
    mesh.shutdown().await;
    Ok(report)
}

async fn answer(answers: &mut Subscription, wanted: &[u8]) {
    while let Some(delivery) = answers.next().await {
        if let Delivery::Batch(batch) = delivery
            && batch.iter().any(|answer| answer.payload == wanted)
        {
            return;
        }
    }
}

/// What the receiver has seen.
#[derive(Default)]
struct Count {
    first: Option<Moment>,
    last: Option<Moment>,
    messages: u64,
    gaps: u64,
    next: u64,
    ended: bool,
}

impl Count {
    // Returns what to answer, if anything.
    fn see(&mut self, payloads: impl Iterator<Item = Bytes>) -> Option<&'static [u8]> {
        let mut answer = None;
        for payload in payloads {
            match number(&payload) {
                PROBE => answer = Some(HERE),
                END => {
                    self.ended = true;
                    answer = Some(DONE);
                }
                number => {
                    self.first.get_or_insert_with(Moment::now);
                    self.messages += 1;
                    self.gaps += u64::from(number != self.next);
                    self.next = number.wrapping_add(1);
                }
            }
        }
        if self.first.is_some() {
            self.last = Some(Moment::now());
        }
        answer
    }

    fn report(&self, size: usize) -> Option<BaselineReport> {
        Some(report(self.messages, size, self.gaps, self.first?, self.last?))
    }
}

/// A moment by the wall and by this process's processor time.
#[derive(Clone, Copy)]
struct Moment {
    wall: Instant,
    cpu: Duration,
}

impl Moment {
    fn now() -> Moment {
        Moment { wall: Instant::now(), cpu: process_cpu() }
    }
}

fn report(msgs: u64, size: usize, gaps: u64, from: Moment, to: Moment) -> BaselineReport {
    let secs = (to.wall - from.wall).as_secs_f64().max(1e-9);
    let cpu = to.cpu.saturating_sub(from.cpu).as_secs_f64();
    BaselineReport {
        msgs,
        secs,
        msgs_per_s: msgs as f64 / secs,
        mb_per_s: msgs as f64 * size as f64 / secs / 1e6,
        gaps,
        cpu_us_per_msg: cpu * 1e6 / msgs.max(1) as f64,
        peak_rss_mib: peak_rss_mib(),
    }
}

// All payloads of a batch share one allocation.
fn batch(next: &mut u64, size: usize) -> Vec<Bytes> {
    let count = (CHUNK / size).max(1);
    let mut chunk = BytesMut::zeroed(count * size);
    for place in chunk.chunks_exact_mut(size) {
        place[..8].copy_from_slice(&next.to_le_bytes());
        *next += 1;
    }
    let chunk = chunk.freeze();
    (0..count).map(|row| chunk.slice(row * size..(row + 1) * size)).collect()
}

fn message(number: u64, size: usize) -> Bytes {
    let mut payload = BytesMut::zeroed(size);
    payload[..8].copy_from_slice(&number.to_le_bytes());
    payload.freeze()
}

fn number(payload: &[u8]) -> u64 {
    payload.first_chunk().map_or(0, |number| u64::from_le_bytes(*number))
}

fn failed(why: impl std::fmt::Display) -> ApiError {
    ApiError::new(&code::BENCH_FAILED, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(numbers: &[u64]) -> impl Iterator<Item = Bytes> {
        numbers.iter().map(|&number| message(number, 16))
    }

    #[test]
    fn gaps_are_counted_and_probes_are_not() {
        let mut count = Count::default();

        let here = count.see(arrived(&[PROBE]));
        assert!(count.first.is_none());
        count.see(arrived(&[0, 1, PROBE, 2, 5, 4]));
        let done = count.see(arrived(&[5, END]));

        assert_eq!((here, done), (Some(HERE), Some(DONE)));
        assert_eq!((count.messages, count.gaps, count.ended), (6, 2, true));
    }

    #[test]
    fn a_batch_continues_the_numbers() {
        let mut next = 7;

        let payloads = batch(&mut next, CHUNK / 3);

        assert_eq!(payloads.iter().map(|payload| number(payload)).collect::<Vec<_>>(), [7, 8, 9]);
        assert_eq!((next, payloads[2].len()), (10, CHUNK / 3));
    }
}
