//! Links inside one process, for tests and for several nodes in one program. Same events, limits and
//! back-pressure as over a network; never a socket, and the nodes believe each other's ids.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use mesh_proto::NodeId;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::framing::Splitter;
use super::link::{Alive, Census, Gauge, LaneQueue, Outgoing};
use super::{
    CLOSE_GONE, CLOSE_GRACE, CLOSE_OK, CLOSE_VIOLATION, DialError, DownReason, EventSender, Lane, LinkId,
    SendError, Transport, TransportEvent, Violation, cut_reason,
};

const PREFIX: &str = "mem:";

/// The place where the memory transports of one process find each other by name. Clones are the same hub.
#[derive(Clone, Default)]
pub struct Hub {
    nodes: Arc<Mutex<HashMap<String, Weak<Node>>>>,
}

/// A node's end of a [`Hub`]: address `mem:NAME`.
pub struct MemoryTransport {
    hub: Hub,
    node: Arc<Node>,
}

/// Why a [`MemoryTransport`] cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// A live node of the hub has the name.
    #[error("the name {name} is taken in this hub")]
    NameTaken {
        /// The name that was asked for.
        name: String,
    },
}

struct Node {
    name: String,
    id: NodeId,
    events: EventSender,
    // None once shut down. A lock, because the two ends of a link live in two drivers' tasks.
    links: Mutex<Option<HashMap<LinkId, Link>>>,
    census: Census,
}

struct Link {
    outgoing: Outgoing,
    close: oneshot::Sender<Close>,
}

struct Close {
    code: u32,
    reason: String,
}

/// One end of a link as its tasks see it.
struct End {
    node: Weak<Node>,
    link: LinkId,
    events: EventSender,
    gauge: Arc<Gauge>,
    closed: oneshot::Receiver<Close>,
    _alive: Alive,
}

impl MemoryTransport {
    /// Joins `hub` as `mem:NAME`; what happens is reported on `events`. Leaves it when dropped.
    ///
    /// # Errors
    /// The name is taken by a node that still lives.
    pub fn bind(
        hub: &Hub,
        name: &str,
        id: NodeId,
        events: EventSender,
    ) -> Result<MemoryTransport, BindError> {
        let links = Mutex::new(Some(HashMap::new()));
        let node = Arc::new(Node { name: name.to_owned(), id, events, links, census: Census::default() });
        let mut nodes = lock(&hub.nodes);
        if nodes.get(name).is_some_and(|n| n.strong_count() > 0) {
            return Err(BindError::NameTaken { name: name.to_owned() });
        }
        nodes.insert(name.to_owned(), Arc::downgrade(&node));
        drop(nodes);
        Ok(MemoryTransport { hub: hub.clone(), node })
    }

    fn find(&self, addr: &str, expect: Option<NodeId>) -> Result<Arc<Node>, DialError> {
        if lock(&self.node.links).is_none() {
            return Err(DialError::ShutDown);
        }
        let name = addr.strip_prefix(PREFIX).ok_or_else(|| DialError::BadAddress {
            addr: addr.to_owned(),
            cause: "an address in memory has the form mem:NAME",
        })?;
        let nobody = || DialError::NobodyThere { addr: addr.to_owned() };
        let other = lock(&self.hub.nodes).get(name).and_then(Weak::upgrade).ok_or_else(nobody)?;
        match expect {
            Some(expected) if expected != other.id => Err(DialError::WrongKey { expected, found: other.id }),
            _ if other.id == self.node.id => Err(DialError::OwnKey),
            _ if lock(&other.links).is_none() => Err(nobody()),
            _ => Ok(other),
        }
    }

    fn with_link<T>(&self, link: LinkId, f: impl FnOnce(&Link) -> T) -> Option<T> {
        lock(&self.node.links).as_ref()?.get(&link).map(f)
    }
}

impl Transport for MemoryTransport {
    fn scheme(&self) -> &'static str {
        "memory"
    }

    fn knows(&self, addr: &str) -> bool {
        addr.starts_with(PREFIX)
    }

    fn local_addrs(&self) -> Vec<String> {
        vec![self.node.addr()]
    }

    fn dial(&self, addr: &str, expect: Option<NodeId>, token: u64) {
        match self.find(addr, expect) {
            Ok(other) => drop(tokio::spawn(connect(Arc::clone(&self.node), other, token))),
            Err(error) => {
                let failed = TransportEvent::DialFailed { addr: addr.to_owned(), token, error };
                let events = self.node.events.clone();
                tokio::spawn(async move { events.send(failed).await });
            }
        }
    }

    fn send(&self, link: LinkId, lane: Lane, chunks: Vec<Bytes>) -> Result<(), SendError> {
        self.with_link(link, |l| l.outgoing.send(lane, chunks)).unwrap_or(Err(SendError::Gone))
    }

    fn buffered(&self, link: LinkId) -> usize {
        self.with_link(link, |l| l.outgoing.buffered()).unwrap_or(0)
    }

    fn close(&self, link: LinkId, code: u32, reason: &str) {
        if let Some(gone) = lock(&self.node.links).as_mut().and_then(|links| links.remove(&link)) {
            gone.end(code, reason);
        }
    }

    fn rtt(&self, _: LinkId) -> Option<Duration> {
        None
    }

    fn loss_ppm(&self, _: LinkId) -> Option<u32> {
        None
    }

    fn shutdown(&self, reason: &str) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        for link in lock(&self.node.links).take().unwrap_or_default().into_values() {
            link.end(CLOSE_OK, reason);
        }
        let all_ended = self.node.census.empty();
        // Each link limits itself; this limit is for drivers that no longer take their last events.
        Box::pin(async move { drop(timeout(CLOSE_GRACE * 2, all_ended).await) })
    }
}

impl Drop for MemoryTransport {
    fn drop(&mut self) {
        lock(&self.hub.nodes).remove(&self.node.name);
        lock(&self.node.links).take();
    }
}

impl Node {
    fn addr(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }

    /// Enters a new link and returns what its tasks need, or `None` after the shutdown.
    fn enter(self: &Arc<Self>) -> Option<(End, [LaneQueue; Lane::COUNT])> {
        let (outgoing, queues) = Outgoing::new();
        let (close, closed) = oneshot::channel();
        let (link, gauge) = (LinkId::next(), outgoing.gauge());
        lock(&self.links).as_mut()?.insert(link, Link { outgoing, close });
        let alive = self.census.enter();
        let end = End {
            node: Arc::downgrade(self),
            link,
            events: self.events.clone(),
            gauge,
            closed,
            _alive: alive,
        };
        Some((end, queues))
    }
}

impl Link {
    fn end(self, code: u32, reason: &str) {
        // An error means that the link has ended by itself just now, and says so.
        let _ = self.close.send(Close { code, reason: cut_reason(reason).to_owned() });
    }
}

impl End {
    async fn up(&self, peer: &Node, dialed: Option<u64>) {
        self.tell(TransportEvent::Up { link: self.link, peer: peer.id, addr: peer.addr(), dialed }).await;
    }

    async fn down(self, reason: DownReason) {
        if let Some(node) = self.node.upgrade() {
            lock(&node.links).as_mut().and_then(|links| links.remove(&self.link));
        }
        self.tell(TransportEvent::Down { link: self.link, reason }).await;
    }

    async fn tell(&self, event: TransportEvent) {
        // An error means that this end's driver is gone; nobody is left to tell.
        let _ = self.events.send(event).await;
    }
}

async fn connect(dialer: Arc<Node>, other: Arc<Node>, token: u64) {
    let failed = |error| TransportEvent::DialFailed { addr: other.addr(), token, error };
    let Some((a, a_queues)) = dialer.enter() else {
        return drop(dialer.events.send(failed(DialError::ShutDown)).await);
    };
    let Some((b, b_queues)) = other.enter() else {
        lock(&dialer.links).as_mut().and_then(|links| links.remove(&a.link));
        return a.tell(failed(DialError::NobodyThere { addr: other.addr() })).await;
    };
    tokio::join!(a.up(&other, Some(token)), b.up(&dialer, None));
    // Only weak handles stay, so that dropping a transport ends its links.
    drop((dialer, other));

    let mut from_a = pumps(a_queues, &a, &b);
    let mut from_b = pumps(b_queues, &b, &a);
    run(a, &mut from_a, b, &mut from_b).await;
}

async fn run(mut a: End, from_a: &mut Pumps, mut b: End, from_b: &mut Pumps) {
    let (a_reason, b_reason) = tokio::select! {
        close = &mut a.closed => ended(close, from_a).await,
        close = &mut b.closed => swap(ended(close, from_b).await),
        fault = first_fault(from_a) => violated(fault),
        fault = first_fault(from_b) => swap(violated(fault)),
    };
    from_a.shutdown().await;
    from_b.shutdown().await;
    tokio::join!(a.down(a_reason), b.down(b_reason));
}

type Pumps = JoinSet<Result<(), Violation>>;

fn pumps(queues: [LaneQueue; Lane::COUNT], from: &End, to: &End) -> Pumps {
    let mut pumps = JoinSet::new();
    for (lane, queue) in Lane::ALL.into_iter().zip(queues) {
        pumps.spawn(pump(lane, queue, Arc::clone(&from.gauge), to.link, to.events.clone()));
    }
    let (gauge, link, events) = (Arc::clone(&from.gauge), from.link, from.events.clone());
    pumps.spawn(async move {
        loop {
            gauge.writable().await;
            if events.send(TransportEvent::Writable { link }).await.is_err() {
                return Ok(());
            }
        }
    });
    pumps
}

async fn pump(
    lane: Lane,
    mut queue: LaneQueue,
    gauge: Arc<Gauge>,
    link: LinkId,
    to: EventSender,
) -> Result<(), Violation> {
    let mut splitter = Splitter::new(lane);
    while let Some(chunks) = queue.recv().await {
        let frames = splitter.push(&chunks)?;
        if !frames.is_empty() && to.send(TransportEvent::Frames { link, lane, frames }).await.is_err() {
            return Ok(());
        }
        gauge.let_out(chunks.iter().map(Bytes::len).sum());
    }
    splitter.end()
}

async fn first_fault(pumps: &mut Pumps) -> Violation {
    while let Some(ended) = pumps.join_next().await {
        if let Ok(Err(fault)) = ended {
            return fault;
        }
    }
    std::future::pending().await
}

/// Lets out what the closing end has queued, and returns the reasons for it and for the other end.
async fn ended(
    close: Result<Close, oneshot::error::RecvError>,
    pumps: &mut Pumps,
) -> (DownReason, DownReason) {
    let gone = || Close { code: CLOSE_GONE, reason: "the node went away".to_owned() };
    let Close { code, reason } = close.unwrap_or_else(|_| gone());
    if code == CLOSE_OK
        && let Ok(Some(fault)) = timeout(CLOSE_GRACE, lanes_dry(pumps)).await
    {
        return (DownReason::Local { code }, DownReason::Violation(fault));
    }
    (DownReason::Local { code }, DownReason::Remote { code, reason })
}

/// Waits until every lane has run dry; the task that reports room is all that is left then.
async fn lanes_dry(pumps: &mut Pumps) -> Option<Violation> {
    while pumps.len() > 1 {
        if let Some(Ok(Err(fault))) = pumps.join_next().await {
            return Some(fault);
        }
    }
    None
}

fn violated(fault: Violation) -> (DownReason, DownReason) {
    (DownReason::Remote { code: CLOSE_VIOLATION, reason: fault.to_string() }, DownReason::Violation(fault))
}

fn swap<T>((a, b): (T, T)) -> (T, T) {
    (b, a)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can panic half-way, so a poisoned one still holds a whole value.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
