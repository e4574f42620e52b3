//! `meshctl plugin trust`: whose plugins this node takes.

use clap::Subcommand;
use mesh_node::api::{ApiError, Request, TrustChange, TrustReport, TrustRow};

use super::Context;
use crate::output::human::{self, BAD, DIM, GOOD, WARN, styled};
use crate::output::{Column, Pair, Rows, Show, View};

/// Keys that sign plugins, and what they are trusted for.
#[derive(Debug, Subcommand)]
pub enum Trust {
    /// Trust a key for plugins of these names.
    #[command(after_long_help = "\
Examples:
  meshctl plugin trust add ed25519:9c1f… --for 'acme/*'
  meshctl plugin trust add ed25519:9c1f… --for acme/fastest --slot route
  meshctl plugin trust add ed25519:9c1f… --for 'acme/*' --dry-run

Adding a key again replaces what it was trusted for, and says what that was: a key has one list of names and one of slots,
and names added to other slots would be trusted in all of them. Get the key over another way than the plugin.")]
    Add {
        /// The public key: ed25519: and 64 hex digits.
        key: String,
        /// Names: author/plugin, author/*, or * for all. May be given several times.
        #[arg(long = "for", value_name = "PATTERN", required = true)]
        patterns: Vec<String>,
        #[arg(
            long = "slot",
            value_name = "SLOT",
            help = concat!("Slots: ", slots!(), "; every one when absent. May be given several times")
        )]
        slots: Vec<String>,
    },
    /// The keys, what they are trusted for, and which are revoked.
    #[command(
        visible_alias = "ls",
        after_long_help = "\
Examples:
  meshctl plugin trust list
  meshctl plugin trust list --json --fields key,patterns,revoked_at"
    )]
    List,
    /// Trust a key no more; what it signed and is in a slot stays there.
    #[command(
        visible_alias = "rm",
        after_long_help = "\
Examples:
  meshctl plugin trust remove ed25519:9c1f…
  meshctl plugin trust remove ed25519:9c1f… --dry-run"
    )]
    Remove {
        /// The public key.
        key: String,
    },
    /// End a key for ever: what it signed leaves its slots at once.
    #[command(after_long_help = "\
Examples:
  meshctl plugin trust revoke ed25519:9c1f… --reason 'laptop stolen'
  meshctl plugin trust revoke ed25519:9c1f… --dry-run   says what would leave its slot

A revocation cannot be taken back. The revision before decides again, or else the native built-in.")]
    Revoke {
        /// The public key, known to this node or not.
        key: String,
        /// Why, for those who meet it later.
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
}

impl Trust {
    /// Asks the node and prints.
    pub async fn run(self, context: &Context) -> Result<(), ApiError> {
        let mut node = context.connect().await?;
        let (key, change) = match self {
            Trust::List => {
                let rows: Vec<TrustRow> = node.call(&Request::PluginTrustList).await?;
                return context.out.print(node.node, &rows);
            }
            Trust::Add { key, patterns, slots } => (key, TrustChange::Add { patterns, slots }),
            Trust::Remove { key } => (key, TrustChange::Remove),
            Trust::Revoke { key, reason } => (key, TrustChange::Revoke { reason }),
        };
        let request = Request::PluginTrust { key, change, dry_run: context.globals.dry_run };
        let report: TrustReport = node.call(&request).await?;
        context.out.print(node.node, &report)
    }
}

const COLUMNS: &[Column] = &[
    Column::text("key", "KEY", 0),
    Column::text("patterns", "FOR", 0),
    Column::text("slots", "SLOTS", 1),
    Column::text("since", "SINCE", 2),
    Column::text("revoked_at", "STATE", 0),
];

impl Show for Vec<TrustRow> {
    const SCHEMA: &'static str = "plugin-trust";

    fn view(&self) -> View {
        let mut rows = Rows::new(COLUMNS, "no key is trusted, and none is revoked");
        for row in self {
            rows.push([row.key.clone(), patterns(row), slots(row), row.since.to_string(), state(row)]);
        }
        View::Rows(rows)
    }

    fn names(&self) -> Vec<String> {
        self.iter().map(|row| row.key.clone()).collect()
    }
}

fn patterns(row: &TrustRow) -> String {
    human::or_dash(Some(row.patterns.join(" ")).filter(|text| !text.is_empty()))
}

fn slots(row: &TrustRow) -> String {
    if row.slots.is_empty() { "all".to_owned() } else { row.slots.join(",") }
}

fn state(row: &TrustRow) -> String {
    let Some(at) = row.revoked_at else { return styled(GOOD, "trusted") };
    let why = row.reason.as_deref().filter(|reason| !reason.is_empty());
    let why = why.map_or_else(String::new, |reason| format!(": {}", human::safe(reason)));
    styled(BAD, format!("revoked {at}{why}"))
}

impl Show for TrustReport {
    const SCHEMA: &'static str = "plugin-trust-change";

    fn view(&self) -> View {
        let done = if self.dry_run { format!("would be {}", self.done) } else { self.done.clone() };
        let mut pairs = vec![
            Pair::new("done", "key", format!("{} {done}", self.key.key)),
            Pair::new("patterns", "for", format!("{}, slots: {}", patterns(&self.key), slots(&self.key))),
        ];
        if let Some(before) = &self.replaces {
            let text = format!("{}, slots: {}", patterns(before), slots(before));
            pairs.push(Pair::new("replaces", "instead of", styled(WARN, text)));
        }
        for plugin in &self.withdrawn {
            let taken = if self.dry_run { "would be taken out of its slot" } else { "taken out of its slot" };
            let text = format!("{} {}", human::safe(&plugin.to_string()), styled(BAD, taken));
            pairs.push(Pair::new("withdrawn", "withdrawn", text));
        }
        for plugin in &self.bound {
            let text = format!("{} is in a slot", human::safe(&plugin.to_string()));
            pairs.push(Pair::new("bound", "signed by it", styled(WARN, text)));
        }
        let undo = match (&self.undo, self.done.as_str()) {
            (Some(undo), _) => human::safe(undo),
            (None, "revoked") => "none: a revocation is for ever; trust a new key instead".to_owned(),
            (None, _) => return View::Pairs(pairs),
        };
        pairs.push(Pair::new("undo", "undo", styled(DIM, undo)));
        View::Pairs(pairs)
    }

    fn names(&self) -> Vec<String> {
        vec![self.key.key.clone()]
    }
}
