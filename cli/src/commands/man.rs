//! `meshctl man`: manual pages of all commands, made from what `--help` prints.

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_mangen::Man as Page;
use mesh_node::api::{ApiError, code};

use super::Context;
use crate::args::Cli;

/// The manual pages.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  meshctl man | man -l -                  read the page of meshctl
  meshctl man plugin swap | man -l -      read the page of one command
  meshctl man --out ~/.local/share/man/man1
                                          write all pages, for 'man meshctl-plugin-swap'")]
pub struct Man {
    /// The command whose page is printed, such as plugin swap; meshctl itself when absent.
    #[arg(conflicts_with = "out")]
    command: Vec<String>,
    /// Write the pages of all commands into this directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Man {
    /// Prints or writes.
    ///
    /// # Errors
    /// `USAGE` for a command that there is not, `FILE_FAILED`.
    pub fn run(self, context: &Context) -> Result<(), ApiError> {
        let mut root = Cli::command();
        root.build();
        match &self.out {
            Some(dir) => write(context, &root, dir),
            None => context.out.raw(&page(&found(&root, &self.command)?)?),
        }
    }
}

fn found(root: &clap::Command, words: &[String]) -> Result<clap::Command, ApiError> {
    let mut command = root;
    for word in words {
        command = command.find_subcommand(word).filter(|command| is_shown(command)).ok_or_else(|| {
            ApiError::new(&code::USAGE, format!("there is no command '{}'", words.join(" ")))
                .help("meshctl --help")
        })?;
    }
    Ok(command.clone())
}

fn is_shown(command: &clap::Command) -> bool {
    !command.is_hide_set() && command.get_name() != "help"
}

fn page(command: &clap::Command) -> Result<Vec<u8>, ApiError> {
    let mut text = Vec::new();
    // After `build`, a command's display name has the commands above it, joined by dashes.
    let rendered = Page::new(command.clone()).render(&mut text);
    rendered.map_err(|error| ApiError::new(&code::INTERNAL, error))?;
    Ok(text)
}

fn write(context: &Context, root: &clap::Command, dir: &Path) -> Result<(), ApiError> {
    let failed =
        |error: std::io::Error| ApiError::new(&code::FILE_FAILED, error).fact("directory", dir.display());
    let mut pages = Vec::new();
    collect(root, &mut pages)?;
    if !context.globals.dry_run {
        std::fs::create_dir_all(dir).map_err(failed)?;
        for (name, text) in &pages {
            std::fs::write(dir.join(name), text).map_err(failed)?;
        }
    }
    let done = if context.globals.dry_run { "would be written" } else { "written" };
    context.out.note(format_args!("{} pages {done} into {}", pages.len(), dir.display()));
    Ok(())
}

fn collect(command: &clap::Command, pages: &mut Vec<(String, Vec<u8>)>) -> Result<(), ApiError> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    pages.push((format!("{name}.1"), page(command)?));
    command
        .get_subcommands()
        .filter(|command| is_shown(command))
        .try_for_each(|command| collect(command, pages))
}
