//! `trace why`: asks every node on a message's way what it did with it, one after the other and itself last of all
//! questions. Answers such questions of others, to those who know the message's id.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mesh_plugin_host::PolicySlot;
use mesh_plugin_host::journal::{By, Event};
use mesh_proto::node::{Carried, Fate, Input, Judged, MAX_QUESTION};
use mesh_proto::policy::{ABSTAIN, CLASS_DROP, Class, DROP, HOLD, REFUSE};
use mesh_proto::run::{Dest, Flow};
use mesh_proto::{MessageId, NodeId};
use serde::{Deserialize, Serialize};

use super::Driver;
use super::decisions::{Kept, Which};
use crate::api::{ApiError, Reply, Time, WhyAnswer, WhyDecision, WhyHop, WhyReport, WhyState, code, text};
use crate::mesh::Answer;

/// How long one node's answer is waited for.
const WITHIN: Duration = Duration::from_secs(3);
/// Nodes that are asked about one message, at most.
const MAX_HOPS: usize = 64;
/// Messages that are followed at a time, at most.
const MAX_FOLLOWED: usize = 16;
/// Questions of other nodes that are answered between two looks, at most: each goes through all that is remembered.
const MAX_ASKED: usize = 16;
/// Decisions on one message that a node tells, at most: the last ones.
const MAX_DECISIONS: usize = 8;

/// One message that is being followed.
pub(super) struct Following {
    which: Which,
    waiting: VecDeque<NodeId>,
    known: BTreeSet<NodeId>,
    asked: HashMap<u64, (NodeId, Instant)>,
    hops: Vec<WhyHop>,
    answer: Answer<Reply>,
}

/// What one node asks another.
#[derive(Serialize, Deserialize)]
struct Question {
    #[serde(with = "text")]
    why: MessageId,
    flow: String,
    seq: u64,
}

/// What that one says.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Told {
    decisions: Vec<WhyDecision>,
    /// The neighbours before and behind, for whoever goes on asking.
    around: Vec<String>,
    since_ms: u64,
}

impl Driver {
    pub(super) fn start_why(&mut self, message: &str, answer: Answer<Reply>) {
        let which = match self.which(message) {
            Ok(which) if self.following.len() < MAX_FOLLOWED => which,
            Ok(_) => {
                let message = format!("{MAX_FOLLOWED} messages are being followed, which is the limit");
                return drop(answer.send(Err(ApiError::new(&code::TOO_MANY_CLIENTS, message))));
            }
            Err(error) => return drop(answer.send(Err(error))),
        };
        let first: VecDeque<NodeId> = [which.flow.origin, self.parts.node.id()].into();
        let known = first.iter().copied().collect();
        let waiting = if first[0] == first[1] { VecDeque::from([first[0]]) } else { first };
        let (asked, hops) = (HashMap::new(), Vec::new());
        self.go_on(Following { which, waiting, known, asked, hops, answer });
    }

    /// Asks who is to be asked, and ends when nobody is left.
    fn go_on(&mut self, mut following: Following) {
        while let Some(node) = following.waiting.pop_front() {
            if node == self.parts.node.id() {
                let told = self.tell_why(&following.which);
                following.take(node, Some(told), self.name_of(&node));
                continue;
            }
            let token = self.token();
            let question = Question {
                why: following.which.id,
                flow: hex(&following.which.flow.to_bytes()),
                seq: following.which.seq,
            };
            let question = serde_json::to_vec(&question).unwrap_or_default();
            self.inputs.push(Input::Ask { token, to: node, question: question.into() });
            following.asked.insert(token, (node, Instant::now()));
        }
        if following.asked.is_empty() { following.end() } else { self.following.push(following) }
    }

    pub(super) fn on_answered(&mut self, token: u64, answer: &Bytes) {
        let Some(at) = self.following.iter().position(|f| f.asked.contains_key(&token)) else { return };
        let mut following = self.following.swap_remove(at);
        let Some((node, _)) = following.asked.remove(&token) else { return };
        // A node that answers rubbish has not answered.
        let told = serde_json::from_slice(answer).ok();
        following.take(node, told, self.name_of(&node));
        self.go_on(following);
    }

    /// Gives up on nodes that do not answer, and has time again for those that ask.
    pub(super) fn expire_whys(&mut self) {
        self.asked_of_late = 0;
        for mut following in std::mem::take(&mut self.following) {
            let is_late = |(_, (_, at)): &(&u64, &(NodeId, Instant))| at.elapsed() > WITHIN;
            let late: Vec<u64> = following.asked.iter().filter(is_late).map(|(token, _)| *token).collect();
            for token in late {
                if let Some((node, _)) = following.asked.remove(&token) {
                    following.take(node, None, self.name_of(&node));
                }
            }
            self.go_on(following);
        }
    }

    /// Another node asks.
    pub(super) fn on_asked(&mut self, from: NodeId, nonce: u64, question: &Bytes) {
        let Ok(question) = serde_json::from_slice::<Question>(question) else { return };
        let Some(flow) = unhex(&question.flow).and_then(|bytes| Flow::from_bytes(&bytes)) else { return };
        if self.asked_of_late >= MAX_ASKED {
            return;
        }
        self.asked_of_late += 1;
        let told = self.tell_why(&Which { id: question.why, flow, seq: question.seq });
        let Some(answer) = told.fitting(MAX_QUESTION) else { return };
        self.inputs.push(Input::Answer { to: from, nonce, answer: answer.into() });
    }

    fn tell_why(&self, which: &Which) -> Told {
        let all: Vec<(&Kept, usize)> = self.decisions.of(which).collect();
        let last = &all[all.len().saturating_sub(MAX_DECISIONS)..];
        let around = last.iter().flat_map(|(kept, _)| kept.decided.to.iter().chain(&kept.decided.from));
        let around: BTreeSet<String> = around.map(ToString::to_string).collect();
        Told {
            decisions: last.iter().map(|(kept, index)| self.explain_decision(kept, *index)).collect(),
            around: around.into_iter().collect(),
            since_ms: self.decisions.since_ms,
        }
    }

    fn explain_decision(&self, kept: &Kept, index: usize) -> WhyDecision {
        let decided = &kept.decided;
        let to: Vec<String> = decided.to.iter().map(|node| self.label(node)).collect();
        let class = match decided.fate {
            Fate::Sent(class) => Some(class),
            _ => None,
        };
        let clamp = decided.judged.and_then(|judged| self.clamp_of(kept, judged, class));
        let said = |slot, of: usize, answer| {
            let judged = decided.judged?;
            let place = (judged.noted.map(|numbers| numbers[of]), judged.row as usize + index);
            Some(self.answer_of(slot, place, answer))
        };
        let named = decided.named.map(|node| self.label(&node));
        WhyDecision {
            at: Time(kept.at_ms),
            fate: fate_name(&decided.fate).to_owned(),
            reason: reason(&decided.fate, &to, decided.judged, clamp.is_some()),
            from: decided.from.map(|node| self.label(&node)),
            to,
            hops: decided.hops,
            asked_class: decided.asked.name().to_owned(),
            class: class.map(|class| class.name().to_owned()),
            route: decided
                .judged
                .and_then(|judged| said(PolicySlot::Route, 0, verdict(judged.verdict, named))),
            qos: decided.judged.and_then(|judged| said(PolicySlot::Qos, 1, class_word(judged.class))),
            carry: decided.carried.map(|Carried { noted, row, worth }| {
                self.answer_of(PolicySlot::Carry, (noted, row as usize), worth_word(worth))
            }),
            clamp,
        }
    }

    /// Says what the host did instead of what the policies said.
    fn clamp_of(&self, kept: &Kept, judged: Judged, class: Option<Class>) -> Option<String> {
        let decided = &kept.decided;
        if decided.fate == Fate::Held && decided.carried.is_some_and(|carried| carried.worth == REFUSE) {
            return Some(
                "kept all the same: it is of this node, durable, critical or waits already".to_owned(),
            );
        }
        let is_to_node = matches!(decided.marks.flow().dest, Dest::Node(_));
        let overruled = |class: &Class| *class as u8 != judged.class;
        if let Some(class) = class.filter(overruled) {
            return Some(format!("the class stays {}: nobody is raised to critical", class.name()));
        }
        let is_sent = matches!(decided.fate, Fate::Sent(_) | Fate::Held);
        let names_one = is_to_node && is_sent && judged.verdict < ABSTAIN;
        match (decided.named, decided.to.first()) {
            (Some(named), to) if names_one && to != Some(&named) => {
                let why = match Some(named) == decided.from {
                    true => "the message came from there",
                    false => "that would not be a way without loops",
                };
                Some(format!("not {}: {why}", self.label(&named)))
            }
            (None, _) if names_one => Some("it named a neighbour that is not there".to_owned()),
            _ => None,
        }
    }

    /// Says who gave an answer: by the number of the call's entry, as far as the journal still has it, and the row.
    fn answer_of(&self, slot: PolicySlot, (number, row): (Option<u64>, usize), answer: String) -> WhyAnswer {
        let found = number.and_then(|number| self.parts.plugins.set.journal_entry(slot, number));
        let called = found.as_ref().and_then(|(entry, _)| entry.event.answer());
        let has_row = called.as_ref().is_some_and(|(_, answers)| row < answers.len());
        let (Some((entry, binding)), Some((told, answers)), true) = (&found, called, has_row) else {
            let (plugin, version, rev, by) = (None, None, None, None);
            return WhyAnswer { answer, plugin, version, rev, by, cost_us: None, batch: None };
        };
        debug_assert!(
            matches!(entry.event, Event::Route(_) | Event::Classify(_) | Event::Carry(_)),
            "{number:?}"
        );
        let batch = Some(answers.len() as u64);
        let tried = self.parts.plugins.set.journal_tried(slot, entry.number);
        if let Some(tried) = tried.filter(|tried| tried.rows.contains(&(row as u32))) {
            let (plugin, version, rev) = (Some(tried.plugin), Some(tried.version), Some(tried.rev));
            return WhyAnswer {
                answer,
                plugin,
                version,
                rev,
                by: Some("canary".to_owned()),
                cost_us: None,
                batch,
            };
        }
        WhyAnswer {
            answer,
            plugin: Some(binding.plugin.clone()),
            version: Some(binding.version.clone()),
            rev: Some(binding.revision.clone()),
            by: Some(by_name(told.by).to_owned()),
            cost_us: told.cost_ns.map(|ns| f64::from(ns) / 1000.0),
            batch,
        }
    }
}

impl Told {
    /// Writes as much of it as fits: newer decisions rather than older ones, and some neighbours rather than none.
    fn fitting(mut self, max: usize) -> Option<Vec<u8>> {
        loop {
            match serde_json::to_vec(&self) {
                Ok(bytes) if bytes.len() <= max => return Some(bytes),
                Ok(_) if self.decisions.len() > 1 => drop(self.decisions.remove(0)),
                // A wide broadcast has more neighbours than a message holds.
                Ok(_) if !self.around.is_empty() => self.around.truncate(self.around.len() / 2),
                _ => return None,
            }
        }
    }
}

impl Following {
    /// Notes what a node said, and whom else to ask.
    fn take(&mut self, node: NodeId, told: Option<Told>, name: Option<String>) {
        let written_ms = self.hops.iter().flat_map(|hop| &hop.decisions).map(|d| d.at.0).min();
        let state = match &told {
            None => WhyState::NoAnswer,
            Some(told) if !told.decisions.is_empty() => WhyState::Known,
            Some(told) if written_ms.is_none_or(|at| at <= told.since_ms) => WhyState::Forgotten,
            Some(_) => WhyState::NotSeen,
        };
        let told = told.unwrap_or_default();
        for other in told.around.iter().filter_map(|node| node.parse::<NodeId>().ok()) {
            if self.known.insert(other) && self.known.len() <= MAX_HOPS {
                self.waiting.push_back(other);
            }
        }
        let decisions = told.decisions.into_iter().take(MAX_DECISIONS).collect();
        self.hops.push(WhyHop { node, name, state, decisions });
    }

    fn end(mut self) {
        // By links crossed; who has nothing to say comes last.
        let place = |hop: &WhyHop| {
            let first = hop.decisions.first();
            (first.map_or(u8::MAX, |decision| decision.hops), first.map_or(u64::MAX, |d| d.at.0))
        };
        self.hops.sort_by_key(place);
        // A node that asks and was not on the way is no part of the story.
        let is_part = |hop: &WhyHop| hop.state != WhyState::NotSeen || hop.node == self.which.flow.origin;
        let not_asked = self.known.len().saturating_sub(MAX_HOPS) as u64;
        let report = WhyReport {
            message: self.which.id,
            origin: self.which.flow.origin,
            dest: match self.which.flow.dest {
                Dest::Node(node) => node.to_string(),
                Dest::Topic(topic) => topic.to_string(),
                Dest::Mesh => "mesh".to_owned(),
            },
            seq: self.which.seq,
            complete: not_asked == 0
                && self.hops.iter().filter(|hop| is_part(hop)).all(|hop| hop.state == WhyState::Known),
            hops: self.hops,
            not_asked,
        };
        let _ = self.answer.send(Ok(Reply::Why(Box::new(report))));
    }
}

fn fate_name(fate: &Fate) -> &'static str {
    match fate {
        Fate::Sent(_) => "sent",
        Fate::Held => "held",
        Fate::NotCarried => "not-carried",
        Fate::Delivered => "delivered",
        Fate::Refused => "refused",
        Fate::HopLimit => "hop-limit",
        Fate::Stalled => "stalled",
    }
}

fn reason(fate: &Fate, to: &[String], judged: Option<Judged>, is_clamped: bool) -> String {
    let by = match judged {
        Some(judged) if is_clamped || judged.verdict == ABSTAIN => "the host chose it",
        _ => "the routing policy chose it",
    };
    match fate {
        Fate::Sent(_) if to.is_empty() => "nobody is left to pass it on to".to_owned(),
        Fate::Sent(_) if to.len() > 1 => format!("passed on to {} neighbours", to.len()),
        Fate::Sent(_) => by.to_owned(),
        Fate::Held => "no way to the recipient is known, or the policy holds it".to_owned(),
        Fate::NotCarried => "no way is known, and the carry policy does not keep it".to_owned(),
        Fate::Delivered => "it is for this node".to_owned(),
        Fate::Refused => "a policy drops it".to_owned(),
        Fate::HopLimit => "it has crossed as many links as it may".to_owned(),
        Fate::Stalled => "the next hop takes nothing, and its queue is full".to_owned(),
    }
}

fn verdict(verdict: u32, named: Option<String>) -> String {
    match (verdict, named) {
        (DROP, _) => "drop".to_owned(),
        (HOLD, _) => "hold".to_owned(),
        (ABSTAIN, _) => "as the host decides".to_owned(),
        (_, Some(named)) => named,
        (row, None) => format!("neighbour {row}"),
    }
}

fn worth_word(worth: u8) -> String {
    if worth == REFUSE { "refuse".to_owned() } else { format!("keep, worth {worth}") }
}

fn class_word(class: u8) -> String {
    match Class::from_u8(class) {
        Some(class) => class.name().to_owned(),
        None if class == CLASS_DROP => "drop".to_owned(),
        None => format!("class {class}"),
    }
}

fn by_name(by: By) -> &'static str {
    match by {
        By::Plugin => "plugin",
        By::Native => "native",
        By::FallbackFault => "fallback-fault",
        By::FallbackAbsent => "fallback-absent",
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|digit| char::from(DIGITS[usize::from(digit)]));
    bytes.iter().flat_map(digits).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let byte = |&[high, low]: &[u8; 2]| Some(digit(high)? << 4 | digit(low)?);
    pairs.iter().map(byte).collect::<Option<Vec<u8>>>().filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_more_neighbours_than_an_answer_holds_some_are_told() {
        let around: Vec<String> = (0..2000u32).map(|n| format!("{n:064}")).collect();
        let told = Told { decisions: Vec::new(), around: around.clone(), since_ms: 1 };

        let answer = told.fitting(MAX_QUESTION).expect("some of it fits");

        let read: Told = serde_json::from_slice(&answer).expect("it is whole");
        assert!(answer.len() <= MAX_QUESTION && read.around.len() >= 100, "{}", read.around.len());
        assert!(around.starts_with(&read.around));
    }
}
