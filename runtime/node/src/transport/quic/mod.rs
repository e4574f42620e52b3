//! QUIC by quinn: one connection a link, one unidirectional stream a lane each way, and the node's key as
//! the identity of the TLS session. Addresses are `HOST:PORT`.
//!
//! Knows no frame beyond its length, keeps no session for later, and sends no application byte before both
//! keys are proved.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use mesh_proto::NodeId;
use quinn::{Connection, Endpoint, VarInt};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::admission::Door;
pub use self::config::{BindError, QuicConfig};
use self::link::{Close, LinkEnd};
use super::link::{Census, Outgoing};
use super::{
    CLOSE_GRACE, CLOSE_OK, EventSender, Lane, LinkId, SendError, Transport, TransportEvent, cut_reason,
};
use crate::keys::NodeKey;

mod accept;
mod admission;
pub(crate) mod config;
mod dial;
mod link;
#[cfg(test)]
mod tests;
pub(crate) mod tls;

/// Time that a shutdown gives the closing packets after the last link has ended.
const CLOSING_PACKETS: Duration = Duration::from_millis(300);

/// The QUIC transport of one node.
pub struct QuicTransport {
    shared: Arc<Shared>,
    // Dropped, and with it aborted, when the transport is dropped or shut down.
    acceptors: Mutex<JoinSet<()>>,
}

/// What the tasks of one transport have in common.
struct Shared {
    config: QuicConfig,
    identity: tls::Identity,
    endpoints: Vec<Endpoint>,
    door: Door,
    events: EventSender,
    table: Mutex<Table>,
    census: Census,
}

/// The live links. A lock, because links appear in the tasks that shake hands and are used by the driver.
#[derive(Default)]
struct Table {
    links: HashMap<LinkId, Link>,
    shut_down: bool,
}

struct Link {
    outgoing: Outgoing,
    close: oneshot::Sender<Close>,
    connection: Connection,
    seen: PathCount,
}

/// Packets of a link as of the last question about its loss.
#[derive(Clone, Copy, Default)]
struct PathCount {
    sent: u64,
    lost: u64,
}

impl QuicTransport {
    /// Opens the sockets and starts to accept links; what happens is reported on `events`. Must be called
    /// inside a tokio runtime.
    ///
    /// # Errors
    /// A listen address cannot be used.
    pub fn bind(config: QuicConfig, key: &NodeKey, events: EventSender) -> Result<QuicTransport, BindError> {
        let identity = tls::Identity::new(key);
        let endpoints = config
            .listen
            .iter()
            .map(|addr| config.endpoint(*addr, &identity))
            .collect::<Result<Vec<_>, _>>()?;
        let door = Door::new(&config);
        let (table, census) = Default::default();
        let shared = Arc::new(Shared { config, identity, endpoints, door, events, table, census });
        let mut acceptors = JoinSet::new();
        for endpoint in shared.endpoints.clone() {
            acceptors.spawn(accept::run(endpoint, Arc::clone(&shared)));
        }
        Ok(QuicTransport { shared, acceptors: Mutex::new(acceptors) })
    }

    /// Returns the socket addresses that it listens on, with real port numbers.
    pub fn local_sockets(&self) -> Vec<SocketAddr> {
        self.shared.endpoints.iter().filter_map(|e| e.local_addr().ok()).collect()
    }

    fn with_link<T>(&self, link: LinkId, f: impl FnOnce(&mut Link) -> T) -> Option<T> {
        lock(&self.shared.table).links.get_mut(&link).map(f)
    }
}

impl Transport for QuicTransport {
    fn scheme(&self) -> &'static str {
        "quic"
    }

    fn knows(&self, addr: &str) -> bool {
        dial::split_addr(addr).is_ok()
    }

    fn local_addrs(&self) -> Vec<String> {
        self.local_sockets().iter().map(SocketAddr::to_string).collect()
    }

    fn dial(&self, addr: &str, expect: Option<NodeId>, token: u64) {
        tokio::spawn(dial::run(Arc::clone(&self.shared), addr.to_owned(), expect, token));
    }

    fn send(&self, link: LinkId, lane: Lane, chunks: Vec<Bytes>) -> Result<(), SendError> {
        self.with_link(link, |l| l.outgoing.send(lane, chunks)).unwrap_or(Err(SendError::Gone))
    }

    fn buffered(&self, link: LinkId) -> usize {
        self.with_link(link, |l| l.outgoing.buffered()).unwrap_or(0)
    }

    fn close(&self, link: LinkId, code: u32, reason: &str) {
        let gone = lock(&self.shared.table).links.remove(&link);
        if let Some(gone) = gone {
            gone.end(code, reason);
        }
    }

    fn rtt(&self, link: LinkId) -> Option<Duration> {
        self.with_link(link, |l| l.connection.rtt())
    }

    fn loss_ppm(&self, link: LinkId) -> Option<u32> {
        self.with_link(link, Link::loss_ppm).flatten()
    }

    fn shutdown(&self, reason: &str) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let links = {
            let mut table = lock(&self.shared.table);
            table.shut_down = true;
            std::mem::take(&mut table.links)
        };
        lock(&self.acceptors).abort_all();
        for link in links.into_values() {
            link.end(CLOSE_OK, reason);
        }
        let shared = Arc::clone(&self.shared);
        let reason = cut_reason(reason).to_owned();
        Box::pin(async move {
            // Each link limits itself; this limit is for a driver that no longer takes its last events.
            let _ = timeout(CLOSE_GRACE * 2, shared.census.empty()).await;
            for endpoint in &shared.endpoints {
                endpoint.close(VarInt::from_u32(CLOSE_OK), reason.as_bytes());
            }
            let _ = timeout(CLOSING_PACKETS, async {
                for endpoint in &shared.endpoints {
                    endpoint.wait_idle().await;
                }
            })
            .await;
        })
    }
}

impl Drop for QuicTransport {
    fn drop(&mut self) {
        // The links' tasks see that their close channels are gone and end.
        let mut table = lock(&self.shared.table);
        table.shut_down = true;
        table.links.clear();
    }
}

impl Shared {
    /// Enters a connection whose peer has proved its key, and starts its tasks.
    fn start(self: &Arc<Self>, connection: Connection, peer: NodeId, addr: String, dialed: Option<u64>) {
        let (outgoing, queues) = Outgoing::new();
        let (close, closed) = oneshot::channel();
        let (id, gauge) = (LinkId::next(), outgoing.gauge());
        let link = Link { outgoing, close, connection: connection.clone(), seen: PathCount::default() };
        if !lock(&self.table).enter(id, link) {
            return connection.close(VarInt::from_u32(CLOSE_OK), b"shutting down");
        }
        let up = TransportEvent::Up { link: id, peer, addr, dialed };
        let end =
            LinkEnd { id, connection, closed, gauge, shared: Arc::clone(self), _alive: self.census.enter() };
        tokio::spawn(end.run(up, queues));
    }

    fn links(&self) -> usize {
        lock(&self.table).links.len()
    }

    fn is_shut_down(&self) -> bool {
        lock(&self.table).shut_down
    }

    fn forget(&self, link: LinkId) {
        lock(&self.table).links.remove(&link);
    }

    async fn tell(&self, event: TransportEvent) {
        // An error means that the driver is gone; nobody is left to tell.
        let _ = self.events.send(event).await;
    }
}

impl Table {
    fn enter(&mut self, id: LinkId, link: Link) -> bool {
        if !self.shut_down {
            self.links.insert(id, link);
        }
        !self.shut_down
    }
}

impl Link {
    fn end(self, code: u32, reason: &str) {
        // An error means that the link has ended by itself just now, and says so.
        let _ = self.close.send(Close { code, reason: cut_reason(reason).to_owned() });
    }

    fn loss_ppm(&mut self) -> Option<u32> {
        let path = self.connection.stats().path;
        let now = PathCount { sent: path.sent_packets, lost: path.lost_packets };
        let before = std::mem::replace(&mut self.seen, now);
        let (sent, lost) = (now.sent - before.sent, now.lost - before.lost);
        // A packet can be found lost after the question that counted it as sent.
        (sent > 0).then(|| (lost.min(sent) * 1_000_000 / sent) as u32)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can panic half-way, so a poisoned one still holds a whole value.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
