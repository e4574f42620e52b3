//! The tasks of one live link: a reader and a writer a lane, and the one that sees the link through to its
//! end and reports it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::{Bytes, BytesMut};
use quinn::{Connection, ConnectionError, RecvStream, SendStream, StoppedError, VarInt, WriteError};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::super::framing::Splitter;
use super::super::link::{Alive, Gauge, LaneQueue};
use super::super::{
    CLOSE_GONE, CLOSE_GRACE, CLOSE_OK, CLOSE_VIOLATION, DownReason, EventSender, Lane, LinkId, MAX_REASON,
    TransportEvent, Violation,
};
use super::Shared;

/// Pieces of the stream that one read takes: about a read buffer of full packets.
const READ_PIECES: usize = 128;
/// Chunks below this size are copied together before they are written: quinn walks through all unsent
/// chunks for every packet.
const SMALL_CHUNK: usize = 16 * 1024;
/// Size up to which small chunks are copied together.
const MERGED_CHUNK: usize = 64 * 1024;

/// What the driver said when it closed the link.
#[derive(Clone)]
pub(super) struct Close {
    pub(super) code: u32,
    pub(super) reason: String,
}

/// One link as its tasks see it.
pub(super) struct LinkEnd {
    pub(super) id: LinkId,
    pub(super) connection: Connection,
    pub(super) closed: oneshot::Receiver<Close>,
    pub(super) gauge: Arc<Gauge>,
    pub(super) shared: Arc<Shared>,
    pub(super) _alive: Alive,
}

type Readers = JoinSet<Result<(), Violation>>;
type Writers = JoinSet<()>;

impl LinkEnd {
    /// Sees the link through: first `up`, then whatever comes, at last its `Down`.
    pub(super) async fn run(mut self, up: TransportEvent, queues: [LaneQueue; Lane::COUNT]) {
        self.shared.tell(up).await;
        let mut writers = JoinSet::new();
        for (lane, queue) in Lane::ALL.into_iter().zip(queues) {
            writers.spawn(write_lane(self.connection.clone(), lane, queue, Arc::clone(&self.gauge)));
        }
        let mut readers = JoinSet::new();
        let reason = self.until_down(&mut readers, &mut writers).await;
        self.shared.forget(self.id);
        // The connection is over, so that the readers end when they have handed out what had arrived.
        while readers.join_next().await.is_some() {}
        writers.shutdown().await;
        self.shared.tell(TransportEvent::Down { link: self.id, reason }).await;
    }

    async fn until_down(&mut self, readers: &mut Readers, writers: &mut Writers) -> DownReason {
        let lanes_seen = Arc::new(AtomicU8::new(0));
        let mut closing: Option<(Close, Instant)> = None;
        loop {
            tokio::select! {
                close = &mut self.closed, if closing.is_none() => match self.on_close(close) {
                    close if close.code == CLOSE_OK => closing = Some((close, Instant::now() + CLOSE_GRACE)),
                    close => return self.close(close),
                },
                close = lanes_dry(writers, &closing), if closing.is_some() => return self.close(close),
                stream = self.connection.accept_uni() => match stream {
                    Ok(stream) => {
                        let to = (self.id, self.shared.events.clone());
                        readers.spawn(read_lane(stream, Arc::clone(&lanes_seen), to));
                    }
                    Err(error) => return down_reason(error),
                },
                Some(ended) = readers.join_next() => if let Ok(Err(violation)) = ended {
                    self.connection.close(VarInt::from_u32(CLOSE_VIOLATION), violation.to_string().as_bytes());
                    return DownReason::Violation(violation);
                },
                () = self.gauge.writable() => self.shared.tell(TransportEvent::Writable { link: self.id }).await,
            }
        }
    }

    fn on_close(&self, close: Result<Close, oneshot::error::RecvError>) -> Close {
        // The transport was dropped without a shutdown.
        close.unwrap_or_else(|_| Close { code: CLOSE_GONE, reason: "the node went away".to_owned() })
    }

    fn close(&self, Close { code, reason }: Close) -> DownReason {
        self.connection.close(VarInt::from_u32(code), reason.as_bytes());
        DownReason::Local { code }
    }
}

/// Waits until every lane has run dry and the peer has all of it, or the grace is over; then returns how to
/// close. Never returns for a link that is not closing.
async fn lanes_dry(writers: &mut Writers, closing: &Option<(Close, Instant)>) -> Close {
    let Some((close, deadline)) = closing else { return std::future::pending().await };
    let _ = timeout_at(*deadline, async { while writers.join_next().await.is_some() {} }).await;
    close.clone()
}

fn down_reason(error: ConnectionError) -> DownReason {
    match error {
        ConnectionError::ApplicationClosed(close) => DownReason::Remote {
            code: u32::try_from(close.error_code.into_inner()).unwrap_or(u32::MAX),
            reason: String::from_utf8_lossy(&close.reason[..close.reason.len().min(MAX_REASON)]).into_owned(),
        },
        ConnectionError::TimedOut => DownReason::TimedOut,
        other => DownReason::Lost { cause: other.to_string() },
    }
}

/// Hands out the frames of one stream until it ends. Only a violation is an error: how the connection ended
/// is the link's business.
async fn read_lane(
    mut stream: RecvStream,
    lanes_seen: Arc<AtomicU8>,
    (link, to): (LinkId, EventSender),
) -> Result<(), Violation> {
    let mut number = [0];
    if stream.read_exact(&mut number).await.is_err() {
        return Ok(());
    }
    let lane = Lane::new(number[0]).ok_or(Violation::UnknownLane { lane: number[0] })?;
    if lanes_seen.fetch_or(1 << lane.number(), Ordering::Relaxed) & (1 << lane.number()) != 0 {
        return Err(Violation::RepeatedLane { lane: lane.number() });
    }
    let mut splitter = Splitter::new(lane);
    let mut pieces: [Bytes; READ_PIECES] = std::array::from_fn(|_| Bytes::new());
    loop {
        let count = match stream.read_chunks(&mut pieces).await {
            Ok(Some(count)) => count,
            Ok(None) => return splitter.end(),
            Err(_) => return Ok(()),
        };
        let frames = splitter.push(&pieces[..count])?;
        pieces[..count].fill(Bytes::new());
        if !frames.is_empty() && to.send(TransportEvent::Frames { link, lane, frames }).await.is_err() {
            return Ok(());
        }
    }
}

/// Writes what one lane's queue brings, and ends the stream when the link was closed and the queue is empty.
async fn write_lane(connection: Connection, lane: Lane, mut queue: LaneQueue, gauge: Arc<Gauge>) {
    let Some(first) = queue.recv().await else { return };
    // An error means that the connection is over, which the link's task sees by itself.
    let Ok(mut stream) = open_lane(&connection, lane).await else { return };
    let mut next = Some(first);
    while let Some(mut chunks) = next {
        while let Ok(more) = queue.try_recv() {
            chunks.extend(more);
        }
        if write_all(&mut stream, &mut merge_small(chunks), &gauge).await.is_err() {
            return;
        }
        next = queue.recv().await;
    }
    let _ = stream.finish();
    let _: Result<_, StoppedError> = stream.stopped().await;
}

async fn open_lane(connection: &Connection, lane: Lane) -> Result<SendStream, WriteError> {
    let mut stream = connection.open_uni().await?;
    stream.set_priority(-i32::from(lane.number())).map_err(|_| WriteError::ClosedStream)?;
    stream.write_all(&[lane.number()]).await?;
    Ok(stream)
}

async fn write_all(
    stream: &mut SendStream,
    mut chunks: &mut [Bytes],
    gauge: &Gauge,
) -> Result<(), WriteError> {
    while !chunks.is_empty() {
        let written = stream.write_chunks(chunks).await?;
        gauge.let_out(written.bytes);
        chunks = &mut chunks[written.chunks..];
    }
    Ok(())
}

/// Copies runs of small chunks together.
fn merge_small(chunks: Vec<Bytes>) -> Vec<Bytes> {
    if chunks.len() == 1 {
        return chunks;
    }
    let mut merged = Vec::with_capacity(chunks.len());
    let mut run = BytesMut::new();
    for chunk in chunks {
        if !run.is_empty() && (chunk.len() >= SMALL_CHUNK || run.len() + chunk.len() > MERGED_CHUNK) {
            merged.push(run.split().freeze());
        }
        if chunk.len() >= SMALL_CHUNK {
            merged.push(chunk);
        } else {
            run.extend_from_slice(&chunk);
        }
    }
    if !run.is_empty() {
        merged.push(run.freeze());
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_chunks_are_written_together_and_big_ones_as_they_are() {
        let sizes = |lens: &[usize]| {
            let chunks = lens.iter().map(|len| Bytes::from(vec![*len as u8; *len])).collect();
            merge_small(chunks).iter().map(Bytes::len).collect::<Vec<_>>()
        };

        assert_eq!(sizes(&[10]), [10]);
        assert_eq!(sizes(&[10, 20, 30]), [60]);
        assert_eq!(sizes(&[10, SMALL_CHUNK, 20, 30]), [10, SMALL_CHUNK, 50]);
        assert_eq!(sizes(&[256; 512]), [MERGED_CHUNK, MERGED_CHUNK]);
    }

    #[test]
    fn merging_keeps_every_byte_in_order() {
        let mut random = fastrand::Rng::with_seed(5);
        let chunks: Vec<Bytes> = (0..300)
            .map(|_| {
                let len = if random.u8(..) < 20 { 20_000 } else { random.usize(1..2_000) };
                Bytes::from((0..len).map(|_| random.u8(..)).collect::<Vec<u8>>())
            })
            .collect();

        assert_eq!(merge_small(chunks.clone()).concat(), chunks.concat());
    }
}
