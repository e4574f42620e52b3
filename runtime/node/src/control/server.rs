//! The node's side of the control socket: takes connections of its own user, and passes what they ask to
//! the [`Mesh`]. A client that sends rubbish loses its connection and disturbs nobody else.

use std::collections::VecDeque;
use std::future::{Future, poll_fn, ready};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use std::{fs, io};

use bytes::Bytes;
use mesh_proto::NodeId;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tracing::debug;

use super::frame::{
    Batch, FrameError, FrameReader, FrameWriter, FromNode, MAX_BODY, MAX_IN_FLIGHT, Target, ToNode, VERSION,
    Wanted, batch_len, pack, split,
};
use crate::api::{ApiError, Reply, Request, code};
use crate::fail_point::fail_point;
use crate::mesh::Mesh;
use crate::message::{Delivery, Filter, Message, Receipt, SendOptions};

/// The most connections at once; more are told so and closed.
pub const MAX_CLIENTS: usize = 64;
/// The most payload bytes of one publisher that wait for the node.
const MAX_IN_FLIGHT_BYTES: usize = 2 * MAX_BODY;
/// How long connections may take to finish what they are at when the node has stopped.
const GRACE: Duration = Duration::from_millis(500);
/// A pause after the system refused a connection, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A control socket that is open.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    owner: u32,
}

impl Server {
    /// Opens the socket, with access for this user only. A socket file that nobody listens on is replaced.
    ///
    /// The directory must be closed to other users, because the socket is open to all for a moment.
    ///
    /// # Errors
    /// `NAME_IN_USE` when somebody listens there, `SOCKET_FAILED` for everything else.
    pub async fn bind(path: &Path) -> Result<Server, ApiError> {
        let failed =
            |error: io::Error| ApiError::new(&code::SOCKET_FAILED, error).fact("socket", path.display());
        match UnixStream::connect(path).await {
            Ok(_) => {
                let message = "a node already listens on this control socket";
                return Err(ApiError::new(&code::NAME_IN_USE, message).fact("socket", path.display()));
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(failed)?
            }
            Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        // The owner of the file that was just made is the user this process runs as.
        let owner = fs::metadata(path).map_err(failed)?.uid();
        Ok(Server { listener, path: path.to_owned(), owner })
    }

    /// Serves until the node has stopped, and removes the socket file.
    pub async fn run(self, mesh: Mesh) {
        let slots = Arc::new(Semaphore::new(MAX_CLIENTS));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let admitted = self.admit(&stream, &slots);
                        connections.spawn(serve(stream, mesh.clone(), admitted));
                    }
                    Err(error) => {
                        debug!(%error, "control connection not accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next() => {}
                () = mesh.stopped() => break,
            }
        }
        // Gone before the connections are, so that a client that waits for their end finds no entry.
        drop(self);
        let _ = tokio::time::timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
    }

    fn admit(&self, stream: &UnixStream, slots: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, ApiError> {
        match stream.peer_cred() {
            Ok(peer) if peer.uid() == self.owner => {}
            Ok(peer) => {
                let message = "the control socket serves only the user that the node runs as";
                return Err(ApiError::new(&code::FORBIDDEN, message).fact("uid", peer.uid()));
            }
            Err(error) => return Err(ApiError::new(&code::FORBIDDEN, error)),
        }
        Arc::clone(slots).try_acquire_owned().map_err(|_| {
            ApiError::new(&code::TOO_MANY_CLIENTS, format!("{MAX_CLIENTS} clients are connected already"))
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

async fn serve(stream: UnixStream, mesh: Mesh, admitted: Result<OwnedSemaphorePermit, ApiError>) {
    let (reader, writer) = stream.into_split();
    let mut connection =
        Connection { reader: FrameReader::new(reader), writer: FrameWriter::new(writer), mesh };
    let outcome = match &admitted {
        Ok(_) => connection.run().await,
        Err(refusal) => Err(refusal.clone()),
    };
    if let Err(error) = outcome {
        debug!(code = error.code, message = error.message, "control connection closed");
        // It may be gone already, and then nobody wants to know.
        let _ = connection.writer.write(&FromNode::Error(error), &[]).await;
    }
}

struct Connection {
    reader: FrameReader<OwnedReadHalf>,
    writer: FrameWriter<OwnedWriteHalf>,
    mesh: Mesh,
}

impl Connection {
    async fn run(&mut self) -> Result<(), ApiError> {
        while let Some((frame, body)) = self.next().await? {
            match frame {
                ToNode::Call { v, request } => {
                    known(v)?;
                    self.call(request, body).await?;
                }
                ToNode::Subscribe { v, what } => {
                    known(v)?;
                    return self.subscribe(what).await;
                }
                ToNode::Publish { v } => {
                    known(v)?;
                    return self.publish().await;
                }
                ToNode::Events { v } => {
                    known(v)?;
                    return self.events().await;
                }
                ToNode::Ack { .. } | ToNode::Batch(_) => return Err(misplaced()),
            }
        }
        Ok(())
    }

    // `None` when the client has closed, or the node has stopped.
    async fn next(&mut self) -> Result<Option<(ToNode, Bytes)>, FrameError> {
        tokio::select! {
            frame = self.reader.next() => frame,
            () = self.mesh.stopped() => Ok(None),
        }
    }

    async fn call(&mut self, request: Request, body: Bytes) -> Result<(), ApiError> {
        match self.mesh.call(request, body).await {
            Ok(Reply::Fetched(fetched)) => {
                let bytes = fetched.bytes.clone();
                Ok(self.writer.write(&FromNode::Component(fetched), &[&bytes]).await?)
            }
            Ok(reply) => {
                let body = serde_json::to_vec(&reply).map_err(FrameError::from)?;
                self.writer.write(&FromNode::Reply, &[&body]).await?;
                if matches!(reply, Reply::Swapped(_)) {
                    fail_point("swap-answered");
                }
                Ok(())
            }
            Err(error) => Ok(self.writer.write(&FromNode::Error(error), &[]).await?),
        }
    }

    async fn subscribe(&mut self, what: Wanted) -> Result<(), ApiError> {
        let filter = match what {
            Wanted::Topic(topic) => Filter::Topic(topic),
            Wanted::Inbox(from_offset) => Filter::Inbox { from_offset },
        };
        let mut subscription = self.mesh.subscribe(filter).await?;
        self.writer.write(&FromNode::Ready, &[]).await?;
        loop {
            tokio::select! {
                // Acknowledgements first: they are small, and what they free may be much.
                biased;
                frame = self.reader.next() => match frame? {
                    Some((ToNode::Ack { offset }, _)) => subscription.ack(offset).await,
                    Some(_) => return Err(misplaced()),
                    None => return Ok(()),
                },
                delivery = subscription.next() => match delivery {
                    Some(Delivery::Batch(messages)) => self.deliver(&messages).await?,
                    Some(Delivery::Gap { lost }) => self.writer.write(&FromNode::Gap { lost }, &[]).await?,
                    None => return Ok(()),
                },
            }
        }
    }

    async fn deliver(&mut self, mut messages: &[Message]) -> Result<(), FrameError> {
        while !messages.is_empty() {
            let (batch, later) = messages.split_at(batch_len(messages));
            let (columns, body) = pack(batch);
            self.writer.write(&FromNode::Messages(columns), &body).await?;
            messages = later;
        }
        Ok(())
    }

    async fn publish(&mut self) -> Result<(), ApiError> {
        self.writer.write(&FromNode::Ready, &[]).await?;
        let mut pending = InFlight::default();
        let mut last_to = None;
        let mut open = true;
        while open || !pending.is_empty() {
            tokio::select! {
                biased;
                frame = self.reader.next(), if open && pending.has_room() => match frame? {
                    Some((ToNode::Batch(batch), body)) => {
                        let bytes = body.len();
                        pending.push(bytes, take_in(&self.mesh, batch, body, &mut last_to)?);
                    }
                    Some(_) => return Err(misplaced()),
                    None => open = false,
                },
                outcome = pending.next(), if !pending.is_empty() => {
                    let answer = match outcome {
                        Ok(receipt) => receipt_frame(&receipt),
                        Err(error) => FromNode::Error(error),
                    };
                    self.writer.write(&answer, &[]).await?;
                }
                () = self.mesh.stopped(), if pending.is_empty() => return Ok(()),
            }
        }
        Ok(())
    }

    async fn events(&mut self) -> Result<(), ApiError> {
        let mut events = self.mesh.events();
        self.writer.write(&FromNode::Ready, &[]).await?;
        loop {
            tokio::select! {
                frame = self.reader.next::<ToNode>() => match frame? {
                    Some(_) => return Err(misplaced()),
                    None => return Ok(()),
                },
                event = events.next() => match event {
                    Some(event) => self.writer.write(&FromNode::Event(event), &[]).await?,
                    None => return Ok(()),
                },
            }
        }
    }
}

type Sending = Pin<Box<dyn Future<Output = Result<Receipt, ApiError>> + Send>>;

// Starts to send a batch. A batch that cannot be read is an error of the connection; a destination that is
// not known is an error of the batch.
fn take_in(
    mesh: &Mesh,
    batch: Batch,
    body: Bytes,
    last_to: &mut Option<(String, NodeId)>,
) -> Result<Sending, ApiError> {
    let payloads = split(&batch.lens, body)?;
    let (mesh, options) = (mesh.clone(), batch.options());
    Ok(match batch.to {
        Target::Topic(topic) => Box::pin(async move { mesh.publish(&topic, payloads, options).await }),
        Target::Node(name) => match resolve(&mesh, name, last_to) {
            Ok(to) => Box::pin(async move { send(mesh, to, payloads, options).await }),
            Err(error) => Box::pin(ready(Err(error))),
        },
    })
}

async fn send(
    mesh: Mesh,
    to: NodeId,
    payloads: Vec<Bytes>,
    options: SendOptions,
) -> Result<Receipt, ApiError> {
    mesh.send(to, payloads, options).await
}

fn resolve(mesh: &Mesh, name: String, last: &mut Option<(String, NodeId)>) -> Result<NodeId, ApiError> {
    match last {
        Some((known, id)) if *known == name => Ok(*id),
        _ => {
            let id = mesh.resolve(&name)?;
            *last = Some((name, id));
            Ok(id)
        }
    }
}

/// Batches on their way into the node, in order. Several wait at once, so that durable ones share a commit.
#[derive(Default)]
struct InFlight {
    batches: VecDeque<Waiting>,
    bytes: usize,
}

struct Waiting {
    bytes: usize,
    sending: Sending,
    outcome: Option<Result<Receipt, ApiError>>,
}

impl InFlight {
    fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    fn has_room(&self) -> bool {
        self.batches.len() < MAX_IN_FLIGHT && self.bytes < MAX_IN_FLIGHT_BYTES
    }

    fn push(&mut self, bytes: usize, sending: Sending) {
        self.bytes += bytes;
        self.batches.push_back(Waiting { bytes, sending, outcome: None });
    }

    // Waits for the oldest batch. All are polled, oldest first, so that they enter the node in order and
    // none waits for the receipt of another. May be dropped while it waits.
    async fn next(&mut self) -> Result<Receipt, ApiError> {
        poll_fn(|context| {
            for waiting in &mut self.batches {
                if waiting.outcome.is_none()
                    && let Poll::Ready(outcome) = waiting.sending.as_mut().poll(context)
                {
                    waiting.outcome = Some(outcome);
                }
            }
            match self.batches.front_mut().and_then(|oldest| oldest.outcome.take()) {
                Some(outcome) => {
                    let bytes = self.batches.pop_front().map_or(0, |oldest| oldest.bytes);
                    self.bytes -= bytes;
                    Poll::Ready(outcome)
                }
                None => Poll::Pending,
            }
        })
        .await
    }
}

fn receipt_frame(receipt: &Receipt) -> FromNode {
    // A batch has at most MAX_BATCH messages.
    let count = u32::try_from(receipt.count).unwrap_or(u32::MAX);
    FromNode::Receipt { first_id: receipt.first_id, count, stored: receipt.stored }
}

fn known(version: u32) -> Result<(), ApiError> {
    if version == VERSION {
        return Ok(());
    }
    let message = format!("the client speaks version {version} of the control protocol, this node {VERSION}");
    Err(ApiError::new(&code::UNEXPECTED_REPLY, message).help("meshctl version"))
}

fn misplaced() -> ApiError {
    ApiError::new(&code::BAD_REQUEST, "this frame does not belong into this connection")
}
