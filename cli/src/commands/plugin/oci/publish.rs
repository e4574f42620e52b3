//! `meshctl plugin publish`: a component or package goes to a registry. Talks to no node.

use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use mesh_node::api::{ApiError, code};
use mesh_node::oci::{self, Artifact, Pushed, Reference, TagState};
use serde::Serialize;

use super::super::read_plugin;
use super::{Bar, Context, options, parse, progress};
use crate::output::human::{self, DIM, WARN, styled};
use crate::output::undo::quoted;
use crate::output::{Pair, Show, View};

/// Push a component or package to a registry.
#[derive(Debug, Args)]
pub struct Publish {
    /// The component, or the package with its signatures.
    file: PathBuf,
    /// oci://HOST/REPOSITORY:TAG; the plugin's version is the tag when none is named.
    reference: String,
    /// Move a tag that names something else already.
    #[arg(long)]
    replace: bool,
    /// Speak HTTP without TLS to the registry; one on this machine is spoken to like that anyway.
    #[arg(long)]
    plain_http: bool,
}

/// What was published.
#[derive(Debug, Serialize)]
struct PublishReport {
    plugin: String,
    version: String,
    reference: String,
    digest: String,
    blobs: Vec<Blob>,
    signatures: usize,
    /// `new`, `same` or `moved`; `None` for a rehearsal.
    tag: Option<&'static str>,
    /// What a moved tag named before.
    replaced: Option<String>,
    sent_bytes: u64,
    /// Whether the signatures lie under a tag of their own.
    fallback_tag: bool,
    dry_run: bool,
}

/// One thing that a registry keeps.
#[derive(Debug, Serialize)]
struct Blob {
    media_type: String,
    digest: String,
    size_bytes: u64,
}

impl Publish {
    /// Pushes what was read, and says what it is pinned by.
    ///
    /// # Errors
    /// What a node would refuse, and what the registry refuses.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        if context.globals.offline && !context.globals.dry_run {
            let message = "--offline forbids to ask the registry, and publishing is nothing else";
            return Err(ApiError::new(&code::USAGE, message).help("leave it out, or add --dry-run"));
        }
        let reference = parse(&self.reference)?;
        if reference.digest().is_some() {
            let error =
                ApiError::new(&code::BAD_REFERENCE, "a plugin is published under a tag, not under a digest");
            let file = quoted(&self.file);
            return Err(error.help(format!("meshctl plugin publish {file} oci://HOST/REPOSITORY:TAG")));
        }
        let file = Bytes::from(read_plugin(&self.file)?);
        let artifact = self.artifact(&file).map_err(|error| error.fact("file", self.file.display()))?;
        let reference = reference.or_tag(&artifact.version);
        if reference.tag().is_none() {
            let message = format!("the version {} cannot be a tag", human::safe(&artifact.version));
            return Err(
                ApiError::new(&code::BAD_REFERENCE, message).help("name a tag: oci://HOST/REPOSITORY:TAG")
            );
        }
        let pushed = match context.globals.dry_run {
            true => None,
            false => Some(self.push(context, &artifact, &reference).await?),
        };
        let warnings = warnings(&artifact, &reference, self.plain_http);
        context.out.print_with(None, &report_of(&artifact, &reference, pushed), &warnings)
    }

    /// What a node would refuse is not published.
    fn artifact(&self, file: &Bytes) -> Result<Artifact, ApiError> {
        let report = mesh_node::inspect_report(file)?;
        if let Some(finding) = report.findings.first() {
            let error = ApiError::new(&code::CANNOT_SIGN, format!("a node would refuse it: {finding}"));
            return Err(error.help(format!("meshctl plugin inspect {}", self.file.display())));
        }
        Artifact::of(file)
    }

    async fn push(
        &self,
        context: &Context,
        artifact: &Artifact,
        reference: &Reference,
    ) -> Result<Pushed, ApiError> {
        let mut bar = Bar::new(&context.out, reference.to_string());
        let mut tell = |progress| progress::tell(&mut bar, progress);
        let pushed = oci::push(artifact, reference, &options(self.plain_http), self.replace, &mut tell).await;
        pushed.map_err(|error| ApiError::from(error).fact("reference", reference))
    }
}

fn warnings(artifact: &Artifact, reference: &Reference, plain_http: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if artifact.signatures.is_empty() {
        warnings.push(
            "nobody signed it; nodes that require signatures refuse it: meshctl plugin sign".to_owned(),
        );
    }
    if reference.tag().is_some_and(|tag| tag.trim_start_matches('v') != artifact.version) {
        warnings.push(format!("the tag is not the plugin's version, {}", human::safe(&artifact.version)));
    }
    if plain_http && !reference.is_loopback() {
        warnings.push("without TLS, credentials and plugin cross the network in the clear".to_owned());
    }
    warnings
}

fn report_of(artifact: &Artifact, reference: &Reference, pushed: Option<Pushed>) -> PublishReport {
    let blob = |descriptor: &oci::Descriptor| Blob {
        media_type: descriptor.media_type.clone(),
        digest: descriptor.digest.to_string(),
        size_bytes: descriptor.size,
    };
    let (tag, replaced) = match pushed.as_ref().map(|pushed| pushed.tag) {
        None => (None, None),
        Some(TagState::New) => (Some("new"), None),
        Some(TagState::Same) => (Some("same"), None),
        Some(TagState::Moved { from }) => (Some("moved"), Some(from.to_string())),
    };
    PublishReport {
        plugin: artifact.name.clone(),
        version: artifact.version.clone(),
        reference: reference.to_string(),
        digest: artifact.digest().to_string(),
        blobs: artifact.blobs().iter().map(blob).collect(),
        signatures: artifact.signatures.len(),
        tag,
        replaced,
        sent_bytes: pushed.as_ref().map_or(0, |pushed| pushed.sent),
        fallback_tag: pushed.as_ref().is_some_and(|pushed| pushed.is_fallback_tag),
        dry_run: pushed.is_none(),
    }
}

impl Show for PublishReport {
    const SCHEMA: &'static str = "plugin-publish";

    fn view(&self) -> View {
        let mut pairs = vec![
            Pair::plugin(&self.plugin, &self.version),
            Pair::new("reference", if self.dry_run { "would push" } else { "pushed" }, &self.reference),
            Pair::new("digest", "digest", &self.digest),
            Pair::new("signatures", "signatures", signatures(self.signatures)),
        ];
        for blob in &self.blobs {
            let digest = styled(DIM, human::revision(&blob.digest));
            let text = format!("{}  {}  {digest}", blob.media_type, human::bytes(blob.size_bytes));
            pairs.push(Pair::new("blobs", "with", text));
        }
        pairs.extend(self.tag.map(|tag| Pair::new("tag", "tag", self.tag_text(tag))));
        pairs.extend(self.undo());
        let next = match self.dry_run {
            true => "nothing was sent".to_owned(),
            false => format!("next: meshctl plugin install {}@{}", self.reference, self.digest),
        };
        View::Parts(vec![View::Pairs(pairs), View::Text(format!("{}\n", styled(DIM, next)))])
    }

    fn names(&self) -> Vec<String> {
        vec![format!("{}@{}", self.reference, self.digest)]
    }
}

impl PublishReport {
    fn tag_text(&self, tag: &str) -> String {
        match (&self.replaced, tag) {
            (Some(from), _) => styled(WARN, format!("moved; it named {from} before")),
            (None, "same") => format!("it was there already; {} sent", human::bytes(self.sent_bytes)),
            (None, _) => format!("new; {} sent", human::bytes(self.sent_bytes)),
        }
    }

    fn undo(&self) -> Option<Pair> {
        let text = "none: a registry keeps what others may have pinned; its own tools delete";
        (!self.dry_run).then(|| Pair::new("tag", "undo", styled(DIM, text)))
    }
}

fn signatures(count: usize) -> String {
    if count == 0 { styled(WARN, "none: it is unsigned") } else { count.to_string() }
}
