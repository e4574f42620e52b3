//! The client's side of the control socket.
//!
//! One connection does one thing: calls, or one stream. Nothing here retries; a lost connection is an
//! error, because only the caller knows whether a call may be repeated.
//!
//! ```no_run
//! # async fn f() -> Result<(), mesh_node::api::ApiError> {
//! use mesh_node::api::{Request, Status};
//! use mesh_node::control::client::Client;
//!
//! let mut client = Client::connect("/run/user/1000/mesh/alice.sock".as_ref()).await?;
//! let status: Status = client.call(&Request::Status).await?;
//! println!("{} has {} neighbours", status.name, status.peers_up);
//! # Ok(()) }
//! ```

use std::collections::VecDeque;
use std::path::Path;

use bytes::Bytes;
use mesh_proto::MessageId;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::frame::{
    Batch, FrameError, FrameReader, FrameWriter, FromNode, MAX_BATCH, MAX_BODY, MAX_IN_FLIGHT, Target,
    ToNode, VERSION, Wanted, unpack,
};
use crate::api::{ApiError, Event, Fetched, Reply, Request, code};
use crate::message::{Delivery, SendOptions};

/// A connection for calls.
#[derive(Debug)]
pub struct Client {
    reader: FrameReader<OwnedReadHalf>,
    writer: FrameWriter<OwnedWriteHalf>,
}

impl Client {
    /// Connects to the node behind this socket.
    ///
    /// # Errors
    /// `NOT_RUNNING` when nobody listens there, `FORBIDDEN` when the socket is another user's.
    pub async fn connect(socket: &Path) -> Result<Client, ApiError> {
        let stream = UnixStream::connect(socket).await.map_err(|error| refused(socket, &error))?;
        let (reader, writer) = stream.into_split();
        Ok(Client { reader: FrameReader::new(reader), writer: FrameWriter::new(writer) })
    }

    /// Makes one call and returns its answer.
    ///
    /// # Errors
    /// What the node says, or `CONNECTION_LOST`.
    pub async fn call<R: TryFrom<Reply, Error = ApiError>>(
        &mut self,
        request: &Request,
    ) -> Result<R, ApiError> {
        self.call_with(request, &[]).await
    }

    /// Makes one call that has a body, such as an installation.
    ///
    /// # Errors
    /// As for [`Client::call`].
    pub async fn call_with<R>(&mut self, request: &Request, body: &[u8]) -> Result<R, ApiError>
    where
        R: TryFrom<Reply, Error = ApiError>,
    {
        let frame = ToNode::Call { v: VERSION, request: request.clone() };
        self.open(&frame, body).await?;
        match self.answer().await? {
            (FromNode::Reply, body) => {
                let reply: Reply = serde_json::from_slice(&body).map_err(FrameError::from)?;
                R::try_from(reply)
            }
            (FromNode::Component(fetched), bytes) => {
                R::try_from(Reply::Fetched(Fetched { bytes, ..fetched }))
            }
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Turns the connection into a stream of messages to the caller.
    ///
    /// # Errors
    /// What the node says, or `CONNECTION_LOST`.
    pub async fn subscribe(mut self, what: Wanted) -> Result<Subscriber, ApiError> {
        self.open(&ToNode::Subscribe { v: VERSION, what }, &[]).await?;
        self.ready().await?;
        Ok(Subscriber { reader: self.reader, writer: self.writer })
    }

    /// Turns the connection into a stream of messages to the node.
    ///
    /// # Errors
    /// As for [`Client::subscribe`].
    pub async fn publisher(mut self) -> Result<Publisher, ApiError> {
        self.open(&ToNode::Publish { v: VERSION }, &[]).await?;
        self.ready().await?;
        Ok(Publisher {
            reader: self.reader,
            writer: self.writer,
            waiting: VecDeque::new(),
            taken: Taken::default(),
        })
    }

    /// Turns the connection into a stream of events.
    ///
    /// # Errors
    /// As for [`Client::subscribe`].
    pub async fn events(mut self) -> Result<Events, ApiError> {
        self.open(&ToNode::Events { v: VERSION }, &[]).await?;
        self.ready().await?;
        // The writing half stays, because the node takes its end for the end of the connection.
        Ok(Events { reader: self.reader, _writer: self.writer })
    }

    /// Waits until the node closes the connection, which it does when it has stopped.
    pub async fn closed(mut self) {
        while let Ok(Some(_)) = self.reader.next::<FromNode>().await {}
    }

    // A node that refuses a connection says why and closes: its word is worth more than the broken pipe.
    async fn open(&mut self, frame: &ToNode, body: &[u8]) -> Result<(), ApiError> {
        match self.writer.write(frame, &[body]).await {
            Err(FrameError::Io(error)) => match self.reader.next::<FromNode>().await {
                Ok(Some((FromNode::Error(said), _))) => Err(said),
                _ => Err(FrameError::Io(error).into()),
            },
            other => Ok(other?),
        }
    }

    async fn ready(&mut self) -> Result<(), ApiError> {
        match self.answer().await? {
            (FromNode::Ready, _) => Ok(()),
            (other, _) => Err(unexpected(&other)),
        }
    }

    async fn answer(&mut self) -> Result<(FromNode, Bytes), ApiError> {
        match next(&mut self.reader).await? {
            Some((FromNode::Error(error), _)) => Err(error),
            Some(frame) => Ok(frame),
            None => Err(lost()),
        }
    }
}

/// A stream of messages to the caller.
#[derive(Debug)]
pub struct Subscriber {
    reader: FrameReader<OwnedReadHalf>,
    writer: FrameWriter<OwnedWriteHalf>,
}

impl Subscriber {
    /// Waits for messages; `None` when the node has stopped. May be dropped while it waits.
    ///
    /// # Errors
    /// What the node says, or `CONNECTION_LOST` when it ended in the middle of a frame.
    pub async fn next(&mut self) -> Result<Option<Delivery>, ApiError> {
        match next(&mut self.reader).await? {
            Some((FromNode::Messages(columns), body)) => Ok(Some(Delivery::Batch(unpack(&columns, body)?))),
            Some((FromNode::Gap { lost }, _)) => Ok(Some(Delivery::Gap { lost })),
            Some((FromNode::Error(error), _)) => Err(error),
            Some((other, _)) => Err(unexpected(&other)),
            None => Ok(None),
        }
    }

    /// Ends the subscription, and returns when the node has taken in every acknowledgement.
    ///
    /// # Errors
    /// `CONNECTION_LOST` when the node went before it had.
    pub async fn finish(self) -> Result<(), ApiError> {
        let Subscriber { mut reader, writer } = self;
        // The node reads up to the end of this half, and only then closes its own.
        drop(writer);
        while next(&mut reader).await?.is_some() {}
        Ok(())
    }

    /// Says that all inbox messages up to this offset, inclusive, need not be delivered again.
    ///
    /// # Errors
    /// `CONNECTION_LOST`.
    pub async fn ack(&mut self, offset: u64) -> Result<(), ApiError> {
        Ok(self.writer.write(&ToNode::Ack { offset }, &[]).await?)
    }
}

/// A stream of messages to the node.
#[derive(Debug)]
pub struct Publisher {
    reader: FrameReader<OwnedReadHalf>,
    writer: FrameWriter<OwnedWriteHalf>,
    /// Messages in each batch without a receipt; at most [`MAX_IN_FLIGHT`].
    waiting: VecDeque<u32>,
    taken: Taken,
}

/// What the node has taken in from one publisher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The id of the first message.
    pub first_id: Option<MessageId>,
    /// Messages with a receipt.
    pub messages: u64,
    /// Those of them that are on the node's disk.
    pub stored: u64,
}

impl Publisher {
    /// Hands messages over, in as many batches as they need, without waiting for their receipts; waits only
    /// when the node is behind.
    ///
    /// # Errors
    /// What the node says to this or an earlier batch; batches after a refused one may have been taken.
    pub async fn send(
        &mut self,
        to: &Target,
        payloads: &[&[u8]],
        options: SendOptions,
    ) -> Result<(), ApiError> {
        let mut rest = payloads;
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(fitting(rest)?);
            rest = later;
            while self.waiting.len() >= MAX_IN_FLIGHT {
                self.receipt().await?;
            }
            // `fitting` keeps them below MAX_BODY.
            let lens = batch.iter().map(|payload| payload.len() as u32).collect();
            let header = ToNode::Batch(Batch::new(to.clone(), lens, options));
            self.waiting.push_back(batch.len() as u32);
            if let Err(error) = self.writer.write(&header, batch).await {
                // The node's reason, if it gave one before it closed.
                while !self.waiting.is_empty() {
                    self.receipt().await?;
                }
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Waits for all receipts and returns what was taken in since the start.
    ///
    /// # Errors
    /// As for [`Publisher::send`].
    pub async fn flush(&mut self) -> Result<Taken, ApiError> {
        while !self.waiting.is_empty() {
            self.receipt().await?;
        }
        Ok(self.taken)
    }

    async fn receipt(&mut self) -> Result<(), ApiError> {
        let frame = next(&mut self.reader).await?;
        self.waiting.pop_front();
        match frame {
            Some((FromNode::Receipt { first_id, count, stored }, _)) => {
                self.taken.first_id.get_or_insert(first_id);
                self.taken.messages += u64::from(count);
                self.taken.stored += if stored { u64::from(count) } else { 0 };
                Ok(())
            }
            Some((FromNode::Error(error), _)) => Err(error),
            Some((other, _)) => Err(unexpected(&other)),
            None => Err(lost()),
        }
    }
}

/// A stream of events.
#[derive(Debug)]
pub struct Events {
    reader: FrameReader<OwnedReadHalf>,
    _writer: FrameWriter<OwnedWriteHalf>,
}

impl Events {
    /// Waits for the next event; `None` when the node has stopped. May be dropped while it waits.
    ///
    /// # Errors
    /// What the node says, or `CONNECTION_LOST` when it ended in the middle of a frame.
    pub async fn next(&mut self) -> Result<Option<Event>, ApiError> {
        match next(&mut self.reader).await? {
            Some((FromNode::Event(event), _)) => Ok(Some(event)),
            Some((FromNode::Error(error), _)) => Err(error),
            Some((other, _)) => Err(unexpected(&other)),
            None => Ok(None),
        }
    }
}

// How many payloads go into the next batch; at least one.
fn fitting(payloads: &[&[u8]]) -> Result<usize, ApiError> {
    let mut bytes = 0;
    for (count, payload) in payloads.iter().take(MAX_BATCH).enumerate() {
        bytes += payload.len();
        match (bytes > MAX_BODY, count) {
            (false, _) => {}
            (true, 0) => {
                let message = format!("a message of {} bytes exceeds the limit of {MAX_BODY}", payload.len());
                return Err(ApiError::new(&code::MESSAGE_TOO_LARGE, message));
            }
            (true, _) => return Ok(count),
        }
    }
    Ok(payloads.len().min(MAX_BATCH))
}

// A node that stops closes its sockets, however that looks from here.
async fn next(reader: &mut FrameReader<OwnedReadHalf>) -> Result<Option<(FromNode, Bytes)>, ApiError> {
    match reader.next().await {
        Ok(frame) => Ok(frame),
        Err(FrameError::Malformed(what)) => Err(ApiError::new(&code::UNEXPECTED_REPLY, what)),
        Err(error) => Err(error.into()),
    }
}

fn refused(socket: &Path, error: &std::io::Error) -> ApiError {
    use std::io::ErrorKind;
    let (code, message) = match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            (&code::NOT_RUNNING, "no node answers".to_owned())
        }
        ErrorKind::PermissionDenied => (&code::FORBIDDEN, "the node belongs to another user".to_owned()),
        _ => (&code::SOCKET_FAILED, error.to_string()),
    };
    ApiError::new(code, message).fact("socket", socket.display()).help("meshctl up --detach")
}

fn lost() -> ApiError {
    ApiError::new(&code::CONNECTION_LOST, "the node closed the connection before it answered")
}

fn unexpected(frame: &FromNode) -> ApiError {
    let name = serde_json::to_value(frame).ok().and_then(|frame| Some(frame.get("is")?.as_str()?.to_owned()));
    let name = name.unwrap_or_else(|| "something else".to_owned());
    ApiError::new(
        &code::UNEXPECTED_REPLY,
        format!("the node answered with '{name}', which does not fit the call"),
    )
}
