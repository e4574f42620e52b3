//! Behaviour of the simulator, seen from outside. Names in doc comments (MN-.., N.., G..) are rows of the feature
//! and fault catalogues.

#![allow(clippy::unwrap_used, reason = "a test's helper fails the test")]

mod parsing;
