//! The store: one suite for disk and memory, then what only a disk can do.

use std::fs;
use std::ops::Bound;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use mesh_node::store::{
    DataDir, EVENTS, LOCK_FILE, LockError, MAX_COMMIT, MAX_KEY, MAX_QUEUED, OpenError, QUEUE, STORE_FILE,
    Scan, Store, StoreConfig, StoreEvent, StoreEvents, SubmitError, Table, Write, held_key, held_of,
    inbox_key,
};
use mesh_proto::NodeId;
use tokio::time::timeout;

/// Time after which a test gives up waiting; no test waits this long when it passes.
const DEADLINE: Duration = Duration::from_secs(20);

pub fn put(table: Table, key: impl Into<Vec<u8>>, value: impl Into<Bytes>) -> Write {
    Write::Put { table, key: key.into(), value: value.into() }
}

pub async fn next(events: &mut StoreEvents) -> StoreEvent {
    timeout(DEADLINE, events.recv()).await.expect("an event in time").expect("the writer lives")
}

/// Waits until everything up to `ticket` is on disk.
pub async fn persisted(events: &mut StoreEvents, ticket: u64) {
    loop {
        match next(events).await {
            StoreEvent::Persisted { ticket: t } if t >= ticket => return assert_eq!(t, ticket),
            StoreEvent::Persisted { .. } => {}
            other => panic!("expected Persisted up to {ticket}, got {other:?}"),
        }
    }
}

fn open(dir: &Path) -> (DataDir, Store, StoreEvents) {
    let dir = DataDir::lock(dir).unwrap();
    let (store, events) = Store::open(&dir, StoreConfig::default()).unwrap();
    (dir, store, events)
}

fn keys(scan: &Scan) -> Vec<&[u8]> {
    scan.rows.iter().map(|(key, _)| &key[..]).collect()
}

async fn batches_are_applied_in_order_and_acknowledged(store: Store, mut events: StoreEvents) {
    store
        .submit(1, vec![put(Table::Meta, "a", "1"), put(Table::Meta, "b", "1"), put(Table::Peers, "a", "x")])
        .unwrap();
    store
        .submit(2, vec![put(Table::Meta, "a", "2"), Write::Delete { table: Table::Meta, key: "b".into() }])
        .unwrap();
    store.submit(5, vec![Write::Delete { table: Table::Meta, key: "never there".into() }]).unwrap();
    persisted(&mut events, 5).await;

    assert_eq!(store.get(Table::Meta, b"a").unwrap().unwrap(), "2");
    assert_eq!(store.get(Table::Meta, b"b").unwrap(), None);
    assert_eq!(store.get(Table::Peers, b"a").unwrap().unwrap(), "x");
    assert_eq!(store.get(Table::Inbox, b"a").unwrap(), None);
    assert_eq!(store.waiting(), 0);
}

async fn a_scan_is_ordered_and_bounded(store: Store, mut events: StoreEvents) {
    let rows = (0..100).rev().map(|n| put(Table::Inbox, inbox_key(n), vec![n as u8; 92])).collect();
    store.submit(1, rows).unwrap();
    persisted(&mut events, 1).await;

    let all = store.load(Table::Inbox, 100 * 100).unwrap();
    let part = store.load(Table::Inbox, 999).unwrap();
    let (from, to) = (inbox_key(40), inbox_key(42));
    let middle = store.scan(Table::Inbox, (Bound::Excluded(&from), Bound::Included(&to)), 1 << 20).unwrap();
    let one = store.scan(Table::Inbox, (Bound::Included(&from), Bound::Unbounded), 0).unwrap();
    let none = store.scan(Table::Inbox, (Bound::Included(&to), Bound::Excluded(&from)), 1 << 20).unwrap();

    assert!(all.complete && all.rows.len() == 100 && all.rows.is_sorted());
    assert!(!part.complete && part.rows.len() == 9 && part.rows == all.rows[..9]);
    assert_eq!((keys(&middle), middle.complete), (vec![&inbox_key(41)[..], &inbox_key(42)], true));
    assert_eq!((keys(&one), one.complete), (vec![&inbox_key(40)[..]], false));
    assert_eq!(none, Scan { rows: vec![], complete: true });
    assert_eq!(store.load(Table::Revisions, 1).unwrap(), Scan { rows: vec![], complete: true });
}

async fn a_range_goes_as_a_whole(store: Store, mut events: StoreEvents) {
    let (a, b) = (NodeId([1; 32]), NodeId([2; 32]));
    let held = |to: &NodeId, n| put(Table::Held, held_key(to, n, 0), "message");
    store.submit(1, vec![held(&a, 1), held(&a, 2), held(&a, 3), held(&b, 1)]).unwrap();

    let delete = |from, to| Write::DeleteRange { table: Table::Held, from, to };
    store.submit(2, vec![delete(held_key(&a, 0, 0), held_key(&a, 3, 0))]).unwrap();
    store.submit(3, vec![delete(held_key(&b, 9, 0), held_key(&b, 0, 0))]).unwrap();
    persisted(&mut events, 3).await;

    assert_eq!(keys(&store.load(Table::Held, 1 << 20).unwrap()), [held_key(&a, 3, 0), held_key(&b, 1, 0)]);
    let [first, last] = held_of(&a);
    let of_a = store.scan(Table::Held, (Bound::Included(&first), Bound::Included(&last)), 1 << 20).unwrap();
    assert_eq!(keys(&of_a), [held_key(&a, 3, 0)]);
}

async fn what_is_too_large_is_refused_and_what_is_too_much_is_given_back(
    store: Store,
    mut events: StoreEvents,
) {
    let refused = store.submit(1, vec![put(Table::Meta, vec![0; MAX_KEY + 1], "")]).unwrap_err();
    assert!(
        matches!(refused, SubmitError::TooLarge { what: "key", len, .. } if len == MAX_KEY + 1),
        "{refused}"
    );

    let value = Bytes::from(vec![7; 1 << 20]);
    let mut ticket = 0;
    let given_back = loop {
        match store.submit(ticket + 1, vec![put(Table::Seen, (ticket % 8).to_be_bytes(), value.clone())]) {
            Ok(()) => ticket += 1,
            Err(SubmitError::Full { batch }) => break batch,
            Err(other) => panic!("{other}"),
        }
        assert!(ticket < 100_000, "the queue has no bound");
    };
    assert_eq!(given_back.len(), 1);
    assert!(store.waiting() <= MAX_QUEUED);
    // The writer waits for the driver to take its events, so that the queue must fill whatever the disk's speed.
    assert!(ticket as usize <= (EVENTS + 2) * (MAX_COMMIT >> 20) + QUEUE, "{ticket} batches were taken");

    persisted(&mut events, ticket).await;
    store.submit(ticket + 1, given_back).unwrap();
    persisted(&mut events, ticket + 1).await;
}

async fn a_close_commits_what_was_submitted(store: Store, events: StoreEvents) {
    for ticket in 1..=50 {
        store.submit(ticket, vec![put(Table::Meta, "n", ticket.to_string())]).unwrap();
    }

    let last = timeout(DEADLINE, store.close(events)).await.expect("a close ends");

    assert_eq!(last, Ok(Some(50)));
}

macro_rules! suite {
    ($($case:ident)*) => {
        mod memory {
            $(#[tokio::test]
            async fn $case() {
                let (store, events) = mesh_node::store::Store::memory();
                super::$case(store, events).await;
            })*
        }

        mod disk {
            $(#[tokio::test]
            async fn $case() {
                let dir = tempfile::tempdir().unwrap();
                let (_lock, store, events) = super::open(dir.path());
                super::$case(store, events).await;
            })*
        }
    };
}

suite! {
    batches_are_applied_in_order_and_acknowledged
    a_scan_is_ordered_and_bounded
    a_range_goes_as_a_whole
    what_is_too_large_is_refused_and_what_is_too_much_is_given_back
    a_close_commits_what_was_submitted
}

#[tokio::test]
async fn what_was_persisted_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (lock, store, mut events) = open(dir.path());
    store.submit(1, Table::ALL.iter().map(|table| put(*table, "key", table.name())).collect()).unwrap();
    persisted(&mut events, 1).await;
    store.close(events).await.unwrap();
    drop(lock);

    let (_lock, store, _events) = open(dir.path());

    for table in Table::ALL {
        assert_eq!(store.get(table, b"key").unwrap().unwrap(), table.name());
    }
}

/// Many small batches cost few commits: the writer takes what has come together while it was syncing.
#[tokio::test]
async fn batches_that_wait_are_committed_together() {
    let dir = tempfile::tempdir().unwrap();
    let (_lock, store, mut events) = open(dir.path());
    for ticket in 1..=1_000_u64 {
        store.submit(ticket, vec![put(Table::Held, ticket.to_be_bytes(), "message")]).unwrap();
    }

    let mut commits = 0;
    loop {
        commits += 1;
        if next(&mut events).await == (StoreEvent::Persisted { ticket: 1_000 }) {
            break;
        }
    }

    assert!(commits <= 100, "{commits} commits for 1000 batches");
    assert_eq!(store.load(Table::Held, 1 << 20).unwrap().rows.len(), 1_000);
}

/// C12: the second node is refused and the first is unharmed.
#[tokio::test]
async fn a_second_node_on_the_same_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_lock, store, mut events) = open(dir.path());

    let refused = DataDir::lock(dir.path()).unwrap_err();

    let pid = Some(std::process::id());
    assert_eq!(refused, LockError::AlreadyRunning { path: dir.path().to_owned(), pid });
    assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
    store.submit(1, vec![put(Table::Meta, "still", "here")]).unwrap();
    persisted(&mut events, 1).await;
}

#[test]
fn a_lock_ends_with_its_owner_and_says_only_what_it_knows() {
    let dir = tempfile::tempdir().unwrap();
    drop(DataDir::lock(dir.path()).unwrap());
    let first = DataDir::lock(dir.path()).unwrap();
    fs::write(dir.path().join(LOCK_FILE), "no process at all").unwrap();

    let refused = DataDir::lock(dir.path()).unwrap_err();
    let file_in_the_way = DataDir::lock(&dir.path().join(LOCK_FILE)).unwrap_err();

    assert_eq!(refused, LockError::AlreadyRunning { path: dir.path().to_owned(), pid: None });
    assert!(matches!(file_in_the_way, LockError::Io { .. }), "{file_in_the_way}");
    drop(first);
}

/// The file itself is locked too, for programs that know nothing of the directory's lock.
#[tokio::test]
async fn a_store_that_is_open_elsewhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (lock, _store, _events) = open(dir.path());

    let refused = Store::open(&lock, StoreConfig::default()).err().unwrap();

    assert_eq!(refused, OpenError::InUse { path: dir.path().join(STORE_FILE) });
}

#[tokio::test]
async fn a_damaged_store_is_refused_with_a_remedy_and_never_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (lock, store, mut events) = open(dir.path());
    store.submit(1, vec![put(Table::Meta, "key", vec![1; 10_000])]).unwrap();
    persisted(&mut events, 1).await;
    store.close(events).await.unwrap();
    let file = dir.path().join(STORE_FILE);
    let sound = fs::read(&file).unwrap();

    let not_ours = b"SQLite format 3\0".repeat(4_096);
    let headless = [&[0; 4_096][..], &sound[4_096..]].concat();
    let short = sound[..sound.len() / 2].to_vec();
    let mut newer = sound.clone();
    newer[64] = 200;
    for (what, bytes) in [
        ("not ours", not_ours),
        ("headless", headless),
        ("short", short),
        ("newer", newer),
        ("empty", vec![]),
    ] {
        fs::write(&file, &bytes).unwrap();

        let refused =
            Store::open(&lock, StoreConfig::default()).err().unwrap_or_else(|| panic!("{what} was opened"));

        assert!(
            matches!(refused, OpenError::Corrupt { .. } | OpenError::WrongFormat { .. }),
            "{what}: {refused}"
        );
        assert!(refused.remedy().contains(STORE_FILE), "{what}: {}", refused.remedy());
        assert!(fs::read(&file).unwrap() == bytes, "{what}: the file was changed");
    }

    fs::write(&file, &sound).unwrap();
    let (store, _events) = Store::open(&lock, StoreConfig::default()).unwrap();
    assert_eq!(store.get(Table::Meta, b"key").unwrap().unwrap(), vec![1; 10_000]);
}

/// A first start that was killed half-way is no damage: the file gets its name only when it is whole.
#[tokio::test]
async fn what_a_broken_first_start_left_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(STORE_FILE).with_extension("new"), [0; 5_000]).unwrap();

    let (_lock, store, mut events) = open(dir.path());
    store.submit(1, vec![put(Table::Meta, "key", "value")]).unwrap();
    persisted(&mut events, 1).await;

    assert!(!dir.path().join(STORE_FILE).with_extension("new").exists());
}
