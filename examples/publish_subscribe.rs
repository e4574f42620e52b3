//! Three nodes and a topic: one publishes, the two others subscribe.
//!
//! Run it with `cargo run --example publish_subscribe`.

use std::error::Error;
use std::time::Duration;

use mesh_node::api::EventKind;
use mesh_node::message::{Delivery, Filter, SendOptions};
use mesh_node::{EventStream, Mesh, Subscription};

const TOPIC: &str = "weather";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // Ends with an error instead of waiting for what does not come.
    tokio::time::timeout(Duration::from_secs(30), run()).await?
}

async fn run() -> Result<(), Box<dyn Error>> {
    let ada = Mesh::builder().name("ada").start().await?;
    let mut events = ada.events();

    // One known address is enough to join; the nodes tell one another of the rest.
    let bob = Mesh::builder().name("bob").join(&ada.local_addrs()[0]).start().await?;
    let cleo = Mesh::builder().name("cleo").join(&ada.local_addrs()[0]).start().await?;
    let mut at_bob = bob.subscribe(Filter::Topic(TOPIC.into())).await?;
    let mut at_cleo = cleo.subscribe(Filter::Topic(TOPIC.into())).await?;

    // A topic keeps nothing for those who come later: publish when both are there.
    peers_up(&mut events, 2).await?;
    for report in ["sunny", "cloudy", "rain"] {
        ada.publish(TOPIC, vec![report.into()], SendOptions::default()).await?;
    }

    for (name, subscription) in [("bob", &mut at_bob), ("cleo", &mut at_cleo)] {
        // Reports that were published one by one may overtake each other on the way; none comes twice.
        let mut reports = take(subscription, 3).await?;
        println!("{name} heard {}", reports.join(", "));
        reports.sort_unstable();
        if reports != ["cloudy", "rain", "sunny"] {
            return Err(format!("{name} heard something else: {reports:?}").into());
        }
    }
    for mesh in [ada, bob, cleo] {
        mesh.shutdown().await;
    }
    Ok(())
}

/// Waits until that many links came up.
async fn peers_up(events: &mut EventStream, mut n: usize) -> Result<(), Box<dyn Error>> {
    while n > 0 {
        let event = events.next().await.ok_or("the node stopped")?;
        if let EventKind::PeerUp { name, .. } = event.kind {
            println!("ada is linked to {}", name.as_deref().unwrap_or("a node without a name yet"));
            n -= 1;
        }
    }
    Ok(())
}

/// Waits for that many messages and returns them as text.
async fn take(subscription: &mut Subscription, n: usize) -> Result<Vec<String>, Box<dyn Error>> {
    let mut reports = Vec::new();
    while reports.len() < n {
        match subscription.next().await {
            Some(Delivery::Batch(messages)) => reports.extend(
                messages.iter().map(|message| String::from_utf8_lossy(&message.payload).into_owned()),
            ),
            other => return Err(format!("not a message: {other:?}").into()),
        }
    }
    Ok(reports)
}
