//! The hostile routing policy of `tests/hostile`, built once a process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use mesh_plugin_host::package;

const TARGET: &str = "wasm32-unknown-unknown";

/// Returns the path of the component.
pub fn hostile_routing() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/hostile");
        let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--release", "--locked", "--quiet", "--package", "hostile-routing"]);
        cargo.args(["--target", TARGET]).current_dir(sources).env("CARGO_TARGET_DIR", &target_dir);
        for variable in ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
            cargo.env_remove(variable);
        }
        assert!(cargo.status().unwrap().success(), "the hostile guests build");
        let core = std::fs::read(target_dir.join(TARGET).join("release/hostile_routing.wasm")).unwrap();
        let manifest = "[plugin]\nname = \"hostile/routing\"\nversion = \"1.0.0\"\n\
             [config.schema]\nmode = { type = \"string\" }\nafter = { type = \"integer\" }";
        let component = package::encode(&core, manifest).unwrap();
        // A name of its own for each process, because several may build at the same time.
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hostile-{}.wasm", std::process::id()));
        std::fs::write(&path, component).unwrap();
        path
    })
}
