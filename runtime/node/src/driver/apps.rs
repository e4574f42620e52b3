//! Deliveries to applications: topic subscribers, inbox readers and the handler.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use mesh_plugin_host::handler::{Event, Message};
use mesh_proto::TopicId;
use mesh_proto::run::{Dest, Run};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};

use super::Driver;
use crate::api::{ApiError, code};
use crate::handler::Job;
use crate::mesh::{Call, Handed, Parcel, Subscription};
use crate::message::Filter;

/// Subscriptions at a time.
const MAX_SUBSCRIPTIONS: usize = 4096;
/// Parcels that wait for a topic's subscriber; beyond it messages are skipped and counted. A parcel holds
/// at most one run, 256 KiB.
const TOPIC_PARCELS: usize = 128;
/// Parcels that wait for an inbox's reader; beyond it the inbox keeps them.
const INBOX_PARCELS: usize = 16;
/// Bytes of a topic's name.
const MAX_TOPIC: usize = 256;

enum Wanted {
    Topic { id: TopicId, name: Arc<str>, lost: u64 },
    Inbox { next: u64, acknowledged: Option<u64> },
}

struct App {
    wanted: Wanted,
    parcels: mpsc::Sender<Handed>,
}

pub(super) struct Apps {
    apps: BTreeMap<u64, App>,
    next: u64,
    by_topic: HashMap<TopicId, Vec<u64>>,
    /// Topics that the handler wants, with their names.
    handler_topics: HashMap<TopicId, String>,
    /// Some reader has taken something.
    pub(super) room: Arc<Notify>,
    calls: mpsc::Sender<Call>,
    /// Messages that slow subscribers were not given.
    pub(super) skipped: u64,
}

impl Apps {
    pub(super) fn new(calls: mpsc::Sender<Call>) -> Apps {
        Apps {
            apps: BTreeMap::new(),
            next: 1,
            by_topic: HashMap::new(),
            handler_topics: HashMap::new(),
            room: Arc::new(Notify::new()),
            calls,
            skipped: 0,
        }
    }

    fn wants(&self, topic: &TopicId) -> bool {
        self.by_topic.contains_key(topic) || self.handler_topics.contains_key(topic)
    }
}

impl Driver {
    pub(super) fn subscribe(&mut self, filter: Filter) -> Result<Subscription, ApiError> {
        if self.apps.apps.len() >= MAX_SUBSCRIPTIONS {
            let message = format!("there are {MAX_SUBSCRIPTIONS} subscriptions, which is the limit");
            return Err(ApiError::new(&code::TOO_MANY_CLIENTS, message));
        }
        let id = self.apps.next;
        self.apps.next += 1;
        let (capacity, wanted) = match filter {
            Filter::Topic(name) => {
                if name.is_empty() || name.len() > MAX_TOPIC {
                    let message = format!("a topic has 1 to {MAX_TOPIC} bytes");
                    return Err(ApiError::new(&code::BAD_VALUE, message));
                }
                let topic = TopicId::of(&name);
                if !self.apps.wants(&topic) {
                    self.subscribe_core(topic, true);
                }
                self.apps.by_topic.entry(topic).or_default().push(id);
                (TOPIC_PARCELS, Wanted::Topic { id: topic, name: name.into(), lost: 0 })
            }
            Filter::Inbox { from_offset } => {
                (INBOX_PARCELS, Wanted::Inbox { next: from_offset.unwrap_or(0), acknowledged: None })
            }
        };
        let (parcels, receiver) = mpsc::channel(capacity);
        self.apps.apps.insert(id, App { wanted, parcels });
        let (room, calls) = (self.apps.room.clone(), self.apps.calls.clone());
        Ok(Subscription { id, parcels: receiver, room, calls })
    }

    pub(super) fn unsubscribe(&mut self, id: u64) {
        let Some(app) = self.apps.apps.remove(&id) else { return };
        if let Wanted::Topic { id: topic, .. } = app.wanted
            && let Some(ids) = self.apps.by_topic.get_mut(&topic)
        {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.apps.by_topic.remove(&topic);
                if !self.apps.wants(&topic) {
                    self.subscribe_core(topic, false);
                }
            }
        }
    }

    /// Sets the topics that the handler wants beside those it has.
    pub(super) fn handler_wants(&mut self, topics: impl IntoIterator<Item = String>, instead: bool) {
        let before: HashSet<TopicId> = self.apps.handler_topics.keys().copied().collect();
        if instead {
            self.apps.handler_topics.clear();
        }
        for name in topics.into_iter().filter(|name| name.len() <= MAX_TOPIC) {
            self.apps.handler_topics.insert(TopicId::of(&name), name);
        }
        let after: HashSet<TopicId> = self.apps.handler_topics.keys().copied().collect();
        for topic in after.difference(&before).filter(|topic| !self.apps.by_topic.contains_key(*topic)) {
            self.inputs.push(mesh_proto::node::Input::Subscribe(*topic));
        }
        for topic in before.difference(&after).filter(|topic| !self.apps.by_topic.contains_key(*topic)) {
            self.inputs.push(mesh_proto::node::Input::Unsubscribe(*topic));
        }
    }

    pub(super) fn deliver(&mut self, run: Arc<Run>, hops: u8) {
        match run.head().flow.dest {
            Dest::Node(_) => {
                let entry = self.parts.inbox.number(run, hops);
                self.parts.inbox.push(entry);
            }
            Dest::Topic(topic) => self.deliver_topic(topic, &run, hops),
            Dest::Mesh => {}
        }
    }

    fn deliver_topic(&mut self, topic: TopicId, run: &Arc<Run>, hops: u8) {
        self.deliver_to_handler(topic, run);
        let Some(ids) = self.apps.by_topic.get(&topic) else { return };
        let mut gone = Vec::new();
        for id in ids {
            let Some(app) = self.apps.apps.get_mut(id) else { continue };
            let Wanted::Topic { name, lost, .. } = &mut app.wanted else { continue };
            if *lost > 0 && app.parcels.try_send(Handed::Gap { lost: *lost }).is_ok() {
                *lost = 0;
            }
            let parcel =
                Parcel { run: run.clone(), topic: Some(name.clone()), hops, first_offset: None, skip: 0 };
            let sent = if *lost > 0 {
                Err(TrySendError::Full(Handed::Parcel(parcel)))
            } else {
                app.parcels.try_send(Handed::Parcel(parcel))
            };
            match sent {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => {
                    *lost += run.len() as u64;
                    self.apps.skipped += run.len() as u64;
                }
                Err(TrySendError::Closed(_)) => gone.push(*id),
            }
        }
        gone.into_iter().for_each(|id| self.unsubscribe(id));
    }

    fn deliver_to_handler(&mut self, topic: TopicId, run: &Run) {
        let Some(name) = self.apps.handler_topics.get(&topic) else { return };
        for (index, (_, payload)) in run.messages().enumerate() {
            let message = Message {
                topic: name.clone(),
                origin: run.head().flow.origin.0,
                id: run.message_id(index).0,
                payload: payload.to_vec(),
                sent_ms: run.head().sent_ms,
            };
            self.parts.plugins.handler.hand(Job::Event(Event::Message(message)));
        }
    }

    /// Hands out what the inbox holds to readers that have room.
    pub(super) fn serve_inbox(&mut self) {
        let mut gone = Vec::new();
        for (id, app) in &mut self.apps.apps {
            let Wanted::Inbox { next, .. } = &mut app.wanted else { continue };
            while let Some(entry) = self.parts.inbox.at(*next) {
                let parcel = Parcel {
                    run: entry.run.clone(),
                    topic: None,
                    hops: entry.hops,
                    first_offset: Some(entry.first),
                    skip: next.saturating_sub(entry.first) as usize,
                };
                let end = entry.end();
                match app.parcels.try_send(Handed::Parcel(parcel)) {
                    Ok(()) => *next = end,
                    Err(TrySendError::Full(_)) => break,
                    Err(TrySendError::Closed(_)) => {
                        gone.push(*id);
                        break;
                    }
                }
            }
        }
        gone.into_iter().for_each(|id| self.unsubscribe(id));
    }

    /// Forgets what every reader of the inbox has acknowledged.
    pub(super) fn acknowledge(&mut self, id: u64, offset: u64) {
        if let Some(App { wanted: Wanted::Inbox { acknowledged, .. }, .. }) = self.apps.apps.get_mut(&id) {
            *acknowledged = (*acknowledged).max(Some(offset));
        }
        let acknowledged = self.apps.apps.values().filter_map(|app| match &app.wanted {
            Wanted::Inbox { acknowledged, .. } => Some(*acknowledged),
            Wanted::Topic { .. } => None,
        });
        let Some(Some(all)) = acknowledged.min() else { return };
        let writes = self.parts.inbox.acknowledge(all);
        self.writes.extend(writes);
        if let Err(error) = self.parts.inbox.refill(&self.parts.store) {
            tracing::error!(%error, "the inbox cannot be read");
        }
    }
}
