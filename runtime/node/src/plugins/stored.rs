//! The revisions that the store keeps over a restart.

use std::ops::Bound;

use bytes::Bytes;
use mesh_plugin_host::{inspect, limits};

use super::{Installed, Plugins, StartError, granted, trusted};
use crate::store::{Store, Table};

/// Bytes of installed components that are in memory at a time when a node starts, about: the largest plugin.
const AT_A_TIME: usize = limits::COMPONENT_BYTES;

impl Plugins {
    pub(super) fn add_stored(&mut self, store: &Store) -> Result<(), StartError> {
        each_row(store, Table::Revisions, AT_A_TIME, |key, value| self.add_revision(store, key, value))
    }

    fn add_revision(&mut self, store: &Store, key: &[u8], value: &Bytes) -> Result<(), StartError> {
        let Some((since_ms, origin, bytes)) = unpack_revision(value) else { return Ok(()) };
        // Bytes that are not those that were verified stand under a digest that is not theirs.
        if blake3::hash(&bytes).as_bytes()[..] != *key {
            tracing::error!(origin, "a stored plugin is damaged or was exchanged, and is not offered");
            return Ok(());
        }
        // A revision that this version cannot read any more is kept, and not offered.
        let Ok(inspection) = inspect(&bytes) else { return Ok(()) };
        let Some(kind) = inspection.kind else { return Ok(()) };
        let signatures = trusted::stored_signatures(store, &inspection)?;
        let grants = granted::stored_grants(store, &inspection.digest)?;
        granted::stored_pin(store, &inspection.digest, &mut self.pinned)?;
        let installed = Installed::new(&inspection, kind, &origin, since_ms);
        let installed = Installed { signatures, grants, ..installed };
        self.installed.entry(inspection.digest).or_insert(installed);
        Ok(())
    }
}

/// Shows each row of a table, with about this many bytes of them in memory at a time.
fn each_row(
    store: &Store,
    table: Table,
    at_a_time: usize,
    mut show: impl FnMut(&[u8], &Bytes) -> Result<(), StartError>,
) -> Result<(), StartError> {
    let mut last: Option<Vec<u8>> = None;
    loop {
        let from = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let scan = store.scan(table, (from, Bound::Unbounded), at_a_time)?;
        scan.rows.iter().try_for_each(|(key, value)| show(key, value))?;
        match scan.rows.into_iter().next_back() {
            Some((key, _)) if !scan.complete => last = Some(key),
            _ => return Ok(()),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{StoreEvent, Write};

    #[tokio::test]
    async fn every_row_is_shown_however_few_fit_into_memory() {
        let (store, mut events) = Store::memory();
        let put =
            |n: u8| Write::Put { table: Table::Revisions, key: vec![n], value: Bytes::from(vec![n; 100]) };
        store.submit(1, (0..5).map(put).collect()).expect("there is room");
        assert_eq!(events.recv().await, Some(StoreEvent::Persisted { ticket: 1 }));

        for at_a_time in [1, 101, 250, 10_000] {
            let mut shown = Vec::new();
            each_row(&store, Table::Revisions, at_a_time, |key, _| {
                shown.extend_from_slice(key);
                Ok(())
            })
            .expect("it is read");

            assert_eq!(shown, [0, 1, 2, 3, 4], "{at_a_time}");
        }
    }
}
