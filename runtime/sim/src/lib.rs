//! Scenarios over a simulated mesh: the shipped protocol and the shipped plugins in virtual time, with faults,
//! liars and expectations, repeatable to the bit.
//!
//! [`Scenario`] says what happens and what is expected; it is read from TOML, and a library of them comes with
//! this crate. [`Plugins`] compiles the components that it names. Nothing here opens a socket, and the only
//! clocks read are those that say how long a run took.

pub mod expect;
pub mod library;
mod plot;
pub mod plugins;
pub mod report;
pub mod run;
pub mod saved;
pub mod scenario;

pub use plugins::{PluginError, Plugins};
pub use report::{Outcome, Report};
pub use saved::SavedRun;
pub use scenario::{Problem, Scenario, ScenarioError};
