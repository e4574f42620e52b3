//! Malicious hosts: honest cores whose outgoing frames are tampered with.

use bytes::Bytes;

use super::Network;
use super::link::End;
use crate::frame;
use crate::run::Unverified;

/// What a malicious host does beside what an honest one does.
#[derive(Clone, Debug, PartialEq)]
pub enum Malice {
    /// It stays linked and offers messages, but sends none, also when it is asked: a covert flash (G03).
    Mute,
    /// It sends no message of one origin (G04).
    Censor {
        /// The host that is not heard.
        origin: usize,
    },
}

/// What a malicious host is and remembers.
pub(super) struct Villain {
    kinds: Vec<Malice>,
}

impl Network {
    /// Makes a host malicious from now on, in one more way.
    pub fn corrupt(&mut self, host: usize, malice: Malice) {
        let empty = || Box::new(Villain { kinds: Vec::new() });
        self.hosts[host].villain.get_or_insert_with(empty).kinds.push(malice);
    }

    /// Says whether a host does what the protocol says.
    pub fn is_honest(&self, host: usize) -> bool {
        self.hosts[host].is_honest()
    }

    /// What becomes of a frame that a host sends.
    pub(super) fn tamper(&mut self, host: usize, _end: End, lane: usize, frame: Bytes) -> Option<Bytes> {
        let Some(villain) = &self.hosts[host].villain else { return Some(frame) };
        let is_run = lane > 0 && frame.first() == Some(&frame::RUN);
        let is_kept_back = villain.kinds.iter().any(|malice| match malice {
            Malice::Mute => is_run,
            Malice::Censor { origin } => is_run && self.is_from(*origin, &frame),
        });
        (!is_kept_back).then_some(frame)
    }

    fn is_from(&self, origin: usize, frame: &Bytes) -> bool {
        Unverified::decode(&frame.slice(1..))
            .is_ok_and(|(run, _)| run.head().flow.origin == self.hosts[origin].id)
    }
}
