//! Placeholder.

pub mod api;
pub mod control;
pub mod message;
