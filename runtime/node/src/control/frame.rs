//! Frames on the control socket, both directions alike.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | length of the header, little-endian, at most [`MAX_HEADER`] |
//! | 4 | length of the body, little-endian, at most [`MAX_BODY`], or [`MAX_LARGE_BODY`] where the header allows it |
//! | header | JSON: a [`ToNode`] or a [`FromNode`] |
//! | body | raw bytes, as the header says |
//!
//! A connection starts with any [`ToNode`]. `call` may be repeated; `subscribe`, `publish` and `events` turn
//! the connection into that stream until it is closed. Flow control is the socket's own: a side that does
//! not read stops the other one from writing, and neither keeps more than one batch in memory.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use mesh_proto::policy::Class;
use mesh_proto::{MessageId, NodeId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::api::{ApiError, Event, Fetched, Request, code, text};
use crate::message::{Message, SendOptions};

/// The longest header, in bytes.
pub const MAX_HEADER: usize = 64 << 10;
/// The longest body of a frame in a stream, in bytes.
pub const MAX_BODY: usize = 4 << 20;
/// The longest body of a call and of an answer, in bytes: a plugin, or the topology of a large mesh.
pub const MAX_LARGE_BODY: usize = crate::api::MAX_PLUGIN_LEN;
/// The most messages in one frame: with their columns they stay below [`MAX_HEADER`].
pub const MAX_BATCH: usize = 512;
/// The most batches of one publisher that may wait for their receipts.
pub const MAX_IN_FLIGHT: usize = 32;
/// The version of this framing; a node refuses others.
pub const VERSION: u32 = 1;

/// The most different origins and topics in one frame of messages, so that the header stays bounded.
const MAX_NAMES: usize = 128;
const PREFIX: usize = 8;
const ID: usize = 32;

/// What a client says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum ToNode {
    /// A management call; the body belongs to it.
    Call {
        /// [`VERSION`].
        v: u32,
        /// The call.
        request: Request,
    },
    /// Starts a stream of messages to the client.
    Subscribe {
        /// [`VERSION`].
        v: u32,
        /// Which messages.
        what: Wanted,
    },
    /// Says that all inbox messages up to this offset, inclusive, need not be delivered again.
    Ack {
        /// The offset.
        offset: u64,
    },
    /// Starts a stream of messages to the node.
    Publish {
        /// [`VERSION`].
        v: u32,
    },
    /// Messages to send; the body is their payloads, one after the other.
    Batch(Batch),
    /// Starts a stream of events to the client.
    Events {
        /// [`VERSION`].
        v: u32,
    },
}

/// What a node says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum FromNode {
    /// The answer to a call; the body is a [`crate::api::Reply`] as JSON.
    Reply,
    /// The answer to a call for an installed plugin; the body is its bytes.
    Component(Fetched),
    /// The call or the batch failed; an error that answers neither is the last frame of the connection.
    Error(ApiError),
    /// The stream has started.
    Ready,
    /// Messages; the body is their ids, 32 bytes each, and then their payloads.
    Messages(Columns),
    /// This many messages were skipped, because the client read too slowly.
    Gap {
        /// How many.
        lost: u64,
    },
    /// One batch was taken in. Batches are answered in their order.
    Receipt {
        /// The id of its first message.
        #[serde(with = "text")]
        first_id: MessageId,
        /// How many messages it had.
        count: u32,
        /// Whether they are on the node's disk.
        stored: bool,
    },
    /// Something happened.
    Event(Event),
}

/// What to subscribe to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wanted {
    /// Messages on the topic of this name.
    Topic(String),
    /// Messages to the node, from this offset on; `None` starts after the last acknowledged one.
    Inbox(Option<u64>),
}

/// Where messages go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// To the node of this name, id or id prefix.
    Node(String),
    /// To everybody who listens to the topic of this name.
    Topic(String),
}

/// Messages to send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Where to.
    pub to: Target,
    /// The lengths of the payloads in the body; at most [`MAX_BATCH`].
    pub lens: Vec<u32>,
    /// The class asked for.
    #[serde(with = "text::class")]
    pub class: Class,
    /// How long they are worth delivering.
    pub ttl_ms: Option<u64>,
    /// Whether the receipt waits for the disk.
    pub durable: bool,
    /// How many hops they may take.
    pub hop_limit: Option<u8>,
}

impl Batch {
    /// Describes payloads of these lengths.
    pub fn new(to: Target, lens: Vec<u32>, options: SendOptions) -> Batch {
        let ttl_ms = options.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        Batch {
            to,
            lens,
            class: options.class,
            ttl_ms,
            durable: options.durable,
            hop_limit: options.hop_limit,
        }
    }

    /// Returns how the messages are to be treated.
    pub fn options(&self) -> SendOptions {
        SendOptions {
            class: self.class,
            ttl: self.ttl_ms.map(Duration::from_millis),
            durable: self.durable,
            hop_limit: self.hop_limit,
        }
    }
}

/// What is known of the messages in a frame, a row each, as columns of equal length.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Columns {
    /// The origins that occur, as hex digits.
    pub origins: Vec<String>,
    /// The topics that occur.
    pub topics: Vec<String>,
    /// Rows in `origins`.
    pub origin: Vec<u16>,
    /// Rows in `topics`; `None` for messages to the node.
    pub topic: Vec<Option<u16>>,
    /// Class numbers, 0 to 4.
    pub class: Vec<u8>,
    /// The origins' own numbers.
    pub seq: Vec<u64>,
    /// Links crossed.
    pub hops: Vec<u8>,
    /// When they were written, by the origins' clocks, in milliseconds since 1970.
    pub sent_ms: Vec<u64>,
    /// Places in the inbox.
    pub offset: Vec<Option<u64>>,
    /// Payload lengths.
    pub len: Vec<u32>,
}

/// Why a frame cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A header longer than [`MAX_HEADER`].
    #[error("a header of {len} bytes exceeds the limit of {MAX_HEADER}")]
    Header {
        /// Its length.
        len: usize,
    },
    /// A body longer than its header allows.
    #[error("a body of {len} bytes exceeds the limit of {max}")]
    Body {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A header or a body that is not what it should be.
    #[error("not understood: {0}")]
    Malformed(String),
    /// The connection ended in the middle of a frame.
    #[error("the connection ended in the middle of a frame")]
    Truncated,
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<serde_json::Error> for FrameError {
    fn from(error: serde_json::Error) -> FrameError {
        FrameError::Malformed(error.to_string())
    }
}

impl From<FrameError> for ApiError {
    fn from(error: FrameError) -> ApiError {
        let code = match error {
            FrameError::Header { .. } | FrameError::Body { .. } => &code::REQUEST_TOO_LARGE,
            FrameError::Malformed(_) => &code::BAD_REQUEST,
            FrameError::Truncated | FrameError::Io(_) => &code::CONNECTION_LOST,
        };
        ApiError::new(code, error)
    }
}

/// A header that says how long its body may be.
pub trait Header: DeserializeOwned {
    /// Returns the limit in bytes.
    fn max_body(&self) -> usize;
}

impl Header for ToNode {
    fn max_body(&self) -> usize {
        match self {
            ToNode::Call {
                request: Request::PluginInstall { .. } | Request::PluginInspect { .. }, ..
            } => MAX_LARGE_BODY,
            ToNode::Batch(_) => MAX_BODY,
            _ => 0,
        }
    }
}

impl Header for FromNode {
    fn max_body(&self) -> usize {
        match self {
            FromNode::Reply | FromNode::Component(_) => MAX_LARGE_BODY,
            FromNode::Messages(_) => MAX_BODY,
            _ => 0,
        }
    }
}

/// Reads frames from one side of a connection.
#[derive(Debug)]
pub struct FrameReader<R> {
    from: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Starts at the beginning of a frame.
    pub fn new(from: R) -> FrameReader<R> {
        FrameReader { from, buffer: BytesMut::new() }
    }

    /// Returns the next frame, or `None` when the other side has closed between two frames. May be dropped
    /// while it waits: nothing that was read is lost.
    ///
    /// # Errors
    /// See [`FrameError`]; the connection is of no use after one.
    pub async fn next<H: Header>(&mut self) -> Result<Option<(H, Bytes)>, FrameError> {
        if !self.fill(PREFIX).await? {
            return if self.buffer.is_empty() { Ok(None) } else { Err(FrameError::Truncated) };
        }
        let header_len = length(&self.buffer[..4]);
        let body_len = length(&self.buffer[4..PREFIX]);
        if header_len > MAX_HEADER {
            return Err(FrameError::Header { len: header_len });
        }
        self.need(PREFIX + header_len).await?;
        let header: H = serde_json::from_slice(&self.buffer[PREFIX..PREFIX + header_len])?;
        let max = header.max_body();
        if body_len > max {
            return Err(FrameError::Body { len: body_len, max });
        }
        self.need(PREFIX + header_len + body_len).await?;
        self.buffer.advance(PREFIX + header_len);
        Ok(Some((header, self.buffer.split_to(body_len).freeze())))
    }

    async fn need(&mut self, len: usize) -> Result<(), FrameError> {
        if self.fill(len).await? { Ok(()) } else { Err(FrameError::Truncated) }
    }

    // Says whether the buffer has `len` bytes now, or the other side has closed before.
    async fn fill(&mut self, len: usize) -> Result<bool, FrameError> {
        while self.buffer.len() < len {
            // A margin, so that small frames that arrive together cost one read.
            self.buffer.reserve((len - self.buffer.len()).max(16 << 10));
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn length(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |len, &byte| len << 8 | usize::from(byte))
}

/// Writes frames to one side of a connection.
#[derive(Debug)]
pub struct FrameWriter<W> {
    to: W,
    buffer: Vec<u8>,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Starts at the beginning of a frame.
    pub fn new(to: W) -> FrameWriter<W> {
        FrameWriter { to, buffer: Vec::new() }
    }

    /// Writes one frame; the body is all parts, one after the other. Waits while the other side does not read.
    ///
    /// # Errors
    /// When the header or the body is too long, and nothing was written; or when the socket fails.
    pub async fn write(&mut self, header: &impl Serialize, body: &[&[u8]]) -> Result<(), FrameError> {
        self.buffer.clear();
        self.buffer.extend_from_slice(&[0; PREFIX]);
        serde_json::to_writer(&mut self.buffer, header)?;
        let header_len = self.buffer.len() - PREFIX;
        if header_len > MAX_HEADER {
            return Err(FrameError::Header { len: header_len });
        }
        let body_len = body.iter().map(|part| part.len()).sum();
        if body_len > MAX_LARGE_BODY {
            return Err(FrameError::Body { len: body_len, max: MAX_LARGE_BODY });
        }
        // Both are below 2^32 by the checks above.
        self.buffer[..4].copy_from_slice(&(header_len as u32).to_le_bytes());
        self.buffer[4..PREFIX].copy_from_slice(&(body_len as u32).to_le_bytes());
        self.buffer.reserve(body_len);
        for part in body {
            self.buffer.extend_from_slice(part);
        }
        self.to.write_all(&self.buffer).await?;
        // A plugin or a large answer must not keep its memory for the life of the connection.
        self.buffer.shrink_to(MAX_HEADER);
        Ok(())
    }
}

/// Returns how many of the messages fit into one frame; at least one, if there is one.
pub fn batch_len(messages: &[Message]) -> usize {
    let mut bytes = 0;
    let mut names = 0;
    for (row, message) in messages.iter().take(MAX_BATCH).enumerate() {
        bytes += ID + message.payload.len();
        let before = row.checked_sub(1).map(|before| &messages[before]);
        names += usize::from(before.is_none_or(|b| b.origin != message.origin || b.topic != message.topic));
        if row > 0 && (bytes > MAX_BODY || names > MAX_NAMES) {
            return row;
        }
    }
    messages.len().min(MAX_BATCH)
}

/// Splits messages into columns and the parts of a body.
pub fn pack(messages: &[Message]) -> (Columns, Vec<&[u8]>) {
    let mut columns = Columns::default();
    for message in messages {
        let origin = message.origin.to_string();
        columns.origin.push(intern(&mut columns.origins, &origin));
        columns.topic.push(message.topic.as_ref().map(|topic| intern(&mut columns.topics, topic)));
        columns.class.push(message.class as u8);
        columns.seq.push(message.seq);
        columns.hops.push(message.hops);
        columns.sent_ms.push(message.sent_ms);
        columns.offset.push(message.offset);
        // A payload longer than 4 GiB cannot exist: the mesh refuses it at the sender.
        columns.len.push(u32::try_from(message.payload.len()).unwrap_or(u32::MAX));
    }
    let ids = messages.iter().map(|message| &message.id.0[..]);
    (columns, ids.chain(messages.iter().map(|message| &message.payload[..])).collect())
}

// The last name is the most likely one.
fn intern(names: &mut Vec<String>, name: &str) -> u16 {
    let row = names.iter().rposition(|known| known == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    });
    u16::try_from(row).unwrap_or(u16::MAX)
}

/// Puts columns and a body together again; payloads share the body's memory.
///
/// # Errors
/// When the columns do not fit each other or the body.
pub fn unpack(columns: &Columns, body: Bytes) -> Result<Vec<Message>, FrameError> {
    let rows = columns.len.len();
    let malformed = |what: &str| FrameError::Malformed(format!("messages with {what}"));
    let lens = [columns.origin.len(), columns.topic.len(), columns.class.len(), columns.seq.len()];
    let more = [columns.hops.len(), columns.sent_ms.len(), columns.offset.len()];
    if rows > MAX_BATCH || lens.iter().chain(&more).any(|&len| len != rows) {
        return Err(malformed("columns of different lengths"));
    }
    if body.len() < rows * ID {
        return Err(malformed("a short body"));
    }
    let parse = |text: &String| text.parse::<NodeId>().map_err(|_| malformed("a bad origin"));
    let origins = columns.origins.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    let topics: Vec<Arc<str>> = columns.topics.iter().map(|topic| topic.as_str().into()).collect();
    let (ids, mut payloads) = (body.slice(..rows * ID), body.slice(rows * ID..));
    let mut messages = Vec::with_capacity(rows);
    for (row, id) in ids.chunks_exact(ID).enumerate() {
        let topic = match columns.topic[row] {
            Some(topic) => {
                Some(topics.get(usize::from(topic)).ok_or_else(|| malformed("a bad topic"))?.clone())
            }
            None => None,
        };
        messages.push(Message {
            id: MessageId(id.try_into().map_err(|_| malformed("a short id"))?),
            origin: *origins
                .get(usize::from(columns.origin[row]))
                .ok_or_else(|| malformed("a bad origin"))?,
            topic,
            class: Class::from_u8(columns.class[row]).ok_or_else(|| malformed("a bad class"))?,
            seq: columns.seq[row],
            hops: columns.hops[row],
            sent_ms: columns.sent_ms[row],
            offset: columns.offset[row],
            payload: take(&mut payloads, columns.len[row]).ok_or_else(|| malformed("a short body"))?,
        });
    }
    if payloads.is_empty() { Ok(messages) } else { Err(malformed("a long body")) }
}

/// Cuts a body into payloads of these lengths, which share its memory.
///
/// # Errors
/// When there are too many, or they do not make up the body exactly.
pub fn split(lens: &[u32], mut body: Bytes) -> Result<Vec<Bytes>, FrameError> {
    if lens.is_empty() || lens.len() > MAX_BATCH {
        return Err(FrameError::Malformed(format!(
            "a batch of {} messages; 1 to {MAX_BATCH} are taken",
            lens.len()
        )));
    }
    let payloads = lens.iter().map(|&len| take(&mut body, len)).collect::<Option<Vec<_>>>();
    match payloads {
        Some(payloads) if body.is_empty() => Ok(payloads),
        _ => Err(FrameError::Malformed("a batch whose lengths do not fit its body".to_owned())),
    }
}

fn take(body: &mut Bytes, len: u32) -> Option<Bytes> {
    let len = len as usize;
    (len <= body.len()).then(|| body.split_to(len))
}

#[cfg(test)]
mod tests;
