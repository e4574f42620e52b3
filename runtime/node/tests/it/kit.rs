//! Hostile policies on the node in the middle of a chain, over real sockets: every message arrives once, whatever
//! decides there.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use mesh_hostile::Hostile;
use mesh_node::api::{OldState, PeerState, PluginState, Reply, Request, SwapRequest};
use mesh_node::message::{Delivery, Filter, SendOptions};
use mesh_node::{LinkPolicy, Mesh, Subscription};
use mesh_plugin_host::builtin::LATENCY_NEXT;

/// Messages after which a policy that fails has failed three times.
const MESSAGES: u32 = 200;
/// Messages for one that does not fail.
const ENOUGH: u32 = 20;

/// What becomes of it on a node.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// It is quarantined.
    Quarantined,
    /// It goes on deciding, and the core's clamps correct it.
    Clamped,
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it happens within 30 s")
}

async fn call(mesh: &Mesh, request: Request, body: Vec<u8>) -> Reply {
    mesh.call(request, Bytes::from(body)).await.expect("the call succeeds")
}

async fn chain() -> [Mesh; 3] {
    let explicit = |name| Mesh::builder().name(name).links(LinkPolicy::Explicit);
    let b = explicit("b").start().await.expect("b starts");
    let a = explicit("a").join(&b.local_addrs()[0]).start().await.expect("a starts");
    let c = explicit("c").join(&b.local_addrs()[0]).start().await.expect("c starts");
    within(async {
        loop {
            let Reply::Peers(peers) = call(&b, Request::Peers, Vec::new()).await else { panic!("peers") };
            if peers.iter().filter(|peer| peer.state == PeerState::Up).count() == 2 {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    [a, b, c]
}

fn install(origin: &str) -> Request {
    Request::PluginInstall { origin: origin.into(), grants: Vec::new(), dry_run: false, allow_large: false }
}

/// Puts it into the slot; returns its revision.
async fn bind(mesh: &Mesh, plugin: Hostile) -> String {
    let Reply::Installed(installed) = call(mesh, install(plugin.name()), plugin.component()).await else {
        panic!("installed")
    };
    let swap = SwapRequest {
        slot: "route".into(),
        plugin: installed.revision.clone(),
        settings: Default::default(),
        old_state: OldState::Reset,
        dry_run: false,
        allow_downgrade: true,
        on_failure: None,
    };
    let Reply::Swapped(_) = call(mesh, Request::PluginSwap(swap), Vec::new()).await else {
        panic!("swapped")
    };
    installed.revision
}

async fn state(mesh: &Mesh, revision: &str) -> Option<PluginState> {
    let Reply::Plugins(rows) = call(mesh, Request::PluginList, Vec::new()).await else { panic!("plugins") };
    let mut rows = rows.into_iter().filter(|row| row.slot.as_deref() == Some("route"));
    rows.find(|row| row.revision == revision).map(|row| row.state)
}

async fn next(inbox: &mut Subscription) -> Vec<u8> {
    let Some(Delivery::Batch(messages)) = within(inbox.next()).await else { panic!("a gap") };
    assert_eq!(messages.len(), 1, "it comes once");
    messages[0].payload.to_vec()
}

/// W01, W02, W05, W06, W07, W08, W09 between real nodes; features.md 3.4 and part 4, number 7.
#[tokio::test]
async fn whatever_decides_in_the_middle_every_message_arrives_once() {
    let [a, b, c] = chain().await;
    let mut inbox = c.subscribe(Filter::Inbox { from_offset: None }).await.expect("subscribed");
    for (plugin, end) in [
        (Hostile::LoopInDecide, End::Quarantined),
        (Hostile::LoopInPostReturn, End::Quarantined),
        (Hostile::LoopInRealloc, End::Quarantined),
        (Hostile::LoopInSave, End::Quarantined),
        (Hostile::LeakMemory, End::Quarantined),
        (Hostile::Recursion, End::Quarantined),
        (Hostile::AnswerTwoGigabytes, End::Quarantined),
        (Hostile::AnswerMegabytes, End::Quarantined),
        (Hostile::TrapEachThird, End::Quarantined),
        (Hostile::AnswerUnknownNeighbour, End::Quarantined),
        (Hostile::StateGrows, End::Quarantined),
        (Hostile::BackToTheSender, End::Clamped),
        (Hostile::AwayFromTheWay, End::Clamped),
        (Hostile::GrowMemory, End::Clamped),
    ] {
        let name = plugin.name();
        let revision = bind(&b, plugin).await;
        let mut sent = 0;
        while sent < MESSAGES && state(&b, &revision).await != Some(PluginState::Quarantined) {
            let payload = format!("{name} {sent}").into_bytes();
            a.send(c.id(), vec![payload.clone().into()], SendOptions::default()).await.expect("sent");
            assert_eq!(next(&mut inbox).await, payload);
            sent += 1;
            if end == End::Clamped && sent == ENOUGH {
                break;
            }
        }
        let want = match end {
            End::Quarantined => PluginState::Quarantined,
            End::Clamped => PluginState::Active,
        };
        assert_eq!(state(&b, &revision).await, Some(want), "{name} after {sent} messages");
    }
    for mesh in [a, b, c] {
        mesh.shutdown().await;
    }
}

/// W13: whoever asked goes away at any moment. What he asked for is done whole or not at all, and messages go on.
#[tokio::test]
async fn a_caller_that_goes_away_at_any_moment_leaves_the_slot_whole() {
    let [a, b, c] = chain().await;
    let mut inbox = c.subscribe(Filter::Inbox { from_offset: None }).await.expect("subscribed");
    call(&b, install("latency-next"), LATENCY_NEXT.to_vec()).await;
    let mut seen = BTreeSet::new();
    for turn in 0..48_usize {
        let plugin = ["built-in/latency@0.1.0", "built-in/latency@0.2.0"][turn % 2];
        let swap = SwapRequest {
            slot: "route".into(),
            plugin: plugin.into(),
            settings: Default::default(),
            old_state: OldState::Keep,
            dry_run: false,
            allow_downgrade: true,
            on_failure: None,
        };
        let mut asked = Box::pin(b.call(Request::PluginSwap(swap), Bytes::new()));
        for _ in 0..turn % 12 {
            let is_done = poll_fn(|context| Poll::Ready(asked.as_mut().poll(context).is_ready())).await;
            if is_done {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(asked);

        let payload = format!("{turn}").into_bytes();
        a.send(c.id(), vec![payload.clone().into()], SendOptions::default()).await.expect("sent");
        assert_eq!(next(&mut inbox).await, payload);
        let Reply::Plugins(rows) = call(&b, Request::PluginList, Vec::new()).await else { panic!("plugins") };
        let active = rows.iter().filter(|row| row.slot.as_deref() == Some("route"));
        let active: Vec<_> = active.filter(|row| row.state == PluginState::Active).collect();
        assert_eq!(active.len(), 1, "one decides, whichever it is: {rows:?}");
        seen.insert(active[0].version.clone());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["0.1.0", "0.2.0"], "some were done");
    for mesh in [a, b, c] {
        mesh.shutdown().await;
    }
}

/// W02, W05, W12: what is refused changes nothing.
#[tokio::test]
async fn what_is_refused_leaves_the_slot_as_it_was() {
    let node = Mesh::builder().name("a").start().await.expect("it starts");
    let before = call(&node, Request::PluginList, Vec::new()).await;
    let Reply::Plugins(before) = before else { panic!("plugins") };
    for (plugin, code) in [
        (Hostile::LoopInStart, "MESH-P112"),
        (Hostile::MuchMemory, "MESH-P106"),
        (Hostile::ManyImports, "MESH-P106"),
        (Hostile::WantsTheNetwork, "MESH-P104"),
        (Hostile::Hollow, "MESH-P105"),
        (Hostile::AnotherVersion, "MESH-P107"),
        (Hostile::TwoManifests, "MESH-P116"),
        (Hostile::SharedMemory, "MESH-P103"),
    ] {
        let install = Request::PluginInstall {
            origin: plugin.name().into(),
            grants: Vec::new(),
            dry_run: false,
            allow_large: false,
        };

        let refused = node.call(install, plugin.component().into()).await.expect_err(plugin.name());

        assert_eq!(refused.code, code, "{}: {refused}", plugin.name());
    }
    let Reply::Plugins(after) = call(&node, Request::PluginList, Vec::new()).await else { panic!("plugins") };
    let names =
        |rows: &[mesh_node::api::PluginRow]| rows.iter().map(|row| row.revision.clone()).collect::<Vec<_>>();
    assert_eq!(names(&after), names(&before));
    node.shutdown().await;
}
