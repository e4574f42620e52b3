//! The key file: one identity for the life of the data directory. Rows MN-27, QP-05, QM-69.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use mesh_node::keys::{KEY_FILE, KeyError, NodeKey};

const STORE: &str = "mesh.redb";

fn write(path: &Path, bytes: &[u8], mode: u32) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// MN-27, QP-05: no registration, no server; the same key after a restart.
#[test]
fn the_first_start_makes_a_key_and_the_second_finds_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("new/data");

    let (first, made) = NodeKey::load_or_create(&data, &[STORE]).unwrap();
    let (second, made_again) = NodeKey::load_or_create(&data, &[STORE]).unwrap();

    assert_eq!((made, made_again), (true, false));
    assert_eq!(first.id(), second.id());
    let file = data.join(KEY_FILE);
    assert_eq!(fs::read(&file).unwrap(), first.seed().to_vec());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "no draft stays behind");
}

/// QM-69: a key copied elsewhere is the same node.
#[test]
fn a_key_is_restored_from_its_32_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let key = NodeKey::generate().unwrap();
    write(&dir.path().join(KEY_FILE), &*key.seed(), 0o600);

    let restored = NodeKey::load(dir.path()).unwrap();

    assert_eq!(restored.id(), key.id());
    assert_ne!(NodeKey::generate().unwrap().id(), key.id());
}

#[test]
fn an_identity_is_never_replaced_silently() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(STORE), b"what the old identity stored").unwrap();

    let refused = NodeKey::load_or_create(dir.path(), &[STORE]).unwrap_err();

    assert!(matches!(&refused, KeyError::Lost { trace, .. } if trace.ends_with(STORE)), "{refused}");
    assert!(refused.remedy().contains("backup"), "{}", refused.remedy());
    assert!(!dir.path().join(KEY_FILE).exists());
}

#[test]
fn a_key_file_that_is_missing_short_long_open_or_no_file_is_refused_with_a_remedy() {
    for (what, bytes, mode) in [("short", 31, 0o600), ("long", 33, 0o600), ("empty", 0, 0o600)] {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join(KEY_FILE), &vec![7; bytes], mode);
        let error = NodeKey::load_or_create(dir.path(), &[]).unwrap_err();
        assert!(matches!(error, KeyError::WrongLength { len, .. } if len == bytes as u64), "{what}: {error}");
        assert!(error.remedy().contains("backup"));
    }
    for mode in [0o640, 0o604, 0o644, 0o660, 0o601] {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join(KEY_FILE), &[7; 32], mode);
        let error = NodeKey::load_or_create(dir.path(), &[]).unwrap_err();
        assert!(matches!(error, KeyError::Exposed { mode: m, .. } if m == mode), "{mode:o}: {error}");
        assert!(error.remedy().contains("chmod 600"));
    }

    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(NodeKey::load(dir.path()), Err(KeyError::Missing { .. })));
    fs::create_dir(dir.path().join(KEY_FILE)).unwrap();
    let error = NodeKey::load_or_create(dir.path(), &[]).unwrap_err();
    assert!(matches!(error, KeyError::NotAFile { .. }), "{error}");
}

#[test]
fn the_secret_is_in_no_debug_output() {
    let key = NodeKey::from_seed(&[0xab; 32]);

    let shown = format!("{key:?} {:?}", NodeKey::load(Path::new("/nonexistent")));

    assert!(shown.contains(&key.id().short()), "{shown}");
    assert!(!shown.to_lowercase().contains("abab") && !shown.contains("171, 171"), "{shown}");
}
