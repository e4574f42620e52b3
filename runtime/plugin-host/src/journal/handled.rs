//! An event that a handler was given, and what came of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Payload;
use super::entry::{Shown, Told};
use super::payload::Borrowed;
use crate::handler::{Effect, Event, Failure, check_event};
use crate::limits;

/// A call of a handler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handled {
    /// Who answered.
    #[serde(flatten)]
    pub told: Told,
    /// The randomness that it was given.
    pub seed: u64,
    /// The event.
    pub asked: Event<Payload>,
    /// What came of it.
    pub came: Came,
}

/// What came of an event. `P` is as in [`Event`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Came<P = Payload> {
    /// These effects, in order.
    Effects(Vec<Effect<P>>),
    /// The handler did not do it.
    Declined {
        /// Why.
        why: Why,
        /// In its words, which may repeat what it was given.
        text: P,
    },
    /// It failed, or was not asked.
    Nothing,
}

/// Why a handler did not do something, see [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the variants are those of `Failure`")]
pub enum Why {
    UnknownCommand,
    BadInput,
    Unavailable,
}

/// Returns a call as the journal keeps it, behind what `out` has; of more than so many bytes told or answered it keeps the
/// hash.
pub(super) fn encode(
    seed: u64,
    event: &Event,
    came: Option<&Result<Vec<Effect>, Failure>>,
    most: usize,
    out: Vec<u8>,
) -> Vec<u8> {
    let asked = event.map(|bytes| Some(Borrowed::within(bytes, most)));
    let came = came.map_or(Came::Nothing, |came| Came::of(came, most));
    postcard::to_extend(&(seed, asked, came), out).expect("plain values are written to memory")
}

pub(super) fn decode(told: Told, packed: &[u8]) -> Option<Handled> {
    let (seed, asked, came): (u64, Option<Event<Payload>>, Came) = postcard::from_bytes(packed).ok()?;
    Some(Handled { told, seed, asked: asked?, came })
}

impl Handled {
    /// Puts hashes in the place of payloads, answers and reasons.
    pub(super) fn hide(&mut self) {
        if let Some(hidden) = self.asked.map(|payload| Some(payload.hidden())) {
            self.asked = hidden;
        }
        match &mut self.came {
            Came::Effects(effects) => effects.iter_mut().for_each(|one| *one = one.map(Payload::hidden)),
            Came::Declined { text, .. } => *text = text.hidden(),
            Came::Nothing => {}
        }
    }

    /// Says whether a node could have given it, as far as its bytes are here.
    pub(super) fn is_whole(&self) -> bool {
        let is_named = match &self.asked {
            Event::Message(message) => message.topic.len() <= limits::NAME_BYTES,
            Event::Timer(_) | Event::Command { .. } => true,
        };
        let effects = if let Came::Effects(effects) = &self.came { effects.len() } else { 0 };
        let is_given = self.event().is_none_or(|event| check_event(&event).is_ok());
        is_named && is_given && effects <= limits::EFFECTS
    }

    /// Returns the event, unless only the hash of its payload is here.
    pub(super) fn event(&self) -> Option<Event> {
        self.asked.map(|payload| payload.bytes().map(<[u8]>::to_vec))
    }

    /// Says whether only the hash of its payload is here, and not because that was too large for a journal.
    pub(super) fn is_hidden(&self) -> bool {
        let hash = self.asked.payload().filter(|payload| payload.bytes().is_none());
        hash.is_some_and(|hash| hash.len() <= limits::JOURNAL_PAYLOAD_BYTES as u64)
    }

    pub(super) fn inputs(&self) -> Vec<(&'static str, Shown)> {
        let text = |text: &dyn fmt::Display| Shown::Text(text.to_string());
        let mut inputs = match &self.asked {
            Event::Timer(id) => vec![("event", text(&"timer")), ("id", Shown::Number((*id).into()))],
            Event::Message(message) => vec![
                ("event", text(&"message")),
                ("topic", text(&message.topic)),
                ("origin", text(&blake3::Hash::from_bytes(message.origin).to_hex())),
                ("sent_ms", Shown::Number(message.sent_ms)),
                ("payload", text(&message.payload)),
            ],
            Event::Command { name, payload } => {
                vec![("event", text(&"command")), ("name", text(name)), ("payload", text(payload))]
            }
        };
        inputs.push(("seed", Shown::Number(self.seed)));
        inputs
    }
}

impl<'a> Came<Borrowed<'a>> {
    /// Takes over what an instance answered; of more than so many bytes the hashes.
    pub(super) fn of(came: &'a Result<Vec<Effect>, Failure>, most: usize) -> Came<Borrowed<'a>> {
        let mut room = most;
        match came {
            Ok(effects) => {
                let mut keep = |bytes: &'a Vec<u8>| {
                    let payload = Borrowed::within(bytes, room);
                    room -= payload.bytes().map_or(0, <[u8]>::len);
                    payload
                };
                Came::Effects(effects.iter().map(|effect| effect.map(&mut keep)).collect())
            }
            Err(failure) => {
                let (why, text) = match failure {
                    Failure::UnknownCommand(name) => (Why::UnknownCommand, name),
                    Failure::BadInput(reason) => (Why::BadInput, reason),
                    Failure::Unavailable(reason) => (Why::Unavailable, reason),
                };
                Came::Declined { why, text: Borrowed::within(text.as_bytes(), most) }
            }
        }
    }

    /// Returns it with bytes of its own.
    pub(super) fn to_owned(&self) -> Came {
        match self {
            Came::Effects(effects) => {
                Came::Effects(effects.iter().map(|effect| effect.map(Borrowed::to_owned)).collect())
            }
            Came::Declined { why, text } => Came::Declined { why: *why, text: text.to_owned() },
            Came::Nothing => Came::Nothing,
        }
    }
}

impl Came {
    /// Says where this and another answer part: at which effect, and what each of them is there. `None` when they are
    /// the same.
    pub(super) fn parts_from(&self, other: &Came) -> Option<(usize, String, String)> {
        let row = match (self, other) {
            (Came::Effects(one), Came::Effects(other)) => {
                let same = one.iter().zip(other).take_while(|(one, other)| is_same(one, other)).count();
                (same < one.len().max(other.len())).then_some(same)?
            }
            (Came::Declined { why, text }, Came::Declined { why: other, text: said })
                if why == other && text.is_same(said) =>
            {
                return None;
            }
            (Came::Nothing, Came::Nothing) => return None,
            _ => 0,
        };
        // What a recording hides is not shown by way of the replay either.
        let is_shown = self.has_bytes();
        Some((row, self.at(row, is_shown), other.at(row, is_shown)))
    }

    fn has_bytes(&self) -> bool {
        let is_here = |payload: &Payload| payload.bytes().is_some_and(|bytes| !bytes.is_empty());
        match self {
            Came::Effects(effects) => effects.iter().filter_map(Effect::payload).any(is_here),
            Came::Declined { text, .. } => is_here(text),
            Came::Nothing => false,
        }
    }

    fn at(&self, row: usize, is_shown: bool) -> String {
        let shown = |payload: &Payload| if is_shown { payload.clone() } else { payload.hidden() };
        match self {
            Came::Effects(effects) => effects
                .get(row)
                .map_or_else(|| "nothing more".to_owned(), |effect| in_words(&effect.map(shown))),
            Came::Declined { why, text } => {
                let why = match why {
                    Why::UnknownCommand => "unknown command",
                    Why::BadInput => "bad input",
                    Why::Unavailable => "unavailable",
                };
                format!("{why} {}", shown(text))
            }
            Came::Nothing => "a fault".to_owned(),
        }
    }
}

fn is_same(one: &Effect<Payload>, other: &Effect<Payload>) -> bool {
    let is_same_payload = match (one.payload(), other.payload()) {
        (Some(one), Some(other)) => one.is_same(other),
        (one, other) => one.is_none() && other.is_none(),
    };
    is_same_payload && one.map(|_| ()) == other.map(|_| ())
}

fn in_words(effect: &Effect<Payload>) -> String {
    match effect {
        Effect::Subscribe(topic) => format!("subscribe {topic}"),
        Effect::Publish { topic, class, ttl_ms, payload } => {
            format!("publish {topic} {} {ttl_ms} ms {payload}", class.name())
        }
        Effect::SetTimer { id, after_ms } => format!("set-timer {id} {after_ms} ms"),
        Effect::Reply(payload) => format!("reply {payload}"),
        Effect::Notify { kind, payload } => format!("notify {kind} {payload}"),
        Effect::Put { key, value } => format!("put {key} {value}"),
        Effect::Forget(key) => format!("forget {key}"),
    }
}
