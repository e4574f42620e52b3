//! `meshctl events`: what happens, as it happens.

use clap::Args;
use mesh_node::api::{ApiError, Event, EventKind, NamedNode};

use super::Context;
use crate::output::human::{self, BAD, DIM, GOOD, WARN, styled};

/// Print what happens, as it happens.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  meshctl events
  meshctl events --json | jq .event
  meshctl events --only peer-up,peer-down
  meshctl events --only member-dead,member-left,member-back
  meshctl events --only plugin-swapped --count 1     wait for one

With --json each event is one line. A reader that is too slow is told how many it missed by a 'gap' event.")]
pub struct Events {
    /// Only these kinds, such as peer-up.
    #[arg(long, value_delimiter = ',', value_name = "KIND")]
    only: Vec<String>,
    /// Go on until the node stops; it does so anyway.
    #[arg(short, long, conflicts_with = "count")]
    follow: bool,
    /// End after this many.
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,
}

impl Events {
    /// Prints until the node stops.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let mut events = context.connect().await?.client.events().await?;
        let mut left = self.count.unwrap_or(u64::MAX);
        while left > 0 {
            let Some(event) = events.next().await? else { return Ok(()) };
            let kind = kind(&event);
            if self.only.is_empty() || self.only.contains(&kind) {
                let text = format!("{}  {}", styled(DIM, clock(&event)), line(&event.kind, &kind));
                context.out.line("event", &event, &text)?;
                left -= 1;
            }
        }
        Ok(())
    }
}

// The name in JSON is the one name of a kind.
fn kind(event: &Event) -> String {
    let value = serde_json::to_value(&event.kind).unwrap_or_default();
    value["event"].as_str().unwrap_or_default().to_owned()
}

fn clock(event: &Event) -> String {
    // RFC 3339 has the time of day at this place.
    event.at.to_string().get(11..23).unwrap_or_default().to_owned()
}

fn line(kind: &EventKind, word: &str) -> String {
    let style = match kind {
        EventKind::PeerUp { .. } | EventKind::PluginSwapped { .. } | EventKind::StoreRecovered => GOOD,
        EventKind::PluginResumed { .. } => GOOD,
        EventKind::MemberJoined { .. } | EventKind::MemberBack { .. } | EventKind::Merged { .. } => GOOD,
        EventKind::LinkViolation { .. }
        | EventKind::MemberDead { .. }
        | EventKind::Partitioned { .. }
        | EventKind::PluginQuarantined { .. }
        | EventKind::PluginRevoked { .. }
        | EventKind::StoreDegraded { .. } => BAD,
        EventKind::PeerDown { .. } | EventKind::PluginStruck { .. } | EventKind::MessagesDropped { .. } => {
            WARN
        }
        EventKind::PluginPaused { .. } | EventKind::LinkDenied { .. } => WARN,
        EventKind::PluginRolledBack { .. } | EventKind::MemberSuspect { .. } | EventKind::Gap { .. } => WARN,
        _ => human::BOLD,
    };
    format!("{}  {}", styled(style, format!("{word:<18}")), human::safe(&details(kind)))
}

fn details(kind: &EventKind) -> String {
    let called =
        |node: &mesh_proto::NodeId, name: &Option<String>| name.clone().unwrap_or_else(|| node.short());
    match kind {
        EventKind::Listening { transport, addr } => format!("{transport} {addr}"),
        EventKind::Stopping | EventKind::StoreRecovered => String::new(),
        EventKind::PeerUp { node, name, addr, transport, dialed } => {
            let side = if *dialed { "dialled" } else { "accepted" };
            format!("{} {transport} {addr} ({side})", called(node, name))
        }
        EventKind::PeerDown { node, name, reason } => format!("{}: {reason}", called(node, name)),
        EventKind::NodeDiscovered { node, name } => called(node, name),
        EventKind::MemberJoined { node, name, .. }
        | EventKind::MemberSuspect { node, name }
        | EventKind::MemberDead { node, name }
        | EventKind::MemberLeft { node, name } => called(node, name),
        EventKind::MemberBack { node, name, restarted, .. } => {
            format!("{}{}", called(node, name), if *restarted { ", started again" } else { "" })
        }
        EventKind::Partitioned { away, of } => format!("{away} of {of} members are away"),
        EventKind::Merged { back } => format!("{back} members are back"),
        EventKind::ParentChanged { from, to, why } => {
            let or_none = |node: &Option<NamedNode>| {
                node.as_ref().map_or_else(|| "none".to_owned(), |node| called(&node.node, &node.name))
            };
            format!("{} instead of {}: {why}", or_none(to), or_none(from))
        }
        EventKind::RoleChanged { role } => role.clone(),
        EventKind::LeaderElected { leader, cell } => {
            let leader = leader.as_ref().map_or_else(|| "nobody".to_owned(), |l| called(&l.node, &l.name));
            if cell.is_empty() { leader } else { format!("{leader} leads {cell}") }
        }
        EventKind::LinkViolation { node, addr, violation } => {
            format!("{} {addr}: {violation}", node.as_deref().unwrap_or("unknown"))
        }
        EventKind::LinkDenied { node, name, addr, reason } => {
            format!("{} {addr}: {reason}", called(node, name))
        }
        EventKind::MessagesDropped { reason, class, count } => {
            format!("{count} {} messages: {reason}", class.name())
        }
        EventKind::PluginInstalled { plugin } => format!("{plugin} ({})", human::revision(&plugin.revision)),
        EventKind::PluginSwapped { slot, plugin, pause_us } => {
            let rev = human::revision(&plugin.revision);
            format!("{slot}: {plugin} ({rev}), {} pause", human::duration(pause_us / 1e6))
        }
        EventKind::PluginStruck { slot, plugin, reason, strikes } => {
            format!("{slot}: {plugin}: {reason} (strike {strikes})")
        }
        EventKind::PluginQuarantined { slot, plugin, successor } => {
            format!("{slot}: {plugin}; {successor} took over")
        }
        EventKind::PluginPaused { slot, plugin } => format!("{slot}: {plugin}"),
        EventKind::PluginResumed { slot, plugin, automatic } => {
            format!("{slot}: {plugin}{}", if *automatic { ", by itself after its quarantine" } else { "" })
        }
        EventKind::PluginRevoked { slot, plugin, key, successor } => {
            format!("{slot}: {plugin}; {successor} took over: {key} is revoked")
        }
        EventKind::PluginTrial { slot, plugin, stage, reason } => {
            let why = reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
            format!("{slot}: {plugin}: {stage}{why}")
        }
        EventKind::PluginRolledBack { slot, plugin, automatic } => {
            format!("{slot}: back to {plugin}{}", if *automatic { " by itself" } else { "" })
        }
        EventKind::StoreDegraded { reason } => reason.clone(),
        EventKind::Beacon { node, name, change, geohash } => {
            format!("{} {change} in {geohash}", called(node, name))
        }
        EventKind::Gap { lost } => format!("{lost} events missed"),
    }
}
