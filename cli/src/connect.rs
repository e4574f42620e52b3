//! From `-N` to a connection: finds the node that a command is meant for.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh_node::api::{ApiError, Reply, Request, code};
use mesh_node::control::client::Client;
use mesh_proto::NodeId;

use crate::args::Globals;
use crate::output::undo::word;
use crate::registry::{Entry, Registry};

/// A connection to the node that the command line means.
#[derive(Debug)]
pub struct Connection {
    /// For calls and streams.
    pub client: Client,
    /// The node, when its registry entry was found.
    pub node: Option<NodeId>,
    socket: PathBuf,
    timeout: Duration,
    /// A call was begun whose answer nobody has read.
    is_behind: bool,
}

impl Connection {
    /// Finds the node and connects to it.
    ///
    /// # Errors
    /// `NOT_RUNNING` when there is none, `SEVERAL_NODES` when the command line leaves open which.
    pub async fn open(globals: &Globals) -> Result<Connection, ApiError> {
        let (client, socket, entry) = match globals.node.as_deref() {
            Some(path) if path.contains('/') => {
                (Client::connect(Path::new(path)).await?, path.into(), entry_of(path))
            }
            Some(name) => named(name).await?,
            None => the_only_one().await?,
        };
        let (node, timeout) = (entry.map(|entry| entry.node), globals.timeout);
        Ok(Connection { client, node, socket, timeout, is_behind: false })
    }

    /// Makes one call, within the time of `--timeout`.
    ///
    /// # Errors
    /// What the node says, or `TIMED_OUT`.
    pub async fn call<R: TryFrom<Reply, Error = ApiError>>(
        &mut self,
        request: &Request,
    ) -> Result<R, ApiError> {
        self.call_with(request, &[]).await
    }

    /// Makes one call with a body, within the time of `--timeout`. May be dropped: whether the node does what was
    /// asked is then open.
    ///
    /// # Errors
    /// What the node says, or `TIMED_OUT`.
    pub async fn call_with<R>(&mut self, request: &Request, body: &[u8]) -> Result<R, ApiError>
    where
        R: TryFrom<Reply, Error = ApiError>,
    {
        within(self.timeout, async {
            // Answers carry no number: the next one here would be that of the call before.
            if self.is_behind {
                self.client = Client::connect(&self.socket).await?;
            }
            self.is_behind = true;
            let answer = self.client.call_with(request, body).await;
            self.is_behind = false;
            answer
        })
        .await
    }

    /// Allows calls this much more time, for those that take long by their nature.
    pub fn extend(&mut self, more: Duration) {
        self.timeout += more;
    }
}

/// Waits for a result no longer than this.
///
/// # Errors
/// The result's own, or `TIMED_OUT`.
pub async fn within<T>(
    timeout: Duration,
    result: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    match tokio::time::timeout(timeout, result).await {
        Ok(result) => result,
        Err(_) => {
            let message = format!("no answer within {:.1} s", timeout.as_secs_f64());
            Err(ApiError::new(&code::TIMED_OUT, message).help("allow more time with --timeout 60s"))
        }
    }
}

fn entry_of(socket: &str) -> Option<Entry> {
    let entries = Registry::open().ok()?.entries();
    entries.into_iter().find(|entry| entry.socket == Path::new(socket))
}

async fn named(name: &str) -> Result<(Client, PathBuf, Option<Entry>), ApiError> {
    let registry = Registry::open()?;
    let id_prefix = name.len() >= 6 && name.bytes().all(|digit| digit.is_ascii_hexdigit());
    let fits = |entry: &Entry| {
        entry.name == name || (id_prefix && entry.node.to_string().starts_with(&name.to_ascii_lowercase()))
    };
    let entry = registry.entries().into_iter().find(fits);
    // A node that is just starting has its socket before its entry.
    let socket = entry.as_ref().map_or_else(|| registry.socket(name), |entry| entry.socket.clone());
    match Client::connect(&socket).await {
        Ok(client) => Ok((client, socket, entry)),
        Err(error) if error.is(&code::NOT_RUNNING) => Err(not_running(name).await),
        Err(error) => Err(error),
    }
}

async fn not_running(name: &str) -> ApiError {
    let mut error = ApiError::new(&code::NOT_RUNNING, format!("no node named '{name}' runs here"));
    for (entry, _) in live().await.unwrap_or_default() {
        error = error.fact("running", entry.name);
    }
    error.help(format!("meshctl up --name {name} --detach"))
}

async fn the_only_one() -> Result<(Client, PathBuf, Option<Entry>), ApiError> {
    let mut live = live().await?;
    if live.len() > 1 {
        let message = format!("{} nodes run here; say which one is meant", live.len());
        let mut error = ApiError::new(&code::SEVERAL_NODES, message);
        for (entry, _) in &live {
            error = error.fact(&entry.name, format!("{}  pid {}", entry.node.short(), entry.pid));
        }
        let arguments: Vec<String> = std::env::args().skip(1).map(|argument| word(&argument)).collect();
        return Err(error.help(format!("meshctl -N {} {}", live[0].0.name, arguments.join(" "))));
    }
    match live.pop() {
        Some((entry, client)) => Ok((client, entry.socket.clone(), Some(entry))),
        None => Err(ApiError::new(&code::NOT_RUNNING, "no node runs here").help("meshctl up --detach")),
    }
}

async fn live() -> Result<Vec<(Entry, Client)>, ApiError> {
    let mut live = Vec::new();
    for entry in Registry::open()?.entries() {
        if let Ok(client) = Client::connect(&entry.socket).await {
            live.push((entry, client));
        }
    }
    Ok(live)
}

#[cfg(test)]
mod tests {
    use mesh_node::api::BeaconReport;
    use mesh_node::control::frame::{FrameReader, FrameWriter, FromNode, ToNode};
    use tokio::net::{UnixListener, UnixStream};

    use super::*;
    use crate::commands::block_on;

    /// A node that takes one call and says this, once the test lets it.
    async fn answer(stream: UnixStream, reply: &Reply) {
        let (reader, writer) = stream.into_split();
        FrameReader::new(reader).next::<ToNode>().await.unwrap();
        let body = serde_json::to_vec(reply).unwrap();
        FrameWriter::new(writer).write(&FromNode::Reply, &[&body]).await.unwrap();
    }

    #[test]
    fn a_call_after_one_that_timed_out_has_its_own_answer() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("node.sock");
        block_on(async {
            let listener = UnixListener::bind(&socket).unwrap();
            let client = Client::connect(&socket).await?;
            let slow = listener.accept().await.unwrap().0;
            let timeout = Duration::from_millis(20);
            let mut node = Connection { client, node: None, socket, timeout, is_behind: false };

            let late = node.call::<BeaconReport>(&Request::BeaconList).await;
            answer(slow, &Reply::Log(Vec::new())).await;
            node.extend(Duration::from_secs(20));
            let serve = async { answer(listener.accept().await.unwrap().0, &Reply::Done).await };
            let (next, ()) = tokio::join!(node.call::<()>(&Request::Shutdown), serve);

            assert!(late.is_err_and(|error| error.is(&code::TIMED_OUT)));
            next
        })
        .unwrap();
    }
}
