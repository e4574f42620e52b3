//! kill -9 at any moment, in a chain of three real nodes: what was acknowledged arrives, and arrives once.
//!
//! The producer and the consumer live in the test's process, so that what they were told survives every
//! kill. `MESH_LONG_TESTS=1` makes it a hundred kills, `MESH_TEST_SEED` chooses others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use mesh_node::api::ApiError;
use mesh_node::control::client::Client;
use mesh_node::control::frame::{Target, Wanted};
use mesh_node::message::{Delivery, Message, SendOptions};
use tokio::sync::{Notify, watch};

use crate::harness::{DEADLINE, Place};

const NAMES: [&str; 3] = ["alice", "bob", "carol"];
const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;
/// Messages that arrive or are acknowledged between two kills, at most.
const BETWEEN_KILLS: u64 = 400;
/// Acknowledged messages that have not arrived; beyond it the producer waits, because this is no test of
/// what happens when too much waits for a node.
const MAX_BACKLOG: usize = 5_000;
/// Messages of one batch, at most.
const MAX_BATCH: u64 = 32;

/// What the producer and the consumer were told. A number is one message and is sent in one batch only.
#[derive(Default)]
struct History {
    /// Numbers that a receipt vouches for.
    acked: BTreeSet<u64>,
    /// Batches that ended without a receipt, whose messages may arrive or not.
    unsure: u64,
    /// How often each number has arrived.
    arrived: BTreeMap<u64, u32>,
    /// The highest offset seen.
    offset: Option<u64>,
    /// What must never happen and did.
    faults: Vec<String>,
}

impl History {
    fn take(&mut self, message: &Message) {
        let number = u64::from_le_bytes(message.payload[..].try_into().unwrap());
        let times = self.arrived.entry(number).or_default();
        *times += 1;
        if *times > 1 {
            self.faults.push(format!("{number} arrived {times} times, now at {:?}", message.offset));
        }
        if message.offset <= self.offset {
            self.faults.push(format!("offset {:?} follows {:?}", message.offset, self.offset));
        }
        self.offset = self.offset.max(message.offset);
    }

    fn has_backlog(&self) -> bool {
        self.acked.len() >= self.arrived.len() + MAX_BACKLOG
    }

    fn missing(&self) -> Vec<u64> {
        self.acked.iter().filter(|number| !self.arrived.contains_key(number)).copied().collect()
    }
}

#[derive(Default)]
struct Shared {
    history: Mutex<History>,
    changed: Condvar,
    /// Tells the producer of arrivals.
    arrival: Notify,
}

impl Shared {
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut History)) {
        change(&mut self.history());
        self.changed.notify_all();
    }

    #[track_caller]
    fn until(&self, what: &str, done: impl Fn(&History) -> bool) {
        let history = self.history();
        let (history, waited) =
            self.changed.wait_timeout_while(history, DEADLINE, |history| !done(history)).unwrap();
        assert!(
            !waited.timed_out(),
            "{what}: {} acknowledged, {} arrived, missing {:?}",
            history.acked.len(),
            history.arrived.len(),
            history.missing().iter().take(10).collect::<Vec<_>>()
        );
    }
}

/// The chain, and what is needed to start each of its nodes again where it was.
struct Chain {
    place: Place,
    addrs: [String; 3],
    up: [watch::Sender<bool>; 3],
    slowest_start: Duration,
}

impl Chain {
    fn new() -> Chain {
        let up = std::array::from_fn(|_| watch::Sender::new(false));
        // An address of its own: while a node is dead, no other test can be given its port.
        let ip = if cfg!(target_os = "linux") { "127.77.0.1:0" } else { "127.0.0.1:0" };
        let addrs = std::array::from_fn(|_| ip.to_owned());
        let mut chain = Chain { place: Place::new(), addrs, up, slowest_start: Duration::ZERO };
        for node in [BOB, ALICE, CAROL] {
            chain.start(node, None);
        }
        chain.place.knows("alice", "carol");
        chain
    }

    fn socket(&self, node: usize) -> PathBuf {
        self.place.socket(NAMES[node])
    }

    /// Starts a node; if it is not ready within `patience` it is killed, and started again.
    fn start(&mut self, node: usize, patience: Option<Duration>) {
        let bob = self.addrs[BOB].clone();
        let mut args = vec!["--links", "explicit"];
        if node != BOB {
            args.extend(["--join", &bob]);
        }
        let data_dir = self.place.data_dir(NAMES[node]);
        let began = Instant::now();
        let starting = self.place.begin(NAMES[node], &self.addrs[node], &data_dir, &args);
        match (starting.ready(patience.unwrap_or(DEADLINE)), patience) {
            (Some(addr), _) => self.addrs[node] = addr,
            (None, Some(_)) => {
                self.place.kill(NAMES[node]);
                return self.start(node, None);
            }
            (None, None) => panic!("{} did not start", NAMES[node]),
        }
        self.slowest_start = self.slowest_start.max(began.elapsed());
        self.up[node].send_replace(true);
    }

    fn kill(&mut self, node: usize) {
        self.up[node].send_replace(false);
        self.place.kill(NAMES[node]);
    }
}

/// Sends until it is told to stop; after a lost connection with new numbers only.
async fn produce(
    socket: PathBuf,
    to: Target,
    mut up: watch::Receiver<bool>,
    stop: watch::Receiver<bool>,
    shared: &Shared,
) {
    let mut next = 0;
    while !*stop.borrow() {
        up.wait_for(|up| *up).await.unwrap();
        let ended = async {
            let mut publisher = Client::connect(&socket).await?.publisher().await?;
            while !*stop.borrow() {
                while shared.history().has_backlog() {
                    shared.arrival.notified().await;
                }
                let numbers = next..next + 1 + next % MAX_BATCH;
                next = numbers.end;
                let payloads: Vec<[u8; 8]> = numbers.clone().map(u64::to_le_bytes).collect();
                let payloads: Vec<&[u8]> = payloads.iter().map(|payload| &payload[..]).collect();
                let options = SendOptions { durable: true, ..SendOptions::default() };
                let stored = publisher.flush().await?.stored;
                publisher.send(&to, &payloads, options).await?;
                let now_stored = publisher.flush().await?.stored;
                assert_eq!(now_stored - stored, payloads.len() as u64, "a receipt without the disk");
                shared.change(|history| history.acked.extend(numbers));
            }
            Ok::<(), ApiError>(())
        };
        if ended.await.is_err() {
            shared.change(|history| history.unsure += 1);
            tokio::task::yield_now().await;
        }
    }
}

/// Reads on where it was, whatever happens to the node.
async fn consume(socket: PathBuf, mut up: watch::Receiver<bool>, shared: &Shared) {
    loop {
        up.wait_for(|up| *up).await.unwrap();
        let ended = async {
            let from = shared.history().offset.map(|offset| offset + 1);
            let mut inbox = Client::connect(&socket).await?.subscribe(Wanted::Inbox(from)).await?;
            while let Some(delivery) = inbox.next().await? {
                let Delivery::Batch(messages) = delivery else { panic!("an inbox has no gaps") };
                shared.change(|history| messages.iter().for_each(|message| history.take(message)));
                shared.arrival.notify_one();
                inbox.ack(messages.last().unwrap().offset.unwrap()).await?;
            }
            Ok::<(), ApiError>(())
        };
        let _ = ended.await;
        tokio::task::yield_now().await;
    }
}

/// Producer and consumer, on a thread of their own until this is dropped.
struct Clients {
    stop_producing: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Clients {
    fn start(chain: &Chain, shared: &Arc<Shared>) -> Clients {
        let id = chain.place.json(&["-N", "carol", "id", "show"])["node"].as_str().unwrap().to_owned();
        let (stop_producing, stop) = (watch::Sender::new(false), watch::Sender::new(false));
        let (no_more, mut stopped) = (stop_producing.subscribe(), stop.subscribe());
        let (alice, carol) = (chain.socket(ALICE), chain.socket(CAROL));
        let (alice_up, carol_up) = (chain.up[ALICE].subscribe(), chain.up[CAROL].subscribe());
        let shared = Arc::clone(shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let producing = produce(alice, Target::Node(id), alice_up, no_more, &shared);
                let consuming = consume(carol, carol_up, &shared);
                tokio::select! {
                    _ = stopped.wait_for(|stop| *stop) => {}
                    _ = async { tokio::join!(producing, consuming) } => {}
                }
            });
        });
        Clients { stop_producing, stop, thread: Some(thread) }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking(), "a client failed");
    }
}

fn env_number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

// I1, I2; C01, C03: and C05 as far as a kill during the recovery from a kill goes.
#[test]
fn whatever_is_killed_acknowledged_messages_arrive_exactly_once() {
    let kills = if env_number("MESH_LONG_TESTS") == Some(1) { 100 } else { 12 };
    let seed = env_number("MESH_TEST_SEED").unwrap_or(20);
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut chain = Chain::new();
    let shared = Arc::new(Shared::default());
    let clients = Clients::start(&chain, &shared);
    shared.until("the first message", |history| !history.arrived.is_empty());

    for kill in 0..kills {
        // All three in turn first, so that few kills meet each of them.
        let victim = if kill < 3 { kill } else { rng.usize(0..3) };
        wait_for_traffic(&mut rng, &shared, seed);
        chain.kill(victim);
        // Some stay away while others work, and some are killed again while they recover.
        if victim != ALICE && rng.bool() {
            let more = shared.history().acked.len() + rng.usize(1..BETWEEN_KILLS as usize);
            shared.until("alice takes messages meanwhile", |history| {
                history.acked.len() >= more || history.has_backlog()
            });
        }
        let patience = rng.bool().then(|| Duration::from_millis(rng.u64(1..600)));
        chain.start(victim, patience);
    }

    clients.stop_producing.send_replace(true);
    shared.until("every acknowledged message arrives", |history| history.missing().is_empty());
    for name in ["alice", "bob"] {
        chain.place.until(&["-N", name, "status"], |status| status["held"]["messages"] == 0);
    }
    chain.place.until(&["-N", "carol", "status"], |status| status["inbox"]["messages"] == 0);
    drop(clients);
    let history = shared.history();
    eprintln!(
        "seed {seed}: {kills} kills, {} acknowledged, {} arrived, {} batches without a receipt, slowest start {:?}",
        history.acked.len(),
        history.arrived.len(),
        history.unsure,
        chain.slowest_start,
    );
    assert_eq!(history.faults, [""; 0], "seed {seed}");
    assert_eq!(history.missing(), [0; 0], "seed {seed}");
}

/// Waits until a random number of messages were acknowledged, or arrived, or for none at all.
fn wait_for_traffic(rng: &mut fastrand::Rng, shared: &Shared, seed: u64) {
    let more = rng.usize(1..BETWEEN_KILLS as usize);
    let (acked, arrived) = {
        let history = shared.history();
        (history.acked.len() + more, history.arrived.len() + more)
    };
    match rng.u8(0..5) {
        0 => {}
        1 | 2 => shared
            .until(&format!("seed {seed}: acknowledgements"), |h| h.acked.len() >= acked || h.has_backlog()),
        _ => shared.until(&format!("seed {seed}: arrivals"), |h| h.arrived.len() >= arrived),
    }
}
