//! Builds the built-in plugins from `plugins/` as components that carry their manifests.

use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::{env, fs};

#[path = "src/package/component.rs"]
mod component;

const TARGET: &str = "wasm32-unknown-unknown";
/// As `manifest::SECTION`.
const SECTION: &str = "meshwork:plugin";
const PLUGINS: [&str; 8] =
    ["latency", "latency-next", "class-fair", "steady", "guest-list", "short-memory", "beacon", "faulty"];

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"))
        .join("../..");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let plugins = root.join("plugins");
    // Not the directory itself: a native `cargo test` there leaves its target directory in it.
    let mut sources = vec![root.join("wit"), root.join("sdk-guest/src"), root.join("sdk-guest/Cargo.toml")];
    sources.extend(["Cargo.toml", "Cargo.lock"].map(|file| plugins.join(file)));
    for plugin in PLUGINS {
        sources.extend(["src", "Cargo.toml", "plugin.toml"].map(|file| plugins.join(plugin).join(file)));
    }
    for path in sources.iter().map(PathBuf::as_path).chain([Path::new("build.rs"), Path::new("src/package")])
    {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    require_target();
    let built = build(&plugins, &out.join("guests"));
    for plugin in PLUGINS {
        let core = read(&built.join(format!("mesh_{}.wasm", plugin.replace('-', "_"))));
        let manifest = read(&plugins.join(plugin).join("plugin.toml"));
        let component = component::encode(&core, SECTION, &manifest)
            .unwrap_or_else(|error| fail(&format!("plugins/{plugin} is no plugin: {error}")));
        if let Err(error) = fs::write(out.join(format!("{plugin}.wasm")), component) {
            fail(&format!("cannot write the component of plugins/{plugin}: {error}"));
        }
    }
}

/// Builds all guests; a directory of their own, because the outer cargo holds the lock of the outer one.
fn build(plugins: &Path, target_dir: &Path) -> PathBuf {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(plugins).args(["build", "--release", "--locked", "--quiet", "--target", TARGET]);
    // What is meant for the outer build: flags for its machine, wrappers that lint or cache it.
    for variable in [
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_TARGET",
    ] {
        cargo.env_remove(variable);
    }
    cargo.env("CARGO_TARGET_DIR", target_dir);
    match cargo.status() {
        Ok(status) if status.success() => target_dir.join(TARGET).join("release"),
        Ok(_) => fail("the built-in plugins do not build; their errors stand above"),
        Err(error) => fail(&format!("cannot run cargo for the built-in plugins: {error}")),
    }
}

fn require_target() {
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or("rustc".into()));
    let answer = rustc.args(["--print", "target-libdir", "--target", TARGET]).output();
    let is_there =
        answer.is_ok_and(|answer| Path::new(String::from_utf8_lossy(&answer.stdout).trim()).is_dir());
    if !is_there {
        fail(&format!(
            "the built-in plugins need the target {TARGET}, which is not installed\n\
             help: rustup target add {TARGET}"
        ));
    }
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| fail(&format!("cannot read {}: {error}", path.display())))
}

fn fail(reason: &str) -> ! {
    eprintln!("error: {reason}");
    exit(1)
}
