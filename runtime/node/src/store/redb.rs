//! The store on disk, by redb: one transaction a commit, in two phases and synced before it returns.

use std::any::Any;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use redb::{Builder, Database, DatabaseError, Durability, ReadableDatabase, TableDefinition, TableError};
use tracing::info;

use super::tables::is_empty;
use super::{Backend, KeyRange, OpenError, Scan, StoreError, Table, Write};
use crate::fail_point::fail_point_of;

/// Something that holds one store: a file, or a test's disk. Opened again after each fault.
pub trait Disk: Send + Sync {
    /// Opens what was stored, or something empty, with the settings of `builder`.
    ///
    /// # Errors
    /// What the system says; [`DatabaseError::DatabaseAlreadyOpen`] if somebody else has it.
    fn open(&self, builder: &Builder) -> Result<Database, DatabaseError>;

    /// Returns the path, for messages.
    fn path(&self) -> &Path;
}

/// A store in a file.
#[derive(Debug)]
pub struct FileDisk {
    path: PathBuf,
}

impl FileDisk {
    /// Names the file; it is opened or made by [`Disk::open`].
    pub fn new(path: PathBuf) -> FileDisk {
        FileDisk { path }
    }
}

impl Disk for FileDisk {
    fn open(&self, builder: &Builder) -> Result<Database, DatabaseError> {
        match OpenOptions::new().read(true).write(true).open(&self.path) {
            // It is born whole under its name, so an empty one has lost what it held.
            Ok(file) if file.metadata()?.len() == 0 => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "the file is empty").into())
            }
            Ok(file) => builder.create_file(file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.make(builder),
            Err(e) => Err(e.into()),
        }
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl FileDisk {
    // Made under another name and renamed, because redb cannot open what a power cut in the middle of its
    // first writes leaves behind.
    fn make(&self, builder: &Builder) -> Result<Database, DatabaseError> {
        let draft = self.path.with_extension("new");
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        drop(builder.create_file(file)?);
        File::open(&draft)?.sync_all()?;
        fs::rename(&draft, &self.path)?;
        let dir = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(dir)?.sync_all()?;
        builder.create_file(OpenOptions::new().read(true).write(true).open(&self.path)?)
    }
}

/// An open database, or none between a fault and its recovery.
pub(crate) struct RedbBackend {
    disk: Box<dyn Disk>,
    cache: usize,
    // Written only by `reopen` and `close`; a reader keeps the database that it has begun with.
    database: RwLock<Option<Arc<Database>>>,
}

impl RedbBackend {
    pub(crate) fn open(disk: Box<dyn Disk>, cache: usize) -> Result<RedbBackend, OpenError> {
        let opened = guarded(|| open_database(&*disk, cache));
        let corrupt =
            |e: StoreError| OpenError::Corrupt { path: disk.path().to_owned(), cause: e.to_string() };
        let database = opened.map_err(corrupt)?.map_err(|e| open_error(disk.path(), e))?;
        Ok(RedbBackend { disk, cache, database: RwLock::new(Some(Arc::new(database))) })
    }

    fn database(&self) -> Result<Arc<Database>, StoreError> {
        self.database.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(StoreError::NotOpen)
    }

    fn replace(&self, database: Option<Arc<Database>>) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = database;
    }

    fn apply(&self, writes: &[Write]) -> Result<(), redb::Error> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(database) = database else { return Err(redb::Error::DatabaseClosed) };
        fail_point_of(writes, "binding-begun");
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        // Values come from strangers: the checksums of a one-phase commit can be forged by who chooses them.
        transaction.set_two_phase_commit(true);
        // Writes of one table in a row share its handle; redb allows one open handle a table.
        for run in writes.chunk_by(|a, b| a.table() == b.table()) {
            let mut rows = transaction.open_table(definition(run[0].table()))?;
            for write in run {
                match write {
                    Write::Put { key, value, .. } => drop(rows.insert(&key[..], &value[..])?),
                    Write::Delete { key, .. } => drop(rows.remove(&key[..])?),
                    Write::DeleteRange { from, to, .. } if from < to => {
                        rows.retain_in::<&[u8], _>(&from[..]..&to[..], |_, _| false)?;
                    }
                    Write::DeleteRange { .. } => {}
                }
            }
        }
        fail_point_of(writes, "binding-written");
        transaction.commit()?;
        fail_point_of(writes, "binding-committed");
        Ok(())
    }

    fn read<T: Default>(
        &self,
        table: Table,
        read: impl FnOnce(&Rows) -> redb::Result<T>,
    ) -> Result<T, StoreError> {
        let database = self.database()?;
        let read = || -> Result<T, redb::Error> {
            match database.begin_read()?.open_table(definition(table)) {
                Ok(rows) => Ok(read(&rows)?),
                Err(TableError::TableDoesNotExist(_)) => Ok(T::default()),
                Err(e) => Err(e.into()),
            }
        };
        guarded(|| read().map_err(store_error)).unwrap_or_else(Err)
    }
}

type Rows = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

impl Backend for RedbBackend {
    fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        guarded(|| self.apply(writes).map_err(store_error)).unwrap_or_else(Err)
    }

    fn reopen(&self) -> Result<(), StoreError> {
        // The old database must let go of the file first; a reader may still hold it for a moment.
        self.replace(None);
        let database =
            guarded(|| open_database(&*self.disk, self.cache))?.map_err(|e| store_error(e.into()))?;
        self.replace(Some(Arc::new(database)));
        Ok(())
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.read(table, |rows| Ok(rows.get(key)?.map(|value| Bytes::copy_from_slice(value.value()))))
    }

    fn scan(&self, table: Table, range: KeyRange<'_>, max_bytes: usize) -> Result<Scan, StoreError> {
        if is_empty(range) {
            return Ok(Scan { rows: vec![], complete: true });
        }
        let found = self.read(table, |rows| {
            let (mut found, mut bytes) = (vec![], 0);
            for row in rows.range::<&[u8]>(range)? {
                let (key, value) = row?;
                let (key, value) = (key.value(), value.value());
                bytes += key.len() + value.len();
                if bytes > max_bytes && !found.is_empty() {
                    return Ok(Some(Scan { rows: found, complete: false }));
                }
                found.push((key.to_vec(), Bytes::copy_from_slice(value)));
            }
            Ok(Some(Scan { rows: found, complete: true }))
        })?;
        // A table that nothing was ever written to is not there yet.
        Ok(found.unwrap_or(Scan { rows: vec![], complete: true }))
    }

    fn close(&self) {
        self.replace(None);
    }
}

fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table.name())
}

fn open_database(disk: &dyn Disk, cache: usize) -> Result<Database, DatabaseError> {
    let path = disk.path().to_owned();
    let mut builder = Builder::new();
    builder.set_cache_size(cache).set_repair_callback(move |repair| {
        let percent = (repair.progress() * 100.0) as u32;
        info!(path = %path.display(), percent, "checking the store after an unclean end");
    });
    disk.open(&builder)
}

/// Runs what reads pages: redb panics on some damage that its checksums do not cover. The database behind a
/// panic is poisoned, and every later call says so.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| StoreError::Corrupt { cause: said(&*panic) })
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("an inconsistency").to_owned()
}

fn store_error(error: redb::Error) -> StoreError {
    let cause = error.to_string();
    match error {
        redb::Error::Io(e)
            if matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
        {
            StoreError::Full { cause }
        }
        redb::Error::Io(e) if e.kind() == io::ErrorKind::InvalidData => StoreError::Corrupt { cause },
        redb::Error::Io(e) => StoreError::Io { cause, kind: e.kind() },
        redb::Error::PreviousIo => StoreError::Io { cause, kind: io::ErrorKind::Other },
        redb::Error::DatabaseClosed | redb::Error::DatabaseAlreadyOpen => StoreError::NotOpen,
        _ => StoreError::Corrupt { cause },
    }
}

fn open_error(path: &Path, error: DatabaseError) -> OpenError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path },
        DatabaseError::UpgradeRequired(found) => OpenError::WrongFormat { path, found },
        other => match store_error(other.into()) {
            StoreError::Corrupt { cause } => OpenError::Corrupt { path, cause },
            StoreError::Full { cause } => OpenError::Io { path, cause, kind: io::ErrorKind::StorageFull },
            StoreError::Io { cause, kind } => OpenError::Io { path, cause, kind },
            StoreError::NotOpen => OpenError::InUse { path },
        },
    }
}
