//! The dialling side: from a text to a proved link, with an error that an operator understands.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mesh_proto::NodeId;
use quinn::{ConnectError, Connection, ConnectionError, Endpoint, TransportErrorCode};
use tokio::net::{UdpSocket, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::super::{DialError, TransportEvent};
use super::Shared;
use super::tls::{self, Seen};

/// Addresses of one name that are tried at most.
const MAX_TARGETS: usize = 8;
/// Head start of each address of a name before the next one is tried beside it.
const HEAD_START: Duration = Duration::from_millis(250);
/// Time that a handshake still gets after the system has said that nobody listens: an answer that was
/// under way counts more than a word from the network.
const LAST_CHANCE: Duration = Duration::from_millis(200);
/// TLS alert for "no common application protocol" (RFC 8446, section 6).
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// Dials and reports `Up` or `DialFailed`.
pub(super) async fn run(shared: Arc<Shared>, addr: String, expect: Option<NodeId>, token: u64) {
    match dial(&shared, &addr, expect).await {
        Ok((connection, peer)) => {
            let remote = connection.remote_address().to_string();
            shared.start(connection, peer, remote, Some(token));
        }
        Err(error) => shared.tell(TransportEvent::DialFailed { addr, token, error }).await,
    }
}

/// Splits `HOST:PORT`, where an IPv6 host stands in brackets.
pub(super) fn split_addr(addr: &str) -> Result<(&str, u16), DialError> {
    let bad = |cause| DialError::BadAddress { addr: addr.to_owned(), cause };
    let (host, port) = addr.rsplit_once(':').ok_or_else(|| bad("it has the form HOST:PORT"))?;
    let port =
        port.parse().ok().filter(|p| *p > 0).ok_or_else(|| bad("the port is a number from 1 to 65535"))?;
    match host.strip_prefix('[').map(|h| h.strip_suffix(']')) {
        Some(Some(v6)) if v6.parse::<Ipv6Addr>().is_ok() => Ok((v6, port)),
        Some(_) => Err(bad("what stands in brackets is an IPv6 address")),
        None if host.contains(':') => Err(bad("an IPv6 address stands in brackets")),
        None if host.is_empty()
            || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) =>
        {
            Err(bad("the host is a name or an address"))
        }
        None => Ok((host, port)),
    }
}

async fn dial(
    shared: &Arc<Shared>,
    addr: &str,
    expect: Option<NodeId>,
) -> Result<(Connection, NodeId), DialError> {
    if shared.is_shut_down() {
        return Err(DialError::ShutDown);
    }
    if shared.links() >= shared.config.max_links {
        return Err(DialError::TooManyLinks { max: shared.config.max_links });
    }
    let (host, port) = split_addr(addr)?;
    let targets = resolve(host, port, shared.config.handshake_timeout).await?;
    let mut attempts = JoinSet::new();
    for (n, target) in (0..).zip(targets) {
        let shared = Arc::clone(shared);
        attempts.spawn(async move {
            sleep(HEAD_START * n).await;
            attempt(&shared, target, expect).await
        });
    }
    first_link(attempts).await
}

/// Returns the first link, or what is most worth knowing of the failures.
async fn first_link(
    mut attempts: JoinSet<Result<(Connection, NodeId), DialError>>,
) -> Result<(Connection, NodeId), DialError> {
    let mut failures = vec![];
    while let Some(attempt) = attempts.join_next().await {
        match attempt {
            Ok(Ok(link)) => return Ok(link),
            Ok(Err(error)) => failures.push(error),
            // The runtime is going away.
            Err(_) => failures.push(DialError::ShutDown),
        }
    }
    Err(failures.into_iter().reduce(worth_more).unwrap_or(DialError::ShutDown))
}

fn worth_more(a: DialError, b: DialError) -> DialError {
    let worth = |e: &DialError| match e {
        DialError::WrongKey { .. } | DialError::OwnKey => 5,
        DialError::Handshake { .. } | DialError::Refused { .. } => 4,
        DialError::NobodyThere { .. } => 3,
        DialError::TimedOut { .. } => 2,
        _ => 1,
    };
    match (a, b) {
        (DialError::TimedOut { mut tried, after }, DialError::TimedOut { tried: more, .. }) => {
            tried.extend(more);
            DialError::TimedOut { tried, after }
        }
        (a, b) if worth(&a) >= worth(&b) => a,
        (_, b) => b,
    }
}

async fn resolve(host: &str, port: u16, limit: Duration) -> Result<Vec<SocketAddr>, DialError> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let failed = |cause: String| DialError::Unresolvable { host: host.to_owned(), cause };
    let found = timeout(limit, lookup_host((host, port))).await;
    let found = found.map_err(|_| failed("the name service does not answer".to_owned()))?;
    let targets: Vec<_> = found.map_err(|e| failed(e.to_string()))?.take(MAX_TARGETS).collect();
    if targets.is_empty() { Err(failed("the name has no address".to_owned())) } else { Ok(targets) }
}

async fn attempt(
    shared: &Shared,
    target: SocketAddr,
    expect: Option<NodeId>,
) -> Result<(Connection, NodeId), DialError> {
    let addr = target.to_string();
    let endpoint = way_to(&shared.endpoints, target).ok_or_else(|| DialError::Unreachable {
        addr: addr.clone(),
        cause: "this node has no socket for addresses of this kind".to_owned(),
    })?;
    let (config, seen) = shared.config.client(&shared.identity, expect);
    let connecting =
        endpoint.connect_with(config, target, tls::SERVER_NAME).map_err(|e| refused_here(&addr, &e))?;
    let after = shared.config.handshake_timeout;
    let connected = tokio::select! {
        connected = timeout(after, connecting) => connected,
        () = nobody_listens(target) => return Err(DialError::NobodyThere { addr }),
    };
    match connected {
        Ok(Ok(connection)) => match tls::peer_of(&connection) {
            Some(peer) => Ok((connection, peer)),
            None => Err(DialError::Handshake { addr, cause: "it showed no key".to_owned() }),
        },
        Ok(Err(error)) => Err(explain(addr, &error, &seen, shared.identity.id(), expect, after)),
        Err(_) => Err(DialError::TimedOut { tried: vec![addr], after }),
    }
}

/// Returns the socket to dial `target` from: one of its family, the least bound to one address.
fn way_to(endpoints: &[Endpoint], target: SocketAddr) -> Option<&Endpoint> {
    let rank = |endpoint: &Endpoint| {
        let local = endpoint.local_addr().ok()?.ip();
        match (local.is_loopback(), target.ip().is_loopback()) {
            _ if local.is_ipv4() != target.is_ipv4() => None,
            _ if local.is_unspecified() => Some(0),
            (true, false) => None,
            (here, there) if here == there => Some(1),
            _ => Some(2),
        }
    };
    endpoints.iter().filter_map(|e| rank(e).map(|r| (r, e))).min_by_key(|(r, _)| *r).map(|(_, e)| e)
}

/// Returns some time after the system has reported that no program has `target`'s port; else never.
///
/// quinn's socket serves many peers and so is never told; a connected socket is. The empty datagram that
/// asks means nothing to a QUIC endpoint.
async fn nobody_listens(target: SocketAddr) {
    let any: IpAddr =
        if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let asked = async {
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(target).await?;
        socket.send(&[]).await?;
        socket.recv(&mut [0]).await
    };
    match asked.await {
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => sleep(LAST_CHANCE).await,
        _ => std::future::pending().await,
    }
}

fn refused_here(addr: &str, error: &ConnectError) -> DialError {
    match error {
        ConnectError::EndpointStopping => DialError::ShutDown,
        other => DialError::Unreachable { addr: addr.to_owned(), cause: other.to_string() },
    }
}

fn explain(
    addr: String,
    error: &ConnectionError,
    seen: &Seen,
    own: NodeId,
    expect: Option<NodeId>,
    after: Duration,
) -> DialError {
    match (seen.key(), expect) {
        (Some(found), _) if found == own => return DialError::OwnKey,
        (Some(found), Some(expected)) if found != expected => return DialError::WrongKey { expected, found },
        _ => {}
    }
    let no_protocol = TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL);
    match error {
        ConnectionError::TimedOut => DialError::TimedOut { tried: vec![addr], after },
        ConnectionError::LocallyClosed => DialError::ShutDown,
        ConnectionError::ConnectionClosed(c) if c.error_code == TransportErrorCode::CONNECTION_REFUSED => {
            DialError::Refused { addr }
        }
        ConnectionError::ConnectionClosed(c) if c.error_code == no_protocol => {
            DialError::Handshake { addr, cause: "it does not speak meshwork/1".to_owned() }
        }
        other => DialError::Handshake { addr, cause: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (text, want) in [
            ("127.0.0.1:4747", Some(("127.0.0.1", 4747))),
            ("[::1]:4747", Some(("::1", 4747))),
            ("example.org:1", Some(("example.org", 1))),
            ("my_host-2:65535", Some(("my_host-2", 65535))),
            ("example.org", None),
            ("example.org:0", None),
            ("example.org:65536", None),
            ("example.org:-1", None),
            (":4747", None),
            ("::1:4747", None),
            ("[::1:4747", None),
            ("[host]:4747", None),
            ("mem:name", None),
            ("two words:4747", None),
            ("", None),
        ] {
            assert_eq!(split_addr(text).ok(), want, "{text}");
        }
    }

    #[test]
    fn of_many_failures_the_telling_one_is_reported() {
        let timed_out =
            |addr: &str| DialError::TimedOut { tried: vec![addr.into()], after: Duration::from_secs(5) };
        let nobody = DialError::NobodyThere { addr: "b".into() };

        assert_eq!(worth_more(timed_out("a"), nobody.clone()), nobody);
        assert_eq!(worth_more(DialError::OwnKey, nobody), DialError::OwnKey);
        assert_eq!(worth_more(timed_out("a"), timed_out("b")).to_string(), "no answer from a, b within 5 s");
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_an_error() {
        let error = resolve("no-such-host.invalid", 1, Duration::from_secs(20)).await.unwrap_err();

        assert!(
            matches!(&error, DialError::Unresolvable { host, .. } if host == "no-such-host.invalid"),
            "{error}"
        );
    }
}
