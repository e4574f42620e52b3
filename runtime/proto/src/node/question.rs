//! Questions between nodes that are not about the protocol, and their answers: bounded messages that take the way
//! of all others. Understands neither.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::publish::{ANSWER, QUESTION};
use super::{Node, Output};
use crate::id::NodeId;
use crate::policy::Class;
use crate::time::{Instant, Now};

/// Bytes of a question, and of an answer, at most.
pub const MAX_QUESTION: usize = 16 * 1024;
/// Questions that wait for their answers at a time, at most.
const MAX_ASKED: usize = 256;
/// How long an answer is waited for.
const WITHIN: Duration = Duration::from_secs(10);
/// Questions of one node that are passed on between two sweeps, at most; faults.md bounds what a member can make
/// others do.
const MAX_HEARD: u32 = 16;
/// Nodes whose questions are passed on between two sweeps, at most.
const MAX_ASKERS: usize = 16;

/// What was asked and what was heard.
#[derive(Debug, Default)]
pub(super) struct Questions {
    asked: BTreeMap<u64, Asked>,
    /// How many came from each since the last sweep.
    heard: BTreeMap<NodeId, u32>,
}

#[derive(Debug)]
struct Asked {
    token: u64,
    to: NodeId,
    at: Instant,
}

impl Node {
    pub(super) fn ask_node(&mut self, now: Now, token: u64, to: NodeId, question: &[u8]) {
        if self.questions.asked.len() >= MAX_ASKED || question.len() > MAX_QUESTION {
            return;
        }
        let nonce = self.rng.u64(..);
        self.questions.asked.insert(nonce, Asked { token, to, at: now.instant });
        self.write_internal(
            now,
            to,
            Class::Normal,
            [&[QUESTION][..], &nonce.to_le_bytes(), question].concat(),
        );
    }

    pub(super) fn answer_node(&mut self, now: Now, to: NodeId, nonce: u64, answer: &[u8]) {
        if answer.len() <= MAX_QUESTION {
            self.write_internal(
                now,
                to,
                Class::Normal,
                [&[ANSWER][..], &nonce.to_le_bytes(), answer].concat(),
            );
        }
    }

    pub(super) fn on_question(&mut self, from: NodeId, nonce: u64, question: Bytes) {
        let askers = &mut self.questions.heard;
        if question.len() > MAX_QUESTION || askers.len() >= MAX_ASKERS && !askers.contains_key(&from) {
            return;
        }
        let heard = askers.entry(from).or_default();
        if *heard < MAX_HEARD {
            *heard += 1;
            self.outputs.push_back(Output::Asked { from, nonce, question });
        }
    }

    /// Only the node that was asked can answer.
    pub(super) fn on_answer(&mut self, from: NodeId, nonce: u64, answer: Bytes) {
        let is_awaited = self.questions.asked.get(&nonce).is_some_and(|asked| asked.to == from);
        if !is_awaited || answer.len() > MAX_QUESTION {
            return;
        }
        if let Some(asked) = self.questions.asked.remove(&nonce) {
            self.outputs.push_back(Output::Answered { token: asked.token, answer });
        }
    }

    pub(super) fn expire_questions(&mut self, now: Now) {
        self.questions.heard.clear();
        self.questions.asked.retain(|_, asked| now.instant.since(asked.at) < WITHIN);
    }
}
