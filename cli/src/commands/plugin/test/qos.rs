//! Cases of QoS policies: messages in, a class each out; a load in, shares out.

use mesh_plugin_host::alone::Alone;
use mesh_plugin_host::{Loaded, PrepareError, Settings, prepare_qos};
use mesh_proto::policy::{CLASS_DROP, Class, Load, QosBatch, Shares};
use serde::Deserialize;
use toml::Spanned;

use super::cases::{self, Check, ClassName};

cases::case! {
    /// One case.
    pub struct Case {
        #[serde(default)]
        now_ms: u64,
        #[serde(default)]
        messages: Vec<MessageRow>,
        #[serde(default)]
        load: LoadRow,
        shares: Option<Spanned<SharesRow>>,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageRow {
    class: ClassName,
    #[serde(default)]
    size: u32,
    #[serde(default)]
    age_ms: u32,
    #[serde(default)]
    tag: u32,
    expect: Option<Spanned<Word>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Word {
    Class(ClassName),
    Drop(Drop),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Drop {
    Drop,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LoadRow {
    sent_bytes: [u64; 5],
    queued_bytes: [u64; 5],
    dropped: [u64; 5],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SharesRow {
    guaranteed: [u8; 5],
    burst: [u8; 5],
}

impl From<Word> for u8 {
    fn from(word: Word) -> u8 {
        match word {
            Word::Class(class) => Class::from(class) as u8,
            Word::Drop(Drop::Drop) => CLASS_DROP,
        }
    }
}

impl cases::Case for Case {
    fn ask(&self, loaded: &Loaded, settings: &Settings, check: &mut Check<'_>) -> Result<(), PrepareError> {
        let mut policy = Alone::new(prepare_qos(loaded, settings)?);
        match policy.classify(self.now_ms, &self.batch()) {
            Ok(answers) => {
                let expected = self.messages.iter().map(|message| &message.expect);
                check.answers(expected, &answers, |at| format!("message {}", at + 1), text);
            }
            Err(fault) => check.fault("the batch", &fault),
        }
        let Some(expected) = &self.shares else { return Ok(()) };
        let LoadRow { sent_bytes, queued_bytes, dropped } = self.load;
        match policy.divide(self.now_ms, &Load { sent_bytes, queued_bytes, dropped }) {
            Ok(shares) => compare_shares(expected, shares, check),
            Err(fault) => check.fault("the shares", &fault),
        }
        Ok(())
    }
}

impl Case {
    fn batch(&self) -> QosBatch {
        let mut batch = QosBatch::default();
        for message in &self.messages {
            batch.push(message.class.into(), message.size, message.age_ms, message.tag);
        }
        batch
    }
}

fn compare_shares(expected: &Spanned<SharesRow>, got: Shares, check: &mut Check<'_>) {
    let SharesRow { guaranteed, burst } = expected.get_ref();
    for (what, wanted, got) in [("guaranteed", guaranteed, got.guaranteed), ("burst", burst, got.burst)] {
        if *wanted != got {
            check.differs(expected.span().start, what, format!("{wanted:?}"), format!("{got:?}"));
        }
    }
}

fn text(code: u8) -> String {
    match Class::from_u8(code) {
        Some(class) => class.name().to_owned(),
        None => "drop".to_owned(),
    }
}
