//! Running other programs, cargo above all, and telling why one failed.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value;

/// Why a command ends.
#[derive(Debug)]
pub struct Failure {
    reason: String,
    help: Option<String>,
    /// What the process exits with.
    pub exit: u8,
}

/// What everything here returns.
pub type Result<T = ()> = std::result::Result<T, Failure>;

impl Failure {
    /// Something is not as it must be.
    pub fn new(reason: impl Into<String>) -> Failure {
        Failure { reason: reason.into(), help: None, exit: 1 }
    }

    /// The command was not understood.
    pub fn usage(reason: impl Into<String>) -> Failure {
        Failure { exit: 2, ..Failure::new(reason) }
    }

    /// Says what to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Failure {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.reason)?;
        self.help.iter().try_for_each(|help| write!(f, "\nhelp: {}", help.trim_end()))
    }
}

/// A program with its arguments, started in the root of the workspace.
pub struct Command {
    inner: std::process::Command,
    shown: String,
}

impl Command {
    /// Names the program.
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        let program = program.as_ref();
        let mut inner = std::process::Command::new(program);
        inner.current_dir(root());
        // What cargo tells the program that it runs, and build scripts down there would take for theirs.
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_this_run(name)) {
            inner.env_remove(name);
        }
        let name = Path::new(program).file_stem().unwrap_or(program);
        Command { inner, shown: name.to_string_lossy().into_owned() }
    }

    /// Adds an argument.
    pub fn arg(self, arg: impl AsRef<OsStr>) -> Command {
        self.args([arg])
    }

    /// Adds arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        for arg in args {
            self.inner.arg(arg.as_ref());
            self.shown.push(' ');
            self.shown.push_str(&arg.as_ref().to_string_lossy());
        }
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Command {
        self.inner.env(name, value);
        self
    }

    /// Says what runs, runs it, and fails if it fails.
    pub fn run(mut self) -> Result {
        eprintln!("$ {}", self.shown);
        let status = self.inner.status().map_err(|error| self.cannot_start(&error))?;
        if status.success() {
            return Ok(());
        }
        let exit = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
        Err(Failure { exit, ..Failure::new(format!("`{}` failed: {status}", self.shown)) })
    }

    /// Runs it silently and returns what it printed.
    pub fn stdout(mut self) -> Result<Vec<u8>> {
        let output = self.inner.stderr(Stdio::inherit()).output();
        let Output { status, stdout, .. } = output.map_err(|error| self.cannot_start(&error))?;
        if status.success() { Ok(stdout) } else { Err(Failure::new(format!("`{}` failed", self.shown))) }
    }

    /// Runs it silently and returns what it printed, however it ended; what it says on stderr is kept back.
    pub fn printed(mut self) -> Result<Vec<u8>> {
        let output = self.inner.output().map_err(|error| self.cannot_start(&error))?;
        if output.stdout.is_empty() {
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(output.stdout)
    }

    /// Runs it silently and says whether it could and did.
    pub fn succeeds(mut self) -> bool {
        self.inner.stdin(Stdio::null()).output().is_ok_and(|output| output.status.success())
    }

    fn cannot_start(&self, error: &std::io::Error) -> Failure {
        Failure::new(format!("cannot run `{}`: {error}", self.shown))
    }
}

fn is_of_this_run(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_NAME", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// Cargo, the one that runs us.
pub fn cargo(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"))).args(args)
}

/// Returns what cargo knows of the workspace with this manifest, without its outside dependencies.
pub fn metadata(manifest: &str) -> Result<Value> {
    let args = ["metadata", "--no-deps", "--format-version", "1", "--manifest-path", manifest];
    serde_json::from_slice(&cargo(args).stdout()?)
        .map_err(|error| Failure::new(format!("cargo metadata printed no JSON: {error}")))
}

/// Returns where cargo builds.
pub fn target_dir() -> Result<PathBuf> {
    let metadata = metadata("Cargo.toml")?;
    let dir = metadata["target_directory"].as_str();
    dir.map(PathBuf::from).ok_or_else(|| Failure::new("cargo metadata names no target directory"))
}

/// Returns the root of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a directory of the workspace")
}
