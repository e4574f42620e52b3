//! `meshctl id`: the node's identity.

use clap::{Args, Subcommand};
use mesh_node::api::{ApiError, Identity, Request};

use super::Context;
use crate::output::human;
use crate::output::{Pair, Show, View};

/// The node's identity.
#[derive(Debug, Args)]
pub struct Id {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the id, the key file and the addresses to join by.
    #[command(after_long_help = "\
Examples:
  meshctl id show
  meshctl id show -o name                 the id alone
  meshctl -N alice id show --json")]
    Show,
}

impl Id {
    /// Asks and prints.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let Command::Show = self.command;
        let identity: Identity = context.connect().await?.call(&Request::Identity).await?;
        context.out.print(Some(identity.node), &identity)
    }
}

impl Show for Identity {
    const SCHEMA: &'static str = "id";

    fn view(&self) -> View {
        let key_file =
            self.key_file.as_ref().map_or_else(|| "in memory".to_owned(), |path| path.display().to_string());
        View::Pairs(vec![
            Pair::new("name", "name", &self.name),
            Pair::new("node", "identity", self.node),
            Pair::new("key_file", "key file", key_file),
            Pair::new("created", "created", human::or_dash(self.created)),
            Pair::new(
                "addrs",
                "join by",
                human::or_dash(Some(self.addrs.join("  ")).filter(|text| !text.is_empty())),
            ),
        ])
    }

    fn names(&self) -> Vec<String> {
        vec![self.node.to_string()]
    }
}
