//! Integration tests of the node, one binary.

#![allow(clippy::unwrap_used, reason = "a test that cannot be arranged fails")]

mod hostile;
mod keys;
mod kit;
mod mesh;
mod power;
mod slots;
mod store;
mod transport;
