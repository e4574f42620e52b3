//! `meshctl plugin publish`, and `plugin install oci://…`: registries.
//!
//! Says where Docker keeps its credentials, asks, and prints; the exchange itself is the node library's.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use mesh_node::api::{ApiError, InstallReport, Request, Status, TrustRow, code};
use mesh_node::oci::{self, Docker, Lock, Options, Pin, Pulled, Reference, Shelf};
use mesh_plugin_host::sign::PublicKey;
use serde::Serialize;

use super::Context;
use super::install::{Aim, Wish, hand_over};
use crate::connect::Connection;
use crate::output::bar::Bar;
use crate::output::human::{self, DIM, styled};
use crate::output::{Pair, Show, View};

mod progress;
mod publish;
mod search;

pub use publish::Publish;
pub use search::Search;

/// How a plugin is fetched from a registry.
#[derive(Debug, Default, Args)]
pub struct Fetch {
    /// Take what the registry has now, also when the tag stood for something else before.
    #[arg(long)]
    update: bool,
    /// Speak HTTP without TLS to the registry; one on this machine is spoken to like that anyway.
    #[arg(long)]
    plain_http: bool,
}

/// What was installed, and where it came from.
#[derive(Debug, Serialize)]
pub struct Installed {
    /// What the node did.
    #[serde(flatten)]
    report: InstallReport,
    /// The reference, with the digest that it stands for.
    reference: String,
    /// The digest of the manifest.
    digest: String,
    /// Whether it came from the disk.
    offline: bool,
    /// The lock file that pins it; `None` for a rehearsal, and for a node that keeps nothing.
    lock: Option<PathBuf>,
}

impl Fetch {
    /// Fetches a plugin, has it verified by the node like a file, and pins what the reference stands for.
    ///
    /// # Errors
    /// What the registry or the node refuses; nothing is pinned then.
    pub async fn install(
        &self,
        node: &mut Connection,
        context: &Context,
        text: &str,
        wish: Wish<'_>,
    ) -> Result<(Installed, Vec<String>), ApiError> {
        let offline = context.globals.offline;
        if offline && self.update {
            let message = "--update asks the registry, and --offline forbids to";
            return Err(ApiError::new(&code::USAGE, message).help("leave out one of the two"));
        }
        let named = parse(text)?;
        let status: Status = node.call(&Request::Status).await?;
        let shelf = status.data_dir.as_deref().map(Shelf::of);
        let lock = shelf.as_ref().map(Shelf::lock).transpose()?.unwrap_or_default();
        let reference = self.tagged(context, &lock, named).await?;
        let pulled = match offline {
            true => kept(shelf.as_ref(), &lock, &reference)?,
            false => self.pull(context, &lock, &reference, &known(node).await?).await?,
        };
        let exact = reference.clone().at(pulled.digest).to_string();
        let report = hand_over(node, context, &exact, &pulled.file, wish).await;
        let report = report.map_err(|error| refused(error, &exact, &pulled.warnings))?;
        let mut warnings = pulled.warnings.clone();
        let lock = match &shelf {
            Some(shelf) if wish.aim == Aim::Install => {
                Some(shelf.keep(pin(&reference, &pulled, &report), &pulled)?)
            }
            _ => None,
        };
        if shelf.is_none() {
            warnings.push("the node keeps nothing, so the digest is not pinned".to_owned());
        }
        let digest = pulled.digest.to_string();
        Ok((Installed { report, reference: exact, digest, offline, lock }, warnings))
    }

    /// Returns what a reference without a tag means: the newest version that there is, else `latest`.
    async fn tagged(&self, context: &Context, lock: &Lock, named: Reference) -> Result<Reference, ApiError> {
        if named.tag().is_some() || named.digest().is_some() {
            return Ok(named);
        }
        let newest = match context.globals.offline {
            true => lock.newest(&named),
            false => {
                let asked = oci::newest_version(&named, &options(self.plain_http)).await;
                let tag = asked.map_err(|error| ApiError::from(error).fact("reference", &named))?;
                tag.map(|tag| named.clone().or_tag(&tag))
            }
        };
        let reference = newest.unwrap_or_else(|| named.or_tag("latest"));
        context.out.note(format_args!("no tag was given, so it is {reference}"));
        Ok(reference)
    }

    async fn pull(
        &self,
        context: &Context,
        lock: &Lock,
        reference: &Reference,
        known: &BTreeSet<PublicKey>,
    ) -> Result<Pulled, ApiError> {
        let options = options(self.plain_http);
        let mut bar = Bar::new(&context.out, reference.to_string());
        let mut tell = |progress| progress::tell(&mut bar, progress);
        let failed = |error: oci::RegistryError| ApiError::from(error).fact("reference", reference);
        let remote = oci::resolve(reference, &options, &mut tell).await.map_err(failed)?;
        match lock.pin(reference) {
            Some(pin) if pin.digest != remote.digest() && !self.update => {
                Err(moved(reference, pin, remote.digest()))
            }
            _ => remote.fetch(known, &mut tell).await.map_err(failed),
        }
    }
}

impl Installed {
    /// Returns what the node did.
    pub fn into_report(self) -> InstallReport {
        self.report
    }
}

/// What the node refuses may be for want of a signature that was not found, so what was left out is told with it.
fn refused(error: ApiError, exact: &str, warnings: &[String]) -> ApiError {
    let error = error.fact("reference", exact).filled("FILE", exact);
    warnings.iter().fold(error, |error, warning| error.fact("warning", warning))
}

/// Returns the keys that the node has something to say about.
async fn known(node: &mut Connection) -> Result<BTreeSet<PublicKey>, ApiError> {
    let rows: Vec<TrustRow> = node.call(&Request::PluginTrustList).await?;
    Ok(rows.iter().filter_map(|row| row.key.parse().ok()).collect())
}

fn parse(text: &str) -> Result<Reference, ApiError> {
    text.parse().map_err(|error: oci::ReferenceError| {
        ApiError::new(&code::BAD_REFERENCE, error)
            .fact("reference", human::safe(text))
            .help("oci://HOST/REPOSITORY:TAG, such as oci://ghcr.io/acme/fastest:1.4.0")
    })
}

fn options(plain_http: bool) -> Options {
    Options { docker: docker(), plain_http }
}

/// Returns where Docker keeps its credentials for this user.
fn docker() -> Docker {
    let dir = std::env::var_os("DOCKER_CONFIG").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let dir = dir.or_else(|| etcetera::home_dir().ok().map(|home| home.join(".docker")));
    dir.map_or_else(Docker::none, |dir| Docker::at(dir.join("config.json")))
}

fn moved(reference: &Reference, pin: &Pin, now: oci::Digest) -> ApiError {
    let pinned = reference.clone().at(pin.digest);
    ApiError::new(
        &code::TAG_MOVED,
        "the registry has something else under this reference than was pinned here",
    )
    .fact("reference", reference)
    .fact("pinned", format!("{}  {} {}", pin.digest, pin.plugin, pin.version))
    .fact("now", now)
    .help(format!("meshctl plugin install {reference} --update    takes the new one"))
    .help(format!("meshctl plugin install {pinned}    stays with the pinned one"))
}

/// Returns what was fetched for this reference before.
fn kept(shelf: Option<&Shelf>, lock: &Lock, reference: &Reference) -> Result<Pulled, ApiError> {
    let missing = || {
        ApiError::new(
            &code::NOT_KEPT,
            "it was not installed from this reference before, and --offline forbids to dial",
        )
        .fact("reference", reference)
        .help(format!("meshctl plugin install {reference}    with a network"))
        .help("meshctl plugin install FILE.meshpkg    from a file")
    };
    let (Some(shelf), Some(pin)) = (shelf, lock.pin(reference)) else { return Err(missing()) };
    let file = shelf.kept(pin)?.ok_or_else(missing)?;
    let signatures = 0;
    Ok(Pulled { digest: pin.digest, component: pin.component, file, signatures, warnings: Vec::new() })
}

fn pin(reference: &Reference, pulled: &Pulled, report: &InstallReport) -> Pin {
    Pin {
        reference: reference.to_string(),
        digest: pulled.digest,
        component: pulled.component,
        plugin: report.plugin.clone(),
        version: report.version.clone(),
    }
}

impl Show for Installed {
    const SCHEMA: &'static str = "plugin-install";

    fn view(&self) -> View {
        let from = if self.offline { " (kept on this disk)" } else { "" };
        let mut pairs = vec![Pair::new("reference", "from", format!("{}{from}", self.reference))];
        if let Some(lock) = &self.lock {
            let lock = human::safe(&lock.display().to_string());
            pairs.push(Pair::new("lock", "pinned in", styled(DIM, lock)));
        }
        match self.report.view() {
            View::Parts(mut parts) => {
                if let Some(View::Pairs(rest)) = parts.first_mut() {
                    rest.splice(0..0, pairs);
                }
                View::Parts(parts)
            }
            other => View::Parts(vec![View::Pairs(pairs), other]),
        }
    }

    fn names(&self) -> Vec<String> {
        self.report.names()
    }
}
