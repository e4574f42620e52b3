//! `meshctl down`: stops a node; its data is kept.

use clap::Args;
use mesh_node::api::{ApiError, Request, Status};
use mesh_proto::NodeId;
use serde::Serialize;

use super::Context;
use crate::connect::within;
use crate::output::{Show, View};

/// Stop a node; its data is kept.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  meshctl down
  meshctl -N alice down --timeout 5s

The command returns when the node has stopped, which takes at most five seconds.")]
pub struct Down {}

/// Which node stopped.
#[derive(Debug, Serialize)]
struct Stopped {
    #[serde(with = "mesh_node::api::text")]
    node: NodeId,
    name: String,
    pid: u32,
    stopped: bool,
    data_kept: bool,
}

impl Down {
    /// Stops the node and waits until it is gone.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let mut connection = context.connect().await?;
        let status: Status = connection.call(&Request::Status).await?;
        let dry_run = context.globals.dry_run;
        let report = Stopped {
            node: status.node,
            name: status.name,
            pid: status.pid,
            stopped: !dry_run,
            data_kept: status.data_dir.is_some(),
        };
        if !dry_run {
            connection.call::<()>(&Request::Shutdown).await?;
            within(context.globals.timeout, async {
                connection.client.closed().await;
                Ok(())
            })
            .await?;
        }
        context.out.print(Some(report.node), &report)
    }
}

impl Show for Stopped {
    const SCHEMA: &'static str = "down";

    fn view(&self) -> View {
        let Stopped { name, pid, stopped, data_kept, .. } = self;
        View::Text(match (stopped, data_kept) {
            (true, true) => format!("{name} stopped (pid {pid}); its data is kept\n"),
            (true, false) => format!("{name} stopped (pid {pid}); it was ephemeral and left nothing\n"),
            (false, _) => format!("{name} (pid {pid}) would be stopped\n"),
        })
    }

    fn names(&self) -> Vec<String> {
        vec![self.name.clone()]
    }
}
