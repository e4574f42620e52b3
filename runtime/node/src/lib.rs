//! A node of the mesh: transports, store, plugins and the driver around the pure core.
//!
//! Decides nothing about messages (that is `mesh_proto`) and prints nothing (that is `meshctl`). It never
//! reads the environment: whoever starts a node says where things are.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use mesh_node::{Mesh, message::{Delivery, Filter, SendOptions}};
//!
//! let ada = Mesh::builder().name("ada").start().await?;
//! let bob = Mesh::builder().name("bob").join(&ada.local_addrs()[0]).start().await?;
//! let mut inbox = bob.subscribe(Filter::Inbox { from_offset: None }).await?;
//!
//! // Waits at ada until bob is there.
//! ada.send(bob.id(), vec!["hello".into()], SendOptions::default()).await?;
//!
//! let Some(Delivery::Batch(messages)) = inbox.next().await else { panic!("an inbox has no gaps") };
//! assert_eq!(messages[0].payload, "hello");
//! ada.shutdown().await;
//! bob.shutdown().await;
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```

pub mod api;
pub mod bench;
mod builder;
mod checks;
pub mod control;
mod driver;
mod fail_point;
mod handler;
mod hierarchy;
pub mod keys;
mod mesh;
pub mod message;
#[cfg(feature = "oci")]
pub mod oci;
mod plugins;
pub mod store;
pub mod transport;

pub use builder::{Builder, StartError};
pub use checks::{MAX_LABEL_BYTES, MAX_LABEL_KEY, MAX_LABELS};
pub use driver::inspect_report;
pub use fail_point::kill_at;
pub use mesh::{EventStream, Mesh, Parcel, Subscription};
pub use mesh_proto::directory::LinkPolicy;
pub use mesh_proto::tuning::Tuning;
pub use plugins::StartError as PluginStartError;
