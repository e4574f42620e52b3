//! `meshctl version`: what this program is and what it speaks.

use clap::Args;
use mesh_node::api::ApiError;
use mesh_node::control::frame;
use serde::Serialize;

use super::Context;
use crate::output::{Pair, Show, View};

/// The version of this program.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  meshctl version
  meshctl version -o name                 the number alone
  meshctl version --json")]
pub struct Version {}

/// What this program is and what it speaks.
#[derive(Debug, Serialize)]
struct Facts {
    version: &'static str,
    control_protocol: u32,
    os: &'static str,
    arch: &'static str,
    build: &'static str,
}

impl Version {
    /// Prints it.
    pub fn run(self, context: &Context) -> Result<(), ApiError> {
        let facts = Facts {
            version: env!("CARGO_PKG_VERSION"),
            control_protocol: frame::VERSION,
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
        };
        context.out.print(None, &facts)
    }
}

impl Show for Facts {
    const SCHEMA: &'static str = "version";

    fn view(&self) -> View {
        View::Pairs(vec![
            Pair::new("version", "meshctl", self.version),
            Pair::new("control_protocol", "control protocol", self.control_protocol),
            Pair::new("os", "system", format!("{} {}", self.os, self.arch)),
            Pair::new("build", "build", self.build),
        ])
    }

    fn names(&self) -> Vec<String> {
        vec![self.version.to_owned()]
    }
}
