//! What a fresh machine lacks: compilation targets, components of the toolchain, tools. Installs it and says
//! so, or says what to do.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::process::{Command, Failure, Result, cargo, target_dir};

/// What plugins are built for.
const GUEST_TARGET: &str = "wasm32-unknown-unknown";
/// What the core must build for, as a proof that it needs no operating system; guests with WASI are built for it too.
pub const PURE_TARGET: &str = "wasm32-wasip2";
/// Debian's registry, for the tests.
const REGISTRY: &str = "docker-registry";
const DENY_VERSION: &str = "0.20.2";
/// As in cli/templates/js/build.toml.
const JS_TOOL: &str = "componentize-qjs@0.4.5";
/// As in cli/templates/python/README.md.
const PYTHON_TOOL: &str = "componentize-py==0.25.1";
/// Of the packages clang and lld.
const C_TOOLS: [&str; 2] = ["clang", "wasm-ld"];

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

/// Makes sure that a real registry is there for the tests of publishing and installing, and returns where its program
/// lies. Debian's package is unpacked below the target directory: installed, it would start a service. `None` where
/// it cannot be had, and then says loudly what is not tested.
pub fn registry() -> Option<PathBuf> {
    let tools = target_dir().ok()?.join("tools");
    let bin = tools.join("usr/bin");
    for dir in [PathBuf::from("/usr/bin"), bin.clone()] {
        if Command::new(dir.join(REGISTRY)).arg("--version").succeeds() {
            return Some(dir);
        }
    }
    eprintln!("setup: {REGISTRY} is missing, apt-get fetches it");
    match unpack(&tools) {
        Ok(()) => Some(bin),
        Err(failure) => {
            eprintln!("{failure}");
            eprintln!("WARNING: REGISTRIES NOT TESTED: {REGISTRY} cannot be had; apt-get install {REGISTRY}");
            None
        }
    }
}

fn unpack(tools: &Path) -> Result {
    let failed = |error: std::io::Error| Failure::new(format!("{}: {error}", tools.display()));
    std::fs::create_dir_all(tools).map_err(failed)?;
    Command::new("env").arg("--chdir").arg(tools).args(["apt-get", "download", REGISTRY]).run()?;
    let files = std::fs::read_dir(tools).map_err(failed)?.flatten().map(|entry| entry.path());
    let package = files.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let package = package.ok_or_else(|| Failure::new("apt-get left no package"))?;
    Command::new("dpkg").arg("--extract").arg(package).arg(tools).run()
}

/// Tries to make plugins in other languages buildable for the tests. Returns the variables that tell the tests what
/// cannot be had here, and says it loudly; without them they fail.
pub fn languages() -> Result<Vec<&'static str>> {
    let tools = target_dir()?.join("tools");
    let cache = tools.join("npm").display().to_string();
    // `npx` keeps what it has fetched, and the tests use it without a network.
    let js = Command::new("npx").args(["--yes", JS_TOOL, "--help"]).env("npm_config_cache", &cache);
    let python = tools.join("python");
    let has_python = || Command::new(python.join("bin/componentize-py")).arg("--version").succeeds();
    let make_python = || {
        Command::new("python3").args(["-m", "venv"]).arg(&python).succeeds()
            && Command::new(python.join("bin/pip")).args(["install", "--quiet", PYTHON_TOOL]).succeeds()
    };
    let mut without = Vec::new();
    for (language, variable, is_there) in [
        ("JavaScript", "MESH_TEST_WITHOUT_JS", js.succeeds()),
        ("Python", "MESH_TEST_WITHOUT_PYTHON", has_python() || make_python()),
        ("C", "MESH_TEST_WITHOUT_C", has_c() || install_c()),
    ] {
        if !is_there {
            eprintln!(
                "WARNING: PLUGINS IN {language} NOT TESTED: its tools are missing and cannot be installed here"
            );
            without.push(variable);
        }
    }
    Ok(without)
}

/// Both are asked for, because clang alone compiles and cannot link for WebAssembly.
fn has_c() -> bool {
    C_TOOLS.iter().all(|tool| has(tool))
}

/// Installs them where this may be done without asking: as root, and on a system with apt. Neither starts a service.
fn install_c() -> bool {
    if !(has("apt-get") && is_root()) {
        eprintln!("setup: clang or wasm-ld is missing; apt-get install clang lld");
        return false;
    }
    eprintln!("setup: clang or wasm-ld is missing, apt-get installs them");
    // A fresh container has no lists, and nothing can be installed before they are there.
    let install =
        || apt_get(&["install", "--yes", "--no-install-recommends", "--no-upgrade", "clang", "lld"]).run();
    let installed = install().or_else(|_| apt_get(&["update"]).run().and_then(|()| install()));
    if let Err(failure) = installed {
        eprintln!("{failure}");
    }
    has_c()
}

fn apt_get(args: &[&str]) -> Command {
    Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive")
}

fn is_root() -> bool {
    Command::new("id").arg("-u").stdout().is_ok_and(|id| id.trim_ascii() == b"0")
}

fn has(tool: &str) -> bool {
    Command::new(tool).arg("--version").succeeds()
}

/// Says loudly when `wkg` is not there, without which nothing proves that its releases take our layout. It is built from
/// hundreds of crates, too long for a set-up; CI may have it in the image.
pub fn warn_without_wkg() {
    if !has("wkg") {
        eprintln!("WARNING: WKG NOT TESTED: it is not in PATH; cargo install wkg --locked");
    }
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
