//! Runs policies and handlers as WebAssembly components: load, check, prepare, swap, strike, roll back.
//!
//! The only crate that knows wasmtime. It opens no socket and reads no clock for a decision: time and
//! randomness come with each call, so that equal calls give equal answers.
//!
//! [`load()`] turns bytes into a checked component, [`prepare()`] and [`prepare_handler`] make an instance ready
//! off the hot path, and a [`PolicySet`] or a [`HandlerSlot`] runs it, exchanges it between two calls, and
//! stands in with the native built-in when it fails.

pub mod alone;
pub mod bench;
pub mod builtin;
pub mod call;
pub mod compare;
pub mod engine;
pub mod fault;
pub mod handler;
mod input;
pub mod inspect;
pub mod interfaces;
pub mod journal;
pub mod limits;
pub mod load;
pub mod manifest;
pub mod package;
mod policy;
pub mod post_mortem;
mod sandbox;
mod set;
pub mod settings;
pub mod sign;
mod slot;
pub mod terms;
pub mod trial;
pub mod trust;
mod wasi;
mod wit;

pub use engine::{Cache, CacheError, CacheStats, Cleaned, Compiler, Engine, EngineError, compile_stdin};
pub use fault::Fault;
pub use handler::{HandlerSlot, PreparedHandler, prepare_handler};
pub use inspect::{Inspection, inspect};
pub use load::{Grants, Kind, LoadError, Loaded, Revision, load};
pub use manifest::{Manifest, ManifestError, SettingError};
pub use package::{Package, PackageError};
pub use policy::{Admission, Carry, Qos, Routing, Topology};
pub use post_mortem::PostMortem;
pub use sandbox::Kv;
pub use set::{
    PolicySet, PolicySlot, PreparedAdmission, PreparedCarry, PreparedPolicy, PreparedQos, PreparedRouting,
    PreparedTopology, prepare, prepare_admission, prepare_carry, prepare_qos, prepare_routing,
    prepare_topology,
};
pub use settings::{Refusal, Settings, Value};
pub use slot::{
    Change, Counted, FaultRecord, Guest, LogLevel, LogLine, OperateError, PrepareError, Prepared, Refused,
    Sentence, SlotEvent, SlotState, SlotStatus, StartWith, State, SwapError, SwapReport, Toward, Withdrawn,
};
pub use terms::{BadLimit, Bounds, Lowered, NoSuchMode, OnFailure, Terms};
