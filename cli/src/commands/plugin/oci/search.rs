//! `meshctl plugin search`: what there is, on this node and in a registry.

use clap::Args;
use mesh_node::api::{ApiError, InspectReport, PluginRow, Request, Status, code};
use mesh_node::oci::{self, Found, Namespace, Reference, Shelf};
use mesh_plugin_host::Kind;
use serde::Serialize;

use super::super::bindings::NATIVE;
use super::{Bar, Context, options};
use crate::connect::Connection;
use crate::output::human::{self, DIM, styled};
use crate::output::{Column, Rows, Show, View};

/// Find plugins: those that a node has, and those of a registry.
#[derive(Debug, Args)]
pub struct Search {
    /// What to look for in names, slots and descriptions, in any case; all when absent.
    words: Vec<String>,
    /// The registry to look in as well, as oci://HOST or oci://HOST/NAME.
    #[arg(long = "in", value_name = "REGISTRY")]
    registry: Option<String>,
    /// Speak HTTP without TLS to the registry; one on this machine is spoken to like that anyway.
    #[arg(long)]
    plain_http: bool,
}

/// One plugin.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Row {
    plugin: String,
    version: String,
    slot: Option<String>,
    /// `installed`, `pinned` (kept beside the node's lock) or `registry`.
    place: &'static str,
    description: String,
    /// What to name it by in another command: a revision, or a reference.
    from: String,
}

impl Search {
    /// Searches and prints.
    ///
    /// # Errors
    /// What the node or the registry refuses; no node at all only when no registry is named.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let namespace = self.registry.as_deref().map(parse).transpose()?;
        let (mut rows, mut warnings) = (Vec::new(), Vec::new());
        let node = match context.connect().await {
            Ok(mut node) => {
                rows.extend(here(&mut node, namespace.as_ref()).await?);
                node.node
            }
            Err(error) if namespace.is_some() && error.is(&code::NOT_RUNNING) => None,
            Err(error) if namespace.is_some() && error.is(&code::SEVERAL_NODES) => {
                warnings.push("no node was asked: several run here, and -N says which one".to_owned());
                None
            }
            Err(error) => return Err(error),
        };
        if let Some(namespace) = &namespace {
            match context.globals.offline {
                true => warnings.push("the registry was not asked, because of --offline".to_owned()),
                false => rows.extend(self.there(context, namespace, &mut warnings).await?),
            }
        }
        rows.retain(|row| row.has(&self.words));
        context.out.print_with(node, &rows, &warnings)
    }

    async fn there(
        &self,
        context: &Context,
        namespace: &Namespace,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Row>, ApiError> {
        let registry = self.registry.as_deref().unwrap_or_default();
        let mut bar = Bar::new(&context.out, registry.to_owned());
        let tell = |repository: &Reference| {
            bar.tell("looking", |_, _| format!("{registry}  {}", human::safe(repository.repository())));
        };
        let found = oci::search(namespace, &options(self.plain_http), tell).await;
        let found = found.map_err(|error| {
            let error = ApiError::from(error).fact("registry", registry);
            error.help("meshctl plugin search --in oci://HOST/REPOSITORY    asks for one repository")
        })?;
        if found.skipped > 0 {
            warnings.push(format!(
                "{} more repositories were not looked at; name a part of the registry, such as {registry}/NAME",
                found.skipped
            ));
        }
        Ok(found.found.into_iter().map(Row::of).collect())
    }
}

fn parse(text: &str) -> Result<Namespace, ApiError> {
    text.parse().map_err(|error: oci::ReferenceError| {
        ApiError::new(&code::BAD_REFERENCE, error)
            .fact("registry", human::safe(text))
            .help("meshctl plugin search --in oci://HOST/NAME, such as oci://ghcr.io/acme")
    })
}

/// What the node has installed, and what of the registry lies beside its lock.
async fn here(node: &mut Connection, namespace: Option<&Namespace>) -> Result<Vec<Row>, ApiError> {
    let listed: Vec<PluginRow> = node.call(&Request::PluginList).await?;
    let mut revisions: Vec<String> =
        listed.into_iter().map(|row| row.revision).filter(|revision| revision != NATIVE).collect();
    revisions.sort();
    revisions.dedup();
    let mut rows = Vec::new();
    for revision in revisions {
        let plugin = Some(revision.clone());
        rows.push(Row::installed(node.call(&Request::PluginInspect { plugin }).await?, revision));
    }
    let status: Status = node.call(&Request::Status).await?;
    let lock = status.data_dir.as_deref().map(|dir| Shelf::of(dir).lock()).transpose()?.unwrap_or_default();
    let is_meant = |text: &str| {
        namespace.is_none_or(|namespace| text.parse().is_ok_and(|reference| namespace.has(&reference)))
    };
    rows.extend(lock.pins().iter().filter(|pin| is_meant(&pin.reference)).map(|pin| Row {
        plugin: pin.plugin.clone(),
        version: pin.version.clone(),
        slot: None,
        place: "pinned",
        description: String::new(),
        from: pin.reference.clone(),
    }));
    rows.sort_by(|one, other| (&one.plugin, one.place).cmp(&(&other.plugin, other.place)));
    Ok(rows)
}

impl Row {
    fn installed(report: InspectReport, revision: String) -> Row {
        let kind =
            report.kind.as_deref().and_then(|name| Kind::ALL.into_iter().find(|kind| kind.name() == name));
        Row {
            plugin: report.plugin.unwrap_or_default(),
            version: report.version.unwrap_or_default(),
            slot: kind.map(|kind| kind.slot().to_owned()),
            place: "installed",
            description: report.manifest.map(|claims| claims.description).unwrap_or_default(),
            from: revision,
        }
    }

    fn of(found: Found) -> Row {
        let tag = found.reference.tag().unwrap_or_default().to_owned();
        Row {
            // Other tools annotate nothing.
            plugin: found.name.unwrap_or_else(|| found.reference.repository().to_owned()),
            version: found.version.unwrap_or(tag),
            slot: found.slot,
            place: "registry",
            description: found.description.unwrap_or_default(),
            from: found.reference.to_string(),
        }
    }

    fn has(&self, words: &[String]) -> bool {
        let slot = self.slot.as_deref().unwrap_or_default();
        let text = [&self.plugin, slot, &self.description, &self.from].join("\n").to_lowercase();
        words.iter().all(|word| text.contains(&word.to_lowercase()))
    }
}

const COLUMNS: &[Column] = &[
    Column::text("plugin", "PLUGIN", 0),
    Column::text("version", "VERSION", 0),
    Column::text("slot", "SLOT", 1),
    Column::text("place", "WHERE", 0),
    Column::text("description", "DESCRIPTION", 3),
    Column::text("from", "NAMED BY", 2),
];

impl Show for Vec<Row> {
    const SCHEMA: &'static str = "plugin-search";

    fn view(&self) -> View {
        let mut rows = Rows::new(COLUMNS, "nothing like that");
        for row in self {
            let from = if row.from.starts_with("oci://") {
                human::safe(&row.from)
            } else {
                human::revision(&row.from)
            };
            rows.push([
                human::safe(&row.plugin),
                human::safe(&row.version),
                human::or_dash(row.slot.as_deref().map(human::safe)),
                row.place.to_owned(),
                human::safe(&row.description),
                from,
            ]);
        }
        let first = self.iter().find(|row| row.place == "registry");
        let next = first.map_or_else(String::new, |row| {
            format!("{}\n", styled(DIM, format!("next: meshctl plugin install {}", human::safe(&row.from))))
        });
        View::Parts(vec![View::Rows(rows), View::Text(next)])
    }

    fn names(&self) -> Vec<String> {
        self.iter().map(|row| row.from.clone()).collect()
    }
}
