//! `meshctl peers`: the neighbours and the nodes known.

use clap::Args;
use mesh_node::api::{ApiError, PathKind, PeerInfo, PeerState, Request};

use super::Context;
use crate::output::human::{self, DIM, GOOD, WARN, styled};
use crate::output::{Column, Rows, Show, View};

/// The neighbours and the nodes known.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  meshctl peers
  meshctl peers --up -o name
  meshctl peers --json --fields name,state,rtt_s")]
pub struct Peers {
    /// Only those with a live link.
    #[arg(long)]
    up: bool,
    /// `meshctl peer list` is the same command.
    #[arg(hide = true, value_parser = ["list"])]
    list: Option<String>,
}

impl Peers {
    /// Asks and prints.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let mut connection = context.connect().await?;
        let mut peers: Vec<PeerInfo> = connection.call(&Request::Peers).await?;
        peers.retain(|peer| !self.up || peer.state == PeerState::Up);
        context.out.print(connection.node, &peers)
    }
}

const COLUMNS: &[Column] = &[
    Column::text("name", "NAME", 0),
    Column::text("state", "STATE", 0),
    Column::text("path", "PATH", 3),
    Column::text("addr", "ADDR", 2),
    Column::number("rtt_s", "RTT", 1),
    Column::number("queued_bytes", "QUEUED", 4),
    Column::number("sent_bytes", "SENT", 5),
    Column::number("received_bytes", "RECEIVED", 5),
    Column::number("since_s", "SINCE", 3),
    Column::text("node", "NODE", 6),
];

impl Show for Vec<PeerInfo> {
    const SCHEMA: &'static str = "peers";

    fn view(&self) -> View {
        let mut rows = Rows::new(COLUMNS, "no peers yet; join one with: meshctl up --join HOST:PORT");
        for peer in self {
            let up = peer.state == PeerState::Up;
            let if_up = |text: String| if up { text } else { "–".to_owned() };
            rows.push([
                peer.name.as_deref().map_or_else(|| peer.node.short(), human::safe),
                state(peer.state),
                human::or_dash(peer.path.map(path_word)),
                human::or_dash(peer.addr.as_deref()),
                human::or_dash(peer.rtt_s.map(human::duration)),
                if_up(human::bytes(peer.queued_bytes)),
                if_up(human::bytes(peer.sent_bytes)),
                if_up(human::bytes(peer.received_bytes)),
                human::duration(peer.since_s),
                peer.node.short(),
            ]);
        }
        View::Rows(rows)
    }

    fn names(&self) -> Vec<String> {
        self.iter()
            .map(|peer| peer.name.as_deref().map_or_else(|| peer.node.to_string(), human::safe))
            .collect()
    }
}

fn state(state: PeerState) -> String {
    match state {
        PeerState::Up => styled(GOOD, "up"),
        PeerState::Dialing => styled(WARN, "dialing"),
        PeerState::Known => styled(DIM, "known"),
        PeerState::Refused => styled(WARN, "refused"),
    }
}

/// Returns the word for how traffic runs.
pub fn path_word(path: PathKind) -> &'static str {
    match path {
        PathKind::Direct => "direct",
        PathKind::Mesh => "mesh",
    }
}
