//! How plugins look to a person.

use mesh_node::api::{
    Change, Claims, InspectReport, InstallReport, OnFailure, PluginDetail, PluginRef, PluginRow, PluginState,
    RemoveReport, SectionRow, Setting, SettingRow, Settings, SignerRow, SignerState, SwapReport,
};

use super::bindings::NATIVE;
use super::state_word;
use crate::output::human::{self, BAD, DIM, GOOD, WARN, styled};
use crate::output::{Column, Pair, Rows, Show, View};

const COLUMNS: &[Column] = &[
    Column::text("slot", "SLOT", 0),
    Column::text("plugin", "PLUGIN", 0),
    Column::text("version", "VERSION", 1),
    Column::text("state", "STATE", 0),
    Column::text("grants", "GRANTS", 6),
    Column::text("on_failure", "ON FAILURE", 7),
    Column::number("calls_per_s", "CALLS/S", 3),
    Column::number("p99_s", "P99", 3),
    Column::number("fallbacks", "FALLBACKS", 5),
    Column::number("traps", "TRAPS", 2),
    Column::number("since_s", "SINCE", 4),
    Column::text("revision", "REVISION", 5),
    Column::text("note", "", 2),
];

impl Show for Vec<PluginRow> {
    const SCHEMA: &'static str = "plugins";

    fn view(&self) -> View {
        let mut rows = Rows::new(COLUMNS, "no plugin is installed");
        for row in self {
            rows.push([
                human::or_dash(row.slot.as_deref()),
                human::safe(&row.plugin),
                human::safe(&row.version),
                state_word(row.state),
                human::or_dash(Some(row.grants.join(",")).filter(|grants| !grants.is_empty())),
                human::or_dash(row.on_failure.map(mode)),
                human::or_dash(row.calls_per_s.map(|calls| human::count(calls.round() as u64))),
                human::or_dash(row.p99_s.map(human::duration)),
                row.fallbacks.to_string(),
                row.traps.to_string(),
                human::duration(row.since_s),
                human::revision(&row.revision),
                note(row),
            ]);
        }
        let is_struck = |row: &&PluginRow| row.state == PluginState::Quarantined || row.traps > 0;
        let mut struck = self.iter().filter(is_struck).filter_map(|row| row.slot.as_deref());
        let mut hints: Vec<String> = Vec::new();
        hints.extend(struck.next().map(|slot| format!("hint: meshctl plugin traps {slot}")));
        hints.extend(self.iter().filter_map(ending));
        if hints.is_empty() {
            return View::Rows(rows);
        }
        let hints: String = hints.iter().map(|hint| format!("{}\n", styled(DIM, hint))).collect();
        View::Parts(vec![View::Rows(rows), View::Text(hints)])
    }

    fn names(&self) -> Vec<String> {
        // What the host has by itself is no revision that a command takes.
        let revisions = self.iter().map(|row| &row.revision).filter(|revision| *revision != NATIVE);
        revisions.cloned().collect()
    }
}

/// Who took over or what failed, and when it is tried again.
fn note(row: &PluginRow) -> String {
    let retry = row.retry_s.map(|seconds| format!("retry in {}", human::duration(seconds)));
    let hand =
        (row.state == PluginState::Quarantined && retry.is_none()).then(|| "ended by hand only".to_owned());
    let parts = [retry.or(hand), row.note.as_deref().map(human::safe)];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// How an operator ends a quarantine: for good, or at once.
fn ending(row: &PluginRow) -> Option<String> {
    let slot = row.slot.as_deref().filter(|_| row.state == PluginState::Quarantined)?;
    // A row that says who answers has nobody that stands in for it, and a rollback needs something before it.
    let (verb, what) = match row.on_failure {
        None => ("rollback", "what took over stays"),
        Some(_) => ("disable", "the native built-in answers"),
    };
    Some(format!(
        "hint: to try {} no more: meshctl plugin {verb} {slot} ({what}); at once: meshctl plugin resume {slot}",
        row.plugin
    ))
}

fn mode(mode: OnFailure) -> &'static str {
    mesh_plugin_host::OnFailure::from(mode).name()
}

impl Show for PluginDetail {
    const SCHEMA: &'static str = "plugin";

    fn view(&self) -> View {
        let row = &self.row;
        let settings = settings_text(&self.settings);
        let mut head = vec![
            Pair::plugin(&row.plugin, &row.version),
            Pair::new("slot", "slot", human::or_dash(row.slot.as_deref())),
            Pair::new(
                "state",
                "state",
                [format!("{} for {}", state_word(row.state), human::duration(row.since_s)), note(row)]
                    .join("  ")
                    .trim_end()
                    .to_owned(),
            ),
            Pair::new("revision", "revision", &row.revision),
            Pair::new("kind", "world", format!("{} ({})", self.world, self.kind)),
            Pair::new("size_bytes", "size", human::bytes(self.size_bytes)),
            Pair::new("origin", "from", human::safe(&self.origin)),
            Pair::new("settings", "set", human::or_dash(Some(settings).filter(|text| !text.is_empty()))),
            Pair::new(
                "grants",
                "grants",
                human::or_dash(Some(row.grants.join(", ")).filter(|text| !text.is_empty())),
            ),
            Pair::new("on_failure", "on failure", human::or_dash(row.on_failure.map(mode))),
            Pair::new(
                "traps",
                "traps",
                format!("{} of its own, {} answers in its place", row.traps, row.fallbacks),
            ),
        ];
        head.extend(self.takes.iter().map(|row| Pair::new("takes", "takes", takes(row))));
        if self.size_bytes > 0 && self.origin != "built in" {
            head.extend(signers(&self.signers));
        }
        let trial = self.trial.as_deref().map(super::trial::view);
        let hint = ending(row).map(|hint| View::Text(format!("{}\n", styled(DIM, hint))));
        let parts = [View::Pairs(head), traps(&self.traps), history(self)];
        View::Parts(parts.into_iter().chain(trial).chain(hint).collect())
    }

    fn names(&self) -> Vec<String> {
        vec![self.row.revision.clone()]
    }
}

// A line for each key, or one that says that there is none.
fn signers(signers: &[SignerRow]) -> Vec<Pair> {
    if signers.is_empty() {
        return vec![Pair::new("signers", "signed by", styled(WARN, "nobody: it is unsigned"))];
    }
    let line = |signer: &SignerRow| {
        let state = match signer.state {
            SignerState::Trusted => styled(GOOD, "trusted"),
            SignerState::Verified => styled(GOOD, "verifies"),
            SignerState::Expired => styled(BAD, "has expired"),
            SignerState::Untrusted => styled(BAD, "not trusted"),
            SignerState::Invalid => styled(BAD, "does not verify"),
        };
        let word = if signer.state == SignerState::Expired { "at" } else { "until" };
        let until = signer.expires_at.map_or_else(String::new, |at| format!(", {word} {at}"));
        let note = signer.note.as_deref().map_or_else(String::new, |note| format!("  {}", human::safe(note)));
        Pair::new("signers", "signed by", format!("{} {state}{until}{note}", signer.key))
    };
    signers.iter().map(line).collect()
}

fn installable(signers: &[SignerRow]) -> &'static str {
    if signers.is_empty() {
        "a node would install it, unless it requires signatures"
    } else {
        "a node that trusts the key would install it"
    }
}

/// One setting that a plugin takes, in a line: name, type, default, bounds, what it does.
fn takes(row: &SettingRow) -> String {
    let mut text = match row.kind.as_str() {
        "boolean" => format!("{}: true or false", row.name),
        "integer" => format!("{}: a whole number", row.name),
        "number" => format!("{}: a number", row.name),
        _ if !row.one_of.is_empty() => {
            let texts: Vec<&str> = row.one_of.iter().map(|text| visible(text)).collect();
            format!("{}: {}", row.name, texts.join(" or "))
        }
        _ => format!("{}: text", row.name),
    };
    match (row.minimum, row.maximum) {
        (Some(least), Some(most)) => text += &format!(", {least} to {most}"),
        (Some(least), None) => text += &format!(", at least {least}"),
        (None, Some(most)) => text += &format!(", at most {most}"),
        (None, None) => {}
    }
    if let Some(default) = &row.default {
        text += &format!(", {} unless set", visible(&setting(default)));
    }
    if !row.description.is_empty() {
        text += &format!("  {}", row.description);
    }
    human::safe(&text)
}

fn visible(text: &str) -> &str {
    if text.is_empty() { "empty" } else { text }
}

/// What a manifest says, a line for each thing that it says something of.
fn claims(claims: &Claims) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut say = |field: &'static str, label: &'static str, text: String| {
        if !text.is_empty() {
            pairs.push(Pair::new(field, label, human::safe(&text)));
        }
    };
    say("manifest", "what", claims.description.clone());
    say("manifest", "licence", claims.license.clone());
    say("manifest", "world", claims.world.clone());
    say("manifest", "min_host", claims.min_host.clone().unwrap_or_default());
    let reads = claims.migrates_from.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let reads = if reads.is_empty() { String::new() } else { format!(", reads also {reads}") };
    say("manifest", "state", format!("version {}{reads}", claims.state_version));
    let limits = claims.limits.iter().map(|(name, limit)| format!("{name} {limit}"));
    say("manifest", "limits", limits.collect::<Vec<_>>().join(", "));
    for wish in &claims.grants {
        say("manifest", "asks for", format!("{}  {}", wish.grant, wish.why).trim_end().to_owned());
    }
    for row in &claims.settings {
        say("manifest", "takes", takes(row));
    }
    pairs
}

fn setting(setting: &Setting) -> String {
    match setting {
        Setting::Flag(flag) => flag.to_string(),
        Setting::Integer(integer) => integer.to_string(),
        Setting::Number(number) => number.to_string(),
        Setting::Text(text) => human::safe(text),
    }
}

fn traps(traps: &[String]) -> View {
    let lines = traps.iter().map(|trap| format!("{} {}\n", styled(BAD, "trap"), human::safe(trap)));
    View::Text(lines.collect())
}

fn settings_text(settings: &Settings) -> String {
    let texts = settings.iter().map(|(name, value)| format!("{name}={}", setting(value)));
    texts.collect::<Vec<_>>().join("  ")
}

fn history(detail: &PluginDetail) -> View {
    if detail.history.is_empty() {
        return View::Text(String::new());
    }
    let columns = [
        Column::text("rollbacks", "COMES BACK BY", 0),
        Column::text("plugin", "PLUGIN", 0),
        Column::text("revision", "REVISION", 1),
        Column::text("settings", "SET", 3),
        Column::text("at", "LEFT AT", 2),
        Column::text("left", "LEFT BY", 2),
    ];
    let mut rows = Rows::new(&columns, "");
    for one in &detail.history {
        let revision = human::revision(&one.plugin.revision);
        let command = if one.forward { "rollback --forward" } else { "rollback" };
        let times = if one.rollbacks > 1 { format!("{} x ", one.rollbacks) } else { String::new() };
        rows.push([
            format!("{times}{command}"),
            human::safe(&one.plugin.to_string()),
            revision,
            human::or_dash(Some(settings_text(&one.settings)).filter(|text| !text.is_empty())),
            one.at.to_string(),
            human::or_dash(one.left.as_deref()),
        ]);
    }
    View::Rows(rows)
}

impl Show for InstallReport {
    const SCHEMA: &'static str = "plugin-install";

    fn view(&self) -> View {
        let cached = if self.cached { " (cached)" } else { "" };
        let mut pairs = vec![
            Pair::plugin(&self.plugin, &self.version),
            Pair::new("revision", "revision", &self.revision),
            Pair::new("kind", "kind", format!("{}, fits {}", self.kind, self.slots.join(", "))),
            Pair::new("size_bytes", "size", human::bytes(self.size_bytes)),
            Pair::new("compile_s", "compile", format!("{}{cached}", human::duration(self.compile_s))),
            Pair::new("imports", "imports", imports(&self.imports)),
        ];
        pairs.extend(signers(&self.signers));
        if let Some(undo) = &self.undo {
            pairs.push(Pair::new("undo", "undo", undo));
        }
        let slot = self.slots.first().map_or("SLOT", String::as_str);
        let next = format!("next: meshctl plugin swap {slot} {}", human::revision(&self.revision));
        let lines = match (self.dry_run, self.known) {
            (true, true) => vec!["it is installed already; nothing was changed".to_owned()],
            (true, false) => vec!["it would be installed; nothing was changed".to_owned()],
            (false, true) => vec!["it was installed before".to_owned(), next],
            (false, false) => vec![next],
        };
        let text = lines.into_iter().map(|line| format!("{}\n", styled(DIM, line))).collect();
        View::Parts(vec![View::Pairs(pairs), View::Text(text)])
    }

    fn names(&self) -> Vec<String> {
        vec![self.revision.clone()]
    }
}

impl Show for InspectReport {
    const SCHEMA: &'static str = "plugin-inspect";

    fn view(&self) -> View {
        let name =
            [self.plugin.as_deref().unwrap_or("unnamed"), self.version.as_deref().unwrap_or("")].join(" ");
        let pure = if self.pure { styled(GOOD, "pure") } else { styled(WARN, "not pure") };
        let kind = self.kind.as_deref().map_or_else(|| styled(BAD, "fits no slot"), str::to_owned);
        let mut pairs = vec![
            Pair::new("plugin", "plugin", human::safe(name.trim_end())),
            Pair::new("revision", "revision", &self.revision),
            Pair::new("kind", "kind", format!("{kind}, {pure}")),
            Pair::new("size_bytes", "size", human::bytes(self.size_bytes)),
            Pair::new("imports", "imports", imports(&self.imports)),
            Pair::new("exports", "exports", human::safe(&self.exports.join("  "))),
            Pair::new("lowest_host", "lowest host", human::or_dash(self.lowest_host.as_deref())),
        ];
        pairs.extend(self.manifest.as_ref().map(claims).unwrap_or_default());
        let section = |row: &SectionRow| format!("{} ({})", row.section, human::bytes(row.size_bytes));
        let sections = self.sections.iter().map(section).collect::<Vec<_>>().join("  ");
        pairs.push(Pair::new("sections", "sections", human::or_dash(Some(human::safe(&sections)))));
        let names = match self.has_names {
            true => "yes".to_owned(),
            false => styled(WARN, "none: a trap cannot say where it happened"),
        };
        pairs.push(Pair::new("has_names", "names", names));
        let debug = if self.debug_bytes == 0 { "none".to_owned() } else { human::bytes(self.debug_bytes) };
        pairs.push(Pair::new("debug_bytes", "debug info", debug));
        pairs.extend(signers(&self.signers));
        let finding = |text: &String| format!("{} {}\n", styled(BAD, "refused:"), human::safe(text));
        let verdict = match self.findings.is_empty() {
            true => format!("{}\n", styled(GOOD, installable(&self.signers))),
            false => self.findings.iter().map(finding).collect(),
        };
        View::Parts(vec![View::Pairs(pairs), View::Text(verdict)])
    }

    fn names(&self) -> Vec<String> {
        vec![self.revision.clone()]
    }
}

fn imports(imports: &[mesh_node::api::ImportRow]) -> String {
    let word = |row: &mesh_node::api::ImportRow| match (&row.grant, row.granted) {
        (_, false) => styled(BAD, human::safe(&row.import)),
        (None, true) if row.virtual_wasi => format!("{} (virtual WASI)", human::safe(&row.import)),
        (None, true) => human::safe(&row.import),
        (Some(grant), true) => format!("{} ({grant})", human::safe(&row.import)),
    };
    human::or_dash(
        Some(imports.iter().map(word).collect::<Vec<_>>().join("  ")).filter(|text| !text.is_empty()),
    )
}

impl Show for SwapReport {
    const SCHEMA: &'static str = "plugin-swap";

    fn view(&self) -> View {
        let done = match self.change {
            Change::Switched | Change::Restarted => return switched(self),
            Change::Nothing => format!("{} is already active; nothing changes", reference(&self.new)),
            Change::Ended => {
                format!("the trial of {} ended; {} goes on", reference(&self.old), reference(&self.new))
            }
            Change::Settled => {
                format!("{} stays; {} is not tried again", reference(&self.new), reference(&self.old))
            }
        };
        let done = if self.dry_run { format!("would be: {done}") } else { done };
        let mut pairs = vec![Pair::new("slot", "slot", &self.slot), Pair::new("change", "done", done)];
        pairs.extend(self.undo.as_ref().map(|undo| Pair::new("undo", "undo", undo)));
        View::Pairs(pairs)
    }

    fn names(&self) -> Vec<String> {
        vec![self.new.revision.clone()]
    }
}

fn switched(report: &SwapReport) -> View {
    let state = match (report.state_bytes, report.state_carried) {
        _ if report.state_restored => "its own, as it was when it left".to_owned(),
        (bytes, true) if report.dry_run => format!("{} would be carried over", human::bytes(bytes)),
        (bytes, true) => format!("{} carried over", human::bytes(bytes)),
        (0, false) => "none".to_owned(),
        (bytes, false) => styled(WARN, format!("{} left behind", human::bytes(bytes))),
    };
    let mut pairs = vec![
        Pair::new("slot", "slot", &report.slot),
        Pair::new("old", "from", reference(&report.old)),
        Pair::new("new", if report.dry_run { "would be" } else { "active" }, reference(&report.new)),
        Pair::new("state_bytes", "state", state),
    ];
    let pause = human::duration(report.pause_us / 1e6);
    if report.dry_run {
        pairs.push(Pair::new("pause_us", "would pause", pause));
        pairs.push(Pair::new("dry_run", "done", "nothing: it was rehearsed"));
    } else {
        pairs.push(Pair::new("pause_us", "pause", pause));
        pairs.push(Pair::new("at_decision", "from decision", human::count(report.at_decision)));
    }
    pairs.extend(report.undo.as_ref().map(|undo| Pair::new("undo", "undo", undo)));
    View::Pairs(pairs)
}

impl Show for RemoveReport {
    const SCHEMA: &'static str = "plugin-remove";

    fn view(&self) -> View {
        let verb = if self.dry_run { "would be removed" } else { "removed" };
        let size = human::bytes(self.freed_bytes);
        let undo = self.undo.as_deref().map_or_else(String::new, |undo| {
            format!("{}\n", styled(DIM, format!("undo: {}", human::safe(undo))))
        });
        View::Text(format!("{} {verb}, {size} freed\n{undo}", reference(&self.plugin)))
    }

    fn names(&self) -> Vec<String> {
        vec![self.plugin.revision.clone()]
    }
}

pub(super) fn reference(plugin: &PluginRef) -> String {
    let revision = styled(DIM, format!("({})", human::revision(&plugin.revision)));
    format!("{} {revision}", human::safe(&plugin.to_string()))
}
