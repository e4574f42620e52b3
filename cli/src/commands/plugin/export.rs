//! `meshctl plugin export`: installed plugins as packages, and what the slots are bound to, as files.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use mesh_node::api::{ApiError, BindingReport, Fetched, InstalledRow, PluginRef, Request, code};
use mesh_plugin_host::Package;
use serde::Serialize;

use super::Context;
use super::bindings::{Bindings, FILE};
use crate::connect::Connection;
use crate::output::human::{self, DIM, styled};
use crate::output::{Column, Rows, Show, View, now};

/// Write installed plugins to files, with manifest and signatures, and what the slots are bound to.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  meshctl plugin export acme/fastest
  meshctl plugin export route --out now.meshpkg     what is in the slot
  meshctl plugin export --all --out backup          every plugin, and bindings.toml
  meshctl plugin export --bindings                  bindings.toml alone
  meshctl plugin export --all --out backup --dry-run

A package is written byte by byte as it was installed, and read back. Built-in plugins are left out by --all: every node
has those of its version. 'meshctl plugin import' installs a package, or makes a node as bindings.toml says. Trusted
keys, state and what handlers store are not exported.")]
pub struct Export {
    /// A slot, a name, NAME@VERSION, or the first six or more digits of a digest.
    #[arg(required_unless_present_any = ["all", "bindings"], conflicts_with_all = ["all", "bindings"])]
    plugin: Option<String>,
    /// All that is installed, and bindings.toml, into the directory --out.
    #[arg(long, requires = "out", conflicts_with = "bindings")]
    all: bool,
    /// Only what the slots are bound to: revision, settings, failure mode, limits, grants, pins.
    #[arg(long)]
    bindings: bool,
    /// Where to; the plugin's name, version and digest, or bindings.toml, when absent.
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// Write over files that are there.
    #[arg(long)]
    force: bool,
}

/// What was written.
#[derive(Debug, Serialize)]
struct ExportReport {
    files: Vec<Written>,
    /// The file with the bindings.
    bindings: Option<PathBuf>,
    dry_run: bool,
    undo: Option<String>,
}

/// One package.
#[derive(Debug, Serialize)]
struct Written {
    #[serde(flatten)]
    plugin: PluginRef,
    file: PathBuf,
    size_bytes: u64,
    signatures: u64,
}

/// A file that is to be written.
struct Draft {
    path: PathBuf,
    bytes: Bytes,
}

impl Export {
    /// Fetches, verifies, writes, and says what it wrote.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let mut node = context.connect().await?;
        let mut drafts = Vec::new();
        let mut report =
            ExportReport { files: Vec::new(), bindings: None, dry_run: context.globals.dry_run, undo: None };
        match &self.plugin {
            Some(plugin) => {
                let fetched = fetch(&mut node, plugin).await?;
                let path = self.out.clone().unwrap_or_else(|| file_name(&fetched).into());
                report.files.push(Written::of(&fetched, &path));
                drafts.push(Draft { path, bytes: fetched.bytes });
            }
            None => self.everything(&mut node, &mut report, &mut drafts).await?,
        }
        let was_there = drafts.iter().any(|draft| draft.path.exists());
        if !self.force
            && let Some(there) = drafts.iter().find(|draft| draft.path.exists())
        {
            return Err(exists(&there.path));
        }
        if !report.dry_run {
            let is_new = self.all && self.make_dir()?;
            drafts.iter().try_for_each(|draft| draft.write(self.force))?;
            report.undo = (!was_there).then(|| self.undo(&drafts, is_new));
        }
        context.out.print(node.node, &report)
    }

    /// Everything that did not come with the program, when that is wanted, and the bindings.
    async fn everything(
        &self,
        node: &mut Connection,
        report: &mut ExportReport,
        drafts: &mut Vec<Draft>,
    ) -> Result<(), ApiError> {
        let dir = self.out.clone().filter(|_| self.all).unwrap_or_default();
        let state: BindingReport = node.call(&Request::PluginBindings).await?;
        let foreign = |installed: &&InstalledRow| self.all && !installed.built_in;
        for installed in state.installed.iter().filter(foreign) {
            let fetched = fetch(node, &installed.plugin.revision).await?;
            let path = dir.join(file_name(&fetched));
            report.files.push(Written::of(&fetched, &path));
            drafts.push(Draft { path, bytes: fetched.bytes });
        }
        let file = |revision: &str| {
            let written = report.files.iter().find(|written| written.plugin.revision == revision)?;
            Some(written.file.file_name()?.to_string_lossy().into_owned())
        };
        let bindings = Bindings::of(&state, node.node.map(|node| node.to_string()), now(), file);
        let alone = || self.out.clone().filter(|_| !self.all);
        let path = alone().unwrap_or_else(|| dir.join(FILE));
        report.bindings = Some(path.clone());
        // Last: a directory with bindings has all packages that they name.
        drafts.push(Draft { path, bytes: bindings.to_text()?.into() });
        Ok(())
    }

    /// Says whether the directory is new.
    fn make_dir(&self) -> Result<bool, ApiError> {
        let dir = self.out.clone().unwrap_or_default();
        let is_new = !dir.exists();
        fs::create_dir_all(&dir).map_err(|error| failed(&dir, &error))?;
        Ok(is_new)
    }

    fn undo(&self, drafts: &[Draft], is_new_dir: bool) -> String {
        match &self.out {
            Some(dir) if is_new_dir => format!("rm -r {}", dir.display()),
            _ => {
                let paths: Vec<String> =
                    drafts.iter().map(|draft| draft.path.display().to_string()).collect();
                format!("rm {}", paths.join(" "))
            }
        }
    }
}

/// Asks a node for an installed plugin, and verifies that it is what the node calls it.
///
/// # Errors
/// What the node says; `BAD_PACKAGE` when what comes is something else.
pub async fn fetch(node: &mut Connection, plugin: &str) -> Result<Fetched, ApiError> {
    let fetched: Fetched = node.call(&Request::PluginExport { plugin: plugin.to_owned() }).await?;
    let revision = mesh_node::inspect_report(&fetched.bytes)?.revision;
    if revision == fetched.plugin.revision {
        return Ok(fetched);
    }
    let message = format!("the node sent another component than {}", fetched.plugin);
    Err(ApiError::new(&code::BAD_PACKAGE, message)
        .fact("wanted", &fetched.plugin.revision)
        .fact("came", revision))
}

fn signatures(fetched: &Fetched) -> usize {
    Package::decode(&fetched.bytes).map_or(0, |package| package.signatures.len())
}

impl Written {
    fn of(fetched: &Fetched, path: &Path) -> Written {
        Written {
            plugin: fetched.plugin.clone(),
            file: path.to_owned(),
            size_bytes: fetched.bytes.len() as u64,
            signatures: signatures(fetched) as u64,
        }
    }
}

/// The name of the plugin, its version and the first digits of its digest: no two revisions share it.
fn file_name(fetched: &Fetched) -> String {
    let PluginRef { plugin, version, revision } = &fetched.plugin;
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._+-".contains(c) { c } else { '-' };
    let name: String = format!("{plugin}-{version}").chars().map(plain).collect();
    let name = name.trim_start_matches('.');
    let extension = if fetched.is_package { "meshpkg" } else { "wasm" };
    format!("{name}-{}.{extension}", human::revision(revision))
}

impl Draft {
    /// Writes beside its place and moves it there, then reads it back.
    fn write(&self, force: bool) -> Result<(), ApiError> {
        let path = &self.path;
        put(path, &self.bytes, force).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(path),
            _ => failed(path, &error),
        })?;
        match fs::read(path).map_err(|error| failed(path, &error))? == self.bytes {
            true => Ok(()),
            false => Err(ApiError::new(&code::FILE_FAILED, "what was written is not what is there")
                .fact("file", path.display())),
        }
    }
}

fn put(path: &Path, bytes: &[u8], force: bool) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut draft = tempfile::Builder::new().prefix(".export-").tempfile_in(dir)?;
    draft.write_all(bytes)?;
    fs::set_permissions(draft.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    draft.as_file().sync_all()?;
    match force {
        true => draft.persist(path).map_err(|error| error.error)?,
        false => draft.persist_noclobber(path).map_err(|error| error.error)?,
    };
    Ok(())
}

fn exists(path: &Path) -> ApiError {
    ApiError::new(&code::FILE_FAILED, "a file stands there already")
        .fact("file", path.display())
        .help("give another --out")
        .help("add --force to write over it")
}

fn failed(path: &Path, error: &io::Error) -> ApiError {
    ApiError::new(&code::FILE_FAILED, error).fact("file", path.display()).help("give another --out")
}

const COLUMNS: &[Column] = &[
    Column::text("plugin", "PLUGIN", 0),
    Column::text("version", "VERSION", 1),
    Column::number("size_bytes", "SIZE", 1),
    Column::number("signatures", "SIGNATURES", 2),
    Column::text("file", "FILE", 0),
    Column::text("revision", "REVISION", 3),
];

impl Show for ExportReport {
    const SCHEMA: &'static str = "plugin-export";

    fn view(&self) -> View {
        let mut rows = Rows::new(COLUMNS, "no plugin is installed beside the built-in ones");
        for written in &self.files {
            rows.push([
                human::safe(&written.plugin.plugin),
                human::safe(&written.plugin.version),
                human::bytes(written.size_bytes),
                written.signatures.to_string(),
                written.file.display().to_string(),
                written.plugin.revision.clone(),
            ]);
        }
        let verb = if self.dry_run { "would be" } else { "are" };
        let bindings = self.bindings.as_ref();
        let mut text =
            bindings.map(|path| format!("the bindings {verb} in {}\n", path.display())).unwrap_or_default();
        if let Some(undo) = &self.undo {
            text.push_str(&format!("{}\n", styled(DIM, format!("undo: {undo}"))));
        }
        match self.files.is_empty() && self.bindings.is_some() {
            true => View::Text(text),
            false => View::Parts(vec![View::Rows(rows), View::Text(text)]),
        }
    }

    fn names(&self) -> Vec<String> {
        let files = self.files.iter().map(|written| &written.file).chain(&self.bindings);
        files.map(|file| file.display().to_string()).collect()
    }
}
