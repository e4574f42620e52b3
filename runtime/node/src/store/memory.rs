//! The store of a node that keeps nothing: same order and atomicity, no disk.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::tables::is_empty;
use super::{Backend, KeyRange, Scan, StoreError, Table, Write};

type Tables = HashMap<Table, BTreeMap<Vec<u8>, Bytes>>;

/// Tables in memory, shared by the writer's thread and the readers.
#[derive(Default)]
pub(crate) struct MemoryBackend {
    tables: Mutex<Tables>,
}

impl MemoryBackend {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Nothing under this lock can panic half-way, so a poisoned one still holds a whole value.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for MemoryBackend {
    fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        let mut tables = self.tables();
        for write in writes {
            let rows = tables.entry(write.table()).or_default();
            match write {
                Write::Put { key, value, .. } => drop(rows.insert(key.clone(), value.clone())),
                Write::Delete { key, .. } => drop(rows.remove(key)),
                Write::DeleteRange { from, to, .. } => rows.retain(|key, _| key < from || key >= to),
            }
        }
        Ok(())
    }

    fn reopen(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.tables().get(&table).and_then(|rows| rows.get(key).cloned()))
    }

    fn scan(&self, table: Table, range: KeyRange<'_>, max_bytes: usize) -> Result<Scan, StoreError> {
        let mut scan = Scan { rows: vec![], complete: true };
        let tables = self.tables();
        let Some(rows) = tables.get(&table).filter(|_| !is_empty(range)) else { return Ok(scan) };
        let mut bytes = 0;
        for (key, value) in rows.range::<[u8], _>(range) {
            bytes += key.len() + value.len();
            if bytes > max_bytes && !scan.rows.is_empty() {
                scan.complete = false;
                break;
            }
            scan.rows.push((key.clone(), value.clone()));
        }
        Ok(scan)
    }

    fn close(&self) {}
}
