//! Where the node's log goes: a file, stderr, or nowhere.

use std::fs::{DirBuilder, OpenOptions};
use std::io::IsTerminal;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use etcetera::BaseStrategy;
use mesh_node::api::{ApiError, code};
use tracing_subscriber::EnvFilter;

/// Starts the log. The level comes from MESH_LOG, such as `mesh_node=debug`, or else from `-v`.
///
/// # Errors
/// `BAD_VALUE` for a MESH_LOG that does not parse, `STORE_UNWRITABLE` for a file that cannot be opened.
pub fn start(to: Option<&Path>, data_dir: Option<&Path>, verbose: u8) -> Result<(), ApiError> {
    let filter = filter(verbose)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_target(true);
    if to == Some(Path::new("-")) {
        // Fails only when a log has been started before, and then that one goes on.
        let _ = builder.with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).try_init();
        return Ok(());
    }
    let Some(path) = to.map(Path::to_owned).or_else(|| default_file(data_dir)) else { return Ok(()) };
    let failed = |error: std::io::Error| {
        ApiError::new(&code::STORE_UNWRITABLE, format!("the log cannot be written: {error}"))
            .fact("log", path.display())
            .help("meshctl up --log-to FILE")
    };
    if let Some(dir) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    }
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(failed)?;
    let _ = builder.with_writer(Mutex::new(file)).with_ansi(false).try_init();
    Ok(())
}

fn filter(verbose: u8) -> Result<EnvFilter, ApiError> {
    let text = match (std::env::var("MESH_LOG"), verbose) {
        (Ok(text), _) if !text.is_empty() => text,
        (_, 0) => "info".to_owned(),
        (_, 1) => "info,mesh_node=debug,mesh_plugin_host=debug".to_owned(),
        _ => "info,mesh_node=trace,mesh_plugin_host=trace,mesh_proto=trace".to_owned(),
    };
    EnvFilter::try_new(text).map_err(|error| ApiError::new(&code::BAD_VALUE, format!("MESH_LOG: {error}")))
}

// Beside the data when that has a place of its own, so that two nodes do not share a log.
fn default_file(data_dir: Option<&Path>) -> Option<PathBuf> {
    let dirs = etcetera::base_strategy::Xdg::new().ok();
    let data_dir = data_dir?;
    match dirs {
        Some(dirs) if data_dir == dirs.data_dir().join("mesh") => {
            Some(dirs.state_dir()?.join("mesh/node.log"))
        }
        _ => Some(data_dir.join("node.log")),
    }
}
