//! A plugin project on disk: where it is, its manifest, and which of its files matter to a build.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use mesh_node::api::{ApiError, code};
use mesh_plugin_host::manifest::{MAX_BYTES, Manifest};

use crate::commands::Context;

/// Whether the tools of a build may ask for what they lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// They fetch it.
    Open,
    /// They go by what was fetched before, or fail.
    Forbidden,
}

impl Network {
    /// What the command line says.
    pub fn of(context: &Context) -> Network {
        if context.globals.offline { Network::Forbidden } else { Network::Open }
    }
}

/// A directory with a `plugin.toml`.
#[derive(Clone, Debug)]
pub struct Source {
    /// The directory.
    pub dir: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    /// The text of the manifest, which travels in the component.
    pub manifest_text: String,
    /// Whether its build may fetch what it lacks.
    pub network: Network,
}

impl Source {
    /// Reads the manifest of a project.
    ///
    /// # Errors
    /// `NO_PROJECT`, `BAD_MANIFEST`, or `FILE_FAILED`.
    pub fn open(dir: &Path, network: Network) -> Result<Source, ApiError> {
        let path = dir.join("plugin.toml");
        let text = match read_text(&path, MAX_BYTES as u64) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(no_project(dir)),
            Err(error) => return Err(ApiError::new(&code::FILE_FAILED, error).fact("file", path.display())),
        };
        let manifest = read_manifest(&text, &path)?;
        Ok(Source { dir: dir.to_owned(), manifest, manifest_text: text, network })
    }

    /// Returns the last part of the plugin's name, which its files are called after.
    pub fn name(&self) -> &str {
        let name = &self.manifest.plugin.name;
        name.split_once('/').map_or(name.as_str(), |(_, name)| name)
    }

    /// Returns where `plugin build` puts the component unless told otherwise.
    pub fn component(&self) -> PathBuf {
        self.dir.join(format!("{}.wasm", self.name()))
    }

    /// Says whether it is a Rust crate.
    pub fn has_crate(&self) -> bool {
        self.dir.join("Cargo.toml").is_file()
    }
}

/// Checks the text of a manifest that stands in this file.
///
/// # Errors
/// `BAD_MANIFEST` with the place.
pub fn read_manifest(text: &str, path: &Path) -> Result<Manifest, ApiError> {
    Manifest::parse(text.as_bytes()).map_err(|error| {
        ApiError::new(&code::BAD_MANIFEST, error).fact("file", path.display()).help("correct the file")
    })
}

/// Reads a text file that has at most this many bytes.
///
/// # Errors
/// The system's, or `InvalidData` for what is longer or no text.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(limit + 1).read_to_string(&mut text)?;
    match text.len() as u64 > limit {
        true => Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has more than {limit} bytes"))),
        false => Ok(text),
    }
}

fn no_project(dir: &Path) -> ApiError {
    ApiError::new(&code::NO_PROJECT, "there is no plugin.toml here")
        .fact("directory", dir.display())
        .help("meshctl plugin new NAME     makes a project")
        .help("meshctl plugin build DIR    builds the one in another directory")
}
