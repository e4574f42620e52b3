//! `meshctl sub`: messages as they arrive.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use mesh_node::api::{ApiError, Time, text};
use mesh_node::control::client::Subscriber;
use mesh_node::control::frame::Wanted;
use mesh_node::message::{Delivery, Message};
use mesh_proto::policy::Class;
use mesh_proto::{MessageId, NodeId};
use serde::Serialize;

use super::Context;
use crate::output::human::{self, DIM, WARN, styled};

/// Print messages as they arrive.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  meshctl sub news
  meshctl sub sensors/roof --json | jq .payload
  meshctl sub --inbox                     messages to this node, each once
  meshctl sub --inbox --from 0            all that are kept, from the beginning
  meshctl sub news --count 1 --raw        the next payload, as it is

Messages of the inbox count as read once they are printed, unless --peek is given. With --json each message is
one line; 'payload' is text, or absent with 'payload_base64' in its place. A reader that is too slow for a
topic is told how many messages it missed.")]
pub struct Sub {
    /// The topic.
    #[arg(required_unless_present = "inbox", conflicts_with = "inbox")]
    topic: Option<String>,
    /// Messages to this node.
    #[arg(long)]
    inbox: bool,
    /// Start at this offset of the inbox.
    #[arg(long, value_name = "OFFSET", requires = "inbox")]
    from: Option<u64>,
    /// Leave the messages of the inbox unread.
    #[arg(long, requires = "inbox")]
    peek: bool,
    /// End after this many.
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,
    /// The payloads alone, a line each.
    #[arg(long, conflicts_with = "json")]
    raw: bool,
}

/// A message as a line of JSON.
#[derive(Debug, Serialize)]
struct Line<'a> {
    #[serde(with = "text")]
    id: MessageId,
    #[serde(with = "text")]
    origin: NodeId,
    topic: Option<&'a str>,
    #[serde(with = "text::class")]
    class: Class,
    seq: u64,
    hops: u8,
    sent: Time,
    offset: Option<u64>,
    payload_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

/// Messages that were missed, as a line of JSON.
#[derive(Debug, Serialize)]
struct Gap {
    lost: u64,
}

impl Sub {
    /// Prints until the node stops.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let what = match &self.topic {
            Some(topic) => Wanted::Topic(topic.clone()),
            None => Wanted::Inbox(self.from),
        };
        let mut messages = context.connect().await?.client.subscribe(what).await?;
        let mut left = self.count.unwrap_or(u64::MAX);
        while left > 0 {
            match messages.next().await? {
                Some(Delivery::Batch(batch)) => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(batch.len());
                    self.show(context, &batch[..take], &mut messages).await?;
                    left -= take as u64;
                }
                Some(Delivery::Gap { lost }) => {
                    let text = styled(WARN, format!("{lost} messages missed: this reader is too slow"));
                    match self.raw {
                        true => context.out.note(text),
                        false => context.out.line("gap", &Gap { lost }, &text)?,
                    }
                }
                None => return Ok(()),
            }
        }
        // Returns when the node has read the acknowledgements: it closes after them.
        messages.finish().await
    }

    async fn show(
        &self,
        context: &Context,
        batch: &[Message],
        messages: &mut Subscriber,
    ) -> Result<(), ApiError> {
        // One write for the whole batch: a write for each message would be what limits a fast topic.
        if self.raw {
            let lines: Vec<&[u8]> = batch.iter().flat_map(|message| [&message.payload[..], b"\n"]).collect();
            context.out.raw(&lines.concat())?;
        } else {
            let line = |message| context.out.line_text("message", &Line::of(message), &human_line(message));
            context.out.data(&batch.iter().map(line).collect::<Result<String, _>>()?)?;
        }
        let last = batch.iter().filter_map(|message| message.offset).max();
        match last.filter(|_| !self.peek) {
            Some(offset) => messages.ack(offset).await,
            None => Ok(()),
        }
    }
}

impl Line<'_> {
    fn of(message: &Message) -> Line<'_> {
        let payload = std::str::from_utf8(&message.payload).ok();
        Line {
            id: message.id,
            origin: message.origin,
            topic: message.topic.as_deref(),
            class: message.class,
            seq: message.seq,
            hops: message.hops,
            sent: Time(message.sent_ms),
            offset: message.offset,
            payload_bytes: message.payload.len(),
            payload,
            payload_base64: payload.is_none().then(|| BASE64_STANDARD.encode(&message.payload)),
        }
    }
}

fn human_line(message: &Message) -> String {
    let sent = Time(message.sent_ms).to_string();
    let clock = sent.get(11..23).unwrap_or_default();
    let place = message.topic.as_deref().unwrap_or("inbox");
    let head = format!("{clock}  {}  {}", message.origin.short(), human::safe(place));
    let payload = match std::str::from_utf8(&message.payload) {
        Ok(text) => human::safe(text),
        Err(_) => styled(DIM, format!("{} of binary data", human::bytes(message.payload.len() as u64))),
    };
    format!("{}  {payload}", styled(DIM, head))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn binary_payloads_are_base64_and_text_is_text() {
        let mut message = Message {
            id: MessageId([1; 32]),
            origin: NodeId([2; 32]),
            topic: None,
            class: Class::Normal,
            seq: 1,
            hops: 0,
            sent_ms: 0,
            offset: Some(3),
            payload: Bytes::from_static("hé".as_bytes()),
        };

        let text = serde_json::to_value(Line::of(&message)).unwrap();
        message.payload = Bytes::from_static(b"\xff\x00");
        let binary = serde_json::to_value(Line::of(&message)).unwrap();

        assert_eq!((text["payload"].as_str(), text.get("payload_base64")), (Some("hé"), None));
        assert_eq!((binary.get("payload"), binary["payload_base64"].as_str()), (None, Some("/wA=")));
        assert!(human_line(&message).contains("2 B of binary data"));
    }
}
