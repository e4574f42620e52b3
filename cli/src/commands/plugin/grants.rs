//! `meshctl plugin grants`: what installed plugins may use of the host; and asking for it at an installation.

use std::io::{self, IsTerminal};

use clap::Subcommand;
use mesh_node::api::{ApiError, GrantRow, Operation, Request, code};

use super::Context;
use super::operate::operate;
use crate::output::human::{self, GOOD, WARN, styled};
use crate::output::{Column, Rows, Show, View};
use crate::prompt;

/// Capabilities of the host.
#[derive(Debug, Subcommand)]
pub enum Grants {
    /// What plugins ask for and what they were given.
    #[command(after_long_help = "\
Examples:
  meshctl plugin grants show
  meshctl plugin grants show acme/geo-alert --json")]
    Show {
        /// A name, NAME@VERSION, or the first six or more digits of a digest; all when absent.
        plugin: Option<String>,
    },
    /// Give a plugin what it asks for, or take it.
    #[command(after_long_help = "\
Examples:
  meshctl plugin grants set acme/geo-alert --grant log --grant kv
  meshctl plugin grants set acme/geo-alert --revoke kv --dry-run

What a plugin imports and was not given keeps it out of every slot, so nothing is taken from one that is in a slot:
'meshctl plugin disable SLOT' first.")]
    Set {
        /// A name, NAME@VERSION, or the first six or more digits of a digest.
        plugin: String,
        /// To give: log or kv. May be given several times.
        #[arg(long = "grant", value_name = "NAME", value_delimiter = ',', required_unless_present = "take")]
        give: Vec<String>,
        /// To take. May be given several times.
        #[arg(long = "revoke", value_name = "NAME", value_delimiter = ',')]
        take: Vec<String>,
    },
}

impl Grants {
    /// Asks the node and prints.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        match self {
            Grants::Set { plugin, give, take } => {
                operate(context, Operation::Grant { plugin, give, take }).await
            }
            Grants::Show { plugin } => {
                let mut node = context.connect().await?;
                let rows: Vec<GrantRow> = node.call(&Request::PluginGrants { plugin }).await?;
                context.out.print(node.node, &rows)
            }
        }
    }
}

/// Returns what a component is to be granted: what the command line says, and what a person agrees to beside that.
/// Policies ask for nothing. A rehearsal takes what is asked for as granted.
pub fn agreed(
    context: &Context,
    component: &[u8],
    given: &[String],
    dry_run: bool,
) -> Result<Vec<String>, ApiError> {
    let mut grants = given.to_vec();
    // What is wrong with the component is for the node to say.
    let Ok(report) = mesh_node::inspect_report(component) else { return Ok(grants) };
    let asks = report.imports.iter().filter_map(|import| import.grant.clone());
    let missing: Vec<String> = asks.filter(|grant| !given.contains(grant)).collect();
    if missing.is_empty() {
        return Ok(grants);
    }
    let name = human::safe(report.plugin.as_deref().unwrap_or("the plugin"));
    if !dry_run {
        confirm(context, &name, &missing)?;
    }
    grants.extend(missing);
    Ok(grants)
}

/// A new grant is never given in silence: by an option, or by somebody who was asked.
///
/// # Errors
/// `GRANTS_REFUSED`.
pub fn confirm(context: &Context, name: &str, missing: &[String]) -> Result<(), ApiError> {
    let globals = &context.globals;
    let somebody = io::stdin().is_terminal() && io::stderr().is_terminal() && !globals.no_input;
    let list = missing.join(", ");
    if !somebody && !globals.yes {
        return Err(refused(format!("{name} asks for {list}, and nobody is there to grant it"), missing));
    }
    if prompt::agrees(&format!("{name} asks for: {list}. Grant it?"), context)? {
        return Ok(());
    }
    Err(refused("the grants were refused, so nothing was installed".to_owned(), missing))
}

fn refused(message: String, missing: &[String]) -> ApiError {
    let options: Vec<String> = missing.iter().map(|grant| format!("--grant {grant}")).collect();
    ApiError::new(&code::GRANTS_REFUSED, message)
        .help(format!("meshctl plugin install FILE {}", options.join(" ")))
}

const COLUMNS: &[Column] = &[
    Column::text("plugin", "PLUGIN", 0),
    Column::text("version", "VERSION", 1),
    Column::text("grant", "GRANT", 0),
    Column::text("granted", "STATE", 0),
    Column::text("why", "WHY", 2),
];

impl Show for Vec<GrantRow> {
    const SCHEMA: &'static str = "plugin-grants";

    fn view(&self) -> View {
        let mut rows = Rows::new(COLUMNS, "no installed plugin asks for anything");
        for row in self {
            rows.push([
                human::safe(&row.plugin.plugin),
                human::safe(&row.plugin.version),
                row.grant.clone(),
                if row.granted { styled(GOOD, "granted") } else { styled(WARN, "not granted") },
                human::safe(&row.why),
            ]);
        }
        View::Rows(rows)
    }

    fn names(&self) -> Vec<String> {
        self.iter().filter(|row| row.granted).map(|row| row.grant.clone()).collect()
    }
}
