//! A node of the command's own, with two neighbours that talk through it. Nothing of it is kept, and it listens
//! on loopback only.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use mesh_node::api::{ApiError, ProfileChange};
use mesh_node::control::server::Server;
use mesh_node::message::SendOptions;
use mesh_node::{LinkPolicy, Mesh};
use mesh_plugin_host::Kind;
use mesh_proto::NodeId;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::commands::plugin::source::Source;
use crate::commands::start;
use crate::output::now;
use crate::registry::{Entry, Registry};

/// A message that cannot be handed in for this long is given up; the next one is due.
const PATIENCE: Duration = Duration::from_millis(500);
/// Bytes of a made-up message.
const PAYLOAD: usize = 200;
/// A key that no node has.
const NOBODY: NodeId = NodeId([0; 32]);

/// A node with a control socket, and its two neighbours.
pub struct Private {
    mesh: Mesh,
    neighbours: Vec<Mesh>,
    registry: Registry,
    socket: PathBuf,
    serving: JoinHandle<()>,
    traffic: Option<JoinHandle<()>>,
}

impl Private {
    /// Starts it; `rate` messages a second go through it.
    ///
    /// # Errors
    /// What keeps a node from starting.
    pub async fn start(source: &Source, slot: Kind, rate: u32) -> Result<Private, ApiError> {
        let registry = Registry::open()?;
        let short: String = source.name().chars().take(16).collect();
        let name = format!("dev-{short}-{}", std::process::id());
        let mesh = start::node(options(&name, None, slot, "platform")).await?;
        let addr = mesh.local_addrs().first().cloned().unwrap_or_default();
        let addr = addr.rsplit(' ').next().unwrap_or_default().to_owned();
        let mut neighbours = Vec::new();
        for side in ["a", "b"] {
            let name = format!("{side}-{}", std::process::id());
            neighbours.push(start::node(options(&name, Some(&addr), slot, "squad")).await?);
        }
        let socket = registry.socket(&name);
        let server = Server::bind(&socket).await?;
        registry.add(&entry(&mesh, &name, &socket))?;
        let serving = tokio::spawn(server.run(mesh.clone()));
        let topic = topic(source);
        // What has to wait is for somebody who is not there.
        let other = if slot == Kind::Carry { NOBODY } else { neighbours[0].id() };
        let talk = |rate| tokio::spawn(talk(mesh.clone(), neighbours.clone(), other, topic, rate));
        let traffic = (rate > 0).then(|| talk(rate));
        Ok(Private { mesh, neighbours, registry, socket, serving, traffic })
    }

    /// Returns the node's name.
    pub fn name(&self) -> &str {
        self.mesh.name()
    }

    /// Returns its control socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Stops all of it.
    pub async fn stop(self) {
        if let Some(traffic) = &self.traffic {
            traffic.abort();
        }
        for mesh in self.neighbours.iter().chain([&self.mesh]) {
            mesh.shutdown().await;
        }
        // It ends by itself once the node has stopped, and takes its socket along.
        let _ = self.serving.await;
        self.registry.remove(self.mesh.name());
    }
}

fn options(name: &str, join: Option<&str>, slot: Kind, level: &str) -> start::Options {
    // Parents are scored only where there is a hierarchy.
    let profile = (slot == Kind::Topology).then(|| ProfileChange {
        level: Some(level.to_owned()),
        position: Some((52.5, 13.4)),
        ..ProfileChange::default()
    });
    start::Options {
        name: Some(name.to_owned()),
        listen: vec!["127.0.0.1:0".to_owned()],
        join: join.into_iter().map(str::to_owned).collect(),
        // The neighbours link to the node alone, so that what they tell each other goes through it.
        links: LinkPolicy::Explicit,
        profile,
        ..start::Options::default()
    }
}

fn entry(mesh: &Mesh, name: &str, socket: &Path) -> Entry {
    Entry {
        name: name.to_owned(),
        node: mesh.id(),
        pid: std::process::id(),
        socket: socket.to_owned(),
        listening: mesh.local_addrs(),
        data_dir: None,
        started: now(),
    }
}

// Handlers of the templates take their topic as a setting.
fn topic(source: &Source) -> String {
    let schema = source.manifest.config.schema.get("topic");
    let default = schema.and_then(|schema| schema.default.as_ref()).and_then(|value| value.as_str());
    default.unwrap_or("dev/traffic").to_owned()
}

/// Messages in turn: from one neighbour to the other, back, from the node to `other`, and to a topic.
async fn talk(mesh: Mesh, neighbours: Vec<Mesh>, other: NodeId, topic: String, rate: u32) {
    let [one, two] = neighbours.as_slice() else { return };
    let mut tick = interval(Duration::from_secs(1) / rate.max(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for turn in 0u64.. {
        tick.tick().await;
        let payload = vec![Bytes::from(vec![b'.'; PAYLOAD])];
        let options = SendOptions::default();
        let sent = match turn % 4 {
            0 => timeout(PATIENCE, one.send(two.id(), payload, options)).await,
            1 => timeout(PATIENCE, two.send(one.id(), payload, options)).await,
            2 => timeout(PATIENCE, mesh.send(other, payload, options)).await,
            _ => timeout(PATIENCE, one.publish(&topic, payload, options)).await,
        };
        // There may be no way yet; the next one follows.
        drop(sent);
    }
}
