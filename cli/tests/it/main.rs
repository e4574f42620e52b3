//! `meshctl` as its users meet it: command lines in, text, JSON and exit codes out.

// The lint knows test functions, not their helpers.
#![allow(clippy::unwrap_used)]

mod admission;
mod author;
mod call;
mod carry;
mod crash;
mod documented;
mod explain;
mod export;
mod full_disk;
mod harness;
mod history;
mod languages;
mod members;
mod node;
mod offline;
mod operator;
mod package;
mod registry;
mod registry_faults;
mod registry_kit;
mod several;
mod sim;
mod socket;
mod story;
mod swap;
mod topology;
mod trial;
mod tutorial;
