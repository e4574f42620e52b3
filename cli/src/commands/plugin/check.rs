//! `meshctl plugin check`: what a node would say of a plugin, and what people should know before they bind it.
//! Needs no node. Runs of the plugin only what says which state it saves, in the host and within its limits.

use std::path::PathBuf;

use clap::Args;
use mesh_node::api::{ApiError, ImportRow, code};
use mesh_plugin_host::call::{Call, call};
use mesh_plugin_host::interfaces::{imported_functions, lowest_host};
use mesh_plugin_host::manifest::{Manifest, is_newer};
use mesh_plugin_host::{Grants, Inspection, Settings, inspect, limits};
use serde::Serialize;

use super::build::{Narration, built};
use super::source::{Network, Source};
use super::{Context, local};
use crate::output::human::{self, BAD, GOOD, WARN, styled};
use crate::output::{Pair, Show, View};

mod claims;

/// Check a plugin: imports, world, size, lowest host, licence, grants, limits.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  meshctl plugin check                              builds the project here first
  meshctl plugin check my-router.wasm
  meshctl plugin check my-router.wasm --against 0.1.0
  meshctl plugin check --strict --json --fields errors,warnings

Errors are what a node refuses, and end with exit 11; warnings are what people should know. The lowest host is
computed from the functions that the component imports, not from what its manifest says.")]
pub struct Check {
    /// A component, a package, or the directory of a project.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// The version of the host that it must run on; that of this program when absent.
    #[arg(long, value_name = "VERSION", value_parser = version)]
    against: Option<String>,
    /// Warnings end with exit 11 as well.
    #[arg(long)]
    strict: bool,
}

/// Size above which a plugin is slow to send and to compile; policies in Rust have 20 to 60 KB.
const LARGE: usize = 1 << 20;

/// One thing to know, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl Finding {
    /// A finding with its remedy.
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { what: what.into(), remedy: remedy.into() }
    }
}

/// What was checked.
#[derive(Debug, Serialize)]
struct CheckReport {
    plugin: String,
    version: String,
    revision: String,
    kind: Option<String>,
    size_bytes: u64,
    pure: bool,
    imports: Vec<ImportRow>,
    functions: Vec<String>,
    exports: Vec<String>,
    license: Option<String>,
    grants_asked: Vec<String>,
    grants_needed: Vec<String>,
    lowest_host: Option<String>,
    against: String,
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
}

impl Check {
    /// Checks and says what was found.
    ///
    /// # Errors
    /// `CHECK_FAILED` with the findings; what keeps the project from being built or the file from being read.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let component = match self.path.is_dir() {
            true => {
                let source = Source::open(&self.path, Network::of(context))?;
                built(&source, Narration::of(context)).await?.component
            }
            false => local::component(&self.path.display().to_string())?,
        };
        let against = self.against.as_deref().unwrap_or(env!("CARGO_PKG_VERSION"));
        let mut report = check(&component, against)?;
        if report.errors.is_empty() {
            on_state(&component, &mut report);
        }
        let failed = !report.errors.is_empty() || (self.strict && !report.warnings.is_empty());
        context.out.print(None, &report)?;
        match failed {
            false => Ok(()),
            true => Err(report.failed()),
        }
    }
}

/// Reads a version as a manifest has it.
fn version(text: &str) -> Result<String, String> {
    let is_number = |part: &str| part.len() <= 9 && part.parse::<u32>().is_ok();
    match text.split('.').count() == 3 && text.split('.').all(is_number) {
        true => Ok(text.to_owned()),
        false => Err("a version is three numbers with dots, such as 0.1.0".to_owned()),
    }
}

/// Holds the version of the state that the code saves against the one that the manifest names.
fn on_state(component: &[u8], report: &mut CheckReport) {
    // What keeps it from saying so, a node says when it is bound; here it may lack a setting.
    let Some((saves, manifest)) = state_versions(component) else { return };
    if saves == manifest {
        return;
    }
    let what = format!("its code saves state of version {saves}, and its manifest says {manifest}");
    let remedy = format!("schema = {saves} under [state], or the other STATE_VERSION in the code");
    let finding = Finding::new(what, remedy);
    // No [state] at all is no claim.
    if manifest == 0 { report.warnings.push(finding) } else { report.errors.push(finding) }
}

fn state_versions(component: &[u8]) -> Option<(u32, u32)> {
    let loaded = local::loaded(&local::engine().ok()?, component).ok()?;
    let manifest = loaded.manifest()?.state.schema;
    let asked = Call { function: "state-version".to_owned(), args: Vec::new() };
    let called = call(&loaded, &Settings::new(), &[asked]).ok()?;
    let saves = called.last()?.answer.as_ref()?.text().parse().ok()?;
    Some((saves, manifest))
}

fn check(component: &[u8], against: &str) -> Result<CheckReport, ApiError> {
    let seen = inspect(component).map_err(|error| local::refused(&error))?;
    let imported = imported_functions(component).unwrap_or_default();
    let lowest = lowest_host(&seen, &imported);
    let manifest = seen.manifest.as_ref();
    let mut errors: Vec<Finding> = seen
        .findings(Grants::ALL)
        .iter()
        .map(|error| Finding::new(error.to_string(), error.hint()))
        .collect();
    let mut warnings = Vec::new();
    on_size(&seen, &mut warnings);
    on_host(lowest, against, manifest, &mut errors, &mut warnings);
    match manifest {
        Some(manifest) => claims::check(manifest, &seen, &mut errors, &mut warnings),
        None if seen.manifest_error.is_none() => errors.push(Finding::new(
            "it carries no manifest, so it has no name",
            "meshctl plugin build FILE --manifest plugin.toml --out OUT",
        )),
        None => {}
    }
    let imports = mesh_node::inspect_report(component)?.imports;
    Ok(report((&seen, imports), manifest, imported, lowest, against, (errors, warnings)))
}

fn on_size(seen: &Inspection, warnings: &mut Vec<Finding>) {
    if seen.size_bytes > LARGE {
        let size = human::bytes(seen.size_bytes as u64);
        let what = format!("it has {size}: it takes seconds to compile and long to send over slow links");
        warnings.push(Finding::new(what, "in Rust: opt-level = \"s\", lto = true, strip = \"debuginfo\""));
    }
    let debug: usize =
        seen.custom_sections.iter().filter(|(name, _)| name.starts_with(".debug_")).map(|(_, len)| len).sum();
    if debug > 0 {
        let what = format!("{} of it are debug information", human::bytes(debug as u64));
        warnings.push(Finding::new(what, "strip = \"debuginfo\" in [profile.release]"));
    }
    if !seen.custom_sections.iter().any(|(name, _)| name == "name") {
        let what = "it has no names of functions: a trap cannot say where it happened";
        warnings.push(Finding::new(what, "strip = \"debuginfo\" in [profile.release], not \"symbols\""));
    }
}

fn on_host(
    lowest: Option<&str>,
    against: &str,
    manifest: Option<&Manifest>,
    errors: &mut Vec<Finding>,
    warnings: &mut Vec<Finding>,
) {
    // Without one, an import that nobody has is among the errors already.
    let Some(lowest) = lowest else { return };
    if is_newer(lowest, against) {
        let what = format!("it needs host {lowest}, and {against} is asked for");
        errors.push(Finding::new(what, "do without the newer functions, or ask for a newer host"));
    }
    let Some(manifest) = manifest else { return };
    match &manifest.plugin.min_host {
        None => {}
        Some(said) if is_newer(lowest, said) => {
            let what = format!("its manifest says min_host = \"{said}\", and it needs {lowest}");
            errors.push(Finding::new(what, format!("set min_host = \"{lowest}\"")));
        }
        // What it needs is newer as well: that was said.
        Some(said) if is_newer(said, against) && !is_newer(lowest, against) => {
            let what = format!("its manifest asks for host {said}, and {against} is asked for");
            errors.push(Finding::new(what, format!("set min_host = \"{lowest}\", which is enough")));
        }
        Some(said) if is_newer(said, lowest) => {
            let what = format!("its manifest asks for host {said}, and {lowest} is enough");
            warnings.push(Finding::new(what, format!("set min_host = \"{lowest}\"")));
        }
        Some(_) => {}
    }
}

fn report(
    (seen, imports): (&Inspection, Vec<ImportRow>),
    manifest: Option<&Manifest>,
    imported: Vec<(String, Vec<String>)>,
    lowest_host: Option<&str>,
    against: &str,
    (errors, warnings): (Vec<Finding>, Vec<Finding>),
) -> CheckReport {
    let revision = seen.revision();
    let functions = imported.iter().flat_map(|(interface, functions)| {
        functions.iter().map(move |function| format!("{interface}#{function}"))
    });
    CheckReport {
        plugin: revision.name.clone(),
        version: revision.version.clone(),
        revision: revision.digest_text(),
        kind: seen.kind.map(|kind| kind.name().to_owned()),
        size_bytes: seen.size_bytes as u64,
        pure: seen.is_pure,
        grants_needed: imports.iter().filter_map(|row| row.grant.clone()).collect(),
        imports,
        functions: functions.collect(),
        exports: seen.exports.clone(),
        license: manifest.map(|manifest| manifest.plugin.license.clone()).filter(|text| !text.is_empty()),
        grants_asked: manifest.map_or_else(Vec::new, claims::asked),
        lowest_host: lowest_host.map(str::to_owned),
        against: against.to_owned(),
        errors,
        warnings,
    }
}

impl CheckReport {
    fn failed(&self) -> ApiError {
        let (errors, warnings) = (self.errors.len(), self.warnings.len());
        let (errors, warnings) = (human::counted(errors, "error"), human::counted(warnings, "warning"));
        let message = format!("{} {}: {errors}, {warnings}", self.plugin, self.version);
        ApiError::new(&code::CHECK_FAILED, message).fact("revision", &self.revision)
    }
}

impl Show for CheckReport {
    const SCHEMA: &'static str = "plugin-check";

    fn view(&self) -> View {
        let none = |text: String| human::or_dash(Some(text).filter(|text| !text.is_empty()));
        let pure = if self.pure { styled(GOOD, "pure") } else { styled(WARN, "not pure") };
        let imports: Vec<String> = self.imports.iter().map(|row| human::safe(&row.import)).collect();
        let limit = human::bytes(limits::COMPONENT_BYTES as u64);
        let pairs = vec![
            Pair::plugin(&self.plugin, &self.version),
            Pair::new("revision", "revision", &self.revision),
            Pair::new("kind", "kind", format!("{}, {pure}", human::or_dash(self.kind.as_deref()))),
            Pair::new("size_bytes", "size", format!("{} of {limit}", human::bytes(self.size_bytes))),
            Pair::new("imports", "imports", none(imports.join("  "))),
            Pair::new("functions", "calls", none(human::safe(&self.functions.join("  ")))),
            Pair::new("exports", "exports", human::safe(&self.exports.join("  "))),
            Pair::new("license", "licence", human::or_dash(self.license.as_deref().map(human::safe))),
            Pair::new("grants_asked", "grants", none(human::safe(&self.grants_asked.join(", ")))),
            Pair::new("lowest_host", "lowest host", human::or_dash(self.lowest_host.as_deref())),
        ];
        let line = |(style, word, finding): (_, &str, &Finding)| {
            let what = human::safe(&finding.what);
            format!("{} {what}\n         {}\n", styled(style, word), human::safe(&finding.remedy))
        };
        let errors = self.errors.iter().map(|finding| (BAD, "error:  ", finding));
        let warnings = self.warnings.iter().map(|finding| (WARN, "warning:", finding));
        let mut findings: String = errors.chain(warnings).map(line).collect();
        if findings.is_empty() {
            findings = format!("{}\n", styled(GOOD, "nothing to complain of"));
        }
        View::Parts(vec![View::Pairs(pairs), View::Text(findings)])
    }

    fn names(&self) -> Vec<String> {
        vec![self.revision.clone()]
    }
}

#[cfg(test)]
mod tests {
    use mesh_plugin_host::builtin;
    use mesh_plugin_host::package::attach;

    use super::*;

    fn checked(manifest: &str) -> CheckReport {
        let component = attach(builtin::LATENCY, manifest).unwrap();
        check(&component, "0.1.0").unwrap()
    }

    const HEAD: &str = "[plugin]\nname = \"acme/fast\"\nversion = \"1.0.0\"\n";
    const GOOD_HEAD: &str = "[plugin]\nname = \"acme/fast\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n\
                             description = \"fast\"\nslots = [\"route\"]\nworld = \"mesh:routing@0.1.0\"\npure = true\n";

    #[test]
    fn a_good_plugin_has_no_finding_and_a_lowest_host() {
        let report = checked(GOOD_HEAD);

        assert_eq!((report.errors, report.warnings), (vec![], vec![]));
        assert_eq!(report.lowest_host.as_deref(), Some("0.1.0"));
    }

    #[test]
    fn an_older_host_is_too_old_by_what_is_imported() {
        let component = attach(builtin::LATENCY, GOOD_HEAD).unwrap();

        let report = check(&component, "0.0.9").unwrap();

        assert!(report.errors[0].what.contains("needs host 0.1.0"), "{:?}", report.errors);
    }

    #[test]
    fn what_the_manifest_claims_is_held_against_what_the_component_is() {
        for (manifest, want_error, want) in [
            (format!("{GOOD_HEAD}min_host = \"0.0.1\"\n"), true, "it needs 0.1.0"),
            (format!("{GOOD_HEAD}[limits]\ndeadline = \"1h\"\n"), true, "deadline"),
            (format!("{GOOD_HEAD}[limits]\nmemory = \"1GiB\"\n"), true, "memory"),
            (format!("{GOOD_HEAD}[limits]\nmemory = \"much\"\n"), true, "memory"),
            (format!("{GOOD_HEAD}[[grants]]\nname = \"kv\"\n"), false, "asks for kv"),
            (HEAD.to_owned(), false, "licence"),
        ] {
            let report = checked(&manifest);
            let findings = if want_error { report.errors } else { report.warnings };

            assert!(findings.iter().any(|finding| finding.what.contains(want)), "{want}: {findings:?}");
        }
    }

    #[test]
    fn a_grant_that_is_needed_and_not_asked_for_is_an_error() {
        let manifest = format!("{HEAD}license = \"MIT\"\n");
        let component = attach(builtin::BEACON, &manifest).unwrap();

        let report = check(&component, "0.1.0").unwrap();

        let says = |what: &str| report.errors.iter().any(|finding| finding.what.contains(what));
        assert!(says("needs log") && says("needs kv"), "{:?}", report.errors);
        assert_eq!(report.functions, ["mesh:handler/log@0.1.0#write", "mesh:handler/kv@0.1.0#get"]);
    }
}
