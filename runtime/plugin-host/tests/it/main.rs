//! Behaviour of the plugin host, seen from outside. Names in doc comments (W.., H.., PM..) are rows of the fault
//! and feature catalogues.

mod builtin;
mod cache;
mod guests;
mod handler;
mod hostile;
mod loading;
mod swap;
