//! Placeholder.

pub mod api;
pub mod bench;
pub mod control;
pub mod keys;
pub mod message;
pub mod store;
pub mod transport;
