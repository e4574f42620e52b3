//! The accepting side: lets strangers shake hands within bounds, and starts a link when one has proved its
//! key.

use std::sync::Arc;

use quinn::{Endpoint, Incoming};
use tokio::time::timeout;
use tracing::debug;

use super::admission::{Admission, Ticket};
use super::{Shared, tls};

/// Accepts on one socket until the endpoint is closed or the transport dropped.
pub(super) async fn run(endpoint: Endpoint, shared: Arc<Shared>) {
    while let Some(incoming) = endpoint.accept().await {
        knock(incoming, &shared);
    }
}

fn knock(incoming: Incoming, shared: &Arc<Shared>) {
    let remote = incoming.remote_address();
    if shared.links() >= shared.config.max_links {
        debug!(%remote, "refused: every link is taken");
        return incoming.refuse();
    }
    match shared.door.judge(remote.ip(), incoming.remote_address_validated()) {
        Admission::Accept(ticket) => drop(tokio::spawn(shake_hands(incoming, ticket, Arc::clone(shared)))),
        Admission::Validate => {
            if let Err(e) = incoming.retry() {
                debug!(%remote, "refused: it cannot be asked to validate its address");
                e.into_incoming().refuse();
            }
        }
        Admission::Refuse => {
            debug!(%remote, "refused: too many handshakes");
            incoming.refuse();
        }
    }
}

async fn shake_hands(incoming: Incoming, ticket: Ticket, shared: Arc<Shared>) {
    let remote = incoming.remote_address();
    let connecting = match incoming.accept() {
        Ok(connecting) => connecting,
        Err(error) => return debug!(%remote, %error, "a handshake did not start"),
    };
    let connection = match timeout(shared.config.handshake_timeout, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return debug!(%remote, %error, "a handshake failed"),
        Err(_) => return debug!(%remote, "a handshake took too long"),
    };
    drop(ticket);
    match tls::peer_of(&connection) {
        Some(peer) => shared.start(connection, peer, remote.to_string(), None),
        None => debug!(%remote, "a handshake ended without a key"),
    }
}
