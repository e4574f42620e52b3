//! The handle to a running node: what an application embeds.

use std::sync::Arc;

use bytes::Bytes;
use mesh_proto::run::{Dest, Run};
use mesh_proto::{NodeId, TopicId};
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};

use crate::api::{ApiError, Event, EventKind, MemberInfo, Reply, Request, Time, code};
use crate::builder::Builder;
use crate::driver::clock::unix_ms;
use crate::message::{Delivery, Filter, Message, Receipt, SendOptions};

/// Publishes that wait for the driver; beyond it publishers wait.
pub(crate) const PUBLISHES: usize = 64;
/// Other calls that wait for the driver.
pub(crate) const CALLS: usize = 256;
/// Events kept for slow readers; beyond it they see a gap.
pub(crate) const EVENTS: usize = 1024;
/// Digits of an id that are enough to name a node, at least.
const MIN_PREFIX: usize = 6;

/// Names of all known nodes, this one first.
pub(crate) type Names = Arc<Vec<(NodeId, String)>>;

/// A running node. Cheap to clone; the node runs until [`Mesh::shutdown`], whatever handles are dropped.
#[derive(Clone)]
pub struct Mesh(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) id: NodeId,
    pub(crate) name: String,
    pub(crate) addrs: Vec<String>,
    pub(crate) publishes: mpsc::Sender<PublishCall>,
    pub(crate) calls: mpsc::Sender<Call>,
    pub(crate) names: watch::Receiver<Names>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) stopped: watch::Receiver<bool>,
}

pub(crate) type Answer<T> = oneshot::Sender<Result<T, ApiError>>;

pub(crate) struct PublishCall {
    pub(crate) dest: Dest,
    pub(crate) payloads: Vec<Bytes>,
    pub(crate) options: SendOptions,
    pub(crate) answer: Answer<Receipt>,
}

pub(crate) enum Call {
    Request { request: Request, body: Bytes, answer: Answer<Reply> },
    Subscribe { filter: Filter, answer: Answer<Subscription> },
    Unsubscribe { id: u64 },
    Acknowledge { id: u64, offset: u64 },
}

/// Messages of one origin that came together; payloads are not copied.
#[derive(Clone, Debug)]
pub struct Parcel {
    pub(crate) run: Arc<Run>,
    pub(crate) topic: Option<Arc<str>>,
    pub(crate) hops: u8,
    pub(crate) first_offset: Option<u64>,
    /// Messages at the front that the subscriber has had.
    pub(crate) skip: usize,
}

impl Parcel {
    /// Returns the number of messages.
    pub fn len(&self) -> usize {
        self.run.len() - self.skip
    }

    /// Says whether there is no message, which cannot be.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns who wrote them.
    pub fn origin(&self) -> NodeId {
        self.run.head().flow.origin
    }

    /// Returns the payloads in order.
    pub fn payloads(&self) -> impl Iterator<Item = Bytes> {
        self.run.messages().skip(self.skip).map(|(_, payload)| payload)
    }

    /// Returns the messages with all that is known of them; costs one hash each for the id.
    pub fn messages(&self) -> impl Iterator<Item = Message> {
        let head = *self.run.head();
        self.run.messages().enumerate().skip(self.skip).map(move |(index, (seq, payload))| Message {
            id: self.run.message_id(index),
            origin: head.flow.origin,
            topic: self.topic.clone(),
            class: head.class,
            seq,
            hops: self.hops,
            sent_ms: head.sent_ms,
            offset: self.first_offset.map(|first| first + index as u64),
            payload,
        })
    }
}

pub(crate) enum Handed {
    Parcel(Parcel),
    Gap { lost: u64 },
}

/// Messages of one topic, or those addressed to this node. Ends when it is dropped.
pub struct Subscription {
    pub(crate) id: u64,
    pub(crate) parcels: mpsc::Receiver<Handed>,
    pub(crate) room: Arc<Notify>,
    pub(crate) calls: mpsc::Sender<Call>,
}

impl Subscription {
    /// Waits for messages; `None` when the node has stopped.
    pub async fn next(&mut self) -> Option<Delivery> {
        Some(match self.receive().await? {
            Handed::Parcel(parcel) => Delivery::Batch(parcel.messages().collect()),
            Handed::Gap { lost } => Delivery::Gap { lost },
        })
    }

    /// Waits for messages as they came, without a hash or a copy for each; `Err` says how many were skipped.
    pub async fn next_parcel(&mut self) -> Option<Result<Parcel, u64>> {
        Some(match self.receive().await? {
            Handed::Parcel(parcel) => Ok(parcel),
            Handed::Gap { lost } => Err(lost),
        })
    }

    async fn receive(&mut self) -> Option<Handed> {
        let handed = self.parcels.recv().await;
        self.room.notify_one();
        handed
    }

    /// Says that every message of the inbox up to `offset` has been dealt with, so that the node forgets it.
    pub async fn ack(&mut self, offset: u64) {
        // A node that has stopped keeps them, and hands them out again after its next start.
        let _ = self.calls.send(Call::Acknowledge { id: self.id, offset }).await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // When the queue is full the driver finds out at the next message.
        let _ = self.calls.try_send(Call::Unsubscribe { id: self.id });
    }
}

/// What a node tells unasked.
pub struct EventStream(broadcast::Receiver<Event>);

impl EventStream {
    /// Waits for the next event; `None` when the node has stopped. A reader that is too slow gets a gap.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(lost)) => {
                Some(Event { at: Time(unix_ms()), kind: EventKind::Gap { lost } })
            }
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

impl Mesh {
    /// Returns what a node is started from.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Returns the node's id: its public key.
    pub fn id(&self) -> NodeId {
        self.0.id
    }

    /// Returns the node's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the addresses that others can join.
    pub fn local_addrs(&self) -> Vec<String> {
        self.0.addrs.clone()
    }

    /// Sends to one node, and returns when the node has taken the messages over, or with
    /// [`SendOptions::durable`] when they are on its disk. Waits while the way there is congested.
    ///
    /// # Errors
    /// None of the messages was taken: one is too large, too many wait for the recipient, or the node stops.
    pub async fn send(
        &self,
        to: NodeId,
        payloads: Vec<Bytes>,
        options: SendOptions,
    ) -> Result<Receipt, ApiError> {
        self.hand_in(Dest::Node(to), payloads, options).await
    }

    /// Publishes to all nodes that subscribe to a topic.
    ///
    /// # Errors
    /// As [`Mesh::send`]; and a topic cannot be durable.
    pub async fn publish(
        &self,
        topic: &str,
        payloads: Vec<Bytes>,
        options: SendOptions,
    ) -> Result<Receipt, ApiError> {
        self.hand_in(Dest::Topic(TopicId::of(topic)), payloads, options).await
    }

    async fn hand_in(
        &self,
        dest: Dest,
        payloads: Vec<Bytes>,
        options: SendOptions,
    ) -> Result<Receipt, ApiError> {
        let (answer, receipt) = oneshot::channel();
        let call = PublishCall { dest, payloads, options, answer };
        self.0.publishes.send(call).await.map_err(|_| stopping())?;
        receipt.await.map_err(|_| stopping())?
    }

    /// Starts to receive.
    ///
    /// # Errors
    /// There are too many subscriptions, or the node stops.
    pub async fn subscribe(&self, filter: Filter) -> Result<Subscription, ApiError> {
        let (answer, subscription) = oneshot::channel();
        self.0.calls.send(Call::Subscribe { filter, answer }).await.map_err(|_| stopping())?;
        subscription.await.map_err(|_| stopping())?
    }

    /// Makes a management call; `body` is what some of them carry beside their arguments.
    ///
    /// # Errors
    /// Whatever the call can fail with; see [`code`].
    pub async fn call(&self, request: Request, body: Bytes) -> Result<Reply, ApiError> {
        let (answer, reply) = oneshot::channel();
        self.0.calls.send(Call::Request { request, body, answer }).await.map_err(|_| stopping())?;
        reply.await.map_err(|_| stopping())?
    }

    /// Returns who is in the mesh and whether it lives, this node first. Changes come with [`Mesh::events`].
    ///
    /// # Errors
    /// The node is stopping.
    pub async fn members(&self) -> Result<Vec<MemberInfo>, ApiError> {
        self.call(Request::Members, Bytes::new()).await?.try_into()
    }

    /// Returns what the node tells from now on.
    pub fn events(&self) -> EventStream {
        EventStream(self.0.events.subscribe())
    }

    /// Finds a node by its name, its id, or the first six or more digits of its id.
    ///
    /// # Errors
    /// `NO_SUCH_NODE` or `AMBIGUOUS_NODE`.
    pub fn resolve(&self, text: &str) -> Result<NodeId, ApiError> {
        resolve(&self.0.names.borrow(), text)
    }

    /// Stops the node: what was not handed on is kept, neighbours are told. Returns when it has stopped,
    /// within five seconds.
    pub async fn shutdown(&self) {
        if self.call(Request::Shutdown, Bytes::new()).await.is_ok() {
            self.stopped().await;
        }
    }

    /// Returns when the node has stopped.
    pub async fn stopped(&self) {
        let mut stopped = self.0.stopped.clone();
        // A driver that is gone has stopped.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }
}

pub(crate) fn stopping() -> ApiError {
    ApiError::new(&code::STOPPING, "the node is stopping")
}

pub(crate) fn resolve(names: &[(NodeId, String)], text: &str) -> Result<NodeId, ApiError> {
    if let Ok(id) = text.parse::<NodeId>() {
        return Ok(id);
    }
    let by_name: Vec<&(NodeId, String)> = names.iter().filter(|(_, name)| name == text).collect();
    let is_prefix = text.len() >= MIN_PREFIX && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let lower = text.to_ascii_lowercase();
    let found = match by_name.len() {
        0 if is_prefix => names.iter().filter(|(id, _)| id.to_string().starts_with(&lower)).collect(),
        _ => by_name,
    };
    match found[..] {
        [(id, _)] => Ok(*id),
        [] => Err(ApiError::new(&code::NO_SUCH_NODE, format!("no known node has the name or id '{text}'"))
            .fact("known", names.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(", "))
            .help("meshctl peers")),
        [(first, _), ..] => Err(ApiError::new(
            &code::AMBIGUOUS_NODE,
            format!("{} nodes have the name or id '{text}'", found.len()),
        )
        .fact("nodes", found.iter().map(|(id, _)| id.short()).collect::<Vec<_>>().join(", "))
        .help(format!("use more digits, such as {}", &first.to_string()[..16]))),
    }
}
