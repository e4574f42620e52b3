//! `meshctl plugin diff`: two plugins side by side, as their bytes are: what they claim, import, export, and who signed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clap::Args;
use mesh_node::api::{ApiError, BindingReport, BindingRow, Request, Setting, Settings, SignerState, code};
use mesh_plugin_host::call::functions;
use mesh_plugin_host::inspect::Needs;
use mesh_plugin_host::manifest::{Manifest, Schema};
use mesh_plugin_host::{Inspection, Package, inspect, package};
use serde::Serialize;

use super::{Context, export, local, read_plugin};
use crate::output::human::{self, DIM, styled};
use crate::output::{Column, Rows, Show, View};

/// Compare two plugins: manifest, imports, exports, functions, grants, limits, settings, size, signers.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  meshctl plugin diff acme/fastest@1.3.0 acme/fastest@1.4.0     installed ones
  meshctl plugin diff route fastest.meshpkg         what is in the slot, and a candidate
  meshctl plugin diff old.wasm new.wasm --all       also what is the same; needs no node
  meshctl plugin diff --slot route                  what a rollback would bring back, and what is there now
  meshctl plugin diff old.wasm new.wasm --json --fields equal,rows

Exit 0 whether they differ or not, as 'sim diff': 'equal' says it. What they decide differently, 'plugin replay --with'
tells.")]
pub struct Diff {
    /// A component, a package, built-in/NAME, a slot, or what is installed: a name, NAME@VERSION, digits of its digest.
    #[arg(required_unless_present = "slot", conflicts_with = "slot")]
    a: Option<String>,
    /// The other one.
    #[arg(required_unless_present = "slot", conflicts_with = "slot")]
    b: Option<String>,
    /// The revision before in this slot, and the one that is bound to it now, with their settings.
    #[arg(long)]
    slot: Option<String>,
    /// Show what is the same, too.
    #[arg(long)]
    all: bool,
}

/// Two plugins, row by row.
#[derive(Debug, Serialize)]
struct Compared {
    a: Side,
    b: Side,
    equal: bool,
    rows: Vec<Row>,
    #[serde(skip)]
    all: bool,
}

/// Which plugin it is.
#[derive(Debug, Serialize)]
struct Side {
    plugin: String,
    version: String,
    revision: String,
}

/// One thing that can differ; what one of them lacks is absent there.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    field: String,
    a: Option<String>,
    b: Option<String>,
    equal: bool,
}

/// Everything of one plugin by its field; the number puts the fields in order.
type Facts = BTreeMap<(u8, String), String>;

impl Diff {
    /// Compares and prints.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let (a, b) = match &self.slot {
            Some(slot) => in_slot(context, slot).await?,
            None => {
                let [a, b] = [&self.a, &self.b].map(|text| text.as_deref().unwrap_or_default());
                (seen(context, a).await?, seen(context, b).await?)
            }
        };
        context.out.print(None, &compare(a, b, self.all))
    }
}

async fn in_slot(context: &Context, slot: &str) -> Result<((Side, Facts), (Side, Facts)), ApiError> {
    let mut node = context.connect().await?;
    let state: BindingReport = node.call(&Request::PluginBindings).await?;
    let row = state.slots.into_iter().find(|row| row.slot == slot);
    let row: BindingRow = row.ok_or_else(|| {
        let error = ApiError::new(&code::NO_SUCH_SLOT, format!("there is no slot '{}'", human::safe(slot)));
        error.help("meshctl plugin diff --slot route")
    })?;
    let previous = row.previous.ok_or_else(|| {
        let message = format!("the slot {slot} had no plugin before that a rollback would bring back");
        ApiError::new(&code::NO_PREVIOUS, message).help(format!("meshctl plugin show {slot}"))
    })?;
    let now = export::fetch(&mut node, slot).await?;
    let before = export::fetch(&mut node, &previous.revision).await?;
    let (mut a, mut b) = (facts(&before.bytes)?, facts(&now.bytes)?);
    add_settings(&mut a.1, &row.previous_settings);
    add_settings(&mut b.1, &row.settings);
    Ok((a, b))
}

/// Finds a plugin: a file or one that came with the program, and else what a node has.
async fn seen(context: &Context, text: &str) -> Result<(Side, Facts), ApiError> {
    if Path::new(text).is_file() {
        return facts(&read_plugin(Path::new(text))?).map_err(|error| error.fact("file", text));
    }
    match local::component(text) {
        Ok(component) => facts(&component),
        Err(missing) if Path::new(text).extension().is_some_and(|e| e == "wasm" || e == "meshpkg") => {
            Err(missing)
        }
        Err(_) => facts(&export::fetch(&mut context.connect().await?, text).await?.bytes),
    }
}

fn facts(bytes: &[u8]) -> Result<(Side, Facts), ApiError> {
    let report = mesh_node::inspect_report(bytes)?;
    let component = match package::is_package(bytes) {
        true => Package::decode(bytes).map_err(|error| ApiError::new(&code::BAD_PACKAGE, error))?.component,
        false => bytes,
    };
    let inspection = inspect(component).map_err(|error| local::refused(&error))?;
    let revision = inspection.revision();
    let side = Side { plugin: revision.name, version: revision.version, revision: report.revision };
    let mut facts = Facts::new();
    let mut add = |order: u8, field: &str, value: String| facts.insert((order, field.to_owned()), value);
    add(0, "plugin", side.plugin.clone());
    add(1, "version", side.version.clone());
    add(2, "revision", side.revision.clone());
    add(3, "size", format!("{} B", human::count(inspection.size_bytes as u64)));
    add(4, "world", inspection.kind.map_or("none", |kind| kind.world()).to_owned());
    for signer in &report.signers {
        let until = signer.expires_at.map_or_else(|| "for ever".to_owned(), |at| format!("until {at}"));
        let holds = signer.state != SignerState::Invalid;
        let value = if holds { format!("signed {until}") } else { "does not verify".to_owned() };
        add(12, &format!("signer {}", signer.key), value);
    }
    if let Some(manifest) = &inspection.manifest {
        add_manifest(&mut facts, manifest);
    }
    add_interfaces(&mut facts, &inspection, component);
    Ok((side, facts))
}

fn add_manifest(facts: &mut Facts, manifest: &Manifest) {
    let mut add = |order: u8, field: String, value: Option<String>| {
        value.map(|value| facts.insert((order, field), value));
    };
    let about = &manifest.plugin;
    let filled = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    add(5, "description".into(), filled(&about.description));
    add(5, "license".into(), filled(&about.license));
    add(5, "min_host".into(), about.min_host.clone());
    add(5, "pure".into(), Some(about.pure.to_string()));
    add(5, "slots".into(), filled(&about.slots.join(", ")));
    add(6, "state schema".into(), Some(manifest.state.schema.to_string()));
    let from: Vec<String> = manifest.state.migrates_from.iter().map(u32::to_string).collect();
    add(6, "state migrates from".into(), filled(&from.join(", ")));
    add(7, "limit deadline".into(), manifest.limits.deadline.clone());
    add(7, "limit fuel".into(), manifest.limits.fuel.map(human::count));
    add(7, "limit memory".into(), manifest.limits.memory.clone());
    for wish in &manifest.grants {
        add(8, format!("grant {}", wish.name), Some(wish.why.clone()));
    }
    for (name, schema) in &manifest.config.schema {
        add(11, format!("setting {name}"), Some(in_words(schema)));
    }
}

fn in_words(schema: &Schema) -> String {
    let parts = [
        Some(format!("{:?}", schema.r#type).to_lowercase()),
        schema.default.as_ref().map(|default| format!("default {default}")),
        schema.minimum.map(|minimum| format!("from {minimum}")),
        schema.maximum.map(|maximum| format!("to {maximum}")),
        schema.r#enum.as_ref().map(|texts| texts.join("|")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn add_interfaces(facts: &mut Facts, inspection: &Inspection, component: &[u8]) {
    for import in &inspection.imports {
        let needs = match import.needs {
            Needs::Nothing => "types only".to_owned(),
            Needs::Grant(grant) => format!("grant {grant}"),
            Needs::VirtualWasi => "virtual WASI".to_owned(),
            Needs::Impossible => "no host gives it".to_owned(),
        };
        facts.insert((9, format!("import {}", import.name)), needs);
    }
    for export in &inspection.exports {
        facts.insert((10, format!("export {export}")), "yes".to_owned());
    }
    // What no host would load has no functions to compare, and is told by its imports and its world.
    let loaded = local::engine().and_then(|engine| local::loaded(&engine, component));
    for function in loaded.iter().flat_map(functions) {
        facts.insert((10, format!("export {}#{}", function.interface, function.name)), function.to_string());
    }
}

fn add_settings(facts: &mut Facts, settings: &Settings) {
    for (name, value) in settings {
        let value = match value {
            Setting::Flag(flag) => flag.to_string(),
            Setting::Integer(integer) => integer.to_string(),
            Setting::Number(number) => number.to_string(),
            Setting::Text(text) => text.clone(),
        };
        facts.insert((13, format!("set {name}")), value);
    }
}

fn compare((a, one): (Side, Facts), (b, other): (Side, Facts), all: bool) -> Compared {
    let fields: BTreeSet<&(u8, String)> = one.keys().chain(other.keys()).collect();
    let row = |key: &(u8, String)| {
        let (a, b) = (one.get(key).cloned(), other.get(key).cloned());
        Row { field: key.1.clone(), equal: a == b, a, b }
    };
    let rows: Vec<Row> = fields.into_iter().map(row).collect();
    Compared { equal: rows.iter().all(|row| row.equal), a, b, rows, all }
}

impl Side {
    fn title(&self) -> String {
        let revision = styled(DIM, format!("({})", human::revision(&self.revision)));
        format!("{} {} {revision}", human::safe(&self.plugin), human::safe(&self.version))
    }
}

impl Row {
    fn cells(&self) -> [String; 3] {
        let cell = |value: &Option<String>| match value.as_deref() {
            Some(revision) if self.field == "revision" => human::revision(revision),
            value => human::or_dash(value.map(human::safe)),
        };
        [human::safe(&self.field), cell(&self.a), cell(&self.b)]
    }
}

/// What is longer than this stands below the table.
const LONG: usize = 56;

impl Show for Compared {
    const SCHEMA: &'static str = "plugin-diff";

    fn view(&self) -> View {
        let columns =
            [Column::text("field", "FIELD", 0), Column::text("a", "A", 0), Column::text("b", "B", 0)];
        let none = if self.equal { "nothing differs" } else { "what differs is long:" };
        let mut rows = Rows::new(&columns, none);
        let mut long = String::new();
        for row in self.rows.iter().filter(|row| self.all || !row.equal) {
            let [field, a, b] = row.cells();
            match a.chars().count().max(b.chars().count()) > LONG {
                true if row.equal => long.push_str(&format!("{field}\n  =  {a}\n")),
                true => long.push_str(&format!("{field}\n  A  {a}\n  B  {b}\n")),
                false if row.equal => rows.push([field, a, styled(DIM, "=")]),
                false => rows.push([field, a, b]),
            }
        }
        let same = self.rows.iter().filter(|row| row.equal).count();
        let head = format!("A  {}\nB  {}\n", self.a.title(), self.b.title());
        let verdict = match self.equal {
            true => "They are the same plugin with the same signatures.\n".to_owned(),
            false => format!("{} of {} fields differ.\n", self.rows.len() - same, self.rows.len()),
        };
        View::Parts(vec![View::Rows(rows), View::Text(long), View::Text(head + &verdict)])
    }

    fn names(&self) -> Vec<String> {
        self.rows.iter().filter(|row| !row.equal).map(|row| row.field.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use mesh_plugin_host::builtin;

    use super::*;

    #[test]
    fn what_one_of_them_lacks_is_a_difference_and_what_both_have_is_none() {
        let (latency, fair) =
            (facts(builtin::LATENCY).expect("it reads"), facts(builtin::CLASS_FAIR).expect("it reads"));

        let other = compare(latency, fair, false);
        let same = compare(
            facts(builtin::LATENCY).expect("it reads"),
            facts(builtin::LATENCY).expect("it reads"),
            false,
        );

        let find = |field: &str| other.rows.iter().find(|row| row.field == field).expect("it is compared");
        assert_eq!(find("world").a.as_deref(), Some("mesh:routing@0.1.0"));
        assert_eq!(find("export mesh:routing/policy@0.1.0").b, None);
        assert!(find("import mesh:types/common@0.1.0").equal);
        let decide = find("export mesh:routing/policy@0.1.0#decide").a.clone();
        assert!(decide.is_some_and(|text| text.starts_with("decide(now-ms: u64")));
        assert!(same.equal && same.names().is_empty() && !other.equal);
    }
}
