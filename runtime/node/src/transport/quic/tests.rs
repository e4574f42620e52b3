//! Peers that do not keep to the rules, and conditions that only this transport has. What every transport
//! must do stands in the conformance suite. Rows QM-01, PM-31; cases B01, B02.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mesh_proto::NodeId;
use quinn::{ConnectionError, Endpoint};
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::time::timeout;

use super::super::{
    CLOSE_VIOLATION, DialError, DownReason, EventReceiver, Lane, LinkId, Transport, TransportEvent,
    Violation, events,
};
use super::tls::{Identity, SERVER_NAME, TlsKey, certificate};
use super::{QuicConfig, QuicTransport};
use crate::keys::NodeKey;

const DEADLINE: Duration = Duration::from_secs(20);

struct Node {
    id: NodeId,
    transport: QuicTransport,
    events: EventReceiver,
}

impl Node {
    fn new(config: QuicConfig) -> Node {
        let key = NodeKey::generate().unwrap();
        let (sender, events) = events();
        Node { id: key.id(), transport: QuicTransport::bind(config, &key, sender).unwrap(), events }
    }

    fn addr(&self) -> String {
        self.transport.local_addrs()[0].clone()
    }

    async fn next(&mut self) -> TransportEvent {
        timeout(DEADLINE, self.events.recv()).await.expect("an event in time").expect("the transport lives")
    }

    async fn up(&mut self) -> LinkId {
        match self.next().await {
            TransportEvent::Up { link, .. } => link,
            other => panic!("expected Up, got {other:?}"),
        }
    }

    async fn down(&mut self) -> DownReason {
        match self.next().await {
            TransportEvent::Down { reason, .. } => reason,
            other => panic!("expected Down, got {other:?}"),
        }
    }

    async fn dial(&mut self, addr: &str, expect: Option<NodeId>) -> DialError {
        self.transport.dial(addr, expect, 0);
        match self.next().await {
            TransportEvent::DialFailed { error, .. } => error,
            other => panic!("expected DialFailed, got {other:?}"),
        }
    }
}

fn loopback() -> QuicConfig {
    QuicConfig { listen: vec!["127.0.0.1:0".parse().unwrap()], ..QuicConfig::default() }
}

/// A bare endpoint with an honest identity, to do dishonest things with.
struct Stranger {
    endpoint: Endpoint,
    identity: Identity,
}

impl Stranger {
    fn new() -> Stranger {
        Stranger::with(Identity::new(&NodeKey::generate().unwrap()))
    }

    /// Shows the certificate of `victim` without having its key.
    fn posing_as(victim: &NodeKey) -> Stranger {
        Stranger::showing(vec![certificate(victim)])
    }

    fn showing(chain: Vec<CertificateDer<'static>>) -> Stranger {
        let key = NodeKey::generate().unwrap();
        let mut identity = Identity::new(&key);
        let shown = CertifiedKey::new(chain, Arc::new(TlsKey { key }));
        identity.certified = Arc::new(SingleCertAndKey::from(shown));
        Stranger::with(identity)
    }

    fn with(identity: Identity) -> Stranger {
        let endpoint = loopback().endpoint("127.0.0.1:0".parse().unwrap(), &identity).unwrap();
        Stranger { endpoint, identity }
    }

    async fn connect(&self, node: &Node) -> Result<quinn::Connection, ConnectionError> {
        let (config, _) = loopback().client(&self.identity, Some(node.id));
        self.endpoint.connect_with(config, node.addr().parse().unwrap(), SERVER_NAME).unwrap().await
    }
}

#[tokio::test]
async fn a_stream_that_is_no_lane_closes_the_link_with_a_typed_reason() {
    let cases: [(&[&[u8]], Violation); 4] = [
        (&[&[6]], Violation::UnknownLane { lane: 6 }),
        (&[&[255]], Violation::UnknownLane { lane: 255 }),
        (&[&[1], &[1]], Violation::RepeatedLane { lane: 1 }),
        (&[&[2, 9, 0, 0, 0, 1, 2, 3]], Violation::TruncatedFrame { lane: 2 }),
    ];
    let mut node = Node::new(loopback());
    for (streams, violation) in cases {
        let stranger = Stranger::new();
        let connection = stranger.connect(&node).await.unwrap();
        node.up().await;

        for bytes in streams {
            let mut stream = connection.open_uni().await.unwrap();
            stream.write_all(bytes).await.unwrap();
            stream.finish().unwrap();
        }

        assert_eq!(node.down().await, DownReason::Violation(violation));
        match timeout(DEADLINE, connection.closed()).await.expect("the stranger is told") {
            ConnectionError::ApplicationClosed(close) => {
                assert_eq!(close.error_code.into_inner(), u64::from(CLOSE_VIOLATION));
                assert_eq!(close.reason, violation.to_string());
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_stranger_gets_no_more_streams_than_lanes() {
    let mut node = Node::new(loopback());
    let stranger = Stranger::new();
    let connection = stranger.connect(&node).await.unwrap();
    node.up().await;
    let mut open = vec![];
    for _ in Lane::ALL {
        open.push(connection.open_uni().await.unwrap());
    }

    let seventh = timeout(Duration::from_millis(100), connection.open_uni()).await;
    let bidirectional = timeout(Duration::from_millis(100), connection.open_bi()).await;

    assert!(seventh.is_err() && bidirectional.is_err());
    assert!(connection.max_datagram_size().is_none(), "datagrams are not taken");
}

/// QM-01: a certificate can be copied; the handshake's signature cannot.
#[tokio::test]
async fn a_stolen_certificate_opens_nothing() {
    let victim = NodeKey::generate().unwrap();
    let mut node = Node::new(loopback());

    let dialled = Stranger::posing_as(&victim);
    let addr = dialled.endpoint.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move {
        let incoming = dialled.endpoint.accept().await.unwrap();
        drop(incoming.await);
    });
    let error = node.dial(&addr, Some(victim.id())).await;
    assert!(matches!(error, DialError::Handshake { .. }), "{error:?}");
    server.await.unwrap();

    let dialling = Stranger::posing_as(&victim);
    let refused = match dialling.connect(&node).await {
        // The client's side of the handshake ends before the server has judged it.
        Ok(connection) => timeout(DEADLINE, connection.closed()).await.expect("the stranger is thrown out"),
        Err(error) => error,
    };
    assert!(matches!(refused, ConnectionError::ConnectionClosed(_)), "{refused:?}");
    assert!(node.events.try_recv().is_err(), "no link came of it");
}

#[tokio::test]
async fn a_stranger_without_a_certificate_opens_nothing() {
    let mut node = Node::new(loopback());
    let stranger = Stranger::showing(vec![]);

    let refused = match stranger.connect(&node).await {
        Ok(connection) => timeout(DEADLINE, connection.closed()).await.expect("the stranger is thrown out"),
        Err(error) => error,
    };

    assert!(matches!(refused, ConnectionError::ConnectionClosed(_)), "{refused:?}");
    assert!(node.events.try_recv().is_err(), "no link came of it");
}

#[tokio::test]
async fn a_server_of_another_protocol_is_named_as_such() {
    let mut node = Node::new(loopback());
    let identity = Identity::new(&NodeKey::generate().unwrap());
    let mut tls = identity.server();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let tls = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    let other = Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = other.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move { drop(other.accept().await.unwrap().await) });

    let error = node.dial(&addr, None).await;

    assert_eq!(error, DialError::Handshake { addr, cause: "it does not speak meshwork/1".to_owned() });
    server.await.unwrap();
}

#[tokio::test]
async fn an_address_that_stays_silent_times_out_and_is_named() {
    let limit = Duration::from_millis(200);
    let mut node = Node::new(QuicConfig { handshake_timeout: limit, ..loopback() });
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = silent.local_addr().unwrap().to_string();

    let error = node.dial(&addr, None).await;

    assert_eq!(error, DialError::TimedOut { tried: vec![addr.clone()], after: limit });
    assert_eq!(error.to_string(), format!("no answer from {addr} within 0.2 s"));
}

#[tokio::test]
async fn a_node_with_all_its_links_refuses_and_does_not_dial() {
    let full = Node::new(QuicConfig { max_links: 0, ..loopback() });
    let mut node = Node::new(QuicConfig { max_links: 1, ..loopback() });

    assert_eq!(node.dial(&full.addr(), None).await, DialError::Refused { addr: full.addr() });

    let mut peer = Node::new(loopback());
    node.transport.dial(&peer.addr(), None, 0);
    node.up().await;
    peer.up().await;
    assert_eq!(node.dial(&full.addr(), None).await, DialError::TooManyLinks { max: 1 });
}

#[tokio::test]
async fn a_node_under_load_lets_in_who_shows_its_address() {
    let mut busy = Node::new(QuicConfig { validate_above: 0, ..loopback() });
    let mut none_left = Node::new(QuicConfig { max_handshakes_per_ip: 0, ..loopback() });
    let mut node = Node::new(loopback());

    node.transport.dial(&busy.addr(), Some(busy.id), 0);
    node.up().await;
    busy.up().await;

    assert_eq!(node.dial(&none_left.addr(), None).await, DialError::Refused { addr: none_left.addr() });
    assert!(none_left.events.try_recv().is_err());
}

#[tokio::test]
async fn datagrams_of_noise_disturb_no_link() {
    let (mut a, mut b) = (Node::new(loopback()), Node::new(loopback()));
    a.transport.dial(&b.addr(), None, 0);
    let link = a.up().await;
    b.up().await;
    let noise = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut random = fastrand::Rng::with_seed(3);

    for n in 0..2_000 {
        let mut bytes: Vec<u8> = (0..random.usize(0..1_500)).map(|_| random.u8(..)).collect();
        // Half of them look like the first packet of a connection.
        if let (true, Some(head)) = (n % 2 == 0, bytes.first_chunk_mut()) {
            *head = [0xc0 | random.u8(..16), 0, 0, 0, 1, 8];
        }
        noise.send_to(&bytes, b.addr()).unwrap();
    }
    a.transport.send(link, Lane::CONTROL, vec![Bytes::from_static(b"\x02\0\0\0hi")]).unwrap();

    match b.next().await {
        TransportEvent::Frames { frames, .. } => assert_eq!(frames, ["hi"]),
        other => panic!("{other:?}"),
    }
    assert!(a.transport.rtt(link).is_some_and(|rtt| rtt > Duration::ZERO));
    assert!(a.transport.loss_ppm(link).is_some_and(|loss| loss <= 1_000_000));
}

/// A process that is killed says nothing: its links end when the idle timeout does.
#[test]
fn a_peer_that_falls_silent_is_seen() {
    let quick = || QuicConfig {
        idle_timeout: Duration::from_millis(400),
        keep_alive: Duration::from_millis(100),
        ..loopback()
    };
    let [ours, theirs] =
        std::array::from_fn(|_| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap());
    let mut peer = theirs.block_on(async { Node::new(quick()) });
    let mut node = ours.block_on(async { Node::new(quick()) });
    std::thread::scope(|threads| {
        let addr = peer.addr();
        threads.spawn(|| theirs.block_on(peer.up()));
        ours.block_on(async {
            node.transport.dial(&addr, None, 0);
            node.up().await;
        });
    });

    // From here on nobody runs the peer.
    let reason = ours.block_on(node.down());

    assert_eq!(reason, DownReason::TimedOut);
}

#[tokio::test]
async fn names_and_both_kinds_of_addresses_can_be_dialled() {
    let mut listen = vec!["127.0.0.1:0".parse().unwrap()];
    if UdpSocket::bind("[::1]:0").is_ok() {
        listen.push("[::1]:0".parse().unwrap());
    } else {
        eprintln!("this machine has no IPv6: that half of the test did not run");
    }
    let mut peer = Node::new(QuicConfig { listen: listen.clone(), ..QuicConfig::default() });
    let mut node = Node::new(QuicConfig { listen, ..QuicConfig::default() });
    let named = format!("localhost:{}", peer.transport.local_sockets()[0].port());

    for addr in [peer.transport.local_addrs(), vec![named]].concat() {
        node.transport.dial(&addr, Some(peer.id), 0);
        node.up().await;
        peer.up().await;
    }

    let only_v4 = &mut Node::new(loopback());
    let unreachable = only_v4.dial("[::1]:9", None).await;
    assert!(matches!(unreachable, DialError::Unreachable { .. }), "{unreachable:?}");
}

#[tokio::test]
async fn an_address_in_use_is_an_error_that_names_it() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let (sender, _events) = events();
    let config = QuicConfig { listen: vec![addr], ..QuicConfig::default() };

    let error =
        QuicTransport::bind(config, &NodeKey::generate().unwrap(), sender).err().expect("it is in use");

    assert_eq!((error.addr, error.cause.kind()), (addr, std::io::ErrorKind::AddrInUse));
}
