//! Cargo, and the commands of other languages: how they are called, and what their failures mean.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use etcetera::BaseStrategy;
use mesh_node::api::{ApiError, code};
use serde::Deserialize;

use super::process::{Finished, Narration, output};
use crate::commands::plugin::new::installs;
use crate::commands::plugin::source::{Network, Source};

/// What a crate is built for unless its manifest says otherwise.
const TARGET: &str = "wasm32-unknown-unknown";
/// Lines of a program's messages that an error repeats.
const SAID_LINES: usize = 40;

/// Compiles a project and returns the file that it leaves.
///
/// # Errors
/// `NO_TOOL`, `NO_TARGET`, `NO_CRATES`, `BUILD_FAILED` or `NO_ARTIFACT`.
pub async fn compile(source: &Source, narration: Narration) -> Result<PathBuf, ApiError> {
    let build = &source.manifest.build;
    let command = build.command.as_deref().unwrap_or("cargo build --release");
    match (&build.artifact, command.strip_prefix("cargo ")) {
        (None, Some(args)) if source.has_crate() => compile_crate(source, args, narration).await,
        (Some(artifact), _) => compile_by(source, command, artifact, narration).await,
        (None, _) => Err(no_artifact(source, "[build] of plugin.toml names no artifact")),
    }
}

/// Returns cargo, to be run in the project's directory with flags that are right for WebAssembly and for tests of guests.
pub fn cargo(source: &Source) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(&source.dir);
    keep_from_network(&mut cargo, source.network);
    // What is meant for another build: flags for this machine's processor, another target.
    for variable in ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "CARGO_BUILD_TARGET", "RUSTC_WORKSPACE_WRAPPER"]
    {
        cargo.env_remove(variable);
    }
    if let Some(shared) = shared_build_dir() {
        cargo.env("CARGO_BUILD_BUILD_DIR", shared);
    }
    cargo
}

// In the environment, because what a shell runs in the end is the project's affair. Each tool goes by its own: cargo,
// npm and npx, pip, uv.
fn keep_from_network(command: &mut Command, network: Network) {
    if network == Network::Forbidden {
        command.envs([
            ("CARGO_NET_OFFLINE", "true"),
            ("npm_config_offline", "true"),
            ("PIP_NO_INDEX", "1"),
            ("UV_OFFLINE", "1"),
        ]);
    }
}

// What all projects need is compiled once for all of them, unless the author has a place for it.
fn shared_build_dir() -> Option<PathBuf> {
    let places = ["CARGO_BUILD_BUILD_DIR", "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"];
    if places.iter().any(|place| env::var_os(place).is_some()) {
        return None;
    }
    let dirs = etcetera::base_strategy::Xdg::new().ok()?;
    Some(dirs.cache_dir().join("mesh").join("build"))
}

async fn compile_crate(source: &Source, args: &str, narration: Narration) -> Result<PathBuf, ApiError> {
    let args: Vec<&str> = args.split_whitespace().collect();
    let target = target_of(&args);
    let mut command = cargo(source);
    command.args(&args);
    if !args.iter().any(|arg| arg.starts_with("--target")) {
        command.args(["--target", target]);
    }
    command.arg("--message-format=json-render-diagnostics");
    let finished = output(command, narration).await.map_err(no_cargo)?;
    if !finished.status.success() {
        return Err(explain(source, target, &finished, narration).await);
    }
    artifact(&finished.stdout).ok_or_else(|| {
        no_artifact(source, "cargo made no .wasm of a cdylib; [lib] needs crate-type = [\"cdylib\"]")
    })
}

fn target_of<'a>(args: &[&'a str]) -> &'a str {
    let joined = args.iter().find_map(|arg| arg.strip_prefix("--target="));
    let separate = args.windows(2).find(|pair| pair[0] == "--target").map(|pair| pair[1]);
    joined.or(separate).unwrap_or(TARGET)
}

/// One line of cargo's messages, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    target: Target,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

#[derive(Default, Deserialize)]
struct Target {
    #[serde(default)]
    kind: Vec<String>,
}

/// Finds the module of the last cdylib, which is the project's own: cargo builds what it needs before.
fn artifact(messages: &[u8]) -> Option<PathBuf> {
    let messages = messages.split(|byte| *byte == b'\n');
    let artifacts = messages
        .filter_map(|line| serde_json::from_slice::<Message>(line).ok())
        .filter(|message| message.reason == "compiler-artifact")
        .filter(|message| message.target.kind.iter().any(|kind| kind == "cdylib"));
    let mut files = artifacts.flat_map(|message| message.filenames);
    files.rfind(|file| file.extension().is_some_and(|extension| extension == "wasm"))
}

async fn compile_by(
    source: &Source,
    command: &str,
    artifact: &str,
    narration: Narration,
) -> Result<PathBuf, ApiError> {
    let mut shell = Command::new("sh");
    shell.current_dir(&source.dir).args(["-c", command]);
    keep_from_network(&mut shell, source.network);
    let finished = output(shell, narration).await.map_err(|error| {
        ApiError::new(&code::NO_TOOL, format!("the shell that runs the build cannot be started: {error}"))
    })?;
    let failed = |code, message: &str| {
        let error = ApiError::new(code, message).fact("command", command);
        Err(with_output(error, &finished, narration))
    };
    let with_tool = |error: ApiError| match installs(command) {
        Some(installs) => error.help(installs),
        None => error.help("install the program that [build] command in plugin.toml names"),
    };
    let file = source.dir.join(artifact);
    match finished.status.code() {
        Some(0) if file.is_file() => Ok(file),
        Some(0) => Err(no_artifact(source, &format!("the build left no {artifact}"))),
        // What a shell answers when it finds no such program.
        Some(127) => {
            failed(&code::NO_TOOL, "a program that the build needs is not in PATH").map_err(with_tool)
        }
        _ if finished.said.contains("wasm-ld") && !has_program("wasm-ld") => {
            failed(&code::NO_TOOL, "the linker wasm-ld, which comes with lld, is not in PATH")
                .map_err(with_tool)
        }
        _ => failed(&code::BUILD_FAILED, "the command of [build] in plugin.toml failed"),
    }
}

fn has_program(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(name).is_file())
}

fn no_artifact(source: &Source, why: &str) -> ApiError {
    ApiError::new(&code::NO_ARTIFACT, why).fact("directory", source.dir.display())
}

/// Explains why cargo cannot be started.
pub fn no_cargo(error: std::io::Error) -> ApiError {
    let message = match error.kind() {
        std::io::ErrorKind::NotFound => "cargo is not in PATH; it comes with Rust".to_owned(),
        _ => format!("cargo cannot be started: {error}"),
    };
    let error = ApiError::new(&code::NO_TOOL, message);
    error
        .help("curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh")
        .help(". \"$HOME/.cargo/env\"")
}

/// Explains a failed build by what is known of the toolchain and by what cargo said.
async fn explain(source: &Source, target: &str, finished: &Finished, narration: Narration) -> ApiError {
    if !has_target(&source.dir, target).await {
        return no_target(&source.dir, target).await;
    }
    let said = &finished.said;
    let unfetched = [
        "--offline was specified",
        "using offline mode (--offline)",
        "failed to download",
        "failed to get `",
        "network failure",
    ];
    if unfetched.iter().any(|sign| said.contains(sign)) {
        let error = ApiError::new(&code::NO_CRATES, "cargo cannot fetch a crate that the plugin needs");
        return with_output(error, finished, narration)
            .help(format!("cargo fetch --manifest-path {}/Cargo.toml", source.dir.display()));
    }
    let error = ApiError::new(&code::BUILD_FAILED, "the crate does not compile");
    with_output(error.fact("directory", source.dir.display()), finished, narration)
}

async fn has_target(dir: &Path, target: &str) -> bool {
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.current_dir(dir).args(["--print", "target-libdir", "--target", target]);
    match output(rustc, Narration::Kept).await {
        Ok(answer) => Path::new(String::from_utf8_lossy(&answer.stdout).trim()).is_dir(),
        Err(_) => false,
    }
}

async fn no_target(dir: &Path, target: &str) -> ApiError {
    let message = format!("this Rust cannot build for {target}: the target is not installed");
    let error = ApiError::new(&code::NO_TARGET, message);
    let mut rustup = Command::new("rustup");
    rustup.current_dir(dir).args(["show", "active-toolchain"]);
    match output(rustup, Narration::Kept).await {
        Ok(answer) if answer.status.success() => {
            let toolchain = String::from_utf8_lossy(&answer.stdout);
            let toolchain = toolchain.split_whitespace().next().unwrap_or("stable").to_owned();
            error
                .fact("toolchain", &toolchain)
                .help(format!("rustup target add {target} --toolchain {toolchain}"))
        }
        _ => error
            .fact("toolchain", "not from rustup")
            .help("apt install libstd-rust-dev-wasm32                   on Debian and Ubuntu")
            .help(format!("dnf install rust-std-static-{target}  on Fedora"))
            .help("curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"),
    }
}

// Whoever has not seen it while it ran gets the end of it in the error.
fn with_output(error: ApiError, finished: &Finished, narration: Narration) -> ApiError {
    if narration == Narration::Shown {
        return error;
    }
    let lines: Vec<&str> = finished.said.lines().collect();
    let last = &lines[lines.len().saturating_sub(SAID_LINES)..];
    error.fact("output", last.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_the_one_that_the_command_names() {
        for (command, want) in [
            ("build --release", TARGET),
            ("build --target wasm32-wasip2", "wasm32-wasip2"),
            ("build --target=wasm32-wasip2 --release", "wasm32-wasip2"),
        ] {
            let args: Vec<&str> = command.split_whitespace().collect();
            assert_eq!(target_of(&args), want, "{command}");
        }
    }

    #[test]
    fn the_module_is_the_one_of_the_last_cdylib() {
        let messages = br#"
{"reason":"compiler-artifact","target":{"kind":["cdylib"]},"filenames":["/t/dependency.wasm"]}
{"reason":"compiler-artifact","target":{"kind":["lib"]},"filenames":["/t/libsdk.rlib"]}
no json
{"reason":"compiler-artifact","target":{"kind":["cdylib"]},"filenames":["/t/own.d","/t/own.wasm"]}
{"reason":"build-finished","success":true}"#;

        assert_eq!(artifact(messages), Some(PathBuf::from("/t/own.wasm")));
        assert_eq!(artifact(b""), None);
    }
}
