//! Settings of the QUIC transport, and the sockets and endpoints made from them. The bare quinn pair of the
//! benchmark uses the same ones.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Once};
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use socket2::{Domain, Protocol, Socket, Type};
use tracing::warn;

use super::super::Lane;
use super::tls::{Identity, Seen};
use mesh_proto::NodeId;

/// Settings of a [`QuicTransport`](super::QuicTransport). The defaults suit a node on a LAN or a server.
#[derive(Clone, Debug)]
pub struct QuicConfig {
    /// Addresses to listen on; port 0 takes any free port. Default `0.0.0.0:0`.
    pub listen: Vec<SocketAddr>,
    /// Bytes of each socket's send and receive buffer that are asked of the system. Default 7 MiB.
    pub socket_buffer: usize,
    /// Time after which a link on which nothing came is down. Default 10 s.
    pub idle_timeout: Duration,
    /// Time between signs of life on an idle link; well below `idle_timeout`. Default 2 s.
    pub keep_alive: Duration,
    /// Time that a handshake may take, on either side. Default 5 s.
    pub handshake_timeout: Duration,
    /// Bytes that a peer may send on one lane ahead of the reader. Default 4 MiB.
    pub stream_window: u32,
    /// Bytes that a peer may send on all lanes ahead of the readers. Default 8 MiB.
    pub connection_window: u32,
    /// Bytes that a link keeps for retransmission or has yet to send. Default 4 MiB.
    pub send_window: u32,
    /// Links at a time, both directions together. Default 256.
    pub max_links: usize,
    /// Handshakes of strangers at a time. Default 256.
    pub max_handshakes: usize,
    /// Handshakes at a time from one IPv4 address or IPv6 /64. Default 8.
    pub max_handshakes_per_ip: usize,
    /// Handshakes at a time above which a stranger must first show that it receives at its address, which
    /// costs it a round trip. Default 32.
    pub validate_above: usize,
}

impl Default for QuicConfig {
    fn default() -> QuicConfig {
        QuicConfig {
            listen: vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0)],
            // Measured on loopback: no loss and 1.45x the throughput of the kernel's 208 KiB.
            socket_buffer: 7 * 1024 * 1024,
            idle_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(5),
            stream_window: 4 * 1024 * 1024,
            connection_window: 8 * 1024 * 1024,
            send_window: 4 * 1024 * 1024,
            max_links: 256,
            max_handshakes: 256,
            max_handshakes_per_ip: 8,
            validate_above: 32,
        }
    }
}

/// Why a listen address cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}: {cause}")]
pub struct BindError {
    /// The address as it was asked for.
    pub addr: SocketAddr,
    /// What the system said.
    #[source]
    pub cause: io::Error,
}

/// Bytes that a stranger can have stored here before its handshake is accepted.
const INCOMING_BUFFER: u64 = 16 * 1024;
/// The same for all strangers together.
const INCOMING_BUFFERS: u64 = 4 * 1024 * 1024;

impl QuicConfig {
    /// Opens a socket at `addr` and an endpoint on it that both accepts and dials.
    pub(crate) fn endpoint(&self, addr: SocketAddr, identity: &Identity) -> Result<Endpoint, BindError> {
        let failed = |cause| BindError { addr, cause };
        let socket = self.socket(addr).map_err(failed)?;
        let server = self.server(identity);
        Endpoint::new(EndpointConfig::default(), Some(server), socket, Arc::new(TokioRuntime)).map_err(failed)
    }

    /// Returns the settings for one dial, and where the key that was found will stand.
    pub(crate) fn client(&self, identity: &Identity, expect: Option<NodeId>) -> (ClientConfig, Seen) {
        let (tls, seen) = identity.client(expect);
        let tls = QuicClientConfig::try_from(tls).expect("TLS 1.3 by ring has the initial cipher suite");
        let mut config = ClientConfig::new(Arc::new(tls));
        config.transport_config(Arc::new(self.transport()));
        (config, seen)
    }

    fn server(&self, identity: &Identity) -> ServerConfig {
        let tls = QuicServerConfig::try_from(identity.server())
            .expect("TLS 1.3 by ring has the initial cipher suite");
        let mut config = ServerConfig::with_crypto(Arc::new(tls));
        config
            .transport_config(Arc::new(self.transport()))
            .max_incoming(self.max_handshakes)
            .incoming_buffer_size(INCOMING_BUFFER)
            .incoming_buffer_size_total(INCOMING_BUFFERS);
        config
    }

    fn transport(&self) -> TransportConfig {
        let mut config = TransportConfig::default();
        let idle = IdleTimeout::try_from(self.idle_timeout).unwrap_or_else(|_| VarInt::MAX.into());
        config
            .max_concurrent_uni_streams(VarInt::from_u32(Lane::COUNT as u32))
            .max_concurrent_bidi_streams(VarInt::from_u32(0))
            .datagram_receive_buffer_size(None)
            .max_idle_timeout(Some(idle))
            .keep_alive_interval(Some(self.keep_alive))
            .stream_receive_window(VarInt::from_u32(self.stream_window))
            .receive_window(VarInt::from_u32(self.connection_window))
            .send_window(self.send_window.into());
        config
    }

    fn socket(&self, addr: SocketAddr) -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        if addr.is_ipv6() {
            // So that 0.0.0.0 and [::] can have the same port.
            socket.set_only_v6(true)?;
        }
        self.ask_for_buffers(&socket);
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        Ok(socket.into())
    }

    /// Asks for big buffers and says once if the system gives much less: the node works without, slower.
    fn ask_for_buffers(&self, socket: &Socket) {
        static WARN: Once = Once::new();
        let _ = socket.set_recv_buffer_size(self.socket_buffer);
        let _ = socket.set_send_buffer_size(self.socket_buffer);
        let given = socket.recv_buffer_size().unwrap_or(0).min(socket.send_buffer_size().unwrap_or(0));
        // Linux counts its own overhead in and reports twice what it was asked for.
        if given < self.socket_buffer {
            WARN.call_once(|| {
                warn!(
                    asked = self.socket_buffer,
                    given,
                    "the system gives small UDP buffers, which costs throughput; raise net.core.rmem_max and wmem_max"
                );
            });
        }
    }
}
