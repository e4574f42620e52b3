//! A place of its own for each test, and the program run in it.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long any condition may take to become true. Debug builds on a busy machine are slow.
pub const DEADLINE: Duration = Duration::from_secs(40);

/// Directories for data and sockets that nothing else uses; nodes that were started in it end with it.
pub struct Place {
    dir: TempDir,
    nodes: Vec<(String, Child)>,
    has_toolchain: bool,
    has_own_cache: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        for (_, node) in &mut self.nodes {
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

/// What a run printed and exited with.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Place {
    pub fn new() -> Place {
        // Socket paths are limited to about 100 bytes, so not below the target directory.
        let dir = tempfile::Builder::new().prefix("mesh-it-").tempdir().unwrap();
        Place { dir, nodes: Vec::new(), has_toolchain: false, has_own_cache: false }
    }

    /// A place whose programs find this user's Rust and its crates.
    pub fn with_toolchain() -> Place {
        let mut place = Place::new();
        place.has_toolchain = true;
        place
    }

    /// A place whose compiled plugins are its own, for who deletes some.
    pub fn with_cache() -> Place {
        let mut place = Place::new();
        place.has_own_cache = true;
        place
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn data_dir(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn socket(&self, name: &str) -> PathBuf {
        self.path().join("run/mesh/nodes").join(format!("{name}.sock"))
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshctl"));
        let run = self.path().join("run");
        std::fs::create_dir_all(&run).unwrap();
        command
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HOME", self.path()).env("XDG_RUNTIME_DIR", run).stdin(Stdio::null());
        // Compiled plugins are the same for all tests, and compiling them is the slowest part of a start.
        let shared = Path::new(env!("CARGO_TARGET_TMPDIR"));
        command.env("XDG_CACHE_HOME", if self.has_own_cache { self.path() } else { shared });
        if self.has_toolchain {
            command.envs(toolchain());
        }
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    /// Runs what must succeed, and returns `data` of its JSON.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        let args = [args, &["--json"]].concat();
        let ran = self.run(&args);
        assert_eq!(ran.code, Some(0), "{args:?}\n{}", ran.stderr);
        let envelope: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert!(envelope["schema"].as_str().unwrap().starts_with("meshctl."), "{envelope}");
        envelope["data"].clone()
    }

    /// Runs what must fail, and returns the error of its JSON; stdout stays empty.
    #[track_caller]
    pub fn error(&self, args: &[&str]) -> Value {
        let args = [args, &["--json"]].concat();
        let ran = self.run(&args);
        assert_eq!(ran.stdout, "", "{args:?}");
        let error: Value =
            serde_json::from_str(&ran.stderr).unwrap_or_else(|_| panic!("{args:?}\n{}", ran.stderr));
        assert_eq!(error["schema"], "meshctl.error/v1");
        assert_eq!(error["exit"].as_i64().map(|exit| exit as i32), ran.code, "{error}");
        error
    }

    /// Starts a node that ends with this place, and returns the address it listens on.
    #[track_caller]
    pub fn up(&mut self, name: &str, args: &[&str]) -> String {
        let data_dir = self.data_dir(name);
        let starting = self.begin(name, "127.0.0.1:0", &data_dir, args);
        starting.ready(DEADLINE).unwrap_or_else(|| panic!("{name} did not start"))
    }

    /// Starts a node that ends with this place, and does not wait for it.
    pub fn begin(&mut self, name: &str, listen: &str, data_dir: &Path, args: &[&str]) -> Starting {
        let data_dir = data_dir.to_str().unwrap();
        let mut line = vec!["up", "--name", name, "--listen", listen, "--data-dir", data_dir];
        line.extend(args);
        line.extend(["--until-stdin-closes", "--json"]);
        let mut command = self.command(&line);
        command.env("MESH_FAIL_POINT", self.fail_point());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
        self.nodes.push((name.to_owned(), child));
        let (told, first_line) = mpsc::channel();
        // A thread of its own, because a read cannot be given up; it ends with the process.
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = std::io::BufRead::read_line(&mut stdout, &mut line);
            let _ = told.send(line);
        });
        Starting(first_line)
    }

    /// Ends a node at once, without a word: SIGKILL.
    pub fn kill(&mut self, name: &str) {
        let at = self.nodes.iter().rposition(|(node, _)| node == name).unwrap();
        let (_, mut node) = self.nodes.remove(at);
        node.kill().unwrap();
        node.wait().unwrap();
    }

    /// The file that says at which place of its code a node is to be killed, once it is written.
    pub fn fail_point(&self) -> PathBuf {
        self.path().join("fail-point")
    }

    /// Waits until a node has ended as by SIGKILL.
    #[track_caller]
    pub fn killed(&mut self, name: &str) {
        let at = self.nodes.iter().rposition(|(node, _)| node == name).unwrap();
        let (_, mut node) = self.nodes.remove(at);
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = node.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "{name} is still there");
            std::thread::yield_now();
        };
        assert_eq!(status.signal(), Some(9), "{status}");
    }

    /// Returns the process of the node that was started last.
    pub fn last_node(&mut self) -> &mut Child {
        &mut self.nodes.last_mut().unwrap().1
    }

    /// Waits until a command says what is wanted.
    #[track_caller]
    pub fn until(&self, args: &[&str], wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let ran = self.run(&[args, &["--json"]].concat());
            let data = serde_json::from_str::<Value>(&ran.stdout).unwrap_or_default()["data"].clone();
            if ran.code == Some(0) && wanted(&data) {
                return data;
            }
            assert!(Instant::now() < deadline, "{args:?}: {data}\n{}", ran.stderr);
        }
    }

    /// Waits until one node can name another and has a way to it.
    #[track_caller]
    pub fn knows(&self, one: &str, other: &str) {
        self.until(&["-N", one, "route", "explain", other], |route| route["next_hop"].is_string());
    }
}

/// Where cargo is, what it has fetched, and how it fetches.
fn toolchain() -> Vec<(&'static str, OsString)> {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let dirs = [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")]
        .map(|(name, below)| (name, std::env::var_os(name).unwrap_or_else(|| home.join(below).into())));
    let given = ["HTTPS_PROXY", "https_proxy", "SSL_CERT_FILE", "CARGO_NET_OFFLINE"];
    dirs.into_iter()
        .chain(given.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .collect()
}

/// A node that has been started and has not said yet that it is ready.
pub struct Starting(mpsc::Receiver<String>);

impl Starting {
    /// Returns the address it listens on, once it is ready; `None` if it is not ready in time, or ended.
    pub fn ready(&self, within: Duration) -> Option<String> {
        let told = self.0.recv_timeout(within).ok()?;
        let ready: Value = serde_json::from_str(&told).ok()?;
        Some(ready["data"]["listening"][0].as_str()?.rsplit(' ').next()?.to_owned())
    }
}

impl Ran {
    pub fn of(output: Output) -> Ran {
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Puts a file into a place.
pub fn write(place: &Place, file: &str, bytes: &[u8]) {
    std::fs::write(place.path().join(file), bytes).unwrap();
}

/// The code and the exit of a run that fails, and that its error says what to do.
#[track_caller]
pub fn refusal(place: &Place, args: &[&str]) -> (String, i64) {
    let error = place.error(args);
    assert!(!error["help"].as_array().unwrap().is_empty(), "{error}");
    (error["code"].as_str().unwrap().to_owned(), error["exit"].as_i64().unwrap())
}

/// The plugin that decides in a slot.
#[track_caller]
pub fn active(place: &Place, slot: &str) -> String {
    place.json(&["plugin", "show", slot])["row"]["plugin"].as_str().unwrap().to_owned()
}

/// Waits for a process to end.
#[track_caller]
pub fn ended(child: &mut Child) -> std::process::ExitStatus {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "the process goes on");
        std::thread::yield_now();
    }
}
