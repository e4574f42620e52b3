//! From text to a checked scenario.

use std::time::Duration;

use mesh_plugin_host::{Settings, Value as Setting};
use mesh_proto::tuning::Tuning;

use super::problem::{Problem, ScenarioError, Source};
use super::reader::{Findings, Reader};
use super::tree::{At, Entry, Table, Value};
use super::{
    Join, Links, MAX_NODES, MAX_TEXT, MAX_TIME, Measure, Mesh, PluginChoice, Scenario, faults, traffic,
};
use crate::expect::Expectation;

impl Scenario {
    /// Reads a scenario. `file` is its name in messages; each of `overrides` is a `key=value` such as
    /// `links.loss=10%` or `fault.0.at=5s`, laid over the text before anything is checked.
    ///
    /// # Errors
    /// Everything that is wrong, with its places.
    pub fn parse(file: &str, text: &str, overrides: &[String]) -> Result<Scenario, ScenarioError> {
        let mut sources = vec![Source { name: file.to_owned(), text: text.to_owned() }];
        if text.len() > MAX_TEXT {
            let message = format!("the text has {} bytes, {MAX_TEXT} are the limit", text.len());
            return Err(ScenarioError { problems: vec![sources[0].problem(0, message, None)] });
        }
        let mut table = Table::parse(&sources[0], 0).map_err(failed)?;
        for text in overrides {
            let (source, over) = parse_override(text, sources.len()).map_err(failed)?;
            sources.push(source);
            table.overlay(over);
        }
        let mut findings = Findings::new(&sources);
        let scenario = read(&table, &mut findings);
        match (findings.into_problems(), scenario) {
            (problems, Some(scenario)) if problems.is_empty() => Ok(scenario),
            (problems, _) => Err(failed(problems)),
        }
    }
}

fn failed(problems: Vec<Problem>) -> ScenarioError {
    ScenarioError { problems }
}

/// Reads `key=value`; a value that is no TOML is text, so that units need no quotation marks.
fn parse_override(text: &str, number: usize) -> Result<(Source, Table), Vec<Problem>> {
    let source = |text: String| Source { name: "--set".to_owned(), text };
    let given = source(text.to_owned());
    let Some((key, value)) = text.split_once('=') else {
        let help = Some("write KEY=VALUE, such as links.loss=10%".to_owned());
        return Err(vec![given.problem(0, format!("'{text}' sets nothing"), help)]);
    };
    if let Ok(table) = Table::parse(&given, number) {
        return Ok((given, table));
    }
    let quoted = source(format!("{}={:?}", key.trim(), value.trim()));
    Table::parse(&quoted, number).map(|table| (quoted, table))
}

fn read(table: &Table, findings: &mut Findings<'_>) -> Option<Scenario> {
    let start = At { source: 0, offset: 0 };
    let mut root = Reader::new(table, "", start);
    let mut head = root.section("scenario", findings);
    if !root.has("scenario", findings) {
        findings.problem(start, "there is no [scenario]", Some("begin with [scenario] and its name".into()));
    }
    let nodes = head.count("nodes", 2..=MAX_NODES, findings).unwrap_or(50) as usize;
    let mut scenario = Scenario {
        name: name(&mut head, findings),
        description: head.text("description", findings).unwrap_or_default().to_owned(),
        covers: covers(&mut head, findings),
        nodes,
        seed: head.count("seed", 0..=i64::MAX as u64, findings).unwrap_or(1),
        warm_up: head.time("warm_up", findings).unwrap_or(Duration::from_secs(10)),
        duration: head.time_above_zero("duration", findings).unwrap_or(Duration::from_secs(60)),
        quiet: head.time("quiet", findings).unwrap_or(Duration::from_secs(30)),
        mesh: Mesh::default(),
        links: Links::default(),
        traffic: Vec::new(),
        faults: Vec::new(),
        malicious: Vec::new(),
        plugins: Vec::new(),
        measure: Measure::default(),
        expect: Vec::new(),
        expect_up_to: head.count("expect_up_to", 2..=MAX_NODES, findings).map(|nodes| nodes as usize),
    };
    for key in ["warm_up", "duration", "quiet"] {
        if head.time(key, findings).is_some_and(|time| time > MAX_TIME) {
            findings.problem(head.at_key(key), format!("{key} is longer than seven days"), None);
        }
    }
    head.done(findings);
    read_sections(&mut root, &mut scenario, findings);
    root.done(findings);
    Some(scenario)
}

fn read_sections(root: &mut Reader<'_>, scenario: &mut Scenario, findings: &mut Findings<'_>) {
    let mut links = root.section("links", findings);
    scenario.links = faults::change(&mut links, findings).apply(Links::default());
    links.done(findings);
    scenario.mesh = mesh(root.section("mesh", findings), scenario, findings);
    scenario.measure = measure(root.section("measure", findings), scenario.duration, findings);
    for mut reader in root.sections("traffic", findings) {
        if let Some(traffic) = traffic::read(&mut reader, findings) {
            if traffic.start > scenario.duration {
                findings.problem(reader.at_key("start"), "it starts after the duration", None);
            }
            scenario.traffic.push(traffic);
            reader.done(findings);
        }
    }
    for mut reader in root.sections("fault", findings) {
        if let Some(fault) = faults::read(&mut reader, scenario.nodes, findings) {
            if fault.end() > scenario.duration {
                let message = format!(
                    "it is over after {:?}, and the duration is {:?}",
                    fault.end(),
                    scenario.duration
                );
                findings.problem(reader.at_key("at"), message, Some("make the duration longer".into()));
            }
            scenario.faults.push(fault);
            reader.done(findings);
        }
    }
    for mut reader in root.sections("malicious", findings) {
        if let Some(malicious) = faults::read_malicious(&mut reader, scenario.nodes, findings) {
            scenario.malicious.push(malicious);
            reader.done(findings);
        }
    }
    scenario.plugins = plugins(&root.section("plugins", findings), findings);
    scenario.expect = expectations(&root.section("expect", findings), findings);
    if scenario.is_beyond_expectation() {
        scenario.expect.clear();
    }
}

fn name(head: &mut Reader<'_>, findings: &mut Findings<'_>) -> String {
    let Some(name) = head.text("name", findings) else {
        if !head.has("name", findings) {
            findings.problem(head.at(), "the scenario has no name", Some("write name = \"my-case\"".into()));
        }
        return String::new();
    };
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
        let help = Some("1 to 64 small letters, digits and dashes".to_owned());
        findings.problem(head.at_key("name"), format!("the name \"{name}\" cannot be used"), help);
    }
    name.to_owned()
}

fn covers(head: &mut Reader<'_>, findings: &mut Findings<'_>) -> Vec<String> {
    let Some(item) = head.item("covers", findings) else { return Vec::new() };
    let Value::List(list) = &item.value else {
        findings.problem(item.at, "covers is a list of text", Some("write [\"G09\"]".into()));
        return Vec::new();
    };
    let mut covers = Vec::new();
    for item in list {
        match &item.value {
            Value::Text(text) => covers.push(text.clone()),
            _ => findings.problem(item.at, "covers is a list of text", None),
        }
    }
    covers
}

#[derive(Clone, Copy)]
enum Preset {
    Auto,
    Lan,
    Wan,
    Large,
}

fn mesh(mut reader: Reader<'_>, scenario: &Scenario, findings: &mut Findings<'_>) -> Mesh {
    let presets =
        [("auto", Preset::Auto), ("lan", Preset::Lan), ("wan", Preset::Wan), ("large", Preset::Large)];
    let preset = reader.word("tuning", &presets, findings).unwrap_or(Preset::Auto);
    let min_links = reader.count("min_links", 1..=64, findings).map(|count| count as usize);
    let max_links = reader.count("max_links", 1..=64, findings).map(|count| count as usize);
    if let (Some(min), Some(max)) = (min_links, max_links)
        && min > max
    {
        let message = format!("max_links is {max}, and min_links {min}");
        findings.problem(reader.at_key("max_links"), message, None);
    }
    let words = [("seed", Join::Seed), ("chain", Join::Chain), ("random", Join::Random)];
    let join = reader.word("join", &words, findings).unwrap_or(Join::Seed);
    let join_over = reader.time("join_over", findings);
    if join_over.is_some_and(|time| time > scenario.warm_up) {
        findings.problem(reader.at_key("join_over"), "joining takes longer than the warm-up", None);
    }
    let tuning = tuning(&mut reader, preset_of(preset, scenario.nodes), findings);
    reader.done(findings);
    Mesh { min_links, max_links, join, join_over, tuning }
}

fn preset_of(preset: Preset, nodes: usize) -> Tuning {
    match preset {
        Preset::Lan => Tuning::default(),
        Preset::Wan => Tuning::wan(),
        Preset::Large => Tuning::large(),
        Preset::Auto if nodes > AUTO_SLOW => Tuning::large(),
        Preset::Auto if nodes > AUTO_LARGE => brisk(),
        Preset::Auto => Tuning::default(),
    }
}

/// Nodes above which everybody does not know everybody.
const AUTO_LARGE: usize = 500;

/// Nodes above which what is lost may take its time to be missed.
const AUTO_SLOW: usize = 2_000;

/// As for a large mesh, but with a heartbeat of 1 s: it costs a node some 100 bytes a second, and who loses power is
/// missed after four seconds instead of twenty. With one of 500 ms it is two and twice the traffic. Broadcasts are
/// offered sooner as well, so that after such a loss none takes longer than five.
fn brisk() -> Tuning {
    Tuning {
        heartbeat: Duration::from_secs(1),
        graft: Tuning::default().graft,
        offer: Duration::from_millis(400),
        ..Tuning::large()
    }
}

fn tuning(reader: &mut Reader<'_>, preset: Tuning, findings: &mut Findings<'_>) -> Tuning {
    let mut interval = |key, default| match reader.time_above_zero(key, findings) {
        Some(time) => time,
        None => default,
    };
    let tuning = Tuning {
        heartbeat: interval("heartbeat", preset.heartbeat),
        suspicion: interval("suspicion", preset.suspicion),
        gossip: interval("gossip", preset.gossip),
        rebalance: interval("rebalance", preset.rebalance),
        graft: interval("graft", preset.graft),
        offer: interval("offer", preset.offer),
        phi: preset.phi,
        members: preset.members,
    };
    let phi = reader.number("phi", 1.0..=16.0, findings).unwrap_or(preset.phi);
    let members = reader.count("members", 8..=65_536, findings).map_or(preset.members, |n| n as usize);
    Tuning { phi, members, ..tuning }
}

fn measure(mut reader: Reader<'_>, duration: Duration, findings: &mut Findings<'_>) -> Measure {
    let default = Measure::default();
    let measure = Measure {
        settled: reader.time("settled", findings).unwrap_or(default.settled),
        patience: reader.time("patience", findings).unwrap_or(default.patience),
        steady_from: reader.time("steady_from", findings).unwrap_or(default.steady_from),
    };
    if measure.steady_from >= duration {
        let at = reader.at_key("steady_from");
        findings.problem(at, "no broadcast counts: that is not before the end of the duration", None);
    }
    reader.done(findings);
    measure
}

fn plugins(reader: &Reader<'_>, findings: &mut Findings<'_>) -> Vec<PluginChoice> {
    let mut choices = Vec::new();
    for Entry { key, at, item } in reader.all() {
        let known = crate::plugins::SLOTS;
        if !crate::plugins::is_slot(key) {
            let help = match super::problem::nearest(key, known) {
                Some(word) => format!("did you mean '{word}'?"),
                None => format!("one of {}", known.join(", ")),
            };
            findings.problem(*at, format!("there is no slot '{key}'"), Some(help));
        }
        let choice =
            |source: &str, settings| PluginChoice { slot: key.clone(), source: source.to_owned(), settings };
        match &item.value {
            Value::Text(source) => choices.push(choice(source, Settings::new())),
            Value::Table(table) => {
                let mut reader = Reader::new(table, "plugins", item.at);
                if let Some(source) = reader.text("source", findings) {
                    choices.push(choice(source, settings(reader.section("settings", findings), findings)));
                } else if !reader.has("source", findings) {
                    findings.problem(
                        item.at,
                        "nothing says which plugin",
                        Some("write source = \"…\"".into()),
                    );
                }
                reader.done(findings);
            }
            _ => findings.problem(
                item.at,
                format!("a plugin is named by text, not {}", item.what()),
                Some("write \"built-in/latency\" or the path of a component".to_owned()),
            ),
        }
    }
    choices
}

fn settings(reader: Reader<'_>, findings: &mut Findings<'_>) -> Settings {
    let mut settings = Settings::new();
    for Entry { key, item, .. } in reader.all() {
        let value = match &item.value {
            Value::Text(text) => Setting::Text(text.clone()),
            Value::Integer(number) => Setting::Integer(*number),
            Value::Float(number) => Setting::Number(*number),
            Value::Bool(flag) => Setting::Flag(*flag),
            _ => {
                findings.problem(item.at, format!("a setting cannot be {}", item.what()), None);
                continue;
            }
        };
        settings.insert(key.clone(), value);
    }
    settings
}

fn expectations(reader: &Reader<'_>, findings: &mut Findings<'_>) -> Vec<Expectation> {
    let mut expectations = Vec::new();
    for Entry { key, at, item } in reader.all() {
        let Some(metric) = crate::expect::metric(key) else {
            let names = || crate::expect::METRICS.iter().map(|metric| metric.name);
            let help = match super::problem::nearest(key, names()) {
                Some(word) => format!("did you mean '{word}'?"),
                None => format!("known are {}", names().collect::<Vec<_>>().join(", ")),
            };
            findings.problem(*at, format!("no figure of the report is called '{key}'"), Some(help));
            continue;
        };
        let Value::Text(text) = &item.value else {
            let help = Some(format!("write {key} = \"<= 5\""));
            findings.problem(item.at, format!("{key} is a comparison, not {}", item.what()), help);
            continue;
        };
        match Expectation::parse(metric, text) {
            Ok(expectation) => expectations.push(expectation),
            Err(message) => findings.problem(item.at, message, Some(metric.example())),
        }
    }
    expectations
}
