//! `meshctl bench`: what this machine achieves, with the yardstick measured in the same run.

use clap::{Args, Subcommand};
use mesh_node::api::ApiError;

use super::Context;

mod net;
mod node;
mod plugin;

/// Measure this machine.
#[derive(Debug, Args)]
pub struct Bench {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What a policy's decision costs: the component against the native built-in.
    #[command(after_long_help = "\
Examples:
  meshctl bench plugin
  meshctl bench plugin --json
  meshctl bench plugin --swap")]
    Plugin(plugin::Plugin),
    /// Messages a second between two node processes, against a bare QUIC stream.
    #[command(after_long_help = "\
Examples:
  meshctl bench net
  meshctl bench net --size 256 --secs 3 --json
  meshctl bench net --size 64 --rounds 5

Two node processes over the loopback interface with everything on that a user has on: signatures, QUIC, the
routing and the QoS plugin. The rate is the receiver's, which checks each message's number. The baseline is a
bare QUIC stream with the same sockets and runtime; runs of both alternate, and medians are printed.")]
    Net(net::Net),
    /// One side of `bench net`, in a process of its own.
    #[command(hide = true)]
    NetNode(node::NetNode),
}

impl Bench {
    /// Measures and prints.
    pub fn run(self, context: &Context) -> Result<(), ApiError> {
        match self.command {
            Command::Plugin(plugin) => plugin.run(context),
            Command::Net(net) => net.run(context),
            Command::NetNode(side) => side.run(),
        }
    }
}
