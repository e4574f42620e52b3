//! Placeholder.

pub mod api;
pub mod message;
