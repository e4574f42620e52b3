//! The compile cache. W17.

use std::fs;
use std::path::PathBuf;

use mesh_plugin_host::{Cache, CacheStats, Engine, Grants, builtin, load};

fn cached(dir: &std::path::Path) -> (bool, CacheStats) {
    let engine = Engine::new(Some(Cache::open(dir).unwrap())).unwrap();
    let loaded = load(&engine, builtin::CLASS_FAIR, Grants::NONE).expect("the cache never stands in the way");
    (loaded.is_cached(), engine.cache_stats())
}

fn entry(dir: &std::path::Path) -> PathBuf {
    let is_entry = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "cwasm");
    let mut entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(is_entry);
    let entry = entries.next().expect("one component was compiled");
    assert_eq!(entries.next(), None);
    entry
}

#[test]
fn a_component_is_compiled_once() {
    let dir = tempfile::tempdir().unwrap();

    assert!(!cached(dir.path()).0);
    let (is_cached, stats) = cached(dir.path());

    assert!(is_cached);
    assert_eq!(stats, CacheStats { hits: 1, ..CacheStats::default() });
}

/// W17.
#[test]
fn a_tampered_entry_is_compiled_anew_counted_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    cached(dir.path());
    let path = entry(dir.path());
    let good = fs::read(&path).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;

    for tampered in [&flipped[..], &good[..good.len() - 1], &good[..10], b""] {
        fs::write(&path, tampered).unwrap();

        let (is_cached, stats) = cached(dir.path());

        assert!(!is_cached, "{} bytes", tampered.len());
        assert_eq!(stats.rejected, 1);
        assert!(cached(dir.path()).0, "the good entry is back");
    }
}

/// W17.
#[test]
fn an_entry_that_was_made_under_another_secret_is_not_believed() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    cached(dir.path());
    cached(other.path());

    fs::copy(entry(other.path()), entry(dir.path())).unwrap();

    let (is_cached, stats) = cached(dir.path());
    assert!(!is_cached);
    assert_eq!(stats.rejected, 1);
}

/// W17: the MAC covers the name.
#[test]
fn an_entry_cannot_stand_in_for_another_component() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::new(Some(Cache::open_with(dir.path(), [7; 32]).unwrap())).unwrap();
    load(&engine, builtin::LATENCY, Grants::NONE).unwrap();
    let latency = entry(dir.path());
    let code = fs::read(&latency).unwrap();
    fs::remove_file(&latency).unwrap();
    load(&engine, builtin::LATENCY_NEXT, Grants::NONE).unwrap();
    fs::write(entry(dir.path()), code).unwrap();

    let loaded = load(&engine, builtin::LATENCY_NEXT, Grants::NONE).unwrap();

    assert!(!loaded.is_cached());
    assert_eq!(engine.cache_stats().rejected, 1);
}

#[cfg(unix)]
#[test]
fn the_secret_is_readable_by_its_owner_only_and_a_damaged_one_is_replaced() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    cached(dir.path());
    let key = dir.path().join("cache.key");

    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);

    fs::write(&key, b"short").unwrap();
    assert!(!cached(dir.path()).0);
    assert_eq!(fs::read(&key).unwrap().len(), 32);
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error_with_its_path() {
    let file = tempfile::NamedTempFile::new().unwrap();

    let error = Cache::open(file.path().join("cache")).unwrap_err();

    assert!(error.to_string().contains("cache"), "{error}");
}

#[test]
fn entries_that_nobody_uses_are_counted_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::new(Some(Cache::open(dir.path()).unwrap())).unwrap();
    for bytes in [builtin::CLASS_FAIR, builtin::LATENCY] {
        load(&engine, bytes, Grants::NONE).unwrap();
    }
    let used = blake3::hash(builtin::LATENCY).to_hex();
    let unused = |dry_run| engine.clean_cache(|digest| digest == used.as_str(), dry_run);

    let (rehearsed, cleaned, again) = (unused(true), unused(false), unused(false));

    assert_eq!((rehearsed, cleaned.entries, again), (cleaned, 1, Default::default()));
    let entry = entry(dir.path());
    assert!(entry.file_name().unwrap().to_str().unwrap().starts_with(used.as_str()), "{entry:?}");
    assert!(cleaned.bytes > 10_000, "{cleaned:?}");
    assert!(load(&engine, builtin::LATENCY, Grants::NONE).unwrap().is_cached());
}
