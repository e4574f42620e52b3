//! `meshctl plugin build`: sources, a core module or a component in, a plugin with its manifest out.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use mesh_node::api::{ApiError, ImportRow, code};
use mesh_plugin_host::package::{self, EncodeError};
use serde::Serialize;

use super::source::{Network, Source, read_manifest, read_text};
use super::{Context, read_plugin, sign};
use crate::output::human::{self, WARN, styled};
use crate::output::{Pair, Show, View, undo};

mod inputs;
mod min_host;
mod process;
mod toolchain;

use inputs::Inputs;
pub use process::{Narration, output};
pub use toolchain::{cargo, no_cargo};

/// Build a plugin: compile its sources, make a component, embed the manifest.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  meshctl plugin build                              the project here; writes NAME.wasm
  meshctl plugin build my-router --out /tmp/r.wasm
  meshctl plugin build core.wasm --manifest plugin.toml
                                                    a ready-made core module or component
  meshctl plugin build --dry-run                    build, and write nothing

A crate is built by cargo for wasm32-unknown-unknown, or for the target that [build] command in plugin.toml names;
other projects by that command, which leaves the file that [build] artifact names. A core module becomes a component
here; no other tool is needed.")]
pub struct Build {
    /// The project's directory, or a core module or component.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Where the component goes; NAME.wasm in the project when absent.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The manifest for a ready-made file; plugin.toml beside it when absent.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
}

/// A plugin that has been built.
#[derive(Debug)]
pub struct Built {
    /// The component with its manifest.
    pub component: Vec<u8>,
    /// How long it took.
    pub took: Duration,
}

/// What was built.
#[derive(Debug, Serialize)]
struct BuildReport {
    plugin: String,
    version: String,
    revision: String,
    kind: Option<String>,
    size_bytes: u64,
    imports: Vec<ImportRow>,
    pure: bool,
    findings: Vec<String>,
    build_s: f64,
    file: PathBuf,
    dry_run: bool,
    undo: Option<String>,
}

impl Build {
    /// Builds, writes and says what it is.
    ///
    /// # Errors
    /// Those of [`build`], or `FILE_FAILED`.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let (built, out) = match self.path.is_file() {
            true => (ready_made(&self.path, self.manifest.as_deref())?, self.beside_or_out()?),
            false => {
                let source = Source::open(&self.path, Network::of(context))?;
                let out = self.out.unwrap_or_else(|| source.component());
                (build(&source, Narration::of(context)).await?, out)
            }
        };
        let dry_run = context.globals.dry_run;
        let is_new = !out.exists();
        if !dry_run {
            sign::write_package(&out, &built.component)
                .map_err(|error| ApiError::new(&code::FILE_FAILED, error).fact("file", out.display()))?;
        }
        let undo = (is_new && !dry_run).then(|| undo::rm([out.as_path()]));
        context.out.print(None, &report(&built, out, dry_run, undo)?)
    }

    fn beside_or_out(&self) -> Result<PathBuf, ApiError> {
        if let Some(out) = &self.out {
            return Ok(out.clone());
        }
        let error =
            ApiError::new(&code::USAGE, "a ready-made file needs --out, so that it is not overwritten");
        Err(error.help(format!("meshctl plugin build {} --out plugin.wasm", self.path.display())))
    }
}

/// Builds a project.
///
/// # Errors
/// What the toolchain could not do, `NOT_ENCODED` or `BAD_MANIFEST`.
pub async fn build(source: &Source, narration: Narration) -> Result<Built, ApiError> {
    let begun = Instant::now();
    // As they are now: what changes during the build is not in it.
    let inputs = Inputs::of(source);
    let artifact = toolchain::compile(source, narration).await?;
    inputs.iter().for_each(Inputs::note);
    finish(source, &artifact, begun)
}

/// Returns what was built of these very sources, and builds a project only when there is no such thing.
///
/// # Errors
/// Those of [`build`].
pub async fn built(source: &Source, narration: Narration) -> Result<Built, ApiError> {
    let begun = Instant::now();
    match Inputs::of(source).and_then(|inputs| inputs.built()) {
        Some(artifact) => finish(source, &artifact, begun),
        None => build(source, narration).await,
    }
}

fn finish(source: &Source, artifact: &Path, begun: Instant) -> Result<Built, ApiError> {
    let bytes = read_plugin(artifact)?;
    let component =
        plugin(&bytes, &source.manifest_text).map_err(|error| error.fact("file", artifact.display()))?;
    Ok(Built { component, took: begun.elapsed() })
}

fn ready_made(path: &Path, manifest: Option<&Path>) -> Result<Built, ApiError> {
    let begun = Instant::now();
    let bytes = read_plugin(path)?;
    let beside = path.with_file_name("plugin.toml");
    let manifest = manifest.unwrap_or(&beside);
    let text = read_text(manifest, mesh_plugin_host::manifest::MAX_BYTES as u64).map_err(|error| {
        let error = ApiError::new(&code::FILE_FAILED, format!("the manifest cannot be read: {error}"));
        error
            .fact("file", manifest.display())
            .help("meshctl plugin build FILE --manifest plugin.toml --out OUT")
    })?;
    read_manifest(&text, manifest)?;
    let component = plugin(&bytes, &text).map_err(|error| error.fact("file", path.display()))?;
    Ok(Built { component, took: begun.elapsed() })
}

/// The first eight bytes of a core module and of a component: the magic number, then version and layer.
const CORE: &[u8] = b"\0asm\x01\0\0\0";
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// A component with the manifest; with the lowest host in it where the author says none, so that an older host can say
/// what is wrong before it looks at imports that it has never heard of.
fn plugin(bytes: &[u8], manifest: &str) -> Result<Vec<u8>, ApiError> {
    let plugin = with_manifest(bytes, manifest)?;
    match min_host::filled(manifest, &plugin) {
        Some(manifest) => with_manifest(&plugin, &manifest),
        None => Ok(plugin),
    }
}

fn with_manifest(bytes: &[u8], manifest: &str) -> Result<Vec<u8>, ApiError> {
    let plugin = match bytes {
        _ if bytes.starts_with(CORE) => package::encode(bytes, manifest),
        _ if bytes.starts_with(COMPONENT) => package::attach(bytes, manifest),
        _ => {
            return Err(ApiError::new(
                &code::NO_ARTIFACT,
                "it is no WebAssembly, neither module nor component",
            ));
        }
    };
    plugin.map_err(|error| match error {
        EncodeError::Manifest(error) => ApiError::new(&code::BAD_MANIFEST, error).help("correct plugin.toml"),
        EncodeError::Module { .. } => ApiError::new(&code::NOT_ENCODED, error)
            .help("end src/lib.rs with mesh_sdk::routing!(Policy), or the macro of the other kind"),
    })
}

fn report(
    built: &Built,
    file: PathBuf,
    dry_run: bool,
    undo: Option<String>,
) -> Result<BuildReport, ApiError> {
    let seen = mesh_node::inspect_report(&built.component)?;
    Ok(BuildReport {
        plugin: seen.plugin.unwrap_or_default(),
        version: seen.version.unwrap_or_default(),
        revision: seen.revision,
        kind: seen.kind,
        size_bytes: seen.size_bytes,
        imports: seen.imports,
        pure: seen.pure,
        findings: seen.findings,
        build_s: built.took.as_secs_f64(),
        file,
        dry_run,
        undo,
    })
}

impl Show for BuildReport {
    const SCHEMA: &'static str = "plugin-build";

    fn view(&self) -> View {
        let file = human::safe(&self.file.display().to_string());
        let names: Vec<String> = self.imports.iter().map(|import| human::safe(&import.import)).collect();
        let imports = Some(names.join("  ")).filter(|names| !names.is_empty());
        let mut pairs = vec![
            Pair::plugin(&self.plugin, &self.version),
            Pair::new("revision", "revision", &self.revision),
            Pair::new("kind", "kind", human::or_dash(self.kind.as_deref())),
            Pair::new("size_bytes", "size", human::bytes(self.size_bytes)),
            Pair::new("imports", "imports", human::or_dash(imports)),
            Pair::new("build_s", "built in", human::duration(self.build_s)),
            Pair::new("file", if self.dry_run { "would write" } else { "file" }, &file),
        ];
        if let Some(undo) = &self.undo {
            pairs.push(Pair::new("undo", "undo", human::safe(undo)));
        }
        let refused = |finding: &String| {
            format!("{} {}\n", styled(WARN, "a node would refuse it:"), human::safe(finding))
        };
        let next = match self.findings.is_empty() {
            true => "next: meshctl plugin test, or meshctl plugin run\n".to_owned(),
            false => self.findings.iter().map(refused).collect(),
        };
        View::Parts(vec![View::Pairs(pairs), View::Text(next)])
    }

    fn names(&self) -> Vec<String> {
        vec![self.file.display().to_string()]
    }
}
