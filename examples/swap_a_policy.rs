//! A chain of three nodes; while messages stream from one end to the other, the routing policy of the node
//! between is swapped for its next version and rolled back. Every message arrives, and arrives once.
//!
//! Run it with `cargo run --example swap_a_policy`.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use mesh_node::api::{OldState, Reply, Request, SwapRequest};
use mesh_node::message::{Delivery, Filter, SendOptions};
use mesh_node::{LinkPolicy, Mesh};
use mesh_plugin_host::builtin;

const MESSAGES: u32 = 20_000;
const BATCH: u32 = 50;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // Ends with an error instead of waiting for what does not come.
    tokio::time::timeout(Duration::from_secs(60), run()).await?
}

async fn run() -> Result<(), Box<dyn Error>> {
    // Explicit links only, so that ada and cleo do not find each other: all goes through bob.
    let node = |name: &str| Mesh::builder().name(name).links(LinkPolicy::Explicit);
    let bob = node("bob").start().await?;
    let ada = node("ada").join(&bob.local_addrs()[0]).start().await?;
    let cleo = node("cleo").join(&bob.local_addrs()[0]).start().await?;
    let mut inbox = cleo.subscribe(Filter::Inbox { from_offset: None }).await?;

    // A plugin is the bytes of a component; from a file with std::fs::read, or built in as this one.
    let install = Request::PluginInstall {
        origin: "an example".into(),
        grants: Vec::new(),
        dry_run: false,
        allow_large: false,
    };
    let Reply::Installed(next) = bob.call(install, Bytes::from_static(builtin::LATENCY_NEXT)).await? else {
        return Err("not an answer to an installation".into());
    };

    let (ada_sends, to) = (ada.clone(), cleo.id());
    let stream = tokio::spawn(async move {
        for first in (0..MESSAGES).step_by(BATCH as usize) {
            let numbers = first..first + BATCH;
            let payloads = numbers.map(|n| Bytes::copy_from_slice(&n.to_be_bytes())).collect();
            ada_sends.send(to, payloads, SendOptions::default()).await?;
        }
        Ok::<(), mesh_node::api::ApiError>(())
    });

    let mut seen = vec![false; MESSAGES as usize];
    let mut received = 0;
    while received < MESSAGES {
        let Some(Delivery::Batch(messages)) = inbox.next().await else { return Err("no message".into()) };
        for message in &messages {
            let number = u32::from_be_bytes(message.payload[..].try_into()?);
            if std::mem::replace(&mut seen[number as usize], true) {
                return Err(format!("message {number} came twice").into());
            }
        }
        let (before, quarter) = (received, MESSAGES / 4);
        received += messages.len() as u32;
        // When a quarter has arrived, and when half has.
        let request = match (before / quarter, received / quarter) {
            (0, 1..) => Request::PluginSwap(SwapRequest {
                slot: "route".into(),
                plugin: next.revision.clone(),
                settings: Default::default(),
                old_state: OldState::Keep,
                dry_run: false,
                allow_downgrade: false,
                on_failure: None,
            }),
            (1, 2..) => Request::PluginRollback { slot: "route".into(), forward: false, dry_run: false },
            _ => continue,
        };
        let Reply::Swapped(report) = bob.call(request, Bytes::new()).await? else { return Err("?".into()) };
        println!("bob: {} decides after {received} messages, {:.0} us of pause", report.new, report.pause_us);
    }
    stream.await??;
    println!("cleo received all {received} messages once");
    Ok(())
}
