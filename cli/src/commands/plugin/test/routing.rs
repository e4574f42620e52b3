//! Cases of routing policies: a view and a batch in, a row or a word for each message out.

use mesh_plugin_host::alone::Alone;
use mesh_plugin_host::{Loaded, PrepareError, Settings, prepare_routing};
use mesh_proto::policy::{ABSTAIN, DROP, HOLD, LOCAL, Links, RouteBatch, TOPIC_BIT, View, Ways};
use serde::Deserialize;
use toml::Spanned;

use super::cases::{self, Check, ClassName};

/// Times that a batch may be asked again.
const MAX_REPEAT: u32 = 100_000;

cases::case! {
    /// One case.
    pub struct Case {
        #[serde(default)]
        now_ms: u64,
        #[serde(default)]
        links: Vec<LinkRow>,
        #[serde(default)]
        ways: Vec<WayRow>,
        #[serde(default)]
        messages: Vec<MessageRow>,
        /// How often the batch is asked; the answers to the last time count.
        repeat: Option<Spanned<u32>>,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct LinkRow {
    rtt_us: u32,
    loss_ppm: u32,
    queued_bytes: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WayRow {
    dest: u32,
    via: u32,
    #[serde(default)]
    cost_us: u32,
    #[serde(default)]
    hops: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageRow {
    dest: Option<u32>,
    topic: Option<u32>,
    from: Option<u32>,
    #[serde(default = "usual_size")]
    size: u32,
    class: Option<ClassName>,
    expect: Option<Spanned<Expected>>,
}

fn usual_size() -> u32 {
    100
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Expected {
    Row(u32),
    Word(Word),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    Drop,
    Hold,
    Abstain,
}

impl From<Expected> for u32 {
    fn from(expected: Expected) -> u32 {
        match expected {
            Expected::Row(row) => row,
            Expected::Word(Word::Drop) => DROP,
            Expected::Word(Word::Hold) => HOLD,
            Expected::Word(Word::Abstain) => ABSTAIN,
        }
    }
}

impl cases::Case for Case {
    fn validate(&self) -> Result<(), (usize, String)> {
        match &self.repeat {
            Some(repeat) if !(1..=MAX_REPEAT).contains(repeat.get_ref()) => {
                Err((repeat.span().start, format!("repeat is 1 to {MAX_REPEAT}")))
            }
            _ => Ok(()),
        }
    }

    fn ask(&self, loaded: &Loaded, settings: &Settings, check: &mut Check<'_>) -> Result<(), PrepareError> {
        let mut policy = Alone::new(prepare_routing(loaded, settings)?);
        let (view, batch) = (self.view(), self.batch());
        let mut answers = Vec::new();
        for _ in 0..self.repeat.as_ref().map_or(1, |repeat| *repeat.get_ref()) {
            match policy.route(self.now_ms, &view, &batch) {
                Ok(rows) => answers = rows,
                Err(fault) => {
                    check.fault("the batch", &fault);
                    return Ok(());
                }
            }
        }
        let expected = self.messages.iter().map(|message| &message.expect);
        check.answers(expected, &answers, |at| format!("message {}", at + 1), text);
        Ok(())
    }
}

impl Case {
    fn view(&self) -> View {
        let links = Links {
            rtt_us: self.links.iter().map(|link| link.rtt_us).collect(),
            loss_ppm: self.links.iter().map(|link| link.loss_ppm).collect(),
            queued_bytes: self.links.iter().map(|link| link.queued_bytes).collect(),
        };
        let mut rows: Vec<&WayRow> = self.ways.iter().collect();
        // As a node shows them.
        rows.sort_by_key(|way| way.dest);
        let ways = Ways {
            dest: rows.iter().map(|way| way.dest).collect(),
            via: rows.iter().map(|way| way.via).collect(),
            cost_us: rows.iter().map(|way| way.cost_us).collect(),
            hops: rows.iter().map(|way| way.hops).collect(),
        };
        View { links, ways }
    }

    fn batch(&self) -> RouteBatch {
        let mut batch = RouteBatch::default();
        for message in &self.messages {
            let topic = message.topic.map(|tag| tag | TOPIC_BIT);
            let dest = topic.or(message.dest).unwrap_or_default();
            let class = message.class.unwrap_or(ClassName::Normal);
            batch.push(dest, message.from.unwrap_or(LOCAL), message.size, class.into());
        }
        batch
    }
}

fn text(code: u32) -> String {
    match code {
        DROP => "drop".to_owned(),
        HOLD => "hold".to_owned(),
        ABSTAIN => "abstain".to_owned(),
        row => format!("neighbour {row}"),
    }
}
