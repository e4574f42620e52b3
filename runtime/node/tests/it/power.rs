//! Power cuts, disk faults and full disks under the store, on a disk made of memory that loses what was not
//! synced. Cases C04, C05, C06, C08, C09.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use mesh_node::store::{Disk, Store, StoreConfig, StoreError, StoreEvent, StoreEvents, Table, Write};
use redb::{Builder, Database, DatabaseError, StorageBackend};

use crate::store::{next, persisted, put};

/// What a real disk writes as a whole.
const SECTOR: usize = 512;

/// A disk that keeps apart what is safe and what a power cut may take.
#[derive(Clone, Debug, Default)]
struct TestDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// What a power cut leaves for sure.
    safe: Vec<u8>,
    /// What a read returns.
    now: Vec<u8>,
    /// Sectors and lengths written since the last sync, oldest first.
    unsynced: Vec<Change>,
    syncs: usize,
    fault: Fault,
}

#[derive(Debug)]
enum Change {
    Sector { at: usize, bytes: Vec<u8> },
    Len(usize),
}

/// What is wrong with the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Fault {
    #[default]
    None,
    /// The power fails while sync number `n` runs; from then on nothing answers.
    PowerCutAtSync(usize),
    Dead,
    /// Syncs say yes and do nothing.
    Lies,
    /// The next `n` operations succeed, then `left` of them fail.
    Io {
        after: usize,
        left: usize,
    },
    /// It can grow no more.
    Full,
}

impl TestDisk {
    fn holding(image: Vec<u8>) -> TestDisk {
        TestDisk(Arc::new(Mutex::new(State { safe: image.clone(), now: image, ..State::default() })))
    }

    fn set(&self, fault: Fault) {
        self.0.lock().unwrap().fault = fault;
    }

    fn syncs(&self) -> usize {
        self.0.lock().unwrap().syncs
    }

    /// Returns what is found after the power comes back: of the unsynced changes any may have reached the
    /// disk, in any order, the last sector of a write perhaps in part.
    fn after_power_cut(&self, random: &mut Rng) -> Vec<u8> {
        let state = self.0.lock().unwrap();
        let mut image = state.safe.clone();
        let survive = random.u8(..=100);
        for change in &state.unsynced {
            if random.u8(..100) >= survive {
                continue;
            }
            match change {
                Change::Len(len) => image.resize(*len, 0),
                Change::Sector { at, bytes } => {
                    let torn = if random.u8(..100) < 5 { random.usize(..=bytes.len()) } else { bytes.len() };
                    // A sector past the end is lost with the length that did not reach the disk.
                    let fits = image.len().saturating_sub(*at).min(torn);
                    image[*at..][..fits].copy_from_slice(&bytes[..fits]);
                }
            }
        }
        image
    }
}

impl Disk for TestDisk {
    fn open(&self, builder: &Builder) -> Result<Database, DatabaseError> {
        builder.create_with_backend(self.clone())
    }

    fn path(&self) -> &Path {
        Path::new("test disk")
    }
}

impl State {
    fn operate(&mut self) -> io::Result<()> {
        match &mut self.fault {
            Fault::Dead => Err(io::Error::other("no power")),
            Fault::Io { after: 0, left } => {
                *left -= 1;
                if *left == 0 {
                    self.fault = Fault::None;
                }
                Err(io::Error::other("input/output error"))
            }
            Fault::Io { after, .. } => {
                *after -= 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn write(&mut self, offset: usize, data: &[u8]) {
        let mut at = offset;
        while at < offset + data.len() {
            let end = ((at / SECTOR + 1) * SECTOR).min(offset + data.len());
            self.unsynced.push(Change::Sector { at, bytes: data[at - offset..end - offset].to_vec() });
            at = end;
        }
        self.now[offset..offset + data.len()].copy_from_slice(data);
    }
}

impl StorageBackend for TestDisk {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.0.lock().unwrap();
        state.operate()?;
        Ok(state.now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.operate()?;
        let from = state.now.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(from.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.operate()?;
        if state.fault == Fault::Full && len as usize > state.now.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.now.resize(len as usize, 0);
        state.unsynced.push(Change::Len(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.operate()?;
        state.syncs += 1;
        match state.fault {
            Fault::PowerCutAtSync(n) if state.syncs == n => {
                state.fault = Fault::Dead;
                Err(io::Error::other("no power"))
            }
            Fault::Lies => Ok(()),
            _ => {
                state.safe = state.now.clone();
                state.unsynced.clear();
                Ok(())
            }
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.operate()?;
        state.write(offset as usize, data);
        Ok(())
    }
}

fn open(disk: &TestDisk) -> (Store, StoreEvents) {
    Store::open_on(Box::new(disk.clone()), impatient()).unwrap()
}

fn impatient() -> StoreConfig {
    StoreConfig {
        retry_first: Duration::from_millis(1),
        retry_max: Duration::from_millis(2),
        ..StoreConfig::default()
    }
}

/// What the node does all day: messages come, are delivered and go; small values change. Deterministic, so
/// that the state after every ticket is known.
fn batch(ticket: u64) -> Vec<Write> {
    let mut random = Rng::with_seed(ticket);
    let size = random.usize(1..3_000);
    let mut writes = vec![
        put(Table::Held, ticket.to_be_bytes(), vec![ticket as u8; size]),
        put(Table::Meta, "high-water", ticket.to_be_bytes().to_vec()),
    ];
    if ticket.is_multiple_of(3) {
        writes.push(Write::Delete { table: Table::Held, key: (ticket - 2).to_be_bytes().to_vec() });
    }
    writes
}

type Rows = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// Returns what the tables hold when every batch up to `ticket` has been applied.
fn expected(ticket: u64) -> Rows {
    let mut rows = Rows::new();
    for write in (1..=ticket).flat_map(batch) {
        match write {
            Write::Put { table, key, value } => drop(rows.insert((table, key), value.to_vec())),
            Write::Delete { table, key } => drop(rows.remove(&(table, key))),
            Write::DeleteRange { .. } => unreachable!("the workload has none"),
        }
    }
    rows
}

/// Checks that the store holds the state after some whole batch, and that this is not before `acked`.
fn check(store: &Store, acked: u64, submitted: u64) -> Result<(), String> {
    let mut found = Rows::new();
    for table in Table::ALL {
        let scan = store.load(table, usize::MAX).map_err(|e| e.to_string())?;
        found.extend(scan.rows.into_iter().map(|(key, value)| ((table, key), value.to_vec())));
    }
    let at = match found.get(&(Table::Meta, b"high-water".to_vec())) {
        Some(value) => u64::from_be_bytes(value[..].try_into().map_err(|_| "a broken value")?),
        None => 0,
    };
    match at {
        at if at < acked => Err(format!("ticket {acked} was acknowledged, the store is at {at}")),
        at if at > submitted => Err(format!("the store is at {at}, which was never submitted")),
        at if found != expected(at) => Err(format!("the tables are not those of ticket {at}")),
        _ => Ok(()),
    }
}

/// Submits until the disk dies, and returns the last acknowledged and the last submitted ticket.
async fn work_until_dark(disk: &TestDisk) -> (u64, u64) {
    let Ok((store, mut events)) = Store::open_on(Box::new(disk.clone()), impatient()) else { return (0, 0) };
    let (mut acked, mut submitted) = (0, 0);
    loop {
        // Several batches are under way at any time.
        while submitted < acked + 3 {
            submitted += 1;
            store.submit(submitted, batch(submitted)).unwrap();
        }
        match next(&mut events).await {
            StoreEvent::Persisted { ticket } => acked = ticket,
            StoreEvent::Degraded { .. } | StoreEvent::Failed { .. } => break,
            StoreEvent::Recovered => panic!("a disk without power recovered"),
        }
    }
    // The writer would try for ever; closing makes it stop.
    assert!(store.close(events).await.is_err(), "a disk without power took writes");
    (acked, submitted)
}

/// An empty store whose power fails at sync number `sync` of its use. Its making is another matter: a file
/// gets its name only when it is whole.
fn cut(sync: usize) -> TestDisk {
    let disk = TestDisk::default();
    drop(disk.open(&Builder::new()).unwrap());
    disk.set(Fault::PowerCutAtSync(disk.syncs() + sync));
    disk
}

/// C04: whatever the moment, whatever reached the disk, what was acknowledged is there, and every batch is
/// there as a whole or not at all.
#[tokio::test]
async fn a_power_cut_at_any_sync_loses_nothing_acknowledged() {
    let mut progress = 0;
    for sync in 1..=40 {
        let disk = cut(sync);
        let (acked, submitted) = work_until_dark(&disk).await;
        progress = progress.max(acked);
        for seed in 0..12 {
            let image = disk.after_power_cut(&mut Rng::with_seed(seed));

            let (store, events) = open(&TestDisk::holding(image));

            check(&store, acked, submitted)
                .unwrap_or_else(|fault| panic!("sync {sync}, seed {seed}: {fault}"));
            store.close(events).await.unwrap();
        }
    }
    assert!(progress >= 10, "only {progress} tickets were ever acknowledged");
}

/// C05: the power fails again while the store repairs itself, three deep.
#[tokio::test]
async fn a_power_cut_during_repair_loses_nothing_acknowledged() {
    let mut interrupted = 0;
    for sync in [5, 12, 19, 26] {
        let first = cut(sync);
        let (acked, submitted) = work_until_dark(&first).await;
        for seed in 0..40 {
            let mut random = Rng::with_seed(seed);
            let mut image = first.after_power_cut(&mut random);
            for _ in 0..3 {
                let disk = TestDisk::holding(image);
                disk.set(Fault::PowerCutAtSync(random.usize(1..4)));
                match Store::open_on(Box::new(disk.clone()), impatient()) {
                    Ok((store, events)) => drop(store.close(events).await),
                    Err(_) => interrupted += 1,
                }
                image = disk.after_power_cut(&mut random);
            }

            let (store, events) = open(&TestDisk::holding(image));

            check(&store, acked, submitted)
                .unwrap_or_else(|fault| panic!("sync {sync}, seed {seed}: {fault}"));
            store.close(events).await.unwrap();
        }
    }
    assert!(interrupted > 20, "only {interrupted} repairs were interrupted");
}

/// C06: on a disk that lies about syncs the same check must fail, or it would prove nothing.
#[tokio::test]
async fn the_check_notices_a_disk_that_lies() {
    let mut caught = 0;
    for seed in 0..10 {
        let disk = TestDisk::default();
        let (store, mut events) = open(&disk);
        store.submit(1, batch(1)).unwrap();
        persisted(&mut events, 1).await;
        disk.set(Fault::Lies);
        for ticket in 2..=20 {
            store.submit(ticket, batch(ticket)).unwrap();
            persisted(&mut events, ticket).await;
        }
        let image = disk.after_power_cut(&mut Rng::with_seed(seed));

        let verdict = match Store::open_on(Box::new(TestDisk::holding(image)), impatient()) {
            Ok((store, _events)) => check(&store, 20, 20),
            Err(error) => Err(error.to_string()),
        };

        caught += usize::from(verdict.is_err());
        store.close(events).await.unwrap();
    }
    assert!(caught >= 8, "only {caught} of 10 lies were noticed");
}

/// C08: a failing read, write or sync stops the acknowledgements; the store opens again and loses nothing.
#[tokio::test]
async fn an_io_error_at_any_point_is_survived() {
    for after in 0..60 {
        let disk = TestDisk::default();
        let (store, mut events) = open(&disk);
        store.submit(1, batch(1)).unwrap();
        persisted(&mut events, 1).await;

        disk.set(Fault::Io { after, left: 3 });
        let (mut degraded, mut recovered) = (0, 0);
        for ticket in 2..=12 {
            store.submit(ticket, batch(ticket)).unwrap();
            loop {
                match next(&mut events).await {
                    StoreEvent::Persisted { ticket: t } => break assert_eq!(t, ticket),
                    StoreEvent::Degraded { error } => {
                        assert!(matches!(error, StoreError::Io { .. }), "after {after}: {error:?}");
                        degraded += 1;
                    }
                    StoreEvent::Recovered => recovered += 1,
                    StoreEvent::Failed { error, .. } => panic!("after {after}: {error}"),
                }
            }
        }

        assert!(
            degraded >= 1 && recovered == degraded,
            "after {after}: {degraded} faults, {recovered} recoveries"
        );
        check(&store, 12, 12).unwrap_or_else(|fault| panic!("after {after}: {fault}"));
        store.close(events).await.unwrap();
    }
}

/// C09: a full disk is no crash and no acknowledgement; reads work; it goes on when there is space.
#[tokio::test]
async fn a_full_disk_stops_the_acknowledgements_until_there_is_space() {
    let disk = TestDisk::default();
    let (store, mut events) = open(&disk);
    store.submit(1, batch(1)).unwrap();
    persisted(&mut events, 1).await;
    disk.set(Fault::Full);

    let large = |n: u64| vec![put(Table::Inbox, n.to_be_bytes(), vec![n as u8; 1 << 20])];
    let mut ticket = 1;
    let error = loop {
        ticket += 1;
        store.submit(ticket, large(ticket)).unwrap();
        match next(&mut events).await {
            StoreEvent::Persisted { .. } => assert!(ticket < 100, "the disk never filled"),
            StoreEvent::Degraded { error } => break error,
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    store.submit(ticket + 1, large(ticket + 1)).unwrap();
    assert!(events.try_recv().is_err(), "something was acknowledged on a full disk");

    disk.set(Fault::None);
    assert_eq!(next(&mut events).await, StoreEvent::Recovered);
    persisted(&mut events, ticket + 1).await;

    for n in 2..=ticket + 1 {
        assert_eq!(store.get(Table::Inbox, &n.to_be_bytes()).unwrap().unwrap(), vec![n as u8; 1 << 20]);
    }
    assert!(disk.syncs() > 0);
}

#[tokio::test]
async fn a_batch_of_nothing_costs_no_sync() {
    let disk = TestDisk::default();
    let (store, mut events) = open(&disk);
    store.submit(1, batch(1)).unwrap();
    persisted(&mut events, 1).await;
    let syncs = disk.syncs();

    store.submit(2, Vec::new()).unwrap();
    persisted(&mut events, 2).await;

    assert_eq!(disk.syncs(), syncs);
}

/// A store that is closed while its disk refuses gives up and says so.
#[tokio::test]
async fn a_close_on_a_broken_disk_ends_with_the_error() {
    let disk = TestDisk::default();
    let (store, mut events) = open(&disk);
    disk.set(Fault::Dead);
    store.submit(1, batch(1)).unwrap();
    assert!(matches!(next(&mut events).await, StoreEvent::Degraded { .. }));

    let closed =
        tokio::time::timeout(Duration::from_secs(20), store.close(events)).await.expect("a close ends");

    assert!(matches!(closed, Err(StoreError::Io { .. })), "{closed:?}");
}
