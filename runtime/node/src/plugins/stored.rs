//! The revisions that the store keeps over a restart.

use bytes::Bytes;
use mesh_plugin_host::inspect;

use super::{Installed, Plugins, StartError, granted, trusted};
use crate::store::{Store, Table};

/// Bytes of installed components that are looked at when a node starts.
const REVISIONS_BYTES: usize = 256 * 1024 * 1024;

impl Plugins {
    pub(super) fn add_stored(&mut self, store: &Store) -> Result<(), StartError> {
        for (key, value) in store.load(Table::Revisions, REVISIONS_BYTES)?.rows {
            let Some((since_ms, origin, bytes)) = unpack_revision(&value) else { continue };
            // Bytes that are not those that were verified stand under a digest that is not theirs.
            if blake3::hash(&bytes).as_bytes()[..] != key {
                tracing::error!(origin, "a stored plugin is damaged or was exchanged, and is not offered");
                continue;
            }
            // A revision that this version cannot read any more is kept, and not offered.
            let Ok(inspection) = inspect(&bytes) else { continue };
            let Some(kind) = inspection.kind else { continue };
            let signatures = trusted::stored_signatures(store, &inspection)?;
            let grants = granted::stored_grants(store, &inspection.digest)?;
            granted::stored_pin(store, &inspection.digest, &mut self.pinned)?;
            self.installed.entry(inspection.digest).or_insert(Installed {
                revision: inspection.revision(),
                kind,
                size: bytes.len(),
                origin,
                since_ms,
                is_built_in: false,
                signatures,
                grants,
                loaded: None,
            });
        }
        Ok(())
    }
}

pub(super) fn pack_revision(since_ms: u64, origin: &str, bytes: &Bytes) -> Bytes {
    let origin = &origin.as_bytes()[..origin.len().min(usize::from(u16::MAX))];
    [&since_ms.to_le_bytes()[..], &(origin.len() as u16).to_le_bytes(), origin, bytes].concat().into()
}

pub(super) fn unpack_revision(value: &Bytes) -> Option<(u64, String, Bytes)> {
    let (since_ms, rest) = value.split_first_chunk::<8>()?;
    let (len, rest) = rest.split_first_chunk::<2>()?;
    let (origin, bytes) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
    let origin = String::from_utf8_lossy(origin).into_owned();
    Some((u64::from_le_bytes(*since_ms), origin, value.slice_ref(bytes)))
}
