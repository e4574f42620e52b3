//! `meshctl` as its users meet it: command lines in, text, JSON and exit codes out.

mod documented;
mod harness;
mod node;
mod offline;
mod several;
mod socket;
mod story;
