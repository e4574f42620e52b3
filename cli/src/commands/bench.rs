//! `meshctl bench`: what this machine achieves, with the yardstick measured in the same run.

use clap::{Args, Subcommand};
use mesh_node::api::ApiError;

use super::{Context, block_on};

mod net;
mod node;
mod plugin;
mod swap;

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
    /// Hot swaps of a node: under load, or many in a row.
    #[command(after_long_help = "\
Examples:
  meshctl bench swap
  meshctl bench swap --rate 100000 --for 20s --swaps 20 --json
  meshctl bench swap --count 10000                   memory, files and mappings before and after

Three nodes in a chain; the routing policy of the one in the middle is swapped between two revisions that take each
other's state, in turns with times without swaps. Lost and doubled messages are counted by the receiver. The exit code
is 1 when there are any.")]
    Swap(swap::Swap),
    /// One side of `bench net`, in a process of its own.
    #[command(hide = true)]
    NetNode(node::NetNode),
}

impl Bench {
    /// Measures and prints.
    pub fn run(self, context: &Context) -> Result<(), ApiError> {
        match self.command {
            Command::Swap(swap) => block_on(swap.run(context)),
            Command::Plugin(plugin) => plugin.run(context),
            Command::Net(net) => net.run(context),
            Command::NetNode(side) => side.run(),
        }
    }
}
