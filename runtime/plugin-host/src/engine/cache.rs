//! Compiled code on disk. Loading it runs it, so every entry carries a MAC under a secret of this machine;
//! what does not verify is compiled anew. Never distributed, never trusted from elsewhere.
//!
//! An entry's time is when it was last used: beyond [`CACHE_BYTES`] and [`CACHE_ENTRIES`], the oldest go first.

use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use wasmtime::component::Component;

use crate::limits::{CACHE_BYTES, CACHE_ENTRIES};

/// Bytes of a cache entry.
const ENTRY_BYTES: u64 = crate::limits::COMPILED_BYTES + MAC_LEN as u64;
/// What is still staged after this time was left by a process that died.
const STAGED_FOR: Duration = Duration::from_secs(3_600);
const KEY_FILE: &str = "cache.key";
const EXTENSION: &str = "cwasm";
const MAC_LEN: usize = blake3::OUT_LEN;

/// A directory of compiled code.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    key: Key,
    hits: AtomicU64,
    misses: AtomicU64,
    rejected: AtomicU64,
    unwritten: AtomicU64,
}

struct Key([u8; 32]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// What a cache has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Components loaded from it.
    pub hits: u64,
    /// Components that it did not hold.
    pub misses: u64,
    /// Entries that were damaged or forged, and compiled anew.
    pub rejected: u64,
    /// Entries that could not be written.
    pub unwritten: u64,
}

/// What was deleted from a cache, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Entries.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Why a cache cannot be used. A node can go on without one.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The directory cannot be made.
    #[error("cannot make the compile cache {path}: {source}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The secret cannot be read or written.
    #[error("cannot use the secret of the compile cache {path}: {source}")]
    Secret {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Cache {
    /// Opens the cache in `dir`, and makes it and its secret when they are missing.
    ///
    /// # Errors
    /// When the directory or the secret in it cannot be used.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Cache, CacheError> {
        let dir = make(dir.into())?;
        let path = dir.join(KEY_FILE);
        let key = read_or_make_key(&path).map_err(|source| CacheError::Secret { path, source })?;
        Ok(Cache::new(dir, key))
    }

    /// Opens the cache in `dir` under a secret that is kept elsewhere.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open_with(dir: impl Into<PathBuf>, key: [u8; 32]) -> Result<Cache, CacheError> {
        Ok(Cache::new(make(dir.into())?, key))
    }

    fn new(dir: PathBuf, key: [u8; 32]) -> Cache {
        let zero = || AtomicU64::new(0);
        Cache { dir, key: Key(key), hits: zero(), misses: zero(), rejected: zero(), unwritten: zero() }
    }

    pub(super) fn stats(&self) -> CacheStats {
        CacheStats {
            hits: self.hits.load(Relaxed),
            misses: self.misses.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            unwritten: self.unwritten.load(Relaxed),
        }
    }

    pub(super) fn load(&self, engine: &wasmtime::Engine, digest: &blake3::Hash) -> Option<Component> {
        let name = entry_name(engine, digest);
        let Ok(entry) = read_bounded(&self.dir.join(&name)) else {
            self.misses.fetch_add(1, Relaxed);
            return None;
        };
        touch(&self.dir.join(&name));
        let verified = self.verify(&name, &entry).and_then(|code| {
            // SAFETY: the MAC says that this machine wrote these bytes for this engine with `serialize`.
            unsafe { Component::deserialize(engine, code) }.ok()
        });
        let counter = if verified.is_some() { &self.hits } else { &self.rejected };
        counter.fetch_add(1, Relaxed);
        if verified.is_none() {
            tracing::warn!(entry = name, "compile cache entry is damaged or forged; compiling anew");
        }
        verified
    }

    pub(super) fn store(&self, engine: &wasmtime::Engine, digest: &blake3::Hash, component: &Component) {
        let name = entry_name(engine, digest);
        let written = component.serialize().map_err(io::Error::other).and_then(|code| {
            let mac = self.mac(&name, &code);
            write_atomically(&self.dir, &name, &[mac.as_bytes(), &code])
        });
        self.make_room();
        if let Err(error) = written {
            self.unwritten.fetch_add(1, Relaxed);
            tracing::warn!(%error, entry = name, "compile cache entry cannot be written");
        }
    }

    /// Deletes the entries of components that nobody uses; a rehearsal only counts them.
    pub(super) fn clean(&self, is_used: &dyn Fn(&str) -> bool, dry_run: bool) -> Cleaned {
        let mut cleaned = Cleaned::default();
        for entry in Listing::of(&self.dir).entries {
            if !is_used(entry.digest()) && (dry_run || fs::remove_file(&entry.path).is_ok()) {
                cleaned.entries += 1;
                cleaned.bytes += entry.bytes;
            }
        }
        cleaned
    }

    /// Keeps the cache within its bounds; what cannot be removed now is removed another time.
    fn make_room(&self) {
        let Listing { mut entries, left_behind } = Listing::of(&self.dir);
        let oldest = left_behind.into_iter().chain(beyond(&mut entries, CACHE_BYTES, CACHE_ENTRIES));
        oldest.for_each(|path| drop(fs::remove_file(path)));
    }

    fn verify<'a>(&self, name: &str, entry: &'a [u8]) -> Option<&'a [u8]> {
        let (mac, code) = entry.split_at_checked(MAC_LEN)?;
        let mac = blake3::Hash::from_slice(mac).ok()?;
        // `blake3::Hash` compares in constant time.
        (self.mac(name, code) == mac).then_some(code)
    }

    /// Covers the name as well, so that entries cannot be exchanged for one another.
    fn mac(&self, name: &str, code: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key.0);
        hasher.update(name.as_bytes()).update(&[0]).update(code);
        hasher.finalize()
    }
}

/// Names an entry by the component's digest and everything about the engine that shapes compiled code.
fn entry_name(engine: &wasmtime::Engine, digest: &blake3::Hash) -> String {
    struct Digest(blake3::Hasher);
    impl Hasher for Digest {
        fn finish(&self) -> u64 {
            0 // Never asked: the whole digest is taken.
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
    }
    let mut hasher = Digest(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{}-{}.cwasm", digest.to_hex(), &hasher.0.finalize().to_hex()[..16])
}

fn make(dir: PathBuf) -> Result<PathBuf, CacheError> {
    match fs::create_dir_all(&dir) {
        Ok(()) => Ok(dir),
        Err(source) => Err(CacheError::Directory { path: dir, source }),
    }
}

fn read_or_make_key(path: &Path) -> io::Result<[u8; 32]> {
    match fs::read(path).map(<[u8; 32]>::try_from) {
        Ok(Ok(key)) => return Ok(key),
        // A damaged secret protects nothing: a new one makes all entries invalid, and they are only a cache.
        Ok(Err(_)) => fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    match link_new(dir, path, &key) {
        // Another node of this user was faster: its secret counts.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read_or_make_key(path),
        Err(error) => Err(error),
        Ok(()) => Ok(key),
    }
}

/// Makes `path` with this content, readable by its owner only, unless it exists.
fn link_new(dir: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    let staged = stage(dir, &[content])?;
    let linked = fs::hard_link(&staged, path);
    fs::remove_file(&staged)?;
    linked
}

fn write_atomically(dir: &Path, name: &str, parts: &[&[u8]]) -> io::Result<()> {
    fs::rename(stage(dir, parts)?, dir.join(name))
}

fn stage(dir: &Path, parts: &[&[u8]]) -> io::Result<PathBuf> {
    static STAGED: AtomicU64 = AtomicU64::new(0);
    let path = dir.join(format!(".{}-{}", std::process::id(), STAGED.fetch_add(1, Relaxed)));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&path)?;
    for part in parts {
        file.write_all(part)?;
    }
    Ok(path)
}

/// The entries of a cache, and what was staged and left by a process that died.
#[derive(Default)]
struct Listing {
    entries: Vec<Entry>,
    left_behind: Vec<PathBuf>,
}

struct Entry {
    used: SystemTime,
    bytes: u64,
    path: PathBuf,
}

impl Listing {
    fn of(dir: &Path) -> Listing {
        let mut listing = Listing::default();
        let Ok(files) = fs::read_dir(dir) else { return listing };
        for file in files.flatten() {
            let path = file.path();
            let Ok(metadata) = file.metadata() else { continue };
            let Ok(used) = metadata.modified() else { continue };
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                listing.entries.push(Entry { used, bytes: metadata.len(), path });
            } else if file.file_name().as_encoded_bytes().starts_with(b".")
                && used.elapsed().is_ok_and(|age| age > STAGED_FOR)
            {
                listing.left_behind.push(path);
            }
        }
        listing
    }
}

impl Entry {
    /// Returns the digest of its component in hex.
    fn digest(&self) -> &str {
        let name = self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.split_once('-').map_or(name, |(digest, _)| digest)
    }
}

/// Notes that an entry was used; one that cannot be noted goes earlier.
fn touch(path: &Path) {
    let _ = fs::File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
}

/// Returns the entries beyond so many bytes and entries, which are those that were used longest ago.
fn beyond(entries: &mut [Entry], most_bytes: u64, most: usize) -> Vec<PathBuf> {
    entries.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.used));
    let mut bytes = 0;
    let goes = |(place, entry): (usize, &Entry)| {
        bytes += entry.bytes;
        (bytes > most_bytes || place >= most).then(|| entry.path.clone())
    };
    entries.iter().enumerate().filter_map(goes).collect()
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut entry = Vec::new();
    let len = fs::File::open(path)?.take(ENTRY_BYTES + 1).read_to_end(&mut entry)?;
    if len as u64 > ENTRY_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too large"));
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_goes_first_by_bytes_and_by_number() {
        let at = |s: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
        let entry = |s, bytes| Entry { used: at(s), bytes, path: PathBuf::from(s.to_string()) };
        for (most_bytes, most, want) in
            [(100, 10, vec![]), (60, 10, vec!["2", "1"]), (100, 3, vec!["1"]), (100, 1, vec!["3", "2", "1"])]
        {
            let mut entries = [entry(1, 20), entry(4, 30), entry(2, 20), entry(3, 20)];

            let gone = beyond(&mut entries, most_bytes, most);

            assert_eq!(gone, want.iter().map(PathBuf::from).collect::<Vec<_>>(), "{most_bytes}, {most}");
        }
    }
}
