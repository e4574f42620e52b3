//! How a plugin comes to a node, for `plugin install`, `plugin swap FILE` and their rehearsals.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use mesh_node::api::{ApiError, InstallReport, Request};
use mesh_node::oci::Reference;
use mesh_plugin_host::limits;

use super::{Context, grants, oci, read_plugin};
use crate::connect::Connection;
use crate::output::human;
use crate::output::undo::quoted;

/// Verify, check and compile a component or package and keep it, bound to nothing.
#[derive(Debug, Args)]
pub struct Install {
    /// The component or package, or oci://HOST/REPOSITORY with :TAG or @sha256:… behind it.
    file: PathBuf,
    /// Let it use this of the host, such as log or kv, without asking. May be given several times.
    #[arg(long = "grant", value_name = "NAME", value_delimiter = ',')]
    grants: Vec<String>,
    /// Take a component above 4 MiB, such as one in Python: compiling it takes a core for up to a minute.
    #[arg(long)]
    allow_large: bool,
    #[command(flatten)]
    fetch: oci::Fetch,
}

/// From here on the compilation is long enough to wonder about.
const SLOW_BYTES: usize = 1 << 20;
/// What a core compiles in a second, measured on two slow ones: 1.1 MiB of QuickJS took 1.6 s, 17.5 MiB of CPython 15 s.
const SECOND_BYTES: f64 = 1_000_000.0;

/// What a plugin is handed to a node for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// To be installed, and pinned.
    Install,
    /// To be verified and compiled, and left out.
    Check,
    /// To be there for a moment, and pinned nowhere.
    Rehearse,
}

/// How a plugin is to be installed.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// What for.
    pub aim: Aim,
    /// What it may use of the host, beside what a person agrees to.
    pub grants: &'a [String],
    /// Take one that takes long to compile.
    pub allow_large: bool,
}

impl Install {
    /// Installs and prints.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let mut node = context.connect().await?;
        let aim = if context.globals.dry_run { Aim::Check } else { Aim::Install };
        let wish = Wish { aim, grants: &self.grants, allow_large: self.allow_large };
        let reference = self.file.to_string_lossy();
        if Reference::is_meant(&reference) {
            let (report, warnings) = self.fetch.install(&mut node, context, &reference, wish).await?;
            return context.out.print_with(node.node, &report, &warnings);
        }
        let report = file(&mut node, context, &self.file, wish).await?;
        context.out.print(node.node, &report)
    }
}

/// Has the node verify and compile a component or package, and keep it if that is the aim.
///
/// # Errors
/// `GRANTS_REFUSED`, or what the node refuses.
pub async fn hand_over(
    node: &mut Connection,
    context: &Context,
    origin: &str,
    bytes: &[u8],
    Wish { aim, grants, allow_large }: Wish<'_>,
) -> Result<InstallReport, ApiError> {
    let grants = grants::agreed(context, bytes, grants, aim != Aim::Install)?;
    if allow_large {
        node.extend(Duration::from_secs(limits::COMPILE_CPU_S_MOST));
    }
    announce(context, bytes);
    let request = |dry_run| Request::PluginInstall {
        origin: origin.to_owned(),
        grants: grants.clone(),
        dry_run,
        allow_large,
    };
    if aim != Aim::Install {
        let report: InstallReport = node.call_with(&request(true), bytes).await?;
        // What is there is rehearsed as it stands: to install it again would give it the grants for good.
        if aim == Aim::Check || report.known {
            return Ok(report);
        }
    }
    node.call_with(&request(false), bytes).await
}

/// Says what the wait is for, when there may be one.
fn announce(context: &Context, bytes: &[u8]) {
    if bytes.len() >= SLOW_BYTES {
        let size = human::bytes(bytes.len() as u64);
        let time = human::duration((bytes.len() as f64 / SECOND_BYTES).ceil());
        context.out.note(format_args!(
            "{size} to compile: about {time} of a core here, once; then it comes from the cache"
        ));
    }
}

/// Hands over a file.
///
/// # Errors
/// As for [`hand_over`], or when it cannot be read.
pub async fn file(
    node: &mut Connection,
    context: &Context,
    file: &Path,
    wish: Wish<'_>,
) -> Result<InstallReport, ApiError> {
    let bytes = read_plugin(file)?;
    // Whole, because the undo of a removal is typed in another directory.
    let origin = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let report = hand_over(node, context, &origin.display().to_string(), &bytes, wish).await;
    report.map_err(|error| error.fact("file", file.display()).filled("FILE", &quoted(file)))
}

/// Installs a file or a reference, and returns its revision and whether it is new; everything else names what is
/// installed already.
///
/// # Errors
/// As for [`file()`] and [`oci::Fetch::install`].
pub async fn named(
    node: &mut Connection,
    context: &Context,
    plugin: String,
    (wish, fetch): (Wish<'_>, &oci::Fetch),
) -> Result<(String, bool), ApiError> {
    if Reference::is_meant(&plugin) {
        let (installed, warnings) = fetch.install(node, context, &plugin, wish).await?;
        warnings.iter().for_each(|warning| context.out.note(format_args!("warning: {warning}")));
        let report = installed.into_report();
        return Ok((report.revision, !report.known));
    }
    let path = Path::new(&plugin);
    let looks_like_a_file =
        path.extension().is_some_and(|extension| extension == "wasm" || extension == "meshpkg")
            || plugin.starts_with('.');
    if !looks_like_a_file {
        return Ok((plugin, false));
    }
    let report = file(node, context, path, wish).await?;
    if wish.aim == Aim::Install {
        let (size, compile) = (human::bytes(report.size_bytes), human::duration(report.compile_s));
        context.out.note(format_args!(
            "installed {} {}: {size}, compiled in {compile}",
            human::safe(&report.plugin),
            human::safe(&report.version)
        ));
    }
    Ok((report.revision, !report.known))
}
