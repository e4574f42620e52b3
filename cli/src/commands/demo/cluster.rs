//! Real node processes in a directory of their own, which go when this process goes, however it goes.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use mesh_node::api::{ApiError, Request, code};
use mesh_node::control::client::Client;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;

/// How long a node may take to become ready. The first start compiles the built-in plugins.
const READY: Duration = Duration::from_secs(20);
/// How long a node may take to stop; it promises five seconds.
const GONE: Duration = Duration::from_secs(7);

/// A directory with the nodes' data, sockets and logs. Dropping it ends all nodes and removes it.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    dir: TempDir,
}

/// One running node.
#[derive(Debug)]
struct Node {
    name: String,
    socket: PathBuf,
    child: Child,
}

impl Drop for Node {
    fn drop(&mut self) {
        // Nothing to do about a process that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Cluster {
    /// Makes the directory.
    ///
    /// # Errors
    /// When the system's temporary directory cannot be used.
    pub fn new() -> Result<Cluster, ApiError> {
        let dir = tempfile::Builder::new().prefix("mesh-demo-").tempdir();
        let dir = dir
            .map_err(|error| ApiError::new(&code::DEMO_FAILED, format!("no temporary directory: {error}")))?;
        Ok(Cluster { nodes: Vec::new(), dir })
    }

    /// Returns the directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the command that starts this node, as a person would type it.
    pub fn up_line(&self, name: &str, join: Option<&str>) -> String {
        format!("meshctl {} --detach", up_args(self.dir.path(), name, join).join(" "))
    }

    /// Starts a node and returns the address that it listens on.
    ///
    /// # Errors
    /// What the node said when it did not become ready.
    pub async fn up(&mut self, name: &str, join: Option<&str>) -> Result<String, ApiError> {
        let program = std::env::current_exe().map_err(|error| failed(name, &error))?;
        let mut command = Command::new(program);
        // What holds for this command does not hold for the nodes.
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MESH_")).for_each(
            |(name, _)| {
                command.env_remove(name);
            },
        );
        let mut child = command
            .args(up_args(self.dir.path(), name, join))
            .args(["--until-stdin-closes", "--json", "--quiet"])
            .env("XDG_RUNTIME_DIR", self.dir.path())
            .env("XDG_CACHE_HOME", self.dir.path().join("cache"))
            // Its standard input closes with this process, and then it stops.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for this process, which then stops the nodes in order.
            .process_group(0)
            .spawn()
            .map_err(|error| failed(name, &error))?;
        let stdout = child.stdout.take();
        let mut node = Node { name: name.to_owned(), socket: PathBuf::new(), child };
        let ready = match timeout(READY, first_line(stdout)).await {
            Ok(Ok(line)) => serde_json::from_str::<Value>(&line).unwrap_or_default(),
            _ => Value::Null,
        };
        let report = &ready["data"];
        match (report["socket"].as_str(), report["listening"][0].as_str()) {
            (Some(socket), Some(addr)) => {
                node.socket = PathBuf::from(socket);
                self.nodes.push(node);
                Ok(addr.rsplit(' ').next().unwrap_or(addr).to_owned())
            }
            _ => Err(refused(node)),
        }
    }

    /// Connects to a node's control socket.
    ///
    /// # Errors
    /// When it is not running.
    pub async fn client(&self, name: &str) -> Result<Client, ApiError> {
        match self.nodes.iter().find(|node| node.name == name) {
            Some(node) => Client::connect(&node.socket).await,
            None => Err(ApiError::new(&code::NOT_RUNNING, format!("{name} does not run"))),
        }
    }

    /// Stops a node gracefully and waits until its process is gone.
    ///
    /// # Errors
    /// When it does not stop in time.
    pub async fn down(&mut self, name: &str) -> Result<(), ApiError> {
        let mut client = self.client(name).await?;
        client.call::<()>(&Request::Shutdown).await?;
        let late = || ApiError::new(&code::DEMO_FAILED, format!("{name} did not stop in time"));
        timeout(GONE, client.closed()).await.map_err(|_| late())?;
        let Some(place) = self.nodes.iter().position(|node| node.name == name) else { return Ok(()) };
        let mut node = self.nodes.remove(place);
        let waited = tokio::task::spawn_blocking(move || {
            let deadline = std::time::Instant::now() + GONE;
            while matches!(node.child.try_wait(), Ok(None)) {
                if std::time::Instant::now() > deadline {
                    return false;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            true
        });
        if waited.await.unwrap_or(false) { Ok(()) } else { Err(late()) }
    }
}

fn up_args(dir: &Path, name: &str, join: Option<&str>) -> Vec<String> {
    let dir = dir.display();
    let mut args: Vec<String> = ["up", "--name", name, "--data-dir"].map(str::to_owned).into();
    args.push(format!("{dir}/{name}"));
    args.extend(["--listen", "127.0.0.1:0", "--links", "explicit"].map(str::to_owned));
    if let Some(addr) = join {
        args.extend(["--join".to_owned(), addr.to_owned()]);
    }
    args
}

async fn first_line(stdout: Option<ChildStdout>) -> std::io::Result<String> {
    let Some(stdout) = stdout else { return Ok(String::new()) };
    let read = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).map(|_| line)
    });
    read.await.map_err(std::io::Error::other)?
}

fn failed(name: &str, error: &std::io::Error) -> ApiError {
    ApiError::new(&code::DEMO_FAILED, format!("{name} cannot be started: {error}"))
}

fn refused(mut node: Node) -> ApiError {
    let _ = node.child.kill();
    let mut said = String::new();
    if let Some(stderr) = node.child.stderr.take() {
        let _ = BufReader::new(stderr).read_line(&mut said);
    }
    let error: Value = serde_json::from_str(&said).unwrap_or_default();
    let message = error["message"].as_str().unwrap_or("it did not become ready in time");
    ApiError::new(&code::DEMO_FAILED, format!("{} did not start: {message}", node.name))
}
