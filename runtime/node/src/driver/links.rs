//! The links as the driver keeps them, and the writing to them.

use bytes::Bytes;
use mesh_proto::NodeId;
use mesh_proto::id::Peer;

use super::Driver;
use crate::transport::{HIGH_WATER, Lane, LinkId};

pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) node: NodeId,
    pub(super) addr: String,
    pub(super) dialed: bool,
    pub(super) is_up: bool,
    pub(super) since: std::time::Instant,
    pub(super) sent: u64,
    pub(super) received: u64,
    /// The transport knows it no more.
    pub(super) is_gone: bool,
    /// Why it ends, once it does.
    pub(super) down: Option<String>,
}

impl Link {
    pub(super) fn new(id: LinkId, node: NodeId, addr: &str, dialed: bool) -> Link {
        Link {
            id,
            node,
            addr: addr.to_owned(),
            dialed,
            is_up: false,
            since: std::time::Instant::now(),
            sent: 0,
            received: 0,
            is_gone: false,
            down: None,
        }
    }
}

impl Driver {
    /// Writes to every link what the core has for it, while it has room.
    pub(super) fn transmit(&mut self) {
        let now = self.parts.clock.now();
        let peers: Vec<(Peer, LinkId)> = self.links.iter().map(|(peer, link)| (*peer, link.id)).collect();
        for (peer, id) in peers {
            let Some(transport) = self.parts.transports.iter().find(|t| t.scheme() == self.scheme(peer))
            else {
                continue;
            };
            let buffered = transport.buffered(id);
            if buffered >= HIGH_WATER {
                continue;
            }
            let mut room = HIGH_WATER - buffered;
            let mut lanes: [Vec<Bytes>; Lane::COUNT] = Default::default();
            let mut sent = 0;
            while room > 0 {
                let Some(transmit) = self.parts.node.poll_transmit(now, peer) else { break };
                let len: usize = transmit.chunks.iter().map(Bytes::len).sum();
                room = room.saturating_sub(len);
                sent += len as u64;
                let chunks = transmit.chunks.into_iter().filter(|chunk| !chunk.is_empty());
                lanes[usize::from(transmit.lane)].extend(chunks);
            }
            for (lane, chunks) in Lane::ALL.into_iter().zip(lanes).filter(|(_, chunks)| !chunks.is_empty()) {
                if let Err(error) = transport.send(id, lane, chunks) {
                    // The link is going down, and the core keeps what was not acknowledged.
                    tracing::debug!(%error, "nothing sent");
                }
            }
            if let Some(link) = self.links.get_mut(&peer) {
                link.sent += sent;
            }
        }
    }

    fn scheme(&self, peer: Peer) -> &'static str {
        self.links.get(&peer).map_or("", |link| crate::builder::scheme_of(&link.addr))
    }
}
