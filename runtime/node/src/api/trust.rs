//! Questions and answers about who signs plugins, and whom a node trusts.

use serde::{Deserialize, Serialize};

use super::{PluginRef, Time};

/// Somebody who vouches for a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignerRow {
    /// The key, `ed25519:` and 64 hex digits.
    pub key: String,
    /// What the signature is worth.
    pub state: SignerState,
    /// When it was made, by the signer's clock.
    pub signed_at: Time,
    /// When it ends; `None` for never.
    pub expires_at: Option<Time>,
    /// What speaks against it, if anything, as a code and a sentence.
    pub note: Option<String>,
}

/// What a signature is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignerState {
    /// It verifies, and the node trusts the key for this plugin.
    Trusted,
    /// It verifies; nobody was asked whether the key is trusted.
    Verified,
    /// It verifies, and the node does not trust the key for this plugin.
    Untrusted,
    /// It verifies, and has ended.
    Expired,
    /// It does not verify, or is for something else.
    Invalid,
}

/// A change of the list of keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum TrustChange {
    /// Trusts the key for these names and slots, instead of what it was trusted for.
    Add {
        /// `author/plugin`, `author/*` or `*`; at least one.
        patterns: Vec<String>,
        /// Slots; every one when empty.
        slots: Vec<String>,
    },
    /// Trusts it no more; what it signed stays where it is.
    Remove,
    /// Takes what it signed out of all slots at once, and never takes such a thing again.
    Revoke {
        /// Why, for people.
        reason: String,
    },
}

/// One key of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustRow {
    /// The key.
    pub key: String,
    /// The names it is trusted for.
    pub patterns: Vec<String>,
    /// The slots it is trusted for; every one when empty.
    pub slots: Vec<String>,
    /// Since when it is in the list.
    pub since: Time,
    /// When it was revoked.
    pub revoked_at: Option<Time>,
    /// Why it was revoked.
    pub reason: Option<String>,
}

/// The answer to a change of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustReport {
    /// What was done: `added`, `replaced`, `removed` or `revoked`.
    pub done: String,
    /// What the key was trusted for until now, when that was replaced.
    #[serde(default)]
    pub replaces: Option<TrustRow>,
    /// The key, as the list has it now; as it was, for a removed one.
    pub key: TrustRow,
    /// What was taken out of its slot, or would be.
    pub withdrawn: Vec<PluginRef>,
    /// What this key signed and is in a slot still.
    pub bound: Vec<PluginRef>,
    /// Whether it was only rehearsed.
    pub dry_run: bool,
    /// The command that takes it back; `None` when nothing does.
    pub undo: Option<String>,
}
