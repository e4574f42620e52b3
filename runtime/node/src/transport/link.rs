//! What every transport keeps for a link: its lanes' outgoing queues and how much waits in them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};

use super::{HIGH_WATER, LOW_WATER, Lane, MAX_BUFFERED, SendError};

/// Receiving end of one lane's outgoing queue; ends when the link is closed and the queue is empty.
pub(crate) type LaneQueue = mpsc::UnboundedReceiver<Vec<Bytes>>;

/// The outgoing queues of one link. Dropping it lets the lanes run dry and end.
pub(crate) struct Outgoing {
    // Unbounded in entries; the gauge bounds the bytes of all lanes together by MAX_BUFFERED.
    lanes: [mpsc::UnboundedSender<Vec<Bytes>>; Lane::COUNT],
    gauge: Arc<Gauge>,
}

impl Outgoing {
    /// Returns the queues of a new link and their other ends, lane 0 first.
    pub(crate) fn new() -> (Outgoing, [LaneQueue; Lane::COUNT]) {
        let pairs: [_; Lane::COUNT] = std::array::from_fn(|_| mpsc::unbounded_channel());
        let lanes = std::array::from_fn(|i| pairs[i].0.clone());
        (Outgoing { lanes, gauge: Arc::default() }, pairs.map(|(_, queue)| queue))
    }

    pub(crate) fn gauge(&self) -> Arc<Gauge> {
        Arc::clone(&self.gauge)
    }

    pub(crate) fn buffered(&self) -> usize {
        self.gauge.buffered.load(Ordering::Relaxed)
    }

    pub(crate) fn send(&self, lane: Lane, chunks: Vec<Bytes>) -> Result<(), SendError> {
        let more = chunks.iter().map(Bytes::len).sum();
        if more == 0 {
            return Ok(());
        }
        self.gauge.take_in(more)?;
        self.lanes[lane.index()].send(chunks).map_err(|_| SendError::Gone)
    }
}

/// Bytes that wait in one link.
#[derive(Default)]
pub(crate) struct Gauge {
    buffered: AtomicUsize,
    was_full: AtomicBool,
    writable: Notify,
}

impl Gauge {
    /// Counts bytes that the network, or the receiving node, has taken.
    pub(crate) fn let_out(&self, bytes: usize) {
        let left = self.buffered.fetch_sub(bytes, Ordering::Relaxed) - bytes;
        if left < LOW_WATER && self.was_full.swap(false, Ordering::Relaxed) {
            self.writable.notify_one();
        }
    }

    /// Waits until a link that was full has room.
    pub(crate) async fn writable(&self) {
        self.writable.notified().await;
    }

    // Only the driver's task adds, so the check and the addition need not be one step.
    fn take_in(&self, more: usize) -> Result<(), SendError> {
        let buffered = self.buffered.load(Ordering::Relaxed);
        if buffered + more > MAX_BUFFERED {
            return Err(SendError::Full { buffered, more });
        }
        self.buffered.fetch_add(more, Ordering::Relaxed);
        if buffered + more >= HIGH_WATER {
            self.was_full.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Counts what still lives in a transport, so that a shutdown can wait for it.
#[derive(Default)]
pub(crate) struct Census(Arc<watch::Sender<usize>>);

/// One that lives until this is dropped.
pub(crate) struct Alive(Arc<watch::Sender<usize>>);

impl Census {
    pub(crate) fn enter(&self) -> Alive {
        self.0.send_modify(|n| *n += 1);
        Alive(Arc::clone(&self.0))
    }

    /// Waits until nothing lives any more.
    pub(crate) fn empty(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut count = self.0.subscribe();
        async move {
            // An error means that the transport is gone with all that lived in it.
            let _ = count.wait_for(|n| *n == 0).await;
        }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(len: usize) -> Vec<Bytes> {
        vec![Bytes::from(vec![0; len])]
    }

    #[tokio::test]
    async fn a_link_that_was_full_says_once_that_it_has_room() {
        let (outgoing, _queues) = Outgoing::new();
        let gauge = outgoing.gauge();
        outgoing.send(Lane::CONTROL, chunk(HIGH_WATER)).expect("an empty link takes that much");

        gauge.let_out(HIGH_WATER - LOW_WATER);
        let at_the_mark = futures_now(gauge.writable());
        gauge.let_out(1);
        let below = futures_now(gauge.writable());
        gauge.let_out(LOW_WATER - 1);
        let again = futures_now(gauge.writable());

        assert_eq!((at_the_mark, below, again), (false, true, false));
        assert_eq!(outgoing.buffered(), 0);
    }

    #[test]
    fn a_link_takes_no_more_than_its_bound() {
        let (outgoing, mut queues) = Outgoing::new();
        outgoing.send(Lane::CONTROL, chunk(MAX_BUFFERED)).expect("the bound itself fits");

        let refused = outgoing.send(Lane::CONTROL, chunk(1));

        assert_eq!(refused, Err(SendError::Full { buffered: MAX_BUFFERED, more: 1 }));
        assert_eq!(queues[0].try_recv().map(|c| c.len()), Ok(1));
        assert!(queues[0].try_recv().is_err(), "the refused chunk was not queued");
    }

    /// Returns whether the future is ready at once.
    fn futures_now(future: impl Future<Output = ()>) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(future).poll(&mut context).is_ready()
    }
}
