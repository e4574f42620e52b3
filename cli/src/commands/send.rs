//! `meshctl send` and `meshctl pub`: messages to a node or a topic.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use mesh_node::api::{ApiError, code, text};
use mesh_node::control::client::Publisher;
use mesh_node::control::frame::{MAX_BODY, Target};
use mesh_node::message::SendOptions;
use mesh_proto::MessageId;
use mesh_proto::policy::Class;
use serde::Serialize;
use tokio::time::Instant;

use super::Context;
use crate::args::duration;
use crate::connect::{Connection, within};
use crate::output::human;
use crate::output::{Show, View};

/// Send a message to a node.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  meshctl send bob \"hello\"
  meshctl send bob --durable \"when you are back\"     waits for bob on disk
  meshctl send bob --file report.pdf --class bulk
  date | meshctl send bob
  meshctl send bob --lines < commands.txt            a message a line
  meshctl send bob --count 10000 --rate 5000 ping    load")]
pub struct Send {
    /// The node: its name, its id, or the first six or more digits of the id.
    peer: String,
    #[command(flatten)]
    content: Content,
}

/// Publish a message on a topic.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  meshctl pub news \"hello, all\"
  meshctl pub sensors/roof --class low --ttl 30s 21.5
  tail -f log | meshctl pub logs --lines
  meshctl pub news --count 100000 x                  load")]
pub struct Pub {
    /// The topic.
    topic: String,
    #[command(flatten)]
    content: Content,
}

#[derive(Debug, Args)]
struct Content {
    /// What to send; stdin when absent.
    payload: Option<String>,
    /// Send the content of a file.
    #[arg(long, value_name = "FILE", conflicts_with = "payload")]
    file: Option<PathBuf>,
    /// Send each line of stdin as a message.
    #[arg(long, conflicts_with_all = ["payload", "file", "count"])]
    lines: bool,
    /// Return only when the messages are on this node's disk; they wait for who is away.
    #[arg(long)]
    durable: bool,
    /// The class: critical, high, normal, low or bulk.
    #[arg(long, default_value = "normal", value_parser = class)]
    class: Class,
    /// How long the messages are worth delivering, such as 30s or 2h.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    ttl: Option<Duration>,
    /// How many hops they may take; 10 to a node and 64 to a topic when not given.
    #[arg(long, value_name = "N")]
    hop_limit: Option<u8>,
    /// Send it so many times.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// At most so many a second.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rate: Option<u64>,
}

/// What was sent.
#[derive(Debug, Serialize)]
struct Sent {
    to: String,
    #[serde(with = "first_id")]
    first_id: Option<MessageId>,
    messages: u64,
    stored: u64,
    payload_bytes: u64,
    elapsed_s: f64,
    msgs_per_s: f64,
    dry_run: bool,
}

mod first_id {
    use mesh_proto::MessageId;
    use serde::Serializer;

    pub fn serialize<S: Serializer>(id: &Option<MessageId>, out: S) -> Result<S::Ok, S::Error> {
        match id {
            Some(id) => super::text::serialize(id, out),
            None => out.serialize_none(),
        }
    }
}

impl Send {
    /// Sends and prints what became of it.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let to = self.peer.clone();
        self.content.send(context, Target::Node(self.peer), to).await
    }
}

impl Pub {
    /// Publishes and prints what became of it.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let to = self.topic.clone();
        self.content.send(context, Target::Topic(self.topic), to).await
    }
}

/// Messages that go into one hand-over while a rate is kept: small enough for an even flow.
const CHUNK: u64 = 256;

impl Content {
    async fn send(self, context: &Context, to: Target, name: String) -> Result<(), ApiError> {
        let Connection { client, node, .. } = context.connect().await?;
        let started = Instant::now();
        let mut flow = Flow { to, options: self.options(), bytes: 0, publisher: client.publisher().await? };
        let mut report = Sent {
            to: name,
            first_id: None,
            messages: 0,
            stored: 0,
            payload_bytes: 0,
            elapsed_s: 0.0,
            msgs_per_s: 0.0,
            dry_run: context.globals.dry_run,
        };
        if report.dry_run {
            report.messages = self.count;
            report.payload_bytes = self.payload()?.len() as u64 * self.count;
            return context.out.print(node, &report);
        }
        match self.lines {
            true => flow.lines().await?,
            false => flow.repeat(&self.payload()?, self.count, self.rate).await?,
        }
        let taken = within(context.globals.timeout, flow.publisher.flush()).await?;
        report.first_id = taken.first_id;
        report.messages = taken.messages;
        report.stored = taken.stored;
        report.payload_bytes = flow.bytes;
        report.elapsed_s = started.elapsed().as_secs_f64();
        report.msgs_per_s = taken.messages as f64 / report.elapsed_s.max(1e-9);
        context.out.print(node, &report)
    }

    fn options(&self) -> SendOptions {
        SendOptions { class: self.class, ttl: self.ttl, durable: self.durable, hop_limit: self.hop_limit }
    }

    fn payload(&self) -> Result<Vec<u8>, ApiError> {
        match (&self.payload, &self.file) {
            (Some(payload), _) if payload != "-" => Ok(payload.clone().into_bytes()),
            (_, Some(path)) => {
                let failed = |error| ApiError::new(&code::BAD_VALUE, error).fact("file", path.display());
                read_all(File::open(path).map_err(|error| failed(read_failed(path, &error)))?)
                    .map_err(|error| error.fact("file", path.display()))
            }
            (None, None) if io::stdin().is_terminal() => {
                let message = "there is nothing to send: give a payload, --file, or something on stdin";
                Err(ApiError::new(&code::USAGE, message))
            }
            _ => read_all(io::stdin().lock()),
        }
    }
}

fn read_failed(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be read: {error}", path.display())
}

fn read_all(from: impl Read) -> Result<Vec<u8>, ApiError> {
    let mut payload = Vec::new();
    let limit = MAX_BODY as u64;
    let read = from.take(limit + 1).read_to_end(&mut payload);
    read.map_err(|error| ApiError::new(&code::BAD_VALUE, format!("the payload cannot be read: {error}")))?;
    if payload.len() as u64 > limit {
        return Err(ApiError::new(&code::MESSAGE_TOO_LARGE, format!("the payload exceeds {limit} bytes")));
    }
    Ok(payload)
}

struct Flow {
    publisher: Publisher,
    to: Target,
    options: SendOptions,
    bytes: u64,
}

impl Flow {
    async fn repeat(&mut self, payload: &[u8], count: u64, rate: Option<u64>) -> Result<(), ApiError> {
        let started = Instant::now();
        let mut sent = 0;
        while sent < count {
            let chunk = match rate {
                // A hundredth of a second's worth at a time.
                Some(rate) => CHUNK.min(rate / 100).max(1),
                None => CHUNK,
            };
            let chunk = chunk.min(count - sent);
            let batch = vec![payload; usize::try_from(chunk).unwrap_or(1)];
            self.hand_over(&batch).await?;
            sent += chunk;
            if let Some(rate) = rate.filter(|_| sent < count) {
                tokio::time::sleep_until(started + Duration::from_secs_f64(sent as f64 / rate as f64)).await;
            }
        }
        Ok(())
    }

    // Lines are taken by a thread, because stdin has no asynchronous form that can be given up.
    async fn lines(&mut self) -> Result<(), ApiError> {
        let (lines, mut taken) = tokio::sync::mpsc::channel::<String>(CHUNK as usize);
        std::thread::spawn(move || {
            for line in io::stdin().lines().map_while(Result::ok) {
                if lines.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        let mut batch = Vec::new();
        while taken.recv_many(&mut batch, CHUNK as usize).await > 0 {
            let payloads: Vec<&[u8]> = batch.iter().map(String::as_bytes).collect();
            self.hand_over(&payloads).await?;
            batch.clear();
        }
        Ok(())
    }

    async fn hand_over(&mut self, payloads: &[&[u8]]) -> Result<(), ApiError> {
        self.bytes += payloads.iter().map(|payload| payload.len() as u64).sum::<u64>();
        self.publisher.send(&self.to, payloads, self.options).await
    }
}

impl Show for Sent {
    const SCHEMA: &'static str = "sent";

    fn view(&self) -> View {
        let Sent { to, messages, payload_bytes, .. } = self;
        let size = human::bytes(*payload_bytes);
        let what = if *messages == 1 {
            "message".to_owned()
        } else {
            format!("{} messages", human::count(*messages))
        };
        if self.dry_run {
            return View::Text(format!("{what} ({size}) would be sent to {to}\n"));
        }
        let kept = if self.stored == *messages && *messages > 0 { ", stored on this node" } else { "" };
        let id = self.first_id.map(|id| format!("  {}", id.short())).unwrap_or_default();
        let rate = match messages {
            0 | 1 => String::new(),
            _ => format!(
                " in {}, {} a second",
                human::duration(self.elapsed_s),
                human::count(self.msgs_per_s as u64)
            ),
        };
        View::Text(format!("{what} ({size}) taken for {to}{kept}{rate}{id}\n"))
    }

    fn names(&self) -> Vec<String> {
        self.first_id.iter().map(ToString::to_string).collect()
    }
}

fn class(name: &str) -> Result<Class, String> {
    text::class::parse(name).ok_or_else(|| "a class is critical, high, normal, low or bulk".to_owned())
}
