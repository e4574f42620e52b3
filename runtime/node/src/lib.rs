//! Placeholder.

pub mod api;
pub mod control;
pub mod keys;
pub mod message;
pub mod transport;
