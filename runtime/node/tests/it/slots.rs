//! The slots `admission` and `carry` between real nodes: who gets no link, what is not kept, and what becomes of a door
//! whose guard fails.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use mesh_hostile::Hostile;
use mesh_node::api::{
    EventKind, OldState, OnFailure, Operation, PeerState, PluginRow, PluginState, Reply, Request, Setting,
    SwapRequest,
};
use mesh_node::message::{Delivery, Filter, SendOptions};
use mesh_node::{EventStream, LinkPolicy, Mesh};
use mesh_plugin_host::journal::{Entry, Event};
use mesh_proto::NodeId;
use mesh_proto::policy::Class;

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it happens within a minute")
}

async fn call(mesh: &Mesh, request: Request) -> Reply {
    mesh.call(request, Bytes::new()).await.expect("the call succeeds")
}

fn explicit(name: &str) -> mesh_node::Builder {
    Mesh::builder().name(name).links(LinkPolicy::Explicit)
}

async fn joined(name: &str, to: &Mesh) -> Mesh {
    explicit(name).join(&to.local_addrs()[0]).start().await.expect("it starts")
}

async fn neighbours(mesh: &Mesh) -> BTreeSet<NodeId> {
    let Reply::Peers(peers) = call(mesh, Request::Peers).await else { panic!("peers") };
    peers.iter().filter(|peer| peer.state == PeerState::Up).map(|peer| peer.node).collect()
}

async fn linked(mesh: &Mesh, to: &Mesh) {
    within(async {
        while !neighbours(mesh).await.contains(&to.id()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn counter(mesh: &Mesh, name: &str) -> u64 {
    let Reply::Counters(counters) = call(mesh, Request::Counters).await else { panic!("counters") };
    counters.0[name]
}

/// Puts a plugin into a slot.
async fn bind<const N: usize>(mesh: &Mesh, slot: &str, plugin: &str, settings: [(&str, Setting); N]) {
    let swap = Request::PluginSwap(SwapRequest {
        slot: slot.to_owned(),
        plugin: plugin.to_owned(),
        settings: settings.map(|(name, value)| (name.to_owned(), value)).into(),
        old_state: OldState::Reset,
        dry_run: false,
        allow_downgrade: true,
        on_failure: None,
    });
    let Reply::Swapped(_) = call(mesh, swap).await else { panic!("swapped") };
}

fn text(value: &str) -> Setting {
    Setting::Text(value.to_owned())
}

async fn install(mesh: &Mesh, plugin: Hostile) -> String {
    let origin = plugin.name().to_owned();
    let install = Request::PluginInstall { origin, grants: Vec::new(), dry_run: false, allow_large: false };
    match mesh.call(install, Bytes::from(plugin.component())).await {
        Ok(Reply::Installed(report)) => report.revision,
        other => panic!("{other:?}"),
    }
}

async fn roll_back(mesh: &Mesh, slot: &str) {
    let Reply::Swapped(_) =
        call(mesh, Request::PluginRollback { slot: slot.to_owned(), forward: false, dry_run: false }).await
    else {
        panic!("rolled back")
    };
}

/// What `plugin list` says of a slot; the one in quarantine, when there is one.
async fn row(mesh: &Mesh, slot: &str) -> PluginRow {
    let Reply::Plugins(rows) = call(mesh, Request::PluginList).await else { panic!("plugins") };
    let mut rows: Vec<PluginRow> = rows.into_iter().filter(|row| row.slot.as_deref() == Some(slot)).collect();
    rows.sort_by_key(|row| row.state != PluginState::Quarantined);
    rows.into_iter().next().expect("every slot has a row")
}

/// Returns the journal of a slot, as a client gets it.
async fn journal(mesh: &Mesh, slot: &str) -> Vec<Event> {
    let request = Request::PluginJournal { slot: slot.to_owned(), from: Some(0), with_payload: false };
    let Reply::Journal(page) = call(mesh, request).await else { panic!("a journal") };
    let text = serde_json::to_string(&page.page.entries).expect("it is text");
    let read: Vec<Entry> = serde_json::from_str(&text).expect("it is read again");
    assert_eq!(read, page.page.entries);
    read.into_iter().map(|entry| entry.event).collect()
}

/// Waits for what a filter finds among the events.
async fn told<T>(events: &mut EventStream, find: impl Fn(EventKind) -> Option<T>) -> T {
    within(async {
        loop {
            let event = events.next().await.expect("the node runs");
            if let Some(found) = find(event.kind) {
                return found;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_guest_list_keeps_no_link_to_a_stranger_and_tells_of_it() {
    let door = explicit("door").start().await.expect("it starts");
    bind(&door, "admission", "built-in/guest-list", [("allow", text("friend-*"))]).await;
    let mut events = door.events();

    let friend = joined("friend-1", &door).await;
    let stranger = joined("stranger", &door).await;

    let (node, reason) = told(&mut events, |event| match event {
        EventKind::LinkDenied { node, reason, .. } => Some((node, reason)),
        _ => None,
    })
    .await;
    assert_eq!(node, stranger.id());
    assert!(reason.contains("admission"), "{reason}");
    linked(&door, &friend).await;
    within(async {
        while neighbours(&door).await != BTreeSet::from([friend.id()]) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(counter(&door, "links_not_admitted").await >= 1);
    let is_denied = |event: &Event| match event {
        Event::Admit(call) => {
            call.visitors().iter().zip(&call.answers).any(|(visitor, may)| visitor.name == "stranger" && !may)
        }
        _ => false,
    };
    assert!(journal(&door, "admission").await.iter().any(is_denied));
    let mut inbox = door.subscribe(Filter::Inbox { from_offset: None }).await.expect("subscribed");
    friend.send(door.id(), vec!["hello".into()], SendOptions::default()).await.expect("sent");
    let Some(Delivery::Batch(messages)) = within(inbox.next()).await else { panic!("a gap") };
    assert_eq!((messages[0].origin, &messages[0].payload[..]), (friend.id(), &b"hello"[..]));
    for mesh in [door, friend, stranger] {
        mesh.shutdown().await;
    }
}

#[tokio::test]
async fn as_many_strangers_come_in_as_there_is_room_for() {
    let door = explicit("door").start().await.expect("it starts");
    let settings = [
        ("allow", text("nobody")),
        ("max_strangers", Setting::Integer(1)),
        ("wait_for_record", Setting::Flag(false)),
    ];
    bind(&door, "admission", "built-in/guest-list", settings).await;
    let mut events = door.events();

    let first = joined("first", &door).await;
    linked(&door, &first).await;
    let second = joined("second", &door).await;
    let denied = told(&mut events, |event| match event {
        EventKind::LinkDenied { node, .. } => Some(node),
        _ => None,
    })
    .await;

    assert_eq!((denied, neighbours(&door).await), (second.id(), BTreeSet::from([first.id()])));
    for mesh in [door, first, second] {
        mesh.shutdown().await;
    }
}

/// W20: the guard traps: nobody new comes in, who was there stays, and the operator's way back opens the door.
#[tokio::test]
async fn w20_a_door_whose_guard_fails_stays_shut_and_keeps_the_links_that_it_has() {
    let door = explicit("door").start().await.expect("it starts");
    let old = joined("old", &door).await;
    linked(&door, &old).await;
    let mut events = door.events();
    let trap = install(&door, Hostile::TrapInAdmit).await;
    bind(&door, "admission", &trap, []).await;

    let fresh = joined("fresh", &door).await;

    let refused = |event| match event {
        EventKind::LinkDenied { node, .. } => Some(node),
        _ => None,
    };
    assert_eq!(told(&mut events, refused).await, fresh.id());
    // The link that there is was asked about once; whoever knocks brings the other strikes.
    let successor = told(&mut events, |event| match event {
        EventKind::PluginQuarantined { slot, successor, .. } if slot == "admission" => Some(successor),
        _ => None,
    })
    .await;
    assert_eq!(successor, "nobody (fail-closed)");
    let quarantined = row(&door, "admission").await;
    assert_eq!((quarantined.state, quarantined.revision), (PluginState::Quarantined, trap));
    assert_eq!(told(&mut events, refused).await, fresh.id(), "the door is shut while nobody guards it");
    assert_eq!(neighbours(&door).await, BTreeSet::from([old.id()]));
    assert!(counter(&door, "links_not_admitted").await >= 1);

    roll_back(&door, "admission").await;

    linked(&door, &fresh).await;
    assert!(neighbours(&door).await.contains(&old.id()));
    for mesh in [door, old, fresh] {
        mesh.shutdown().await;
    }
}

#[tokio::test]
async fn what_a_carry_policy_refuses_is_counted_and_what_it_keeps_arrives() {
    let b = explicit("b").start().await.expect("it starts");
    let a = joined("a", &b).await;
    let c = joined("c", &b).await;
    linked(&b, &a).await;
    linked(&b, &c).await;
    let mut inbox = c.subscribe(Filter::Inbox { from_offset: None }).await.expect("subscribed");
    bind(&b, "carry", "built-in/short-memory", [("least_class", text("normal"))]).await;
    let hold = install(&b, Hostile::HoldEverything).await;
    bind(&b, "route", &hold, []).await;

    for (class, payload) in [(Class::Low, "low"), (Class::Normal, "normal"), (Class::Low, "low again")] {
        let options = SendOptions { class, ..SendOptions::default() };
        a.send(c.id(), vec![payload.into()], options).await.expect("sent");
    }
    within(async {
        while counter(&b, "dropped_not_carried").await < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    roll_back(&b, "route").await;

    let Some(Delivery::Batch(messages)) = within(inbox.next()).await else { panic!("a gap") };
    let payloads: Vec<&[u8]> = messages.iter().map(|message| &message.payload[..]).collect();
    assert_eq!(payloads, [b"normal"]);
    assert_eq!(counter(&b, "dropped_not_carried").await, 2);
    let refused = |event: &Event| match event {
        Event::Carry(call) => call.answers.iter().filter(|worth| **worth == 0).count(),
        _ => 0,
    };
    assert_eq!(journal(&b, "carry").await.iter().map(refused).sum::<usize>(), 2);
    for mesh in [a, b, c] {
        mesh.shutdown().await;
    }
}

#[tokio::test]
async fn both_slots_are_bound_again_after_a_restart_and_are_operated_as_the_others_are() {
    let dir = tempfile::tempdir().expect("a directory");
    let start = || explicit("kept").data_dir(dir.path()).start();
    let mesh = start().await.expect("it starts");
    assert_eq!(row(&mesh, "admission").await.plugin, "native/everybody");
    assert_eq!(row(&mesh, "carry").await.plugin, "native/by-class");
    bind(&mesh, "admission", "built-in/guest-list", [("allow", text("a"))]).await;
    bind(&mesh, "admission", "built-in/guest-list", [("allow", text("b"))]).await;
    bind(&mesh, "carry", "built-in/short-memory", []).await;
    let pause =
        Request::PluginOperate { operation: Operation::Pause { slot: "carry".into() }, dry_run: false };
    let Reply::Operated(_) = call(&mesh, pause).await else { panic!("paused") };
    mesh.shutdown().await;

    let mesh = start().await.expect("it starts again");

    let admission = row(&mesh, "admission").await;
    assert_eq!((admission.plugin.as_str(), admission.state), ("built-in/guest-list", PluginState::Active));
    assert_eq!(admission.on_failure, Some(OnFailure::FailClosed), "without being asked for");
    let carry = row(&mesh, "carry").await;
    assert_eq!((carry.plugin.as_str(), carry.state), ("built-in/short-memory", PluginState::Paused));
    assert_eq!(carry.on_failure, Some(OnFailure::Fallback));
    let Reply::Plugin(shown) = call(&mesh, Request::PluginShow { plugin: "admission".into() }).await else {
        panic!("shown")
    };
    assert_eq!(shown.settings["allow"], Setting::Text("b".into()));
    assert_eq!((shown.kind.as_str(), shown.world.as_str()), ("admission", "mesh:admission@0.1.0"));
    let resume =
        Request::PluginOperate { operation: Operation::Resume { slot: "carry".into() }, dry_run: false };
    let Reply::Operated(_) = call(&mesh, resume).await else { panic!("resumed") };
    assert_eq!(row(&mesh, "carry").await.state, PluginState::Active);
    mesh.shutdown().await;
}
