//! Two nodes on this machine, linked by QUIC: one sends, the other receives.
//!
//! Run it with `cargo run --example two_nodes`.

use std::error::Error;
use std::time::Duration;

use mesh_node::Mesh;
use mesh_node::message::{Delivery, Filter, SendOptions};

// One thread is the fastest for a node: it owns the sockets, the driver and the core.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // Ends with an error instead of waiting for what does not come.
    tokio::time::timeout(Duration::from_secs(30), run()).await?
}

async fn run() -> Result<(), Box<dyn Error>> {
    // Without a data directory a node is ephemeral: a new key, a free port, nothing kept.
    let ada = Mesh::builder().name("ada").start().await?;
    let bob = Mesh::builder().name("bob").join(&ada.local_addrs()[0]).start().await?;
    println!("ada is {} on {}", ada.id().short(), ada.local_addrs()[0]);
    println!("bob is {} and joins her", bob.id().short());

    // What is addressed to a node waits in its inbox until it is acknowledged.
    let mut inbox = bob.subscribe(Filter::Inbox { from_offset: None }).await?;

    // No need to wait for the link: the messages wait at ada until bob is there.
    let payloads = vec!["hello".into(), "from ada".into()];
    let receipt = ada.send(bob.id(), payloads, SendOptions::default()).await?;

    let mut received = Vec::new();
    while received.len() < receipt.count {
        match inbox.next().await {
            Some(Delivery::Batch(messages)) => received.extend(messages),
            other => return Err(format!("not a message: {other:?}").into()),
        }
    }
    for message in &received {
        println!("bob received {:?} over {} hop", message.payload, message.hops);
    }

    let payloads: Vec<&[u8]> = received.iter().map(|message| &message.payload[..]).collect();
    if payloads != [&b"hello"[..], b"from ada"] {
        return Err("bob received something else".into());
    }
    // The id is a hash of the message itself: the same at both ends.
    if received[0].id != receipt.first_id || received[0].origin != ada.id() {
        return Err("bob received somebody else's message".into());
    }
    if let Some(offset) = received.last().and_then(|message| message.offset) {
        inbox.ack(offset).await;
    }
    ada.shutdown().await;
    bob.shutdown().await;
    Ok(())
}
