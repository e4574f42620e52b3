//! Cases of handlers: events in, in order; their effects out.

use mesh_plugin_host::alone::Alone;
use mesh_plugin_host::handler::{Effect, Event, Failure, Message};
use mesh_plugin_host::{Engine, HandlerSlot, Kv, Loaded, PrepareError, Settings, prepare_handler};
use serde::Deserialize;
use toml::Spanned;

use super::cases::{self, Check, ClassName, ID, id_of};

cases::case! {
    /// One case.
    pub struct Case {
        /// The node's name.
        #[serde(default = "somebody")]
        node: String,
        configured: Option<Spanned<Vec<EffectRow>>>,
        #[serde(default)]
        events: Vec<Spanned<EventRow>>,
    }
}

fn somebody() -> String {
    "somebody".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventRow {
    command: Option<String>,
    message: Option<String>,
    timer: Option<u32>,
    /// What a command carries.
    payload: Option<String>,
    /// Where a message comes from.
    topic: Option<String>,
    origin: Option<String>,
    #[serde(default)]
    now_ms: u64,
    #[serde(default)]
    seed: u64,
    expect: Option<Spanned<Vec<EffectRow>>>,
    failure: Option<Spanned<FailureName>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum FailureName {
    UnknownCommand,
    BadInput,
    Unavailable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EffectRow {
    subscribe: Option<String>,
    publish: Option<String>,
    class: Option<ClassName>,
    ttl_ms: Option<u32>,
    payload: Option<String>,
    timer: Option<u32>,
    after_ms: Option<u32>,
    reply: Option<String>,
    notify: Option<String>,
    put: Option<String>,
    value: Option<String>,
    forget: Option<String>,
}

impl cases::Case for Case {
    fn validate(&self) -> Result<(), (usize, String)> {
        let mut effects: Vec<&Spanned<Vec<EffectRow>>> = self.configured.iter().collect();
        for event in &self.events {
            event.get_ref().validate().map_err(|why| (event.span().start, why))?;
            effects.extend(&event.get_ref().expect);
        }
        let wrong = |rows: &Spanned<Vec<EffectRow>>| {
            let why = rows.get_ref().iter().find_map(|row| row.validate().err())?;
            Some((rows.span().start, why))
        };
        effects.into_iter().find_map(wrong).map_or(Ok(()), Err)
    }

    fn ask(&self, loaded: &Loaded, settings: &Settings, check: &mut Check<'_>) -> Result<(), PrepareError> {
        let identity = slot(loaded.engine(), &self.node).identity();
        let ready = prepare_handler(loaded, identity.clone(), settings)?;
        if let Some(expected) = &self.configured {
            compare("the start", expected, ready.configured(), check);
        }
        let mut handler = Alone::with(ready, identity);
        for (at, row) in (1..).zip(&self.events) {
            let what = format!("event {at}");
            let (at, row) = (row.span().start, row.get_ref());
            match handler.handle(row.now_ms, row.seed, &row.event()) {
                Ok(answer) => row.compare(at, &what, answer, check),
                Err(fault) => {
                    check.fault(&what, &fault);
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// The node that a handler is told it runs on.
fn slot(engine: &Engine, name: &str) -> HandlerSlot {
    HandlerSlot::new(engine, [7; 32], name, Kv::new())
}

impl EventRow {
    fn validate(&self) -> Result<(), String> {
        let kinds = [
            ("command", self.command.is_some()),
            ("message", self.message.is_some()),
            ("timer", self.timer.is_some()),
        ];
        let keys = [
            ("payload", self.payload.is_some(), "command"),
            ("topic", self.topic.is_some(), "message"),
            ("origin", self.origin.is_some(), "message"),
        ];
        one_kind(&kinds, &keys)?;
        match &self.origin {
            Some(origin) if id_of(origin).is_none() => Err(format!("origin is {ID}")),
            _ if self.expect.is_some() && self.failure.is_some() => {
                Err("expect and failure exclude each other".into())
            }
            _ => Ok(()),
        }
    }

    fn event(&self) -> Event {
        if let Some(id) = self.timer {
            return Event::Timer(id);
        }
        if let Some(name) = &self.command {
            return Event::Command { name: name.clone(), payload: bytes(&self.payload) };
        }
        Event::Message(Message {
            topic: self.topic.clone().unwrap_or_default(),
            origin: self.origin.as_deref().and_then(id_of).unwrap_or([1; 32]),
            id: [2; 32],
            payload: bytes(&self.message),
            sent_ms: self.now_ms,
        })
    }

    fn compare(&self, at: usize, what: &str, answer: Result<Vec<Effect>, Failure>, check: &mut Check<'_>) {
        match (&self.failure, &self.expect, answer) {
            (Some(expected), _, Err(failure)) if *expected.get_ref() == name_of(&failure) => {}
            (Some(expected), _, answer) => {
                let got = answer.map_or_else(|failure| failure.to_string(), |effects| texts(&effects));
                check.differs(expected.span().start, what, format!("{:?}", expected.get_ref()), got);
            }
            (None, Some(expected), Ok(effects)) => compare(what, expected, &effects, check),
            (None, Some(expected), Err(failure)) => {
                check.differs(expected.span().start, what, "effects", format!("a failure: {failure}"));
            }
            (None, None, Err(failure)) => check.differs(at, what, "effects", format!("a failure: {failure}")),
            (None, None, Ok(_)) => {}
        }
    }
}

fn bytes(text: &Option<String>) -> Vec<u8> {
    text.clone().unwrap_or_default().into_bytes()
}

/// Checks that of some kinds there is one, and of the keys beside it only those that belong to it.
fn one_kind(kinds: &[(&str, bool)], keys: &[(&str, bool, &str)]) -> Result<(), String> {
    let given: Vec<&str> = kinds.iter().filter(|(_, given)| *given).map(|(kind, _)| *kind).collect();
    let [kind] = given.as_slice() else {
        let known: Vec<&str> = kinds.iter().map(|(kind, _)| *kind).collect();
        let given = if given.is_empty() { "none of them".to_owned() } else { given.join(", ") };
        return Err(format!("it is one of {}, and here is {given}", known.join(", ")));
    };
    let fits = |of: &str| of.split(' ').any(|of| of == *kind);
    match keys.iter().find(|(_, given, of)| *given && !fits(of)) {
        Some((key, ..)) => Err(format!("{key} does not belong to {kind}")),
        None => Ok(()),
    }
}

fn name_of(failure: &Failure) -> FailureName {
    match failure {
        Failure::UnknownCommand(_) => FailureName::UnknownCommand,
        Failure::BadInput(_) => FailureName::BadInput,
        Failure::Unavailable(_) => FailureName::Unavailable,
    }
}

fn compare(what: &str, expected: &Spanned<Vec<EffectRow>>, got: &[Effect], check: &mut Check<'_>) {
    let wanted: Vec<String> = expected.get_ref().iter().map(EffectRow::text).collect();
    let fits = expected.get_ref().len() == got.len()
        && expected.get_ref().iter().zip(got).all(|(row, effect)| row.fits(effect));
    if !fits {
        check.differs(expected.span().start, what, format!("[{}]", wanted.join(", ")), texts(got));
    }
}

impl EffectRow {
    fn validate(&self) -> Result<(), String> {
        let kinds = [
            ("subscribe", self.subscribe.is_some()),
            ("publish", self.publish.is_some()),
            ("timer", self.timer.is_some()),
            ("reply", self.reply.is_some()),
            ("notify", self.notify.is_some()),
            ("put", self.put.is_some()),
            ("forget", self.forget.is_some()),
        ];
        let keys = [
            ("class", self.class.is_some(), "publish"),
            ("ttl_ms", self.ttl_ms.is_some(), "publish"),
            ("payload", self.payload.is_some(), "publish notify"),
            ("after_ms", self.after_ms.is_some(), "timer"),
            ("value", self.value.is_some(), "put"),
        ];
        one_kind(&kinds, &keys)
    }

    /// What a row does not name may be anything.
    fn fits(&self, effect: &Effect) -> bool {
        let is =
            |wanted: &Option<String>, got: &[u8]| wanted.as_ref().is_none_or(|text| text.as_bytes() == got);
        match effect {
            Effect::Subscribe(topic) => self.subscribe.as_ref() == Some(topic),
            Effect::Publish { topic, class, ttl_ms, payload } => {
                self.publish.as_ref() == Some(topic)
                    && self.class.is_none_or(|wanted| mesh_proto::policy::Class::from(wanted) == *class)
                    && self.ttl_ms.is_none_or(|wanted| wanted == *ttl_ms)
                    && is(&self.payload, payload)
            }
            Effect::SetTimer { id, after_ms } => {
                self.timer == Some(*id) && self.after_ms.is_none_or(|wanted| wanted == *after_ms)
            }
            Effect::Reply(payload) => self.reply.is_some() && is(&self.reply, payload),
            Effect::Notify { kind, payload } => {
                self.notify.as_ref() == Some(kind) && is(&self.payload, payload)
            }
            Effect::Put { key, value } => self.put.as_ref() == Some(key) && is(&self.value, value),
            Effect::Forget(key) => self.forget.as_ref() == Some(key),
        }
    }

    fn text(&self) -> String {
        let names = [
            ("subscribe", &self.subscribe),
            ("publish", &self.publish),
            ("reply", &self.reply),
            ("notify", &self.notify),
            ("put", &self.put),
            ("forget", &self.forget),
            ("payload", &self.payload),
            ("value", &self.value),
        ];
        let mut parts: Vec<String> =
            names.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?))).collect();
        let class =
            self.class.map(|class| format!("class {}", mesh_proto::policy::Class::from(class).name()));
        let numbers = [("timer", self.timer), ("after_ms", self.after_ms), ("ttl_ms", self.ttl_ms)];
        parts.extend(class);
        parts.extend(numbers.iter().filter_map(|(name, value)| Some(format!("{name} {}", (*value)?))));
        parts.join(" ")
    }
}

fn texts(effects: &[Effect]) -> String {
    let texts: Vec<String> = effects.iter().map(text).collect();
    format!("[{}]", texts.join(", "))
}

fn text(effect: &Effect) -> String {
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match effect {
        Effect::Subscribe(topic) => format!("subscribe {topic}"),
        Effect::Publish { topic, class, ttl_ms, payload } => {
            format!("publish {topic} payload {} class {} ttl_ms {ttl_ms}", shown(payload), class.name())
        }
        Effect::SetTimer { id, after_ms } => format!("timer {id} after_ms {after_ms}"),
        Effect::Reply(payload) => format!("reply {}", shown(payload)),
        Effect::Notify { kind, payload } => format!("notify {kind} payload {}", shown(payload)),
        Effect::Put { key, value } => format!("put {key} value {}", shown(value)),
        Effect::Forget(key) => format!("forget {key}"),
    }
}
