//! Behaviour of the plugin host, seen from outside. Names in doc comments (W.., H.., PM..) are rows of the fault
//! and feature catalogues.

#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

mod admission;
mod builtin;
mod cache;
mod carry;
mod corpus;
mod guests;
mod handler;
mod handler_journal;
mod hostile;
mod journal;
mod kit;
mod loading;
mod operate;
mod package;
mod smith;
mod swap;
mod topology;
mod trial;
mod wasi;
