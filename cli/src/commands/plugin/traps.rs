//! `meshctl plugin traps`: the last failures in a slot.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use mesh_node::api::{ApiError, Request, TrapReport, TrapRow, code};

use super::Context;
use crate::output::human::{self, BAD, DIM, WARN, styled};
use crate::output::{Show, View};

/// The last failures in a slot: reason, panic message, stack, input.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  meshctl plugin traps route
  meshctl plugin traps route --export traps.json     for the author of the plugin
  meshctl plugin traps route --json | jq '.data.traps[0].panic'

A node keeps the last 16 failures of each slot until it stops. Equal inputs have equal digests. The panic message of a
Rust plugin is there when it is built with the SDK.")]
pub struct Traps {
    #[arg(help = super::SLOT)]
    slot: String,
    /// Also write them into a file, as JSON. A file that is there is not written over.
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
}

impl Traps {
    /// Asks the node and prints.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let mut node = context.connect().await?;
        let report: TrapReport = node.call(&Request::PluginTraps { slot: self.slot }).await?;
        if let Some(file) = &self.export {
            let failed = |error: &dyn std::fmt::Display| {
                ApiError::new(&code::FILE_FAILED, format!("{} cannot be written: {error}", file.display()))
            };
            let json = serde_json::to_vec_pretty(&report).map_err(|error| failed(&error))?;
            if !context.globals.dry_run {
                let mut new =
                    File::create_new(file).map_err(|error| failed(&error).help("--export OTHER"))?;
                new.write_all(&json).map_err(|error| failed(&error))?;
                context.out.note(format_args!("{} has {} traps", file.display(), report.traps.len()));
            }
        }
        context.out.print(node.node, &report)
    }
}

impl Show for TrapReport {
    const SCHEMA: &'static str = "plugin-traps";

    fn view(&self) -> View {
        if self.traps.is_empty() {
            return View::Text(format!("nothing has failed in the slot {}\n", self.slot));
        }
        let mut text: String = self.traps.iter().map(in_words).collect();
        text.push_str(&format!("{} in all since the node was started\n", self.total));
        View::Text(text)
    }

    fn names(&self) -> Vec<String> {
        self.traps.iter().map(|trap| trap.at.to_string()).collect()
    }
}

fn in_words(trap: &TrapRow) -> String {
    let plugin = format!("{} ({})", trap.plugin, human::revision(&trap.plugin.revision));
    let mut text = format!("{}  {}\n", styled(DIM, trap.at), human::safe(&plugin));
    let mut line =
        |label: &str, value: String| text.push_str(&format!("  {}  {value}\n", styled(DIM, label)));
    line("reason", styled(BAD, human::safe(&trap.reason)));
    if let Some(panic) = &trap.panic {
        line("panic ", human::safe(panic));
    }
    for frame in &trap.frames {
        line("frame ", human::safe(frame));
    }
    if !trap.frames.is_empty() && !trap.has_names {
        let note =
            "the component has no name section; build it with strip = \"debuginfo\" instead of \"symbols\"";
        line("note  ", styled(WARN, note));
    }
    if let Some(input) = &trap.input {
        line("input ", format!("blake3:{input}"));
    }
    text
}
