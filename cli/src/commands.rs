//! The commands, a file each: what they ask the node, and how the answer looks to a person.

use std::future::Future;

use mesh_node::api::{ApiError, code};

use crate::args::{Cli, Command, Globals};
use crate::connect::Connection;
use crate::output::Output;

pub mod beacon;
pub mod bench;
pub mod completions;
pub mod demo;
pub mod down;
pub mod events;
pub mod explain;
pub mod id;
pub mod man;
pub mod members;
pub mod peers;
pub mod ping;
pub mod plugin;
pub mod route;
pub mod send;
pub mod sim;
pub mod start;
pub mod status;
pub mod sub;
pub mod topology;
pub mod trace;
pub mod up;
pub mod version;

/// What every command gets.
#[derive(Clone, Debug)]
pub struct Context {
    /// The global options.
    pub globals: Globals,
    /// Where the command prints.
    pub out: Output,
}

impl Context {
    /// Connects to the node that the command line means.
    ///
    /// # Errors
    /// See [`Connection::open`].
    pub async fn connect(&self) -> Result<Connection, ApiError> {
        Connection::open(&self.globals).await
    }
}

/// Runs the command.
///
/// # Errors
/// Whatever the command could not do.
pub fn run(cli: Cli) -> Result<(), ApiError> {
    let context = Context { out: Output::new(&cli.globals), globals: cli.globals };
    let context = &context;
    match cli.command {
        Command::Explain(command) => command.run(context),
        Command::Version(command) => command.run(context),
        Command::Completions(command) => command.run(context),
        Command::Man(command) => command.run(context),
        Command::Up(command) => command.run(context),
        Command::Bench(command) => command.run(context),
        Command::Sim(command) => command.run(context),
        Command::Demo(command) => block_on(command.run(context)),
        Command::Down(command) => block_on(command.run(context)),
        Command::Status(command) => block_on(command.run(context)),
        Command::Peers(command) => block_on(command.run(context)),
        Command::Members(command) => block_on(command.run(context)),
        Command::Ping(command) => block_on(command.run(context)),
        Command::Id(command) => block_on(command.run(context)),
        Command::Send(command) => block_on(command.run(context)),
        Command::Pub(command) => block_on(command.run(context)),
        Command::Sub(command) => block_on(command.run(context)),
        Command::Topology(command) => block_on(command.run(context)),
        Command::Route(command) => block_on(command.run(context)),
        Command::Plugin(command) => block_on(command.run(context)),
        Command::Beacon(command) => block_on(command.run(context)),
        Command::Trace(command) => block_on(command.run(context)),
        Command::Events(command) => block_on(command.run(context)),
    }
}

/// Runs something on a runtime of one thread, which is what a node and its clients are fastest on.
///
/// # Errors
/// Its own, or `INTERNAL` when the system refuses the runtime.
pub fn block_on<T>(work: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| ApiError::new(&code::INTERNAL, error))?.block_on(work)
}
