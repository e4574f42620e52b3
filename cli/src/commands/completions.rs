//! `meshctl completions`: the script that completes commands in a shell.

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use mesh_node::api::ApiError;

use super::Context;
use crate::args::Cli;

/// The script that completes commands in a shell.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  meshctl completions bash > ~/.local/share/bash-completion/completions/meshctl
  meshctl completions zsh > ~/.zfunc/_meshctl
  meshctl completions fish > ~/.config/fish/completions/meshctl.fish")]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// Prints the script.
    pub fn run(self, context: &Context) -> Result<(), ApiError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "meshctl", &mut script);
        context.out.raw(&script)
    }
}
