//! Making a plugin ready for its slot, off the hot path.

use std::time::{Duration, Instant};

use super::bound::{Bound, hold_to};
use super::{Guest, PrepareError, State};
use crate::limits;
use crate::load::{Loaded, Revision};
use crate::settings::Settings;
use crate::terms::Terms;

/// An instance that is configured, tried out and warm: what a swap needs. Made off the hot path.
pub struct Prepared<G: Guest> {
    pub(super) instance: G,
    pub(super) origin: Origin<G>,
    pub(super) version: u32,
    pub(super) configured: G::Configured,
    took: Duration,
}

/// What fresh instances of a revision are made from.
pub(super) struct Origin<G: Guest> {
    pub(super) loaded: Loaded,
    pub(super) identity: G::Identity,
    pub(super) settings: Settings,
    pub(super) terms: Terms,
}

impl<G: Guest> Prepared<G> {
    /// Instantiates, configures and tries out a plugin: state is saved and loaded, every call is made once.
    ///
    /// Takes about 0.1 ms for a well-behaved plugin and up to a few seconds for one that hangs.
    ///
    /// # Errors
    /// When the settings are refused or the plugin fails.
    pub fn new(loaded: &Loaded, identity: G::Identity, settings: &Settings) -> Result<Self, PrepareError> {
        let begun = Instant::now();
        if loaded.kind() != G::KIND {
            return Err(PrepareError::WrongKind { is: loaded.kind(), wanted: G::KIND });
        }
        let settings = match loaded.manifest() {
            Some(manifest) => manifest.check_settings(settings)?,
            None => settings.clone(),
        };
        let (mut instance, configured) = G::start(loaded, &identity, &settings, limits::SETUP)?;
        let configured = configured.map_err(PrepareError::Refused)?;
        let version = instance.state_version()?;
        // The blank state comes back after the rehearsal, which must leave no trace in it.
        let blank = State { version, bytes: instance.save(limits::SETUP)? };
        instance.rehearse(limits::SETUP)?;
        instance.load(limits::SETUP, &blank).map_err(PrepareError::refuses_its_own)?;
        let origin = Origin { loaded: loaded.clone(), identity, settings, terms: Terms::of(G::KIND) };
        Ok(Prepared { instance, origin, version, configured, took: begun.elapsed() })
    }

    /// Sets how it is to be run.
    ///
    /// # Errors
    /// When it has more memory already than it is to have.
    pub fn with_terms(mut self, terms: Terms) -> Result<Self, PrepareError> {
        hold_to(&mut self.instance, &terms)?;
        self.origin.terms = terms;
        Ok(self)
    }

    /// Returns which revision it is.
    pub fn revision(&self) -> &Revision {
        self.origin.loaded.revision()
    }

    /// Returns the settings as they were given to the plugin.
    pub fn settings(&self) -> &Settings {
        &self.origin.settings
    }

    /// Returns what it answered to its settings.
    pub fn configured(&self) -> &G::Configured {
        &self.configured
    }

    /// Returns it as a slot has it, with no state but its own.
    pub(super) fn into_bound(self, now_ms: u64) -> Bound<G> {
        Bound {
            instance: Some(self.instance),
            origin: self.origin,
            version: self.version,
            checkpoint: None,
            state_messages: 0,
            next_checkpoint_ms: now_ms,
            configured: self.configured,
        }
    }

    /// Returns the instance, for who asks it outside of a slot.
    pub(crate) fn into_instance(self) -> G {
        self.instance
    }

    /// Returns how long the preparation took, without the compilation.
    pub fn took(&self) -> Duration {
        self.took
    }
}

impl<G: Guest> std::fmt::Debug for Prepared<G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("revision", self.revision()).finish_non_exhaustive()
    }
}
