//! Behaviour of the plugin host, seen from outside.
