//! The control API: how programs on the same machine talk to a node, over a Unix socket.
//!
//! One framing carries everything ([`frame`]): management calls, streams of messages in both directions
//! and events. The socket serves only the user that the node runs as. Knows nothing of the mesh protocol,
//! and decides nothing about a message.

pub mod client;
pub mod frame;
pub mod server;
