//! `meshctl plugin import`: a package, or what 'plugin export' wrote of a node, brought onto this one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use mesh_node::api::{
    ApiError, BindingReport, InstallReport, InstalledRow, LimitTo, OldState, OperateReport, Operation,
    PluginRef, Request, SwapReport, SwapRequest, code,
};
use serde::Serialize;

use super::bindings::{Bindings, FILE, PluginPart, SlotPart};
use super::{Context, grants, read_plugin};
use crate::connect::Connection;
use crate::output::human::{self, DIM, styled};
use crate::output::{Column, Rows, Show, View};

/// Install a package, or bring the node to the state that 'plugin export' wrote down.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  meshctl plugin import acme-fast-1.4.0-9c1f04ab.meshpkg
  meshctl plugin import backup --dry-run            what it would do
  meshctl plugin import backup
  meshctl plugin import backup -y                   grants what plugins ask for
  meshctl plugin import bindings.toml               of plugins that are installed already

Every package is read, verified and compiled under the same rules as by 'plugin install' before anything changes. What is
as it should be is left alone, so that a second import changes nothing. It stops at the first part that fails: what
follows stays as it was, and the error says how to undo what was done. What bindings.toml does not name stays, too.")]
pub struct Import {
    /// A package or component, a directory with bindings.toml, or such a file.
    #[arg(value_name = "FILE|DIR")]
    from: PathBuf,
    /// Let plugins use this of the host without asking. May be given several times.
    #[arg(long = "grant", value_name = "NAME", value_delimiter = ',')]
    grants: Vec<String>,
    /// Take components above 4 MiB, as 'plugin install' does.
    #[arg(long)]
    allow_large: bool,
    /// Plugins start afresh instead of taking over the state of what was in their slots.
    #[arg(long)]
    reset_state: bool,
    /// Take a lower version than the node had of a plugin before.
    #[arg(long)]
    allow_downgrade: bool,
}

/// What was brought onto the node.
#[derive(Debug, Default, Serialize)]
struct ImportReport {
    parts: Vec<Part>,
    /// Whether anything is different now, or would be.
    changed: bool,
    dry_run: bool,
    /// What takes it back, in this order.
    undo: Vec<String>,
}

/// One plugin or slot.
#[derive(Clone, Debug, Serialize)]
struct Part {
    /// `None` for an installed plugin.
    slot: Option<String>,
    #[serde(flatten)]
    plugin: PluginRef,
    /// What was done with it; nothing when it is as it should be.
    done: Vec<String>,
}

/// A package in memory: these bytes were looked at, and these are installed.
struct Parcel {
    path: PathBuf,
    bytes: Vec<u8>,
    plugin: PluginRef,
    /// How it shall be installed; `None` for a package alone.
    part: Option<PluginPart>,
}

/// All that shall be.
struct Wanted {
    parcels: Vec<Parcel>,
    /// Plugins that have no package.
    bare: Vec<PluginPart>,
    slots: Vec<SlotPart>,
}

impl Import {
    /// Checks everything, then does it part by part.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let mut wanted = self.read()?;
        let mut node = context.connect().await?;
        if self.allow_large {
            node.extend(Duration::from_secs(mesh_plugin_host::limits::COMPILE_CPU_S_MOST));
        }
        let before: BindingReport = node.call(&Request::PluginBindings).await?;
        for replaced in wanted.take_built_in_of(&before) {
            context.out.note(format_args!(
                "{} came with another program; the node's own takes its place",
                human::safe(&replaced)
            ));
        }
        wanted.check(&before)?;
        let report = ImportReport { dry_run: context.globals.dry_run, ..ImportReport::default() };
        let id = node.node;
        let mut import = Importing { node, context, options: &self, before, report, bound: Vec::new() };
        for parcel in &wanted.parcels {
            let asked = import.agreed(parcel, true)?;
            import.install(parcel, &asked, true).await?;
        }
        let is_dry = import.report.dry_run;
        let agreed = wanted.parcels.iter().map(|parcel| import.agreed(parcel, is_dry));
        let agreed = agreed.collect::<Result<Vec<_>, _>>()?;
        import.all(&wanted, &agreed).await?;
        context.out.print(id, &import.finish())
    }

    fn read(&self) -> Result<Wanted, ApiError> {
        let is_list = self.from.extension().is_some_and(|extension| extension == "toml");
        let list = match (self.from.is_dir(), is_list) {
            (true, _) => self.from.join(FILE),
            (false, true) => self.from.clone(),
            (false, false) => {
                let parcels = vec![Parcel::read(&self.from, None)?];
                return Ok(Wanted { parcels, bare: Vec::new(), slots: Vec::new() });
            }
        };
        let dir = list.parent().unwrap_or(Path::new("")).to_owned();
        let Bindings { plugins, slots, .. } = Bindings::read(&list)?;
        let mut wanted = Wanted { parcels: Vec::new(), bare: Vec::new(), slots };
        for part in plugins {
            match part.file.clone() {
                Some(file) => wanted.parcels.push(Parcel::read(&dir.join(file), Some(part))?),
                None => wanted.bare.push(part),
            }
        }
        Ok(wanted)
    }
}

impl Parcel {
    fn read(path: &Path, part: Option<PluginPart>) -> Result<Parcel, ApiError> {
        let bytes = read_plugin(path).map_err(|error| {
            error.help("give a package, or a directory that 'meshctl plugin export --all --out DIR' wrote")
        })?;
        let report = mesh_node::inspect_report(&bytes).map_err(|error| error.fact("file", path.display()))?;
        if let Some(part) = part.as_ref().filter(|part| part.revision != report.revision) {
            let message = format!("it is not {} {} as bindings.toml names it", part.name, part.version);
            return Err(ApiError::new(&code::BAD_PACKAGE, human::safe(&message))
                .fact("file", path.display())
                .fact("wanted", &part.revision)
                .fact("is", report.revision)
                .help("meshctl plugin export --all --out DIR    on the node that it is of"));
        }
        let plugin = PluginRef {
            plugin: report.plugin.unwrap_or_else(|| "unnamed".to_owned()),
            version: report.version.unwrap_or_default(),
            revision: report.revision,
        };
        Ok(Parcel { path: path.to_owned(), bytes, plugin, part })
    }
}

impl Wanted {
    /// Lets built-in plugins mean those that the node came with: each build of the program has other digests of them.
    /// Returns which ones were other ones.
    fn take_built_in_of(&mut self, before: &BindingReport) -> Vec<String> {
        let mut replaced = Vec::new();
        let is_there = |revision: &str| before.installed.iter().any(|row| row.plugin.revision == revision);
        for part in self.slots.iter_mut().filter(|part| !part.is_native() && !is_there(&part.revision)) {
            let is_it = |row: &&InstalledRow| row.built_in && row.plugin.plugin == part.plugin;
            if let Some(row) = before.installed.iter().find(is_it) {
                replaced.push(part.reference().to_string());
                part.version.clone_from(&row.plugin.version);
                part.revision.clone_from(&row.plugin.revision);
            }
        }
        replaced
    }

    /// Every slot is there, every slot's plugin comes along or is there, and so does every plugin without a package.
    fn check(&self, before: &BindingReport) -> Result<(), ApiError> {
        let is_slot = |part: &&SlotPart| before.slots.iter().any(|row| row.slot == part.slot);
        if let Some(part) = self.slots.iter().find(|part| !is_slot(part)) {
            let message = format!("the node has no slot '{}'", human::safe(&part.slot));
            return Err(ApiError::new(&code::NO_SUCH_SLOT, message).help("meshctl plugin list"));
        }
        let is_there = |revision: &str| {
            let comes = self.parcels.iter().any(|parcel| parcel.plugin.revision == revision);
            comes || before.installed.iter().any(|installed| installed.plugin.revision == revision)
        };
        let bound = self.slots.iter().filter(|part| !part.is_native()).map(SlotPart::reference);
        let bare = self.bare.iter().map(PluginPart::reference);
        match bare.chain(bound).find(|plugin| !is_there(&plugin.revision)) {
            Some(missing) => {
                let message = format!("{missing} is neither installed nor among what is imported");
                Err(ApiError::new(&code::NO_SUCH_PLUGIN, human::safe(&message))
                    .fact("revision", &missing.revision)
                    .help(format!("meshctl plugin export {}    on a node that has it", missing.revision))
                    .help("meshctl plugin list"))
            }
            None => Ok(()),
        }
    }
}

impl PluginPart {
    fn reference(&self) -> PluginRef {
        let (plugin, version) = (self.name.clone(), self.version.clone());
        PluginRef { plugin, version, revision: self.revision.clone() }
    }
}

/// An import under way.
struct Importing<'a> {
    node: Connection,
    context: &'a Context,
    options: &'a Import,
    before: BindingReport,
    report: ImportReport,
    /// Revisions that a slot got, and keeps for a rollback: they cannot be removed.
    bound: Vec<String>,
}

impl Importing<'_> {
    async fn all(&mut self, wanted: &Wanted, agreed: &[Vec<String>]) -> Result<(), ApiError> {
        for (parcel, grants) in wanted.parcels.iter().zip(agreed) {
            self.begin(None, &parcel.plugin);
            let done = self.plugin(parcel, grants).await;
            self.or_stop(done)?;
        }
        for part in &wanted.bare {
            self.begin(None, &part.reference());
            let had = self.installed(&part.revision).map(|row| row.grants.clone()).unwrap_or_default();
            let done = self.as_wanted(part, &had).await;
            self.or_stop(done)?;
        }
        for slot in &wanted.slots {
            self.begin(Some(&slot.slot), &slot.reference());
            let done = self.slot(slot).await;
            self.or_stop(done)?;
        }
        Ok(())
    }

    /// Returns what a plugin is granted: what it has, and what is agreed to beside that.
    fn agreed(&self, parcel: &Parcel, dry_run: bool) -> Result<Vec<String>, ApiError> {
        let had = self.installed(&parcel.plugin.revision).map(|row| row.grants.clone()).unwrap_or_default();
        let given = [had, self.options.grants.clone()].concat();
        grants::agreed(self.context, &parcel.bytes, &given, dry_run)
    }

    async fn plugin(&mut self, parcel: &Parcel, grants: &[String]) -> Result<(), ApiError> {
        let is_dry = self.report.dry_run;
        let known = self.installed(&parcel.plugin.revision);
        let (is_known, is_built_in) = (known.is_some(), known.is_some_and(|known| known.built_in));
        if is_built_in {
            return Ok(());
        }
        if !is_dry {
            // Also what is known: the package may have signatures that the node has not.
            let report = self.install(parcel, grants, false).await?;
            self.report.undo.extend(report.undo);
        }
        if !is_known {
            self.done("installed");
        }
        match &parcel.part {
            Some(part) => self.as_wanted(part, grants).await,
            None => Ok(()),
        }
    }

    /// Installs a package, or only finds out whether it would be.
    async fn install(
        &mut self,
        parcel: &Parcel,
        grants: &[String],
        dry_run: bool,
    ) -> Result<InstallReport, ApiError> {
        let (origin, allow_large) = (parcel.path.display().to_string(), self.options.allow_large);
        let grants = grants.to_vec();
        let request = Request::PluginInstall { origin: origin.clone(), grants, dry_run, allow_large };
        let installed = self.node.call_with(&request, &parcel.bytes).await;
        installed.map_err(|error: ApiError| error.fact("file", origin))
    }

    /// Gives an installed plugin the grants and the pin that it shall have.
    async fn as_wanted(&mut self, part: &PluginPart, had: &[String]) -> Result<(), ApiError> {
        let plugin = part.revision.clone();
        let beyond = |one: &[String], other: &[String]| -> Vec<String> {
            let mut names: Vec<String> = one.iter().filter(|name| !other.contains(name)).cloned().collect();
            names.sort_unstable();
            names.dedup();
            names
        };
        let (give, take) = (beyond(&part.grants, had), beyond(had, &part.grants));
        if !give.is_empty() || !take.is_empty() {
            let asked: Vec<String> = beyond(&give, &self.options.grants);
            if !self.report.dry_run && !asked.is_empty() {
                grants::confirm(self.context, &human::safe(&part.name), &asked)?;
            }
            let words: Vec<String> = give.iter().map(|name| format!("granted {name}")).collect();
            let taken = take.iter().map(|name| format!("{name} revoked"));
            let words = words.into_iter().chain(taken).collect::<Vec<_>>().join(", ");
            self.operate(Operation::Grant { plugin: plugin.clone(), give, take }, &words).await?;
        }
        let is_pinned = self.installed(&plugin).is_some_and(|known| known.pinned);
        match (part.pinned, is_pinned) {
            (true, false) => self.operate(Operation::Pin { plugin }, "pinned").await,
            (false, true) => self.operate(Operation::Unpin { plugin }, "not pinned any more").await,
            _ => Ok(()),
        }
    }

    async fn slot(&mut self, want: &SlotPart) -> Result<(), ApiError> {
        let row = self.before.slots.iter().find(|row| row.slot == want.slot);
        let have = row.map(SlotPart::of);
        let is_bound = have.as_ref().is_some_and(|have| have.is_bound_as(want));
        // Limits stay with a plugin when its version changes, and go with it.
        let stays = have.as_ref().filter(|have| !have.is_native() && have.plugin == want.plugin);
        let limits = stays.map_or([None; 3], SlotPart::limits);
        let paused = have.is_some_and(|have| is_bound && have.paused);
        let undone = self.report.undo.len();
        if !is_bound {
            self.bind(want).await?;
        }
        let ran = self.run_as(want, limits, paused).await;
        if ran.is_err() && !is_bound {
            // Bound, but not held to its limits: the slot is to be as it was. If that fails too, the undo says how.
            let request = Request::PluginRollback { slot: want.slot.clone(), forward: false, dry_run: false };
            if self.node.call::<SwapReport>(&request).await.is_ok() {
                self.report.undo.truncate(undone);
            }
        }
        ran
    }

    async fn bind(&mut self, want: &SlotPart) -> Result<(), ApiError> {
        self.done("bound");
        if self.report.dry_run {
            return Ok(());
        }
        let swap = SwapRequest {
            slot: want.slot.clone(),
            plugin: want.revision.clone(),
            settings: want.settings.clone(),
            old_state: if self.options.reset_state { OldState::Reset } else { OldState::Inherit },
            dry_run: false,
            allow_downgrade: self.options.allow_downgrade,
            on_failure: Some(want.on_failure),
        };
        let swapped = self.node.call::<SwapReport>(&Request::PluginSwap(swap)).await;
        let again = |option: &str| format!("meshctl plugin import {} {option}", self.options.from.display());
        let report = swapped.map_err(|error| match &error {
            lost if lost.is(&code::STATE_REFUSED) => ApiError { help: vec![again("--reset-state")], ..error },
            old if old.is(&code::DOWNGRADE) => ApiError { help: vec![again("--allow-downgrade")], ..error },
            _ => error,
        })?;
        self.report.undo.extend(report.undo);
        self.bound.push(want.revision.clone());
        Ok(())
    }

    /// Holds what is in a slot to its limits, and pauses it or lets it go on.
    async fn run_as(
        &mut self,
        want: &SlotPart,
        limits: [Option<u64>; 3],
        paused: bool,
    ) -> Result<(), ApiError> {
        if want.is_native() {
            return Ok(());
        }
        let slot = || want.slot.clone();
        if want.limits() != limits {
            let becomes = |(want, has): (Option<u64>, Option<u64>)| {
                (want != has).then(|| want.map_or(LimitTo::Host, LimitTo::To))
            };
            let pairs = want.limits().into_iter().zip(limits).map(becomes).collect::<Vec<_>>();
            let [deadline_ms, memory_bytes, log_rate] = pairs[..] else { return Ok(()) };
            let operation = Operation::Limit { slot: slot(), deadline_ms, memory_bytes, log_rate };
            self.operate(operation, "limited").await?;
        }
        match (want.paused, paused) {
            (true, false) => self.operate(Operation::Pause { slot: slot() }, "paused").await,
            (false, true) => self.operate(Operation::Resume { slot: slot() }, "resumed").await,
            _ => Ok(()),
        }
    }

    async fn operate(&mut self, operation: Operation, word: &str) -> Result<(), ApiError> {
        if !self.report.dry_run {
            let request = Request::PluginOperate { operation, dry_run: false };
            let report: OperateReport = self.node.call(&request).await?;
            self.report.undo.extend(report.undo);
        }
        self.done(word);
        Ok(())
    }

    fn installed(&self, revision: &str) -> Option<&InstalledRow> {
        self.before.installed.iter().find(|installed| installed.plugin.revision == revision)
    }

    fn begin(&mut self, slot: Option<&str>, plugin: &PluginRef) {
        let slot = slot.map(str::to_owned);
        self.report.parts.push(Part { slot, plugin: plugin.clone(), done: Vec::new() });
    }

    fn done(&mut self, word: &str) {
        if let Some(part) = self.report.parts.last_mut() {
            part.done.push(word.to_owned());
        }
    }

    /// Says which part failed, what was done before it, and how to undo that.
    fn or_stop(&mut self, done: Result<(), ApiError>) -> Result<(), ApiError> {
        let Err(mut error) = done else { return Ok(()) };
        if let Some(failed) = self.report.parts.pop() {
            error = error.fact("failed", failed.title());
        }
        for part in self.report.parts.iter().filter(|part| !part.done.is_empty()) {
            error = error.fact("done", format!("{}: {}", part.title(), part.done.join(", ")));
        }
        for undo in self.undo() {
            error = error.help(format!("{undo}    undoes what was done"));
        }
        Err(error)
    }

    /// The last thing first.
    fn undo(&self) -> Vec<String> {
        let stays = |undo: &&String| {
            self.bound.iter().any(|revision| **undo == format!("meshctl plugin remove {revision}"))
        };
        self.report.undo.iter().rev().filter(|undo| !stays(undo)).cloned().collect()
    }

    fn finish(mut self) -> ImportReport {
        self.report.undo = self.undo();
        self.report.changed = self.report.parts.iter().any(|part| !part.done.is_empty());
        self.report
    }
}

impl Part {
    fn title(&self) -> String {
        let plugin = human::safe(&self.plugin.to_string());
        self.slot.as_ref().map_or_else(|| plugin.clone(), |slot| format!("slot {slot}, {plugin}"))
    }
}

const COLUMNS: &[Column] = &[
    Column::text("slot", "SLOT", 0),
    Column::text("plugin", "PLUGIN", 0),
    Column::text("version", "VERSION", 1),
    Column::text("done", "DONE", 0),
    Column::text("revision", "REVISION", 2),
];

impl Show for ImportReport {
    const SCHEMA: &'static str = "plugin-import";

    fn view(&self) -> View {
        let mut rows = Rows::new(COLUMNS, "there is nothing to import");
        for part in &self.parts {
            let done = match (part.done.is_empty(), self.dry_run) {
                (true, _) => styled(DIM, "as it is"),
                (false, true) => format!("would be {}", part.done.join(", ")),
                (false, false) => part.done.join(", "),
            };
            rows.push([
                human::or_dash(part.slot.as_deref()),
                human::safe(&part.plugin.plugin),
                human::safe(&part.plugin.version),
                done,
                human::revision(&part.plugin.revision),
            ]);
        }
        let undo = self.undo.iter().map(|undo| format!("{}\n", styled(DIM, format!("undo: {undo}"))));
        View::Parts(vec![View::Rows(rows), View::Text(undo.collect())])
    }

    fn names(&self) -> Vec<String> {
        self.parts.iter().map(|part| part.plugin.revision.clone()).collect()
    }
}
