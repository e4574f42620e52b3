//! Breaches: promises that did not hold in a run. A correct node makes none, whatever the network does.

use crate::id::NodeId;
use crate::time::Instant;

/// Breaches that are kept, at most; all are counted.
pub const MAX_BREACHES: usize = 1000;

/// A promise that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// When, in true time.
    pub at: Instant,
    /// At which host.
    pub host: usize,
    /// What.
    pub what: Broken,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// I2: a message had its effect a second time.
    #[error("message {seq} of publication {publication} was delivered twice")]
    Twice {
        /// The publication.
        publication: usize,
        /// The sequence number.
        seq: u64,
    },
    /// I3: a message was delivered that its origin did not publish.
    #[error("message {seq} of {origin} was delivered, which that node did not publish")]
    Forged {
        /// Whom it named as its origin.
        origin: NodeId,
        /// The sequence number.
        seq: u64,
    },
    /// I5: a queue or a cache was over its bound.
    #[error("{gauge} is {size}, above its bound of {bound}")]
    OverBound {
        /// Its name.
        gauge: &'static str,
        /// What it was.
        size: usize,
        /// What it may be.
        bound: usize,
    },
    /// An honest host took another honest host's frames for a violation.
    #[error("the link to host {of} was closed for {name}, though both are honest")]
    Accused {
        /// The accused.
        of: usize,
        /// The violation.
        name: &'static str,
    },
}

impl Broken {
    /// Returns a short name: of the promise, if it has one in faults.md.
    pub fn name(&self) -> &'static str {
        match self {
            Broken::Twice { .. } => "I2",
            Broken::Forged { .. } => "I3",
            Broken::OverBound { .. } => "I5",
            Broken::Accused { .. } => "accused",
        }
    }
}

#[derive(Default)]
pub(super) struct Breaches {
    pub(super) kept: Vec<Breach>,
    pub(super) count: u64,
}

impl Breaches {
    pub(super) fn note(&mut self, at: Instant, host: usize, what: Broken) {
        self.count += 1;
        if self.kept.len() < MAX_BREACHES {
            self.kept.push(Breach { at, host, what });
        }
    }
}
