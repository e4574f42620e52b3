//! What became of the messages of late, by message: a bounded memory for `trace why`, and the slots' journals as
//! clients read them.

use std::collections::VecDeque;

use mesh_plugin_host::journal::Page;
use mesh_proto::MessageId;
use mesh_proto::node::Decided;
use mesh_proto::run::Flow;
use tokio::sync::oneshot;

use super::Driver;
use super::clock::unix_ms;
use super::operate::silent;
use super::slots::{policy_slot, slot_named};
use crate::api::{ApiError, Fetched, JournalPage, Reply, code};
use crate::handler::Job;
use crate::mesh::Answer;
use crate::plugins::plugin_ref;

/// Bytes of a page of a journal, about: small enough that the driver's turn stays short.
pub(crate) const PAGE_BYTES: usize = 256 << 10;
/// Digits of a message's id that are enough to name it; what `send` prints for people.
const MIN_ID: usize = 8;

/// What became of messages, newest last; beyond its bytes the oldest are forgotten.
pub(super) struct Decisions {
    kept: VecDeque<Kept>,
    bytes: usize,
    limit: usize,
    /// From when on nothing has been forgotten.
    pub(super) since_ms: u64,
}

/// What became of one run.
pub(super) struct Kept {
    pub(super) at_ms: u64,
    pub(super) decided: Decided,
}

impl Kept {
    fn bytes(&self) -> usize {
        size_of::<Kept>() + self.decided.marks.bytes() + self.decided.to.len() * 32
    }
}

/// Which message, exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Which {
    pub(super) id: MessageId,
    pub(super) flow: Flow,
    pub(super) seq: u64,
}

impl Decisions {
    pub(super) fn new(limit: usize, now_ms: u64) -> Decisions {
        Decisions { kept: VecDeque::new(), bytes: 0, limit, since_ms: now_ms }
    }

    pub(super) fn keep(&mut self, at_ms: u64, decided: Vec<Decided>) {
        for decided in decided {
            let kept = Kept { at_ms, decided };
            self.bytes += kept.bytes();
            self.kept.push_back(kept);
        }
        while self.bytes > self.limit {
            let Some(gone) = self.kept.pop_front() else { break };
            self.bytes -= gone.bytes();
            self.since_ms = self.kept.front().map_or(at_ms, |oldest| oldest.at_ms);
        }
    }

    /// Finds messages whose id starts with these hex digits; costs a hash for each message that is kept.
    fn find(&self, prefix: &str) -> Vec<Which> {
        let mut found: Vec<Which> = Vec::new();
        for Kept { decided, .. } in self.kept.iter().rev() {
            for (index, seq) in decided.marks.seqs().enumerate() {
                let Some(id) = decided.marks.message_id(index) else { continue };
                let is_new = || found.iter().all(|known| known.id != id);
                if starts_with(&id, prefix) && is_new() {
                    found.push(Which { id, flow: *decided.marks.flow(), seq });
                }
            }
        }
        found
    }

    /// Returns what became of one message, oldest first, with its place in each run. Who does not know the id learns
    /// nothing.
    pub(super) fn of(&self, which: &Which) -> impl Iterator<Item = (&Kept, usize)> {
        self.kept.iter().filter_map(|kept| {
            let marks = &kept.decided.marks;
            let is_here = *marks.flow() == which.flow && marks.seqs().contains(&which.seq);
            let index = is_here.then(|| (which.seq - marks.seqs().start) as usize)?;
            (marks.message_id(index) == Some(which.id)).then_some((kept, index))
        })
    }
}

fn starts_with(id: &MessageId, prefix: &str) -> bool {
    // Most ids are sorted out by their first byte, without their text.
    let first = u8::from_str_radix(prefix.get(..2).unwrap_or_default(), 16);
    first == Ok(id.0[0]) && id.to_string().starts_with(prefix)
}

impl Driver {
    /// Takes over what the core tells of this turn's messages.
    pub(super) fn keep_decisions(&mut self) {
        let decided = self.parts.node.take_decided();
        if !decided.is_empty() {
            self.decisions.keep(unix_ms(), decided);
        }
    }

    /// Finds the message that the user means.
    pub(super) fn which(&self, text: &str) -> Result<Which, ApiError> {
        let prefix = text.to_ascii_lowercase();
        let is_hex = (MIN_ID..=64).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_hexdigit());
        if !is_hex {
            let message =
                format!("'{text}' is no message id: {MIN_ID} to 64 hex digits, as 'send' prints them");
            return Err(ApiError::new(&code::BAD_VALUE, message).help("meshctl send NODE MESSAGE --json"));
        }
        match self.decisions.find(&prefix)[..] {
            [which] => Ok(which),
            [] => Err(self.no_such_message(text)),
            [..] => {
                Err(ApiError::new(&code::NO_SUCH_MESSAGE, format!("several messages start with '{text}'"))
                    .help("give more digits"))
            }
        }
    }

    fn no_such_message(&self, text: &str) -> ApiError {
        let message = format!("this node knows nothing of a message '{text}'");
        let since = unix_ms().saturating_sub(self.decisions.since_ms);
        ApiError::new(&code::NO_SUCH_MESSAGE, message)
            .fact("remembers", format!("the last {} s", since / 1000))
            .help("meshctl -N OTHER trace why MESSAGE-ID, at a node that the message came through")
    }

    /// Answers with a part of a slot's journal; without `from` its end, with the state written down there.
    pub(super) fn journal_page(
        &mut self,
        slot: String,
        from: Option<u64>,
        with_payload: bool,
        answer: Answer<Reply>,
    ) {
        let policy = match slot_named(&slot).map(policy_slot) {
            Err(error) => return drop(answer.send(Err(error))),
            Ok(policy) => policy,
        };
        if let Some(policy) = policy {
            let set = &mut self.parts.plugins.set;
            let from = from.or_else(|| set.anchor_journal(policy, unix_ms()));
            let page = set.journal_page(policy, from.unwrap_or(0), PAGE_BYTES);
            return drop(answer.send(page_reply(slot, page)));
        }
        let (reply, page) = oneshot::channel();
        self.parts.plugins.handler.hand(Job::Journal { from, with_payload, answer: reply });
        tokio::spawn(async move {
            let page = page.await.map_err(|_| silent()).and_then(|page| page_reply(slot, page));
            let _ = answer.send(page);
        });
    }

    /// Returns the bytes of an installed component.
    pub(super) fn fetch_plugin(&self, text: &str) -> Result<Reply, ApiError> {
        let revision = &self.parts.plugins.find(text)?.revision;
        let bytes = self.component(&revision.digest)?;
        let plugin = plugin_ref("", Some(revision));
        Ok(Reply::Fetched(Fetched { plugin, is_package: false, bytes }))
    }
}

fn page_reply(slot: String, page: Option<Page>) -> Result<Reply, ApiError> {
    let page = page.ok_or_else(|| {
        ApiError::new(&code::NO_JOURNAL, "the node was started without a journal")
            .help("meshctl up --journal 4MiB")
    })?;
    Ok(Reply::Journal(Box::new(JournalPage { slot, page })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_by_its_first_digits_only() {
        let id = MessageId(std::array::from_fn(|n| 0xa0 + n as u8));

        for (prefix, found) in [("a0a1a2a3", true), ("a0a1a2a4", false), ("a1a2a3a4", false), ("a", false)] {
            assert_eq!(starts_with(&id, prefix), found, "{prefix}");
        }
    }
}
