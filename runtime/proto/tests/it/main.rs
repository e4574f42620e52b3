//! The protocol between nodes, in virtual time.

mod admission;
mod broadcast;
mod carry;
mod chaos;
mod durable;
mod hierarchy;
mod hostile;
mod membership;
mod policy;
mod routing;
mod sim;
mod vectors;

use std::time::Duration;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}
