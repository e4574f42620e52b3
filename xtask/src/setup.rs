//! What a fresh machine lacks: compilation targets, components of the toolchain, tools. Installs it and says
//! so, or says what to do.

use std::ffi::OsString;
use std::path::Path;

use crate::process::{Command, Failure, Result, cargo};

/// What plugins are built for.
const GUEST_TARGET: &str = "wasm32-unknown-unknown";
/// What the core must build for, as a proof that it needs no operating system.
pub const PURE_TARGET: &str = "wasm32-wasip2";
const DENY_VERSION: &str = "0.20.2";

/// Makes sure that plugins can be built.
pub fn guest_target() -> Result {
    target(GUEST_TARGET)
}

/// Makes sure that this target's standard library is installed.
pub fn target(name: &str) -> Result {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let printed = Command::new(rustc).args(["--print", "target-libdir", "--target", name]).stdout()?;
    if Path::new(String::from_utf8_lossy(&printed).trim()).is_dir() {
        return Ok(());
    }
    eprintln!("setup: the target {name} is missing, rustup adds it");
    rustup(&["target", "add", name])
}

/// Makes sure that `cargo COMMAND` works, a component of the toolchain.
pub fn component(name: &str, command: &str) -> Result {
    if cargo([command, "--version"]).succeeds() {
        return Ok(());
    }
    eprintln!("setup: the component {name} is missing, rustup adds it");
    rustup(&["component", "add", name])
}

/// Makes sure that cargo-deny is there; building it takes minutes.
pub fn cargo_deny() -> Result {
    if cargo(["deny", "--version"]).succeeds() {
        return Ok(());
    }
    eprintln!("setup: cargo-deny is missing, cargo builds it; this takes some minutes, once");
    cargo(["install", "cargo-deny", "--locked", "--version", DENY_VERSION]).run()
}

/// Says whether the tests can run with nextest.
pub fn has_nextest() -> bool {
    cargo(["nextest", "--version"]).succeeds()
}

fn rustup(args: &[&str]) -> Result {
    if !Command::new("rustup").arg("--version").succeeds() {
        let reason = format!("`rustup {}` is needed, and rustup is not installed", args.join(" "));
        return Err(Failure::new(reason)
            .help("install Rust with https://rustup.rs, or add it with your system's packages"));
    }
    Command::new("rustup").args(args).run()
}
