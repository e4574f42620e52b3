//! What a slot tells: swaps, faults, states, errors.

use std::time::Duration;

use super::{Refused, SettingError};
use crate::fault::Fault;
use crate::journal::Extent;
use crate::load::{Kind, Revision};
use crate::post_mortem::PostMortem;
use crate::settings::{Refusal, Settings};
use crate::slot::State;
use crate::terms::{Lowered, OnFailure, Terms};

/// What the new revision starts with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StartWith {
    /// The state of the old one if that is the same plugin, whatever its version, else nothing: what another plugin knows
    /// may read like its own and mean something else. If it is refused, the swap fails and the old one goes on.
    #[default]
    Inherit,
    /// The state of the old one, whichever plugin that is.
    Keep,
    /// Nothing.
    Reset,
    /// This state, for instance from before a restart.
    From(State),
}

/// What a switch changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Change {
    /// Another revision decides, or the same with other settings or terms. A rollback undoes it.
    #[default]
    Switched,
    /// The same revision decides as before, in another instance. What a rollback brings back is what it was.
    Restarted,
    /// What stood in for a revision in quarantine stays, and that is not tried again. A rollback undoes it.
    Settled,
    /// Nothing: it was so already.
    Nothing,
}

/// Where a slot goes among the revisions that it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toward {
    /// To one that was there before: what is there now is not wanted.
    Earlier,
    /// To one that a rollback has left.
    Later,
}

/// What a swap, a rollback or a removal did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapReport {
    /// The slot: `route`, `qos` or `beacon`.
    pub slot: &'static str,
    /// What it changed.
    pub change: Change,
    /// What decided before; `None` for the native built-in.
    pub old: Option<Revision>,
    /// What decides from now on; `None` for the native built-in.
    pub new: Option<Revision>,
    /// Bytes of state that the old one saved.
    pub state_bytes: usize,
    /// Whether the new one took it over.
    pub state_carried: bool,
    /// Whether it has the state instead that it had when it left the slot before.
    pub state_restored: bool,
    /// How long decisions had to wait: save, load, observe, switch.
    pub pause: Duration,
    /// The number of the first message that the new one decides on, counted from 0; the old one decided on
    /// all before it.
    pub at_decision: u64,
}

/// Something that happened in a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotEvent {
    /// Another revision decides.
    Swapped(SwapReport),
    /// The revision before decides again, because an operator said so.
    RolledBack(SwapReport),
    /// A call failed, and the native built-in answered.
    Struck {
        /// The slot.
        slot: &'static str,
        /// What failed.
        revision: Revision,
        /// How.
        fault: Fault,
        /// Strikes within the window, this one included.
        strikes: usize,
    },
    /// A revision failed too often and is not asked any more.
    Quarantined {
        /// The slot.
        slot: &'static str,
        /// What failed.
        revision: Revision,
        /// What decides now: the last good revision, or `None` for whom `mode` names.
        successor: Option<Revision>,
        /// Who answers without a successor.
        mode: OnFailure,
        /// The number of the first message that the successor decides on.
        at_decision: u64,
    },
    /// A revision decides again that was paused or quarantined.
    Resumed {
        /// The slot.
        slot: &'static str,
        /// What decides.
        revision: Revision,
        /// Whether time did it, not an operator.
        automatic: bool,
    },
}

/// A revision was taken out of a slot for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawn {
    /// The slot.
    pub slot: &'static str,
    /// What was taken out.
    pub revision: Revision,
    /// What decides now; `None` for the native built-in.
    pub successor: Option<Revision>,
}

/// What decides in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// A plugin.
    Active,
    /// What was there before the one that has been quarantined: a plugin or the native built-in.
    Quarantined,
    /// The native built-in.
    Native,
}

/// One remembered fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultRecord {
    /// When, by the caller's clock.
    pub at_ms: u64,
    /// Whose.
    pub revision: Revision,
    /// What.
    pub fault: Fault,
    /// What the instance left behind; empty when it did not trap, or never ran.
    pub post_mortem: PostMortem,
    /// The digest of what the call was given; `None` when it was no decision.
    pub input: Option<[u8; 32]>,
}

/// Everything an operator may want to know of a slot.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotStatus {
    /// `route`, `qos` or `beacon`.
    pub slot: &'static str,
    /// What decides.
    pub state: SlotState,
    /// The active revision; `None` for the native built-in.
    pub active: Option<Revision>,
    /// Its settings.
    pub settings: Settings,
    /// Whether there is something to roll back to: what stands in for a revision in quarantine, the revision before, or
    /// with no `previous` the native built-in.
    pub can_roll_back: bool,
    /// The revision that a rollback brings back.
    pub previous: Option<Revision>,
    /// Its settings.
    pub previous_settings: Settings,
    /// What has been quarantined since the last swap.
    pub quarantined: Option<Revision>,
    /// Its settings.
    pub quarantined_settings: Settings,
    /// How it is to be run.
    pub quarantined_terms: Terms,
    /// When that is tried again, by the caller's clock; `None` when only an operator ends it.
    pub retry_at_ms: Option<u64>,
    /// Quarantines in a row, this one included; 0 without one.
    pub quarantine_round: u32,
    /// Whether the active revision is not asked, because an operator says so.
    pub paused: bool,
    /// Who answers when the active revision fails, or now when there is none.
    pub on_failure: OnFailure,
    /// The active revision's limits, as far as they are below the host's.
    pub lowered: Lowered,
    /// Calls so far, whoever answered.
    pub calls: u64,
    /// Messages decided on so far, whoever answered.
    pub messages: u64,
    /// Messages that the native built-in decided on in a plugin's place.
    pub fallbacks: u64,
    /// Strikes within the window.
    pub strikes: usize,
    /// Faults so far.
    pub faults: u64,
    /// The last ones, newest first.
    pub last_faults: Vec<FaultRecord>,
    /// Swaps and removals so far.
    pub swaps: u64,
    /// Rollbacks by an operator so far.
    pub rollbacks: u64,
    /// Quarantines so far.
    pub quarantines: u64,
    /// Messages that the state of the active revision knows of: decided by it or by those whose state it
    /// took over, and not forgotten with a failed instance. A counter in the state must show this number.
    pub state_messages: u64,
    /// What was counted of each revision, at most [`COUNTED_REVISIONS`](crate::limits::COUNTED_REVISIONS): the one that
    /// the calls of now are counted for first, which is never missing, then the later ones.
    pub counted: Vec<Counted>,
    /// How full the decision journal is; `None` without one.
    pub journal: Option<Extent>,
    /// When what decides now began to, by the caller's clock.
    pub since_ms: u64,
    /// Events that nobody fetched in time.
    pub lost_events: u64,
}

/// What was counted of one revision while it was in the slot: also of one that is away and has not given the slot up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counted {
    /// Which; `None` for the native built-in.
    pub revision: Option<Revision>,
    /// Calls, whoever answered.
    pub calls: u64,
    /// Messages decided on, whoever answered.
    pub messages: u64,
    /// Messages that somebody else decided on in its place.
    pub fallbacks: u64,
    /// Faults.
    pub faults: u64,
    /// Log lines that were too many.
    pub log_dropped: u64,
    /// Bytes of linear memory of the running instance.
    pub memory_bytes: usize,
    /// The most that any instance of it had.
    pub memory_most_bytes: usize,
    /// Plugin calls that were timed: all large batches and one in eight of the small ones.
    pub timed_calls: u64,
    /// Nanoseconds in them.
    pub timed_ns: u64,
    /// Nanoseconds of a plugin call, median; 0 without calls.
    pub p50_ns: u64,
    /// Nanoseconds under which 99 of 100 plugin calls stay, within a quarter; 0 without calls.
    pub p99_ns: u64,
    /// The same for 90 of 100.
    pub p90_ns: u64,
    /// The same for 999 of 1,000.
    pub p999_ns: u64,
    /// The longest timed call.
    pub max_ns: u64,
    /// The spread of the timed calls: nanoseconds up to which, and how many; empty classes left out.
    pub times: Vec<(u64, u64)>,
}

/// Why a plugin cannot be prepared for a slot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// It is made for another slot.
    #[error("it is a {is} plugin, and the slot asks for a {wanted} plugin")]
    WrongKind {
        /// What it is.
        is: Kind,
        /// What is asked for.
        wanted: Kind,
    },
    /// A setting does not fit its manifest.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// It refused its settings.
    #[error("{0}")]
    Refused(Refusal),
    /// It failed while it was configured or tried out.
    #[error("{0}")]
    Failed(#[from] Fault),
    /// It does not take the state that it has just saved.
    #[error("it does not take its own state: {0}")]
    RefusesItsOwn(Refusal),
}

impl SlotStatus {
    /// Says whether somebody stands in for a revision in quarantine; otherwise it leaves its place empty.
    pub fn has_stand_in(&self) -> bool {
        self.quarantined.is_some() && (self.active.is_some() || self.on_failure == OnFailure::Fallback)
    }

    /// Returns what was counted of a revision; `None` when it was never in the slot, or too long ago.
    pub fn counted_of(&self, revision: Option<&Revision>) -> Option<&Counted> {
        let digest = |of: &Revision| of.digest;
        self.counted.iter().find(|own| own.revision.as_ref().map(digest) == revision.map(digest))
    }
}

impl PrepareError {
    pub(super) fn refuses_its_own(refused: Refused) -> PrepareError {
        match refused {
            Refused::Refusal(refusal) => PrepareError::RefusesItsOwn(refusal),
            Refused::Fault(fault) => PrepareError::Failed(fault),
        }
    }

    /// Returns the stable code that `meshctl explain` knows.
    pub fn code(&self) -> &'static str {
        match self {
            PrepareError::WrongKind { .. } => "MESH-P105",
            PrepareError::Setting(_) | PrepareError::Refused(_) => "MESH-P111",
            PrepareError::Failed(_) | PrepareError::RefusesItsOwn(_) => "MESH-P112",
        }
    }
}

/// Why a swap or a rollback did not happen. What decided before goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SwapError {
    /// The new one refused the state.
    #[error("the new plugin did not take the state over: {0}")]
    StateRefused(Refusal),
    /// The new one failed.
    #[error("the new plugin failed: {0}")]
    Failed(Fault),
    /// The old one failed while it saved its state.
    #[error("the old plugin failed to save its state: {0}")]
    OldFailed(Fault),
    /// There is nothing to go back to.
    #[error("there is nothing to roll back to: nothing was in the slot before")]
    NoPrevious,
    /// There is nothing to remove.
    #[error("no plugin is in the slot: the native built-in has it already")]
    NoPlugin,
}

impl From<Refused> for SwapError {
    fn from(refused: Refused) -> SwapError {
        match refused {
            Refused::Refusal(refusal) => SwapError::StateRefused(refusal),
            Refused::Fault(fault) => SwapError::Failed(fault),
        }
    }
}

impl SwapError {
    /// Returns the stable code that `meshctl explain` knows.
    pub fn code(&self) -> &'static str {
        match self {
            SwapError::StateRefused(_) => "MESH-P108",
            SwapError::Failed(_) | SwapError::OldFailed(_) => "MESH-P112",
            SwapError::NoPrevious => "MESH-P109",
            SwapError::NoPlugin => "MESH-P190",
        }
    }
}
