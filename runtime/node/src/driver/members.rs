//! Who is in the mesh, for those outside: what is told of changes, and the answers about members. The core
//! decides who lives.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mesh_proto::NodeId;
use mesh_proto::directory::LinkPolicy;
use mesh_proto::members::{Member, MemberState};
use mesh_proto::record::Record;
use mesh_proto::tuning::Tuning;

use super::Driver;
use super::answers::{age_s, count};
use super::clock::unix_ms;
use crate::api::{
    self, EventKind, MemberCounts, MemberInfo, Partition, ReachState, Reply, Time, TuningInfo, Warning, code,
    shown,
};

/// Members that died longer ago are no problem to be told of any more.
const NEWS: Duration = Duration::from_secs(3600);
/// Names in one sentence.
const MAX_NAMED: usize = 3;

/// What was told of the members, to tell only what is new. As many as the core knows.
#[derive(Debug, Default)]
pub(super) struct Told {
    members: BTreeMap<NodeId, (MemberState, u64)>,
    /// Since when it looks like a cut.
    partition: Option<Time>,
}

/// Says what a change is to those outside, given what they were told before; `None` when it is no news.
fn news(before: Option<(MemberState, u64)>, member: &Member<'_>) -> Option<EventKind> {
    let record = member.record;
    let (node, name) = (record.node, Some(record.facts.name.clone()));
    let (started, epoch) = (Time(record.facts.epoch), record.facts.epoch);
    match (before, member.state) {
        (Some(before), state) if before == (state, epoch) => None,
        (None, MemberState::Alive) => Some(EventKind::MemberJoined { node, name, started }),
        // Nobody was told that it was there.
        (None, _) => None,
        (Some((_, was)), MemberState::Alive) => {
            Some(EventKind::MemberBack { node, name, started, restarted: was != epoch })
        }
        (Some(_), MemberState::Suspect) => Some(EventKind::MemberSuspect { node, name }),
        (Some(_), MemberState::Dead) => Some(EventKind::MemberDead { node, name }),
        (Some(_), MemberState::Left) => Some(EventKind::MemberLeft { node, name }),
    }
}

impl Driver {
    /// The core has changed its mind about a member.
    pub(super) fn on_member(&mut self, node: NodeId) {
        self.names_stale = true;
        let Some(member) = self.parts.node.members().find(|member| member.record.node == node) else {
            return;
        };
        let told = (member.state, member.record.facts.epoch);
        let before = self.told.members.insert(node, told);
        if let Some(kind) = news(before, &member) {
            tracing::debug!(%node, state = member.state.name(), "member");
            self.tell(kind);
        }
    }

    pub(super) fn on_forgotten(&mut self, node: &NodeId) {
        self.told.members.remove(node);
        self.names_stale = true;
    }

    /// A start that was too short an absence for anybody to notice shows in the record alone.
    pub(super) fn look_for_restarts(&mut self) {
        let known = &self.told.members;
        let is_new = |member: &Member<'_>| {
            let told = known.get(&member.record.node);
            told.is_some_and(|(state, epoch)| *state == member.state && *epoch != member.record.facts.epoch)
        };
        let restarted = self.parts.node.members().filter(is_new).map(|member| member.record.node);
        for node in restarted.collect::<Vec<_>>() {
            self.on_member(node);
        }
    }

    pub(super) fn on_partitioned(&mut self, away: usize) {
        self.told.partition.get_or_insert(Time(unix_ms()));
        let of = of_all(&self.member_counts());
        self.tell(EventKind::Partitioned { away: u32::try_from(away).unwrap_or(u32::MAX), of });
    }

    pub(super) fn on_merged(&mut self, back: usize) {
        self.told.partition = None;
        self.tell(EventKind::Merged { back: u32::try_from(back).unwrap_or(u32::MAX) });
    }

    /// Returns all members, this node first.
    pub(super) fn member_rows(&self) -> Reply {
        let own = self.parts.node.own_record();
        let own = Member { record: own, state: MemberState::Alive, since: mesh_proto::time::Instant(0) };
        let rows = std::iter::once(own).chain(self.parts.node.members());
        Reply::Members(rows.map(|member| self.member_row(&member)).collect())
    }

    fn member_row(&self, member: &Member<'_>) -> MemberInfo {
        let node = &self.parts.node;
        let now = self.parts.clock.now().instant;
        let Record { node: id, version, facts, .. } = member.record;
        let link = node.link_to(id);
        let neighbour = link.and_then(|peer| node.neighbours().into_iter().find(|n| n.peer == peer));
        let this = *id == node.id();
        // Its own record may be a moment behind.
        let links = if this { node.neighbours().len() } else { facts.neighbours.len() };
        MemberInfo {
            node: *id,
            name: facts.name.clone(),
            this,
            state: member.state.into(),
            since_s: now.since(member.since).as_secs_f64(),
            started: Time(facts.epoch),
            links: u32::try_from(links).unwrap_or(u32::MAX),
            version: Time(*version),
            version_age_s: age_s(*version),
            phi: neighbour.as_ref().and_then(|n| node.phi(now, n.peer)),
            heard_s: neighbour.map(|n| now.since(n.heard).as_secs_f64()),
            addrs: facts.addrs.clone(),
            published: facts.state.iter().map(|(key, value)| (key.clone(), shown(value))).collect(),
        }
    }

    pub(super) fn member_counts(&self) -> MemberCounts {
        let mut counts =
            MemberCounts { alive: 1, sample: self.parts.node.knows_a_sample(), ..MemberCounts::default() };
        for member in self.parts.node.members() {
            let count = match member.state {
                MemberState::Alive => &mut counts.alive,
                MemberState::Suspect => &mut counts.suspect,
                MemberState::Dead => &mut counts.dead,
                MemberState::Left => &mut counts.left,
            };
            *count += 1;
        }
        counts
    }

    pub(super) fn partition(&self) -> Option<Partition> {
        let since = self.told.partition?;
        let counts = self.member_counts();
        Some(Partition { away: counts.dead, of: of_all(&counts), since })
    }

    pub(super) fn note_reach(&mut self) {
        let links = self.links.values().filter(|link| link.is_up).count();
        self.reach.on_links(Instant::now(), links);
    }

    pub(super) fn reach_report(&self) -> api::Reach {
        let knows_somebody = !self.parts.joins.is_empty()
            || self
                .parts
                .node
                .members()
                .any(|m| m.state != MemberState::Left && !m.record.facts.addrs.is_empty());
        self.reach.report(Instant::now(), knows_somebody)
    }

    pub(super) fn tuning(&self) -> TuningInfo {
        let (links, tuning): (_, Tuning) = self.parts.tuning;
        TuningInfo {
            links: match links {
                LinkPolicy::Adaptive => "adaptive".to_owned(),
                LinkPolicy::Explicit => "explicit".to_owned(),
                LinkPolicy::Auto { min, max } => format!("{min}..{max}"),
            },
            heartbeat_s: tuning.heartbeat.as_secs_f64(),
            phi: tuning.phi,
            suspicion_s: tuning.suspicion.as_secs_f64(),
            gossip_s: tuning.gossip.as_secs_f64(),
            rebalance_s: tuning.rebalance.as_secs_f64(),
            graft_s: tuning.graft.as_secs_f64(),
            offer_s: tuning.offer.as_secs_f64(),
            members: u32::try_from(tuning.members).unwrap_or(u32::MAX),
        }
    }

    /// Returns what is wrong with the mesh as this node sees it: no link, a cut, or members that went silent.
    pub(super) fn member_problems(&self) -> Vec<Warning> {
        let isolated = isolation(&self.reach_report());
        let cut = self.partition().map(|cut| Warning {
            code: code::PARTITIONED.id.to_owned(),
            message: format!(
                "{} of {} members {} away since {}",
                cut.away,
                cut.of,
                verb(cut.away),
                cut.since
            ),
            help: Some("meshctl members".to_owned()),
        });
        let silent = if cut.is_some() { None } else { self.silent_members() };
        isolated.into_iter().chain(cut).chain(silent).collect()
    }

    fn silent_members(&self) -> Option<Warning> {
        let now = self.parts.clock.now().instant;
        let named = |wanted: MemberState| -> Vec<&str> {
            let members = self.parts.node.members();
            let of_late = members.filter(|m| m.state == wanted && now.since(m.since) < NEWS);
            of_late.map(|member| member.record.facts.name.as_str()).collect()
        };
        let part = |word: &str, names: Vec<&str>| (!names.is_empty()).then(|| sentence(word, &names));
        let parts = [part("dead", named(MemberState::Dead)), part("suspect", named(MemberState::Suspect))];
        let message = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
        let help = Some("meshctl members".to_owned());
        let code = code::MEMBERS_SILENT.id.to_owned();
        (!message.is_empty()).then_some(Warning { code, message, help })
    }
}

/// Those who left are not missed.
fn of_all(counts: &MemberCounts) -> u32 {
    counts.alive + counts.suspect + counts.dead
}

fn verb(count: u32) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

/// Returns such as "2 members are dead: ada, bob".
fn sentence(word: &str, names: &[&str]) -> String {
    let is = verb(u32::try_from(names.len()).unwrap_or(u32::MAX));
    let more = if names.len() > MAX_NAMED { ", …" } else { "" };
    let named = names.iter().take(MAX_NAMED).copied().collect::<Vec<_>>().join(", ");
    format!("{} {is} {word}: {named}{more}", count(names.len(), "member"))
}

/// The first dial is no problem before it has failed.
fn isolation(reach: &api::Reach) -> Option<Warning> {
    let next = reach.next_attempt_s.unwrap_or(0.0);
    let rounds = count(reach.failed_rounds as usize, "round");
    let message = match reach.state {
        ReachState::Recovering if reach.failed_rounds > 0 => {
            format!("Recovering… no link, {rounds} failed, next attempt within {next:.0} s")
        }
        ReachState::Offline => format!("offline: no link, {rounds} failed, next attempt within {next:.0} s"),
        _ => return None,
    };
    let message = match &reach.last_error {
        Some(error) => format!("{message} ({error})"),
        None => message,
    };
    let help = Some("meshctl peers".to_owned());
    Some(Warning { code: code::ISOLATED.id.to_owned(), message, help })
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use mesh_proto::record::Facts;

    use super::*;

    fn told(before: Option<(MemberState, u64)>, state: MemberState, epoch: u64) -> Option<String> {
        let facts = Facts { epoch, name: "bob".into(), ..Facts::default() };
        let record = Record::sign(&SigningKey::from_bytes(&[1; 32]), epoch, facts);
        let member = Member { record: &record, state, since: mesh_proto::time::Instant(0) };
        let kind = serde_json::to_value(news(before, &member)?).expect("an event is JSON");
        let restarted = if kind["restarted"] == true { " restarted" } else { "" };
        Some(format!("{}{restarted}", kind["event"].as_str().expect("a kind has a name")))
    }

    // MN-38, PM-75.
    #[test]
    fn each_change_of_a_member_is_told_once_and_by_its_name() {
        use MemberState::{Alive, Dead, Left, Suspect};
        for (before, state, epoch, want) in [
            (None, Alive, 1, Some("member-joined")),
            (None, Left, 1, None),
            (Some((Alive, 1)), Suspect, 1, Some("member-suspect")),
            (Some((Suspect, 1)), Alive, 1, Some("member-back")),
            (Some((Suspect, 1)), Dead, 1, Some("member-dead")),
            (Some((Dead, 1)), Alive, 1, Some("member-back")),
            (Some((Dead, 1)), Alive, 2, Some("member-back restarted")),
            (Some((Alive, 1)), Left, 1, Some("member-left")),
            (Some((Left, 1)), Alive, 2, Some("member-back restarted")),
            (Some((Alive, 1)), Alive, 2, Some("member-back restarted")),
            (Some((Alive, 1)), Alive, 1, None),
        ] {
            assert_eq!(told(before, state, epoch).as_deref(), want, "{before:?} {state:?} {epoch}");
        }
    }

    #[test]
    fn silent_members_are_named_but_not_all_of_many() {
        assert_eq!(sentence("dead", &["bob"]), "1 member is dead: bob");
        assert_eq!(sentence("suspect", &["a", "b", "c", "d"]), "4 members are suspect: a, b, c, …");
    }

    // MN-13, MN-14: the state is told first, with what comes next.
    #[test]
    fn a_node_without_links_says_when_it_tries_again() {
        let mut reach = api::Reach {
            state: ReachState::Recovering,
            since_s: 9.0,
            failed_rounds: 0,
            next_attempt_s: Some(4.2),
            last_error: None,
        };
        assert_eq!(isolation(&reach), None);
        reach.failed_rounds = 3;
        let told = isolation(&reach).map(|warning| warning.message);
        assert_eq!(told.as_deref(), Some("Recovering… no link, 3 rounds failed, next attempt within 4 s"));
        (reach.state, reach.failed_rounds) = (ReachState::Offline, 10);
        reach.last_error = Some("127.0.0.1:1: refused".into());
        let told = isolation(&reach).map(|warning| warning.message).unwrap_or_default();
        assert_eq!(
            told,
            "offline: no link, 10 rounds failed, next attempt within 4 s (127.0.0.1:1: refused)"
        );
    }
}
