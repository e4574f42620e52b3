//! What the operator gave each installed revision, and which revisions he pinned. Kept over a restart; what is built
//! in has what it asks for.

use std::collections::{BTreeMap, BTreeSet};

use mesh_plugin_host::inspect::Needs;
use mesh_plugin_host::{Grants, Inspection};

use super::{Plugins, hex};
use crate::api::{ApiError, code};
use crate::store::{Store, StoreError, Table, Write};

const GRANTS_PREFIX: &str = "grants/";
const PIN_PREFIX: &str = "pin/";

/// Reads names of grants.
pub(crate) fn parse<'a>(names: impl IntoIterator<Item = &'a String>) -> Result<Grants, ApiError> {
    let mut grants = Grants::NONE;
    for name in names {
        match name.as_str() {
            "log" => grants.log = true,
            "kv" => grants.kv = true,
            _ => {
                return Err(ApiError::new(&code::BAD_VALUE, format!("there is no grant '{name}'"))
                    .fact("grants", Grants::NAMES.join(", "))
                    .help("meshctl plugin inspect FILE"));
            }
        }
    }
    Ok(grants)
}

/// Returns the names of grants.
pub(crate) fn names(grants: Grants) -> Vec<String> {
    let given = [grants.log, grants.kv];
    let named = Grants::NAMES.iter().zip(given).filter(|(_, given)| *given);
    named.map(|(name, _)| (*name).to_owned()).collect()
}

/// Returns what a component imports that must be granted.
pub(crate) fn asked(inspection: &Inspection) -> Grants {
    let needs =
        |name: &str| inspection.imports.iter().any(|import| import.needs == Needs::Grant(name_of(name)));
    Grants { log: needs("log"), kv: needs("kv") }
}

fn name_of(name: &str) -> &'static str {
    Grants::NAMES.into_iter().find(|known| *known == name).unwrap_or_default()
}

/// Returns what either has.
pub(crate) fn union(one: Grants, other: Grants) -> Grants {
    Grants { log: one.log || other.log, kv: one.kv || other.kv }
}

/// Returns what the first has and the second has not.
pub(crate) fn without(one: Grants, other: Grants) -> Grants {
    Grants { log: one.log && !other.log, kv: one.kv && !other.kv }
}

impl Plugins {
    /// Returns what an installed revision may use.
    pub(crate) fn grants(&self, digest: &[u8; 32]) -> Grants {
        self.installed.get(digest).map_or(Grants::NONE, |installed| installed.grants)
    }

    /// Returns what each installed revision may use.
    pub(crate) fn given(&self) -> BTreeMap<[u8; 32], Grants> {
        self.installed.iter().map(|(digest, installed)| (*digest, installed.grants)).collect()
    }

    /// Changes what an installed revision may use, and returns the write that keeps it. It is loaded anew before it
    /// is bound again.
    pub(crate) fn grant(&mut self, digest: &[u8; 32], grants: Grants) -> Option<Write> {
        let installed = self.installed.get_mut(digest)?;
        if installed.grants == grants {
            return None;
        }
        installed.grants = grants;
        installed.loaded = None;
        Some(keep_grants(digest, grants))
    }

    /// Returns the write that keeps what a revision is given, if that is more than what it had.
    pub(crate) fn keep_grants(&self, digest: &[u8; 32], more: Grants) -> Option<Write> {
        let is_built_in = self.installed.get(digest).is_some_and(|installed| installed.is_built_in);
        let before = self.grants(digest);
        let after = union(before, more);
        (after != before && !is_built_in).then(|| keep_grants(digest, after))
    }

    /// Pins or unpins a revision, and returns the write that keeps it.
    pub(crate) fn pin(&mut self, digest: &[u8; 32], pinned: bool) -> Write {
        let key = format!("{PIN_PREFIX}{}", hex(digest)).into_bytes();
        if pinned {
            self.pinned.insert(*digest);
            return Write::Put { table: Table::Meta, key, value: bytes::Bytes::new() };
        }
        self.pinned.remove(digest);
        Write::Delete { table: Table::Meta, key }
    }

    /// Returns the writes that forget what stands here of a revision.
    pub(super) fn forget(&mut self, digest: &[u8; 32]) -> Vec<Write> {
        let grants = Write::Delete { table: Table::Meta, key: grants_key(digest) };
        vec![grants, self.pin(digest, false)]
    }
}

pub(super) fn keep_grants(digest: &[u8; 32], grants: Grants) -> Write {
    let value = names(grants).join(",").into_bytes().into();
    Write::Put { table: Table::Meta, key: grants_key(digest), value }
}

pub(super) fn stored_grants(store: &Store, digest: &[u8; 32]) -> Result<Grants, StoreError> {
    let value = store.get(Table::Meta, &grants_key(digest))?;
    let text = value.map(|value| String::from_utf8_lossy(&value).into_owned()).unwrap_or_default();
    let names: Vec<String> = text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    // A grant that this version does not know gives nothing.
    Ok(names.iter().filter_map(|name| parse([name]).ok()).fold(Grants::NONE, union))
}

pub(super) fn stored_pin(
    store: &Store,
    digest: &[u8; 32],
    pinned: &mut BTreeSet<[u8; 32]>,
) -> Result<(), StoreError> {
    let key = format!("{PIN_PREFIX}{}", hex(digest));
    if store.get(Table::Meta, key.as_bytes())?.is_some() {
        pinned.insert(*digest);
    }
    Ok(())
}

fn grants_key(digest: &[u8; 32]) -> Vec<u8> {
    format!("{GRANTS_PREFIX}{}", hex(digest)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_known_by_name_and_nothing_else_is_one() {
        let both = parse(&["kv".to_owned(), "log".to_owned()]).expect("both are known");

        assert_eq!((both, names(both)), (Grants::ALL, vec!["log".to_owned(), "kv".to_owned()]));
        assert_eq!(without(Grants::ALL, Grants { log: true, kv: false }), Grants { log: false, kv: true });
        assert!(parse(&["net".to_owned()]).is_err_and(|error| error.is(&code::BAD_VALUE)));
    }
}
