//! The mesh protocol as a pure state machine.
//!
//! Time, randomness, policy and reads are arguments; sends, writes, timers and deliveries are return
//! values. Nothing here touches a socket, a file, a clock or a thread, which is what makes replay, shadow
//! runs and the simulator possible.

pub mod accusation;
pub mod batch;
pub mod broadcast;
pub mod detector;
pub mod directory;
pub mod frame;
pub mod id;
pub mod members;
pub mod node;
pub mod policy;
pub mod queue;
pub mod record;
pub mod routing;
mod rumor;
pub mod run;
pub mod seen;
#[cfg(feature = "sim")]
pub mod sim;
pub mod time;
pub mod topology;
pub mod tuning;
mod verified;
mod wire;

pub use id::{MessageId, NodeId, Peer, TopicId};
