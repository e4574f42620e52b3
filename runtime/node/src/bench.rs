//! Measuring: what this process costs, and what a bare quinn stream achieves with the same sockets, windows
//! and runtime as a link, as the yardstick for the node.
//!
//! The two sides run in two processes, each on a current-thread runtime. Nothing here is used by a node.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use quinn::{Connection, Endpoint, RecvStream, VarInt};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::keys::NodeKey;
use crate::transport::quic::QuicConfig;
use crate::transport::quic::tls::{self, Identity};

/// Bytes that the sender writes at once.
const CHUNK: usize = 64 * 1024;
/// Bytes that the receiver reads at once.
const READ: usize = 256 * 1024;
/// Smallest message: its sequence number.
const SEQUENCE: usize = 8;
/// Largest message.
const MAX_SIZE: usize = 1024 * 1024;
/// Time that the receiver waits for its sender.
const PATIENCE: Duration = Duration::from_secs(30);

/// What one side of the baseline did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BaselineReport {
    /// Messages sent or received.
    pub msgs: u64,
    /// Time from the first byte to the last.
    pub secs: f64,
    /// Messages a second; the receiver's is the one that counts.
    pub msgs_per_s: f64,
    /// Payload a second, in 10^6 bytes.
    pub mb_per_s: f64,
    /// Messages whose sequence number was not the next one. Always 0 on the sending side.
    pub gaps: u64,
    /// Processor time of this process for each message, in microseconds.
    pub cpu_us_per_msg: f64,
    /// Highest memory use of this process, in MiB.
    pub peak_rss_mib: f64,
}

/// Why a baseline run came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// The message size cannot carry a sequence number, or is beyond reason.
    #[error("a message has {SEQUENCE} to {MAX_SIZE} bytes, not {size}")]
    Size {
        /// The size asked for.
        size: usize,
    },
    /// The other side could not be reached, went away, or this one could not start.
    #[error("the bare stream failed: {0}")]
    Failed(String),
}

/// Returns the processor time that this process has used so far, all threads together.
pub fn process_cpu() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec.try_into().unwrap_or(0), used.tv_nsec.try_into().unwrap_or(0))
}

/// Returns the highest memory use of this process so far in MiB, or 0 where the system does not tell.
pub fn peak_rss_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: f64 = peak.and_then(|p| p.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0.0);
    kib / 1024.0
}

/// Receives one sender's messages of `size` bytes until it ends, and checks every sequence number. Calls
/// `ready` with the real address once it listens.
///
/// # Errors
/// No sender came within 30 s, or it went away.
pub async fn baseline_receive(
    listen: SocketAddr,
    size: usize,
    ready: impl FnOnce(SocketAddr),
) -> Result<BaselineReport, BaselineError> {
    check_size(size)?;
    let endpoint = endpoint(listen)?;
    ready(endpoint.local_addr().map_err(failed)?);
    let (connection, mut stream) = timeout(PATIENCE, accept(&endpoint)).await.map_err(failed)??;
    let mut buffer = vec![0; READ.max(size * 2)];
    let (mut filled, mut count) = (0, Count::default());
    let mut clock = None;
    while let Some(read) = stream.read(&mut buffer[filled..]).await.map_err(failed)? {
        clock.get_or_insert_with(Clock::start);
        filled += read;
        let whole = filled - filled % size;
        buffer[..whole].chunks_exact(size).for_each(|message| count.see(message));
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
    }
    let report = clock.unwrap_or_else(Clock::start).report(count.msgs, size, count.gaps);
    // Leaving before the sender has its last acknowledgement would look like a fault to it.
    let _ = timeout(PATIENCE, connection.closed()).await;
    Ok(report)
}

/// Sends messages of `size` bytes to a [`baseline_receive`] for `secs`, as fast as it takes them.
///
/// # Errors
/// The receiver cannot be reached, or went away.
pub async fn baseline_send(to: SocketAddr, size: usize, secs: f64) -> Result<BaselineReport, BaselineError> {
    check_size(size)?;
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let endpoint = endpoint(any.parse().expect("it is an address"))?;
    let connection = connect(&endpoint, to).await?;
    let mut stream = connection.open_uni().await.map_err(failed)?;
    let clock = Clock::start();
    let mut next = 0;
    while clock.wall.elapsed().as_secs_f64() < secs {
        stream.write_chunk(chunk(&mut next, size)).await.map_err(failed)?;
    }
    stream.finish().map_err(failed)?;
    stream.stopped().await.map_err(failed)?;
    let report = clock.report(next, size, 0);
    connection.close(VarInt::from_u32(0), b"done");
    endpoint.wait_idle().await;
    Ok(report)
}

/// Returns a chunk of messages that continue the sequence at `next`.
fn chunk(next: &mut u64, size: usize) -> Bytes {
    let mut chunk = BytesMut::with_capacity(CHUNK.max(size));
    while chunk.is_empty() || chunk.len() + size <= CHUNK {
        chunk.extend_from_slice(&next.to_le_bytes());
        chunk.resize(chunk.len() + size - SEQUENCE, 0);
        *next += 1;
    }
    chunk.freeze()
}

fn check_size(size: usize) -> Result<(), BaselineError> {
    if (SEQUENCE..=MAX_SIZE).contains(&size) { Ok(()) } else { Err(BaselineError::Size { size }) }
}

fn endpoint(listen: SocketAddr) -> Result<Endpoint, BaselineError> {
    let identity = Identity::new(&NodeKey::generate().map_err(failed)?);
    QuicConfig::default().endpoint(listen, &identity).map_err(failed)
}

async fn accept(endpoint: &Endpoint) -> Result<(Connection, RecvStream), BaselineError> {
    let incoming =
        endpoint.accept().await.ok_or_else(|| BaselineError::Failed("the endpoint closed".to_owned()))?;
    let connection = incoming.await.map_err(failed)?;
    let stream = connection.accept_uni().await.map_err(failed)?;
    Ok((connection, stream))
}

async fn connect(endpoint: &Endpoint, to: SocketAddr) -> Result<Connection, BaselineError> {
    let identity = Identity::new(&NodeKey::generate().map_err(failed)?);
    let (config, _) = QuicConfig::default().client(&identity, None);
    endpoint.connect_with(config, to, tls::SERVER_NAME).map_err(failed)?.await.map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> BaselineError {
    BaselineError::Failed(error.to_string())
}

/// The receiver's check.
#[derive(Default)]
struct Count {
    msgs: u64,
    gaps: u64,
    next: u64,
}

impl Count {
    fn see(&mut self, message: &[u8]) {
        let number = message.first_chunk().map_or(u64::MAX, |n| u64::from_le_bytes(*n));
        self.msgs += 1;
        self.gaps += u64::from(number != self.next);
        self.next = number.wrapping_add(1);
    }
}

struct Clock {
    wall: Instant,
    cpu: Duration,
}

impl Clock {
    fn start() -> Clock {
        Clock { wall: Instant::now(), cpu: process_cpu() }
    }

    fn report(&self, msgs: u64, size: usize, gaps: u64) -> BaselineReport {
        let (secs, cpu) = (self.wall.elapsed().as_secs_f64(), process_cpu().saturating_sub(self.cpu));
        BaselineReport {
            msgs,
            secs,
            msgs_per_s: msgs as f64 / secs,
            mb_per_s: (msgs * size as u64) as f64 / secs / 1e6,
            gaps,
            cpu_us_per_msg: cpu.as_secs_f64() * 1e6 / msgs.max(1) as f64,
            peak_rss_mib: peak_rss_mib(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_a_repeated_and_a_swapped_message_are_gaps() {
        let gaps = |numbers: &[u64]| {
            let mut count = Count::default();
            numbers.iter().for_each(|n| count.see(&[&n.to_le_bytes()[..], &[0; 8]].concat()));
            count.gaps
        };

        assert_eq!(gaps(&[0, 1, 2, 3]), 0);
        assert_eq!(gaps(&[0, 2, 3]), 1);
        assert_eq!(gaps(&[0, 1, 1, 2]), 1);
        assert_eq!(gaps(&[0, 2, 1, 3]), 3);
        assert_eq!(gaps(&[1]), 1);
    }

    #[test]
    fn the_process_knows_its_cost() {
        let before = process_cpu();
        while process_cpu() == before {}

        assert!(peak_rss_mib() > 1.0);
    }

    #[tokio::test]
    async fn the_two_sides_agree_on_what_was_sent() {
        let (ready, address) = tokio::sync::oneshot::channel();
        let listen = "127.0.0.1:0".parse().unwrap();
        let receiver = tokio::spawn(baseline_receive(listen, 100, move |addr| _ = ready.send(addr)));

        let sent = baseline_send(address.await.unwrap(), 100, 0.1).await.unwrap();
        let received = receiver.await.unwrap().unwrap();

        assert!(received.msgs > 0 && received.msgs == sent.msgs, "{received:?} {sent:?}");
        assert_eq!(received.gaps, 0);
    }
}
