//! Whole nodes through the public API: real sockets, real plugins, real stores.

use std::time::Duration;

use bytes::Bytes;
use mesh_node::api::{InstallReport, OldState, PeerState, Reply, Request, SwapRequest, code};
use mesh_node::message::{Delivery, Filter, Message, SendOptions};
use mesh_node::{LinkPolicy, Mesh, Subscription};
use mesh_plugin_host::builtin;

async fn call(mesh: &Mesh, request: Request) -> Reply {
    mesh.call(request, Bytes::new()).await.expect("the call succeeds")
}

/// Waits until `mesh` has `n` live links.
async fn linked(mesh: &Mesh, n: usize) {
    within(async {
        loop {
            let Reply::Peers(peers) = call(mesh, Request::Peers).await else { panic!("peers") };
            if peers.iter().filter(|peer| peer.state == PeerState::Up).count() >= n {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it happens within 30 s")
}

async fn take(subscription: &mut Subscription, n: usize) -> Vec<Message> {
    let mut out = Vec::new();
    while out.len() < n {
        match within(subscription.next()).await {
            Some(Delivery::Batch(messages)) => out.extend(messages),
            Some(Delivery::Gap { lost }) => panic!("{lost} messages were skipped"),
            None => panic!("the node stopped"),
        }
    }
    out
}

fn explicit(name: &str) -> mesh_node::Builder {
    Mesh::builder().name(name).links(LinkPolicy::Explicit)
}

/// Installs it with no grants.
async fn install(mesh: &Mesh, component: &'static [u8]) -> InstallReport {
    let install = Request::PluginInstall {
        origin: "test".into(),
        grants: Vec::new(),
        dry_run: false,
        allow_large: false,
    };
    match mesh.call(install, Bytes::from_static(component)).await {
        Ok(Reply::Installed(report)) => report,
        other => panic!("{other:?}"),
    }
}

fn swap(plugin: &str) -> Request {
    Request::PluginSwap(SwapRequest {
        slot: "route".into(),
        plugin: plugin.to_owned(),
        settings: Default::default(),
        old_state: OldState::Keep,
        dry_run: false,
        allow_downgrade: false,
        on_failure: None,
    })
}

async fn chain() -> [Mesh; 3] {
    let b = explicit("b").start().await.expect("b starts");
    let addr = &b.local_addrs()[0];
    let a = explicit("a").join(addr).start().await.expect("a starts");
    let c = explicit("c").join(addr).start().await.expect("c starts");
    linked(&b, 2).await;
    [a, b, c]
}

// PM-01, PM-31, PM-95, QP-14, QM-68: over real sockets, twice.
#[tokio::test]
async fn a_message_crosses_a_chain_and_its_id_is_the_same_at_both_ends() {
    let [a, b, c] = chain().await;
    let mut inbox = c.subscribe(Filter::Inbox { from_offset: None }).await.expect("subscribed");

    let receipt = a.send(c.id(), vec!["hello".into()], SendOptions::default()).await.expect("sent");

    let messages = take(&mut inbox, 1).await;
    assert_eq!((&messages[0].payload[..], messages[0].hops), (&b"hello"[..], 2));
    assert_eq!((messages[0].id, messages[0].origin), (receipt.first_id, a.id()));
    for mesh in [a, b, c] {
        mesh.shutdown().await;
    }
}

// QM-60, part 4 number 1: a slot changes hands in the middle of a stream and nobody notices.
#[tokio::test]
async fn swapping_the_middle_nodes_policy_under_load_loses_and_doubles_nothing() {
    let [a, b, c] = chain().await;
    let mut inbox = c.subscribe(Filter::Inbox { from_offset: None }).await.expect("subscribed");
    let next = install(&b, builtin::LATENCY_NEXT).await;
    let Reply::Status(status) = call(&b, Request::Status).await else { panic!("status") };
    let first = status.policies[0].revision.clone();

    let publisher = tokio::spawn(async move {
        for n in 0..200u32 {
            let payloads = (0..100).map(|i| Bytes::copy_from_slice(&(n * 100 + i).to_le_bytes())).collect();
            a.send(c.id(), payloads, SendOptions::default()).await.expect("sent");
        }
        (a, c)
    });
    for n in 0..10 {
        let plugin = if n % 2 == 0 { next.revision.clone() } else { first.clone() };
        let Reply::Swapped(report) = call(&b, swap(&plugin)).await else { panic!("swapped") };
        assert!(report.state_carried);
    }
    let mut numbers: Vec<u32> = take(&mut inbox, 20_000)
        .await
        .iter()
        .map(|message| u32::from_le_bytes(message.payload[..].try_into().expect("four bytes")))
        .collect();

    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(0..20_000), "each number once");
    let Reply::PolicyState(state) = call(&b, Request::PolicyState { slot: "route".into() }).await else {
        panic!("state")
    };
    assert_eq!(state.counter, Some(state.state_messages));
    publisher.await.expect("the publisher ends");
}

#[tokio::test]
async fn what_is_installed_again_keeps_what_it_was_granted() {
    let a = explicit("a").start().await.expect("a starts");

    let beacon = install(&a, builtin::BEACON).await;

    assert!(beacon.known);
}

// H06: whichever comes first, what runs is installed.
#[tokio::test]
async fn what_is_removed_while_it_is_made_ready_is_not_bound() {
    let a = explicit("a").start().await.expect("a starts");
    let next = install(&a, builtin::LATENCY_NEXT).await.revision;
    let remove = Request::PluginRemove { plugin: next.clone(), standby: false, dry_run: false };

    let (swapped, removed) = tokio::join!(a.call(swap(&next), Bytes::new()), a.call(remove, Bytes::new()));

    match (swapped, removed) {
        (Ok(_), Err(refused)) => assert!(refused.is(&code::PLUGIN_IN_USE), "{refused}"),
        (Err(refused), Ok(_)) => assert!(refused.is(&code::NO_SUCH_PLUGIN), "{refused}"),
        both => panic!("{both:?}"),
    }
}

// I7: an offset is a number from outside.
#[tokio::test]
async fn the_largest_offset_acknowledges_everything_and_harms_nobody() {
    let a = explicit("a").start().await.expect("a starts");
    let mut inbox = a.subscribe(Filter::Inbox { from_offset: None }).await.expect("subscribed");
    a.send(a.id(), vec!["to myself".into()], SendOptions::default()).await.expect("sent");
    take(&mut inbox, 1).await;

    inbox.ack(u64::MAX).await;

    let Reply::Status(status) = call(&a, Request::Status).await else { panic!("status") };
    assert_eq!(status.inbox.messages, 0);
}

// MN-11, MN-12, MN-77, PM-02: the defaults find everybody from one address, over sockets too.
#[tokio::test]
async fn the_third_node_finds_the_first_through_the_second() {
    let a = Mesh::builder().name("a").start().await.expect("a starts");
    let b = Mesh::builder().name("b").join(&a.local_addrs()[0]).start().await.expect("b starts");
    let c = Mesh::builder().name("c").join(&b.local_addrs()[0]).start().await.expect("c starts");

    linked(&c, 2).await;

    assert_eq!(c.resolve("a").expect("known by name"), a.id());
    for mesh in [&a, &b, &c] {
        let Reply::Status(status) = call(mesh, Request::Status).await else { panic!("status") };
        assert_eq!((status.nodes_known, status.problems.len()), (3, 0));
    }
}

// C12, I1
#[tokio::test]
async fn durable_messages_wait_in_the_store_over_a_restart_of_their_author() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a");
    let b = explicit("b").start().await.expect("b starts");
    let addr = b.local_addrs()[0].clone();
    let a = explicit("a").data_dir(&path).start().await.expect("a starts");
    let durable = SendOptions { durable: true, ..SendOptions::default() };
    let receipt = a.send(b.id(), vec!["kept".into()], durable).await.expect("stored");
    assert!(receipt.stored);
    assert!(explicit("a").data_dir(&path).start().await.is_err(), "the directory is taken");
    let id = a.id();
    a.shutdown().await;

    let mut inbox = b.subscribe(Filter::Inbox { from_offset: None }).await.expect("subscribed");
    let a = explicit("a").data_dir(&path).join(addr).start().await.expect("a starts again");

    assert_eq!(a.id(), id, "the same identity");
    assert_eq!(&take(&mut inbox, 1).await[0].payload[..], b"kept");
}

#[tokio::test]
async fn an_unknown_peer_or_plugin_is_refused_with_its_code() {
    let a = explicit("a").start().await.expect("a starts");
    for (request, expected) in [
        (Request::Ping { peer: "nobody".into(), count: 1 }, &code::NO_SUCH_NODE),
        (swap("nobody/nothing"), &code::NO_SUCH_PLUGIN),
        (
            Request::PluginRollback { slot: "rout".into(), forward: false, dry_run: false },
            &code::NO_SUCH_SLOT,
        ),
    ] {
        let error = a.call(request.clone(), Bytes::new()).await.expect_err("refused");
        assert!(error.is(expected), "{request:?}: {error}");
    }
}
