//! The mesh protocol as a pure state machine.
//!
//! Time, randomness, policy and reads are arguments; sends, writes, timers and deliveries are return
//! values. Nothing here touches a socket, a file, a clock or a thread, which is what makes replay, shadow
//! runs and the simulator possible.

pub mod id;
pub mod policy;

pub use id::{MessageId, NodeId, Peer, TopicId};
