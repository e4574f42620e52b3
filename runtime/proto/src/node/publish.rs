//! What applications and this node itself write.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::{Node, Output, Publish, Then};
use crate::id::{MessageId, NodeId};
use crate::policy::Class;
use crate::run::{DEFAULT_HOP_LIMIT, Dest, Draft, Flow, Head, MAX_PAYLOAD, MAX_TTL_MS, Run, seal};
use crate::time::Now;

/// Destinations that a node writes to within one start, at most: each has a sequence of its own.
const MAX_FLOWS: usize = 65_536;
/// Round trips under way at a time, at most.
const MAX_PINGS: usize = 1024;
const PING_TTL_MS: u64 = 10_000;

const ECHO_REQUEST: u8 = 1;
const ECHO_REPLY: u8 = 2;
pub(super) const QUESTION: u8 = 3;
pub(super) const ANSWER: u8 = 4;

/// Why messages were not taken over. Nothing of them was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// A payload is too long; it belongs into a blob.
    #[error("a payload of {len} bytes exceeds the limit of {max}")]
    TooLarge {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// There is no message.
    #[error("there is no message to send")]
    Empty,
    /// Only messages to a node can be durable.
    #[error("only messages to a node can be durable, a topic has no list of recipients to wait for")]
    DurableTopic,
    /// Too many destinations since the start.
    #[error("this node wrote to {max} destinations since it started, which is the limit")]
    TooManyDestinations {
        /// The limit.
        max: usize,
    },
    /// What waits for the node is as much as may wait for one node.
    #[error("{bytes} bytes in {messages} messages wait for this node already, which is the limit")]
    RecipientFull {
        /// Waiting messages.
        messages: usize,
        /// Waiting bytes.
        bytes: usize,
    },
}

/// A publish whose messages are not signed yet, or not on disk.
#[derive(Debug)]
pub(super) struct Accepting {
    token: u64,
    flow: Flow,
    seqs: Range<u64>,
    want_ids: bool,
    durable: bool,
    ids: Vec<MessageId>,
}

/// How long a message of this class matters when its author does not say: the TTL column of the class
/// table, with an hour where it has none.
fn default_ttl_ms(class: Class) -> u64 {
    const HOUR: u64 = 3600 * 1000;
    match class {
        Class::Critical | Class::High | Class::Normal => HOUR,
        Class::Low => 24 * HOUR,
        Class::Bulk => MAX_TTL_MS,
    }
}

impl Node {
    pub(super) fn on_publish(&mut self, now: Now, publish: Publish) {
        if let Err(error) = self.check(&publish) {
            self.outputs.push_back(Output::Refused { token: publish.token, error });
            return;
        }
        let flow = Flow { origin: self.id, epoch: self.epoch, dest: publish.dest };
        let ttl_ms = publish.ttl_ms.unwrap_or_else(|| default_ttl_ms(publish.class)).min(MAX_TTL_MS);
        let head = Head {
            flow,
            seq_base: 0,
            sent_ms: now.unix_ms,
            expiry_ms: now.unix_ms.saturating_add(ttl_ms),
            class: publish.class,
            hop_limit: publish.hop_limit,
            durable: publish.durable,
            internal: false,
        };
        self.counters.published += publish.payloads.len() as u64;
        let seqs = self.draft(head, publish.payloads);
        self.accepting.push(Accepting {
            token: publish.token,
            flow,
            seqs,
            want_ids: publish.want_ids,
            durable: publish.durable,
            ids: Vec::new(),
        });
    }

    fn check(&self, publish: &Publish) -> Result<(), PublishError> {
        if publish.payloads.is_empty() {
            return Err(PublishError::Empty);
        }
        if let Some(len) = publish.payloads.iter().map(Bytes::len).find(|len| *len > MAX_PAYLOAD) {
            return Err(PublishError::TooLarge { len, max: MAX_PAYLOAD });
        }
        if self.next_seq.len() >= MAX_FLOWS && !self.next_seq.contains_key(&publish.dest) {
            return Err(PublishError::TooManyDestinations { max: MAX_FLOWS });
        }
        match publish.dest {
            Dest::Node(node) => self.held.check(&node),
            Dest::Topic(_) | Dest::Mesh if publish.durable => Err(PublishError::DurableTopic),
            Dest::Topic(_) | Dest::Mesh => Ok(()),
        }
    }

    /// Appends to what the next signature covers; what looks alike shares a head.
    fn draft(&mut self, head: Head, mut payloads: Vec<Bytes>) -> Range<u64> {
        let next = self.next_seq.entry(head.flow.dest).or_insert(0);
        let first_seq = *next;
        *next += payloads.len() as u64;
        let seqs = first_seq..*next;
        match self.drafts.last_mut() {
            Some(last) if last.head == head => last.payloads.append(&mut payloads),
            _ => self.drafts.push(Draft { head, first_seq, payloads }),
        }
        seqs
    }

    pub(super) fn seal_drafts(&mut self, now: Now) {
        if self.drafts.is_empty() {
            return;
        }
        let runs = seal(&self.key, std::mem::take(&mut self.drafts));
        for mut accepting in std::mem::take(&mut self.accepting) {
            accepting.ids = ids(&runs, &accepting);
            if accepting.durable {
                self.then.push(Then::Accept(accepting));
            } else {
                self.accept(accepting);
            }
        }
        for run in runs {
            self.take_over(now, Arc::new(run), None, 0, None);
        }
    }

    pub(super) fn accept(&mut self, accepting: Accepting) {
        let Accepting { token, flow, seqs, ids, .. } = accepting;
        self.outputs.push_back(Output::Accepted { token, flow, seqs, ids });
    }

    pub(super) fn on_ping_request(&mut self, now: Now, token: u64, to: NodeId) {
        if self.pings.len() >= MAX_PINGS {
            return;
        }
        let nonce = self.rng.u64(..);
        self.pings.insert(nonce, (token, now.instant));
        let echo = [&[ECHO_REQUEST][..], &nonce.to_le_bytes(), &[0]].concat();
        self.write_internal(now, to, Class::Critical, echo);
    }

    pub(super) fn on_internal(&mut self, now: Now, run: &Run, hops: u8) {
        let from = run.head().flow.origin;
        for (_, payload) in run.messages() {
            let Some((&[op, ref nonce @ ..], rest)) = payload.split_first_chunk::<9>() else { continue };
            let nonce = u64::from_le_bytes(*nonce);
            match (op, rest) {
                (QUESTION, _) => self.on_question(from, nonce, payload.slice_ref(rest)),
                (ANSWER, _) => self.on_answer(from, nonce, payload.slice_ref(rest)),
                (ECHO_REQUEST, [_]) => {
                    let echo = [&[ECHO_REPLY][..], &nonce.to_le_bytes(), &[hops]].concat();
                    self.write_internal(now, from, Class::Critical, echo);
                }
                (ECHO_REPLY, &[told]) => {
                    if let Some((token, sent)) = self.pings.remove(&nonce) {
                        let rtt_us = u64::try_from(now.instant.since(sent).as_micros()).unwrap_or(u64::MAX);
                        self.outputs.push_back(Output::Pong { token, rtt_us, hops: told });
                    }
                }
                _ => {}
            }
        }
    }

    pub(super) fn expire_pings(&mut self, now: Now) {
        let ttl = std::time::Duration::from_millis(PING_TTL_MS);
        self.pings.retain(|_, (_, sent)| now.instant.since(*sent) < ttl);
    }

    pub(super) fn write_internal(&mut self, now: Now, to: NodeId, class: Class, payload: Vec<u8>) {
        if self.next_seq.len() >= MAX_FLOWS && !self.next_seq.contains_key(&Dest::Node(to)) {
            return;
        }
        let head = Head {
            flow: Flow { origin: self.id, epoch: self.epoch, dest: Dest::Node(to) },
            seq_base: 0,
            sent_ms: now.unix_ms,
            expiry_ms: now.unix_ms + PING_TTL_MS,
            class,
            hop_limit: DEFAULT_HOP_LIMIT,
            durable: false,
            internal: true,
        };
        self.draft(head, vec![payload.into()]);
    }
}

fn ids(runs: &[Run], accepting: &Accepting) -> Vec<MessageId> {
    let wanted = if accepting.want_ids {
        accepting.seqs.clone()
    } else {
        accepting.seqs.start..accepting.seqs.start + 1
    };
    let own = runs.iter().filter(|run| run.head().flow == accepting.flow);
    own.flat_map(|run| {
        let seqs = run.seqs();
        let (start, end) = (wanted.start.max(seqs.start), wanted.end.min(seqs.end));
        (start..end).map(move |seq| run.message_id((seq - seqs.start) as usize))
    })
    .collect()
}
