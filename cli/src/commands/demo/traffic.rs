//! The stream that the demo watches: numbered messages with the time they were sent, and the count of what
//! arrives. Nothing is assumed: lost and doubled messages are counted from the numbers the receiver saw.

use std::time::{Duration, Instant};

use mesh_node::api::ApiError;
use mesh_node::control::client::{Publisher, Subscriber};
use mesh_node::control::frame::Target;
use mesh_node::message::{Delivery, SendOptions};
use tokio::sync::watch;

use super::histogram::Histogram;

/// Bytes of one message: its number, its time and its phase, and zeros.
pub const PAYLOAD: usize = 64;
/// How often the sender sends what is due.
const BEAT: Duration = Duration::from_millis(2);
/// The most messages that are made up at once, after the node was slow for a while.
const MAX_DUE: u64 = 512;

/// What happens while a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing: the yardstick.
    Before = 0,
    /// Swaps.
    During = 1,
    /// Anything else: not measured.
    After = 2,
    /// The stream ends.
    Stop = 3,
}

/// What the receiver has seen.
#[derive(Debug, Default)]
pub struct Tally {
    /// How often each number came.
    times: Vec<u16>,
    /// Numbers that came at least once.
    pub distinct: u64,
    /// Arrivals beyond the first of a number.
    pub duplicated: u64,
    /// Messages that are none of the stream.
    pub foreign: u64,
    /// Latencies while nothing happened.
    pub before: Histogram,
    /// Latencies while swaps happened.
    pub during: Histogram,
}

impl Tally {
    fn add(&mut self, payload: &[u8], now: Duration) {
        let Some((seq, sent, phase)) = parse(payload) else {
            self.foreign += 1;
            return;
        };
        // The sender numbers from 0, so a number far beyond what came is a damaged message.
        let Some(row) = usize::try_from(seq).ok().filter(|&row| row <= self.times.len() + MAX_JUMP) else {
            self.foreign += 1;
            return;
        };
        if row >= self.times.len() {
            self.times.resize(row + 1, 0);
        }
        self.times[row] = self.times[row].saturating_add(1);
        if self.times[row] > 1 {
            self.duplicated += 1;
            return;
        }
        self.distinct += 1;
        let us = u64::try_from(now.saturating_sub(sent).as_micros()).unwrap_or(u64::MAX);
        match phase {
            0 => self.before.add(us),
            1 => self.during.add(us),
            _ => {}
        }
    }

    /// Returns how many of the numbers from `first` to before `end` never came.
    pub fn missing(&self, first: u64, end: u64) -> u64 {
        (first..end).filter(|&seq| self.times.get(seq as usize).is_none_or(|&times| times == 0)).count()
            as u64
    }
}

/// The most numbers that may be missing at once; far more than the demo sends in all.
const MAX_JUMP: usize = 50_000_000;

/// How far the receiver is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Numbers that came at least once.
    pub distinct: u64,
    /// Everything that came.
    pub arrived: u64,
}

/// Sends at `rate` a second until the phase is [`Phase::Stop`], and returns the next free number and how
/// long it sent.
///
/// # Errors
/// What the node says.
pub async fn stream(
    mut to: Publisher,
    target: Target,
    rate: u64,
    clock: Instant,
    phase: watch::Receiver<Phase>,
    published: watch::Sender<u64>,
) -> Result<(u64, Duration), ApiError> {
    let started = Instant::now();
    let mut seq = 0;
    let mut beat = tokio::time::interval(BEAT);
    loop {
        beat.tick().await;
        let now = *phase.borrow();
        if now == Phase::Stop {
            break;
        }
        let due = (started.elapsed().as_secs_f64() * rate as f64) as u64;
        let count = due.saturating_sub(seq).min(MAX_DUE);
        send(&mut to, &target, seq..seq + count, clock, now, SendOptions::default()).await?;
        seq += count;
        published.send_replace(seq);
    }
    to.flush().await?;
    Ok((seq, started.elapsed()))
}

/// Sends the messages with these numbers.
///
/// # Errors
/// What the node says.
pub async fn send(
    to: &mut Publisher,
    target: &Target,
    numbers: std::ops::Range<u64>,
    clock: Instant,
    phase: Phase,
    options: SendOptions,
) -> Result<(), ApiError> {
    let payloads: Vec<_> = numbers.map(|seq| payload(seq, clock.elapsed(), phase)).collect();
    let slices: Vec<&[u8]> = payloads.iter().map(|payload| &payload[..]).collect();
    to.send(target, &slices, options).await
}

/// Counts what arrives, until the node stops or `until` says that it is enough; acknowledges all of it.
///
/// # Errors
/// What the node says.
pub async fn receive(
    mut from: Subscriber,
    mut tally: Tally,
    clock: Instant,
    progress: watch::Sender<Progress>,
    mut until: watch::Receiver<bool>,
) -> Result<Tally, ApiError> {
    loop {
        tokio::select! {
            delivery = from.next() => match delivery? {
                Some(Delivery::Batch(messages)) => {
                    let now = clock.elapsed();
                    messages.iter().for_each(|message| tally.add(&message.payload, now));
                    if let Some(offset) = messages.iter().filter_map(|message| message.offset).max() {
                        from.ack(offset).await?;
                    }
                    let arrived = tally.distinct + tally.duplicated + tally.foreign;
                    progress.send_replace(Progress { distinct: tally.distinct, arrived });
                }
                // A gap shows in the numbers.
                Some(Delivery::Gap { .. }) => {}
                None => return Ok(tally),
            },
            () = told(&mut until) => {
                from.finish().await?;
                return Ok(tally);
            }
        }
    }
}

async fn told(enough: &mut watch::Receiver<bool>) {
    // Without the one who could tell, there is nobody to go on for.
    let _ = enough.wait_for(|&enough| enough).await;
}

fn payload(seq: u64, at: Duration, phase: Phase) -> [u8; PAYLOAD] {
    let mut payload = [0; PAYLOAD];
    payload[..8].copy_from_slice(&seq.to_le_bytes());
    payload[8..16].copy_from_slice(&u64::try_from(at.as_nanos()).unwrap_or(u64::MAX).to_le_bytes());
    payload[16] = phase as u8;
    payload
}

fn parse(payload: &[u8]) -> Option<(u64, Duration, u8)> {
    let number = |from: usize| Some(u64::from_le_bytes(payload.get(from..from + 8)?.try_into().ok()?));
    (payload.len() == PAYLOAD).then_some(())?;
    Some((number(0)?, Duration::from_nanos(number(8)?), payload[16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(numbers: &[u64]) -> Tally {
        let mut tally = Tally::default();
        for &seq in numbers {
            tally.add(&payload(seq, Duration::from_micros(10), Phase::Before), Duration::from_micros(40));
        }
        tally
    }

    #[test]
    fn lost_and_doubled_messages_are_counted_from_their_numbers() {
        let tally = tally(&[0, 1, 3, 3, 2, 6, 3]);
        assert_eq!((tally.distinct, tally.duplicated, tally.foreign), (5, 2, 0));
        assert_eq!((tally.missing(0, 7), tally.missing(0, 4), tally.missing(5, 9)), (2, 0, 3));
    }

    #[test]
    fn a_foreign_message_is_no_part_of_the_stream() {
        let mut tally = tally(&[0]);
        tally.add(b"hello", Duration::ZERO);
        tally.add(&payload(u64::MAX, Duration::ZERO, Phase::Before), Duration::ZERO);
        assert_eq!((tally.distinct, tally.foreign), (1, 2));
    }

    #[test]
    fn latency_counts_in_the_phase_in_which_it_was_sent() {
        let tally = tally(&[0, 1]);
        assert_eq!((tally.before.percentile(50.0), tally.during.percentile(50.0)), (30, 0));
    }
}
