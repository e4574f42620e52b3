//! Policies that are ready for their slots.

use crate::load::{Kind, Loaded, Revision};
use crate::policy::{Admission, Carry, Qos, Routing, Topology};
use crate::set::PolicySlot;
use crate::settings::Settings;
use crate::slot::{PrepareError, Prepared};
use crate::terms::Terms;

/// Defines, for each kind of policy, what a ready one is called and what makes it ready, and whichever of them it is.
macro_rules! kinds {
    ($($kind:ident in $slot:ident: $ready:ident, $prepare:ident, $what:literal;)*) => {
        $(
            #[doc = concat!($what, " policy that is ready for [`PolicySet::swap`](crate::PolicySet::swap).")]
            pub type $ready = Prepared<$kind>;

            #[doc = concat!($what, " policy is made ready: instantiated, configured, tried out. For any thread but")]
            /// the hot one.
            ///
            /// # Errors
            /// When the settings are refused or the plugin fails.
            pub fn $prepare(loaded: &Loaded, settings: &Settings) -> Result<$ready, PrepareError> {
                Prepared::new(loaded, (), settings)
            }

            impl From<$ready> for PreparedPolicy {
                fn from(ready: $ready) -> PreparedPolicy {
                    PreparedPolicy::$kind(ready)
                }
            }
        )*

        /// A policy that is ready for its slot, whichever that is.
        #[derive(Debug)]
        pub enum PreparedPolicy {
            $(
                #[doc = concat!("For the slot of [`PolicySlot::", stringify!($slot), "`].")]
                $kind($ready),
            )*
        }

        /// Makes a policy ready for the slot that it fits: instantiates, configures, tries out. For any thread but the
        /// hot one.
        ///
        /// # Errors
        /// When it is no policy, the settings are refused or the plugin fails.
        pub fn prepare(loaded: &Loaded, settings: &Settings) -> Result<PreparedPolicy, PrepareError> {
            match loaded.kind() {
                $(Kind::$kind => $prepare(loaded, settings).map(PreparedPolicy::$kind),)*
                is @ Kind::Handler => Err(PrepareError::WrongKind { is, wanted: Kind::Routing }),
            }
        }

        impl PreparedPolicy {
            /// Returns the slot it fits.
            pub fn slot(&self) -> PolicySlot {
                match self {
                    $(PreparedPolicy::$kind(_) => PolicySlot::$slot,)*
                }
            }

            /// Returns which revision it is.
            pub fn revision(&self) -> &Revision {
                match self {
                    $(PreparedPolicy::$kind(ready) => ready.revision(),)*
                }
            }

            /// Returns the settings as they were given to the plugin.
            pub fn settings(&self) -> &Settings {
                match self {
                    $(PreparedPolicy::$kind(ready) => ready.settings(),)*
                }
            }

            /// Sets how it is to be run.
            ///
            /// # Errors
            /// When it has more memory already than it is to have.
            pub fn with_terms(self, terms: Terms) -> Result<PreparedPolicy, PrepareError> {
                match self {
                    $(PreparedPolicy::$kind(ready) => ready.with_terms(terms).map(PreparedPolicy::$kind),)*
                }
            }
        }
    };
}

kinds! {
    Routing in Route: PreparedRouting, prepare_routing, "A routing";
    Qos in Qos: PreparedQos, prepare_qos, "A QoS";
    Topology in Topology: PreparedTopology, prepare_topology, "A topology";
    Admission in Admission: PreparedAdmission, prepare_admission, "An admission";
    Carry in Carry: PreparedCarry, prepare_carry, "A carry";
}
