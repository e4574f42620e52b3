//! `meshctl plugin record`: the decisions of a slot, as they are made, into a file that `plugin replay` makes again.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use mesh_node::api::{ApiError, JournalPage, Request, Time, code};
use mesh_plugin_host::Kind;
use mesh_plugin_host::journal::{Binding, Entry};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Context;
use super::stop::Stop;
use crate::args::duration;
use crate::connect::Connection;
use crate::output::{Pair, Show, View, human, now, undo};

/// Record the decisions of a slot.
#[derive(Debug, Args)]
pub struct Record {
    #[arg(help = concat!("The slot: ", slots!()))]
    slot: String,
    /// How long.
    #[arg(long = "for", value_parser = duration, value_name = "TIME", default_value = "30s")]
    time: Duration,
    /// Where to; SLOT-trace.jsonl when absent. A file that is there is not written over.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write what a handler is told, answers and remembers as it is, as a replay needs it; without, its BLAKE3 hashes.
    /// Policies see no payload.
    #[arg(long)]
    with_payload: bool,
}

/// The first words of a recording.
const FORMAT: &str = "meshctl.trace/v1";
/// How often the journal is read on: it holds seconds even at full load.
const EVERY: Duration = Duration::from_millis(100);
/// Bytes of a recording, at most.
const MAX_FILE: u64 = 512 << 20;
/// Bytes that stay free for its last line.
const END_LEN: u64 = 256;
/// Bytes of one of its lines, at most: a call of the most rows, or the largest state.
const MAX_LINE: u64 = 16 << 20;

/// One line of a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(clippy::large_enum_variant, reason = "nearly all are entries, and none is kept")]
enum Line {
    /// The first one.
    Trace(Header),
    /// What decided; before the first entry that names it.
    Binding(Binding),
    /// What happened.
    Entry(Entry),
    /// The last one: without it the file was cut off.
    End(End),
}

/// What a recording is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    format: String,
    pub(super) slot: String,
    pub(super) node: Option<String>,
    pub(super) at: Time,
    version: String,
    /// Whether it has what a handler was told and answered, and not the hashes.
    #[serde(default)]
    with_payload: bool,
}

/// What a recording holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    entries: u64,
    calls: u64,
    decisions: u64,
    missed: u64,
}

/// A recording in memory.
pub(super) struct Trace {
    pub(super) header: Header,
    pub(super) bindings: Vec<Binding>,
    pub(super) entries: Vec<Entry>,
    /// Entries that the node had dropped before they were read.
    pub(super) missed: u64,
}

/// What was recorded.
#[derive(Debug, Serialize)]
struct Recorded {
    slot: String,
    file: PathBuf,
    plugins: Vec<String>,
    entries: u64,
    calls: u64,
    decisions: u64,
    missed: u64,
    bytes: u64,
    with_payload: bool,
    /// Whether it ended because nothing more may be in one file.
    full: bool,
    recorded_s: f64,
    dry_run: bool,
    undo: Option<String>,
}

impl Record {
    /// Records and prints what it has.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let mut node = context.connect().await?;
        let file = self.out.clone().unwrap_or_else(|| format!("{}-trace.jsonl", self.slot).into());
        // A rehearsal reads behind the end: it only finds out whether there is a journal.
        let from = context.globals.dry_run.then_some(u64::MAX);
        let mut journal = Journal { node: &mut node, slot: &self.slot, with_payload: self.with_payload };
        let first = journal.page(from).await?;
        if context.globals.dry_run {
            let report = Recorded { with_payload: self.with_payload, ..Recorded::of(&self.slot, &file) };
            return context.out.print(node.node, &report);
        }
        let mut stop = Stop::catch()?;
        let out = File::create_new(&file).map_err(|error| failed(&file, &error).help("--out OTHER"))?;
        let header = Header {
            format: FORMAT.to_owned(),
            slot: self.slot.clone(),
            node: journal.node.node.map(|node| node.to_string()),
            at: now(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            with_payload: self.with_payload,
        };
        let mut recording = Recording::begin(out, file, header)?;
        let seconds = human::duration(self.time.as_secs_f64());
        context.out.note(format_args!("recording the slot {} for {seconds}", self.slot));
        if Kind::of_slot(&self.slot) == Some(Kind::Handler) && !self.with_payload {
            context.out.note("payloads are written as hashes; a replay needs --with-payload");
        }
        let begun = Instant::now();
        let followed = tokio::select! {
            followed = recording.follow(&mut journal, first, begun + self.time) => followed,
            () = stop.wait() => Ok(()),
        };
        // However it ended, what is there can be replayed.
        let mut report = recording.finish(&self.slot)?;
        report.recorded_s = begun.elapsed().as_secs_f64();
        report.with_payload = self.with_payload;
        if report.full {
            let most = human::bytes(MAX_FILE);
            context.out.note(format_args!("the recording ended early: a file has at most {most}"));
        }
        context.out.print(node.node, &report)?;
        followed
    }
}

/// Where the decisions are read.
struct Journal<'a> {
    node: &'a mut Connection,
    slot: &'a str,
    with_payload: bool,
}

impl Journal<'_> {
    async fn page(&mut self, from: Option<u64>) -> Result<JournalPage, ApiError> {
        let (slot, with_payload) = (self.slot.to_owned(), self.with_payload);
        self.node.call(&Request::PluginJournal { slot, from, with_payload }).await
    }
}

/// A file that is being written.
struct Recording {
    out: BufWriter<File>,
    file: PathBuf,
    bindings: Vec<Binding>,
    end: End,
    /// Bytes that may still be written, beside the last line.
    room: u64,
    full: bool,
}

impl Recording {
    fn begin(out: File, file: PathBuf, header: Header) -> Result<Recording, ApiError> {
        let (out, room) = (BufWriter::new(out), MAX_FILE - END_LEN);
        let mut recording =
            Recording { out, file, bindings: Vec::new(), end: End::default(), room, full: false };
        recording.write(&Line::Trace(header))?;
        Ok(recording)
    }

    async fn follow(
        &mut self,
        journal: &mut Journal<'_>,
        first: JournalPage,
        until: Instant,
    ) -> Result<(), ApiError> {
        let mut next = self.take(first)?;
        loop {
            let is_over = Instant::now() >= until;
            let page = journal.page(Some(next)).await?;
            let (is_all, end) = (page.page.next >= page.page.end, page.page.end);
            next = self.take(page)?;
            match (is_over, is_all) {
                _ if self.full => return Ok(()),
                // What came up to the end is read to the end, and nothing behind it.
                (true, _) => return self.rest(journal, next, end).await,
                (false, true) => tokio::time::sleep_until(until.min(Instant::now() + EVERY)).await,
                (false, false) => {}
            }
        }
    }

    async fn rest(&mut self, journal: &mut Journal<'_>, from: u64, end: u64) -> Result<(), ApiError> {
        let mut next = from;
        while next < end && !self.full {
            next = self.take(journal.page(Some(next)).await?)?;
        }
        Ok(())
    }

    /// Writes a page and returns where to read on.
    fn take(&mut self, page: JournalPage) -> Result<u64, ApiError> {
        let page = page.page;
        self.end.missed += page.missed;
        for binding in page.bindings {
            if !self.bindings.contains(&binding) && self.write(&Line::Binding(binding.clone()))? {
                self.bindings.push(binding);
            }
        }
        for entry in page.entries {
            let decisions = entry.event.decisions();
            if !self.write(&Line::Entry(entry))? {
                break;
            }
            self.end.entries += 1;
            self.end.calls += u64::from(decisions.is_some());
            self.end.decisions += decisions.unwrap_or(0);
        }
        Ok(page.next)
    }

    /// Writes a line, and says whether there was room for it; after one that had none there is none for any.
    fn write(&mut self, line: &Line) -> Result<bool, ApiError> {
        let failed = |error: std::io::Error| failed(&self.file, &error);
        let mut text = serde_json::to_vec(line).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        self.full |= text.len() as u64 > self.room;
        if !self.full {
            self.room -= text.len() as u64;
            self.out.write_all(&text).map_err(failed)?;
        }
        Ok(!self.full)
    }

    fn finish(mut self, slot: &str) -> Result<Recorded, ApiError> {
        let full = std::mem::take(&mut self.full);
        self.room += END_LEN;
        self.write(&Line::End(self.end))?;
        self.out.flush().map_err(|error| failed(&self.file, &error))?;
        let mut report = Recorded::of(slot, &self.file);
        report.plugins = self.bindings.iter().map(named).collect();
        let End { entries, calls, decisions, missed } = self.end;
        (report.entries, report.calls, report.decisions, report.missed) = (entries, calls, decisions, missed);
        report.bytes = self.out.get_ref().metadata().map_or(0, |facts| facts.len());
        report.dry_run = false;
        report.full = full;
        report.undo = Some(undo::rm([self.file.as_path()]));
        Ok(report)
    }
}

impl Recorded {
    fn of(slot: &str, file: &Path) -> Recorded {
        Recorded {
            slot: slot.to_owned(),
            file: file.to_owned(),
            plugins: Vec::new(),
            entries: 0,
            calls: 0,
            decisions: 0,
            missed: 0,
            bytes: 0,
            with_payload: false,
            full: false,
            recorded_s: 0.0,
            dry_run: true,
            undo: None,
        }
    }
}

/// Returns what decided, as people know it.
pub(super) fn named(binding: &Binding) -> String {
    match binding.is_native() {
        true => "native".to_owned(),
        false => format!("{} {}", human::safe(&binding.plugin), human::safe(&binding.version)),
    }
}

fn failed(file: &Path, error: &std::io::Error) -> ApiError {
    ApiError::new(&code::FILE_FAILED, format!("{}: {error}", file.display()))
}

/// Reads a recording.
///
/// # Errors
/// `NO_SUCH_FILE`, `FILE_FAILED`, or `NOT_A_TRACE` with the line that is wrong.
pub(super) fn read(file: &Path) -> Result<Trace, ApiError> {
    let open = File::open(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            ApiError::new(&code::NO_SUCH_FILE, format!("there is no recording {}", file.display()))
                .help("meshctl plugin record SLOT --for 30s    makes one")
        }
        _ => failed(file, &error),
    })?;
    if open.metadata().is_ok_and(|facts| facts.len() > MAX_FILE) {
        let message = format!("{} is larger than {MAX_FILE} bytes", file.display());
        return Err(ApiError::new(&code::NOT_A_TRACE, message));
    }
    let mut from = BufReader::new(open.take(MAX_FILE));
    let not_a_trace = |line: u64, why: &dyn std::fmt::Display| {
        ApiError::new(&code::NOT_A_TRACE, format!("{}, line {line}: {why}", file.display()))
            .help("meshctl plugin record SLOT --for 30s")
    };
    let (mut trace, mut text, mut number) = (None, Vec::new(), 0);
    loop {
        number += 1;
        text.clear();
        from.by_ref().take(MAX_LINE).read_until(b'\n', &mut text).map_err(|error| failed(file, &error))?;
        if text.is_empty() {
            return Err(not_a_trace(number, &"the recording was cut off"));
        }
        let line: Line = serde_json::from_slice(&text).map_err(|error| not_a_trace(number, &error))?;
        match (line, &mut trace) {
            (Line::Trace(header), None) if header.format == FORMAT => {
                trace = Some(Trace { header, bindings: Vec::new(), entries: Vec::new(), missed: 0 });
            }
            (Line::Binding(binding), Some(trace)) => trace.bindings.push(binding),
            (Line::Entry(entry), Some(trace)) => trace.entries.push(entry),
            (Line::End(end), Some(_)) => {
                return Ok(Trace { missed: end.missed, ..trace.take().expect("it was just seen") });
            }
            (Line::Trace(header), _) => {
                return Err(not_a_trace(number, &format!("format {}", header.format)));
            }
            (_, None) => return Err(not_a_trace(number, &"it does not begin as a recording does")),
        }
    }
}

impl Show for Recorded {
    const SCHEMA: &'static str = "plugin-record";

    fn view(&self) -> View {
        let file = self.file.display();
        if self.dry_run {
            return View::Text(format!("the slot {} would be recorded into {file}\n", self.slot));
        }
        let held = format!(
            "{} decisions in {} calls, {}",
            human::count(self.decisions),
            human::count(self.calls),
            human::bytes(self.bytes)
        );
        let missed = match self.missed {
            0 => "nothing".to_owned(),
            missed => format!("{} entries: the journal was faster", human::count(missed)),
        };
        View::Pairs(vec![
            Pair::new("slot", "slot", &self.slot),
            Pair::new("plugins", "decided by", self.plugins.join(", ")),
            Pair::new("decisions", "recorded", held),
            Pair::new("missed", "missed", missed),
            Pair::new("file", "file", &file),
            Pair::new("undo", "undo", human::or_dash(self.undo.as_ref())),
        ])
    }

    fn names(&self) -> Vec<String> {
        vec![self.file.display().to_string()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_recording_has_its_end_and_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("trace.jsonl");
        let out = File::create_new(&file).unwrap();
        let (slot, version) = ("route".to_owned(), "0.1.0".to_owned());
        let header =
            Header { format: FORMAT.to_owned(), slot, node: None, at: now(), version, with_payload: false };
        let mut recording = Recording::begin(out, file.clone(), header).unwrap();
        recording.room = 10;

        let fitted = recording.write(&Line::End(End::default())).unwrap();
        let report = recording.finish("route").unwrap();

        assert!(!fitted && report.full);
        assert_eq!(report.bytes, std::fs::metadata(&file).unwrap().len());
        assert_eq!(read(&file).unwrap().entries, []);
    }
}
