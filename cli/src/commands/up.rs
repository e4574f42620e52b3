//! `meshctl up`: starts a node, here or in the background, and says what to do next.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use etcetera::BaseStrategy;
use mesh_node::Mesh;
use mesh_node::api::{
    ApiError, EventKind, Identity, PluginRow, Reply, Request, Status, StoreKind, code, text,
};
use mesh_node::control::server::Server;
use mesh_proto::NodeId;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::start;
use super::{Context, block_on};
use crate::args;
use crate::output::now;
use crate::registry::{Entry, Registry};

mod detach;
mod log;
mod pace;
mod screen;

/// Start a node.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  meshctl up                                        in this terminal; Ctrl-C stops it
  meshctl up --detach                               in the background; 'meshctl down' stops it
  meshctl up --name bob --data-dir /tmp/bob --join 127.0.0.1:4747
  meshctl up --ephemeral --listen 127.0.0.1:0       keeps nothing, takes any free port
  meshctl up --log-to -                             the log on stderr, for containers
  meshctl up --links 2..3 --heartbeat 250ms --label region=eu

One address is enough to join: the node learns of all others from there.")]
pub struct Up {
    /// The node's name; a new node gets a random one, such as brisk-otter.
    #[arg(long, value_parser = name)]
    name: Option<String>,
    /// A node to join, as HOST:PORT. May be given several times.
    #[arg(long, value_name = "ADDR")]
    join: Vec<String>,
    /// Where to listen, as HOST:PORT; 0.0.0.0:4747 or any free port when absent. May be given several times.
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// Where the key and the store are kept; $XDG_DATA_HOME/mesh when absent.
    #[arg(long, value_name = "DIR", env = "MESH_DATA_DIR", hide_env = true)]
    data_dir: Option<PathBuf>,
    /// Keep nothing: a new identity each time, and no store.
    #[arg(long, conflicts_with = "data_dir")]
    ephemeral: bool,
    /// Run in the background; returns when the node is ready.
    #[arg(long)]
    detach: bool,
    /// Where the log goes: a file, or - for stderr.
    #[arg(long, value_name = "FILE")]
    log_to: Option<PathBuf>,
    /// Install and bind only plugins that a trusted key has signed; see 'meshctl plugin trust'.
    #[arg(long)]
    require_signed_plugins: bool,
    /// Bytes of the decision journal that each slot keeps, and again of what is remembered of messages, such as
    /// 512KiB; 4MiB at most, which is the default, and 0 for none.
    #[arg(long, value_name = "SIZE", value_parser = journal)]
    journal: Option<usize>,
    /// Set on the process that --detach starts: stdout takes one line about the start.
    #[arg(long, hide = true)]
    detached: bool,
    /// Stop when stdin closes, so that the node does not outlive the process that started it.
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
    #[command(flatten)]
    place: super::topology::profile::Profile,
    /// Last, because its heading holds for all that follows.
    #[command(flatten)]
    pace: pace::Pace,
}

/// How long readiness waits for a first link, so that the next command finds the mesh.
const FIRST_LINK: Duration = Duration::from_millis(200);

async fn first_link(mesh: &Mesh) {
    let mut events = mesh.events();
    while let Some(event) = events.next().await {
        if matches!(event.kind, EventKind::PeerUp { .. }) {
            return;
        }
    }
}

/// A node that is ready.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Ready {
    #[serde(with = "text")]
    node: NodeId,
    name: String,
    version: String,
    new: bool,
    pid: u32,
    socket: PathBuf,
    data_dir: Option<PathBuf>,
    key_file: Option<PathBuf>,
    store: StoreKind,
    listening: Vec<String>,
    joining: Vec<String>,
    policies: Vec<PluginRow>,
    startup_s: f64,
}

impl Up {
    /// Runs the node until it is told to stop, or starts it in the background.
    pub fn run(self, context: &Context) -> Result<(), ApiError> {
        if context.globals.dry_run {
            context.out.note(format_args!("a node would start with its data in {}", self.place()?));
            return Ok(());
        }
        if self.detach && !self.detached {
            return detach::start(&self, context);
        }
        let started = Instant::now();
        if let Some(file) = std::env::var_os("MESH_FAIL_POINT").filter(|_| cfg!(debug_assertions)) {
            mesh_node::kill_at(file.into());
        }
        let outcome = block_on(self.serve(context, started));
        match outcome {
            Err(error) if self.detached => detach::report(Err(error), context),
            outcome => outcome,
        }
    }
}

impl Up {
    async fn serve(&self, context: &Context, started: Instant) -> Result<(), ApiError> {
        // From the first moment on, so that nobody who sees the node ready can kill it by a polite signal.
        let signals = Signals::catch()?;
        let registry = Registry::open()?;
        let data_dir = self.data_dir()?;
        log::start(self.log_to.as_deref(), data_dir.as_deref(), context.globals.verbose)?;
        let new = start::is_new(data_dir.as_deref());
        let mesh = start::node(self.options(data_dir)).await?;
        if !self.join.is_empty() {
            // Who is not there now is dialed again later; there is no reason to wait for it.
            let _ = tokio::time::timeout(FIRST_LINK, first_link(&mesh)).await;
        }
        let served = self.serve_as(&mesh, new, &registry, signals, context, started).await;
        mesh.shutdown().await;
        registry.remove(mesh.name());
        served
    }

    fn options(&self, data_dir: Option<PathBuf>) -> start::Options {
        start::Options {
            name: self.name.clone(),
            data_dir,
            listen: self.listen.clone(),
            join: self.join.clone(),
            links: self.pace.links(),
            tuning: self.pace.tuning(),
            labels: self.pace.labels().to_vec(),
            profile: Some(self.place.change()).filter(|change| !change.is_empty()),
            require_signed_plugins: self.require_signed_plugins,
            journal: self.journal,
        }
    }

    async fn serve_as(
        &self,
        mesh: &Mesh,
        new: bool,
        registry: &Registry,
        signals: Signals,
        context: &Context,
        started: Instant,
    ) -> Result<(), ApiError> {
        let socket = registry.socket(mesh.name());
        let server = Server::bind(&socket).await?;
        let ready = self.describe(mesh, new, socket, started).await?;
        registry.add(&ready.entry())?;
        let serving = tokio::spawn(server.run(mesh.clone()));
        match self.detached {
            true => detach::report(Ok(ready), context)?,
            false => context.out.print(Some(ready.node), &ready)?,
        }
        let closed = self.until_stdin_closes.then(stdin_closes);
        tokio::select! {
            () = signals.wait() => {}
            () = wait_for(closed) => {}
            () = mesh.stopped() => {}
        }
        mesh.shutdown().await;
        // It ends by itself once the node has stopped, and takes its socket along.
        let _ = serving.await;
        Ok(())
    }

    async fn describe(
        &self,
        mesh: &Mesh,
        new: bool,
        socket: PathBuf,
        started: Instant,
    ) -> Result<Ready, ApiError> {
        let status: Status = ask(mesh, Request::Status).await?;
        let identity: Identity = ask(mesh, Request::Identity).await?;
        Ok(Ready {
            node: status.node,
            name: status.name,
            version: status.version,
            new,
            pid: status.pid,
            socket,
            data_dir: status.data_dir,
            key_file: identity.key_file,
            store: status.store,
            listening: status.listening,
            joining: self.join.clone(),
            policies: status.policies,
            startup_s: started.elapsed().as_secs_f64(),
        })
    }

    fn data_dir(&self) -> Result<Option<PathBuf>, ApiError> {
        if self.ephemeral {
            return Ok(None);
        }
        if let Some(dir) = &self.data_dir {
            return Ok(Some(dir.clone()));
        }
        let dirs = etcetera::base_strategy::Xdg::new().map_err(|_| {
            ApiError::new(&code::NO_HOME, "there is no home directory for the node's data")
                .help("meshctl up --data-dir DIR")
        })?;
        Ok(Some(dirs.data_dir().join("mesh")))
    }

    fn place(&self) -> Result<String, ApiError> {
        Ok(self.data_dir()?.map_or_else(|| "memory".to_owned(), |dir| dir.display().to_string()))
    }
}

impl Ready {
    fn entry(&self) -> Entry {
        Entry {
            name: self.name.clone(),
            node: self.node,
            pid: self.pid,
            socket: self.socket.clone(),
            listening: self.listening.clone(),
            data_dir: self.data_dir.clone(),
            started: now(),
        }
    }
}

async fn ask<R: TryFrom<Reply, Error = ApiError>>(mesh: &Mesh, request: Request) -> Result<R, ApiError> {
    R::try_from(mesh.call(request, bytes::Bytes::new()).await?)
}

/// The polite ways to stop a process.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn catch() -> Result<Signals, ApiError> {
        let catch = |kind| signal(kind).map_err(|error| ApiError::new(&code::INTERNAL, error));
        Ok(Signals { interrupt: catch(SignalKind::interrupt())?, terminate: catch(SignalKind::terminate())? })
    }

    async fn wait(self) {
        let Signals { mut interrupt, mut terminate } = self;
        tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
        // A second one ends the process at once.
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => std::process::exit(130),
                _ = terminate.recv() => std::process::exit(143),
            }
        });
    }
}

// A thread of its own, because a read from stdin cannot be given up.
fn stdin_closes() -> tokio::sync::oneshot::Receiver<()> {
    let (closed, wait) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = closed.send(());
    });
    wait
}

async fn wait_for(closed: Option<tokio::sync::oneshot::Receiver<()>>) {
    match closed {
        Some(closed) => drop(closed.await),
        None => std::future::pending().await,
    }
}

fn journal(text: &str) -> Result<usize, String> {
    const MAX: usize = mesh_plugin_host::limits::JOURNAL_BYTES;
    // A bare number is one of bytes.
    let bytes = args::size(text).or_else(|why| args::size(&format!("{text}B")).map_err(|_| why))?;
    let bytes = usize::try_from(bytes).ok();
    bytes.filter(|bytes| *bytes <= MAX).ok_or_else(|| format!("a journal has 0 to {MAX} bytes"))
}

fn name(text: &str) -> Result<String, String> {
    let well_formed = text.len() <= 32
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_');
    let like_an_id = text.len() >= 6 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    match (well_formed, like_an_id) {
        (false, _) => {
            Err("a name has 1 to 32 letters, digits, '-' and '_', and starts with a letter".to_owned())
        }
        (_, true) => Err("the name looks like a node id; use another letter than a to f".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journals_size_has_a_unit_and_a_bound() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("512KiB", Some(512 << 10)),
            ("4MiB", Some(4 << 20)),
            ("5MiB", None),
            ("1GiB", None),
            ("-1", None),
            ("99999999999999999999MiB", None),
        ] {
            assert_eq!(journal(text).ok(), bytes, "{text}");
        }
    }

    #[test]
    fn names_cannot_be_taken_for_paths_or_ids() {
        for (text, good) in [
            ("alice", true),
            ("node-1_b", true),
            ("bad", true),
            ("", false),
            ("1st", false),
            ("a/b", false),
            ("..", false),
            ("decade", false),
            ("abcdef12", false),
            ("x23456789012345678901234567890123", false),
        ] {
            assert_eq!(name(text).is_ok(), good, "{text}");
        }
    }
}
