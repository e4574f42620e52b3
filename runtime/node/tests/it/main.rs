//! Integration tests of the node, one binary.

mod keys;
mod transport;
