//! `plugins.lock`: which digest a reference stood for when it was installed here; and the shelf beside it
//! with what was fetched, for the times without a network.
//!
//! Both lie in the data directory of a node. The shelf holds what the lock names and nothing else, so the
//! bound of the one is the bound of the other.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use mesh_plugin_host::{Package, limits, package};
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::pull::{Pulled, is_newer_tag, is_version_tag};
use super::reference::Reference;

/// The name of the lock file.
const FILE: &str = "plugins.lock";
/// The name of the directory with what was fetched.
const SHELF: &str = "registry";
const VERSION: u32 = 1;
/// References of one node.
const MAX_PINS: usize = 1024;
/// Bytes of the lock file: each pin has about 400.
const MAX_BYTES: u64 = 1 << 20;
const HEAD: &str = "\
# Which digest a reference stood for when it was installed on this node.
# Written by 'meshctl plugin install'; with --update it takes what the registry has now.
";

/// The pins of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    version: u32,
    #[serde(default, rename = "plugin")]
    pins: Vec<Pin>,
}

/// What one reference stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The reference as it was given, `oci://HOST/REPOSITORY:TAG`.
    pub reference: String,
    /// The digest of the manifest.
    pub digest: Digest,
    /// The digest of the component.
    pub component: Digest,
    /// The plugin's name.
    pub plugin: String,
    /// The plugin's version.
    pub version: String,
}

/// The data directory of a node, as far as registries are concerned.
#[derive(Clone, Debug)]
pub struct Shelf {
    dir: PathBuf,
}

/// Why the lock or the shelf cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The system refuses.
    #[error("{} cannot be used: {cause}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What it says.
        cause: io::Error,
    },
    /// It is there and cannot be read.
    #[error("{} cannot be read: {reason}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It is full.
    #[error("{MAX_PINS} references are pinned already, which is the limit")]
    Full,
    /// What lies on the shelf is not what was put there.
    #[error("what was kept for {digest} has changed on the disk")]
    Changed {
        /// Of which plugin.
        digest: Digest,
    },
}

impl Lock {
    /// Returns all pins, by reference.
    pub fn pins(&self) -> &[Pin] {
        &self.pins
    }

    /// Returns what a reference stands for; one with a digest, whatever it was fetched under.
    pub fn pin(&self, reference: &Reference) -> Option<&Pin> {
        let text = reference.to_string();
        let is_at = |pin: &&Pin| reference.digest() == Some(pin.digest);
        self.pins.iter().find(|pin| pin.reference == text).or_else(|| self.pins.iter().find(is_at))
    }

    /// Returns the newest version that is pinned of a repository; `None` when none is.
    pub fn newest(&self, repository: &Reference) -> Option<Reference> {
        let pinned = self.pins.iter().filter_map(|pin| pin.reference.parse::<Reference>().ok());
        let is_there = |found: &Reference| {
            found.registry() == repository.registry()
                && found.repository() == repository.repository()
                && found.tag().is_some_and(is_version_tag)
        };
        let tag = |reference: &Reference| reference.tag().unwrap_or_default().to_owned();
        pinned
            .filter(is_there)
            .reduce(|one, other| if is_newer_tag(&tag(&other), &tag(&one)) { other } else { one })
    }

    fn set(&mut self, pin: Pin) -> Result<(), LockError> {
        self.pins.retain(|other| other.reference != pin.reference);
        if self.pins.len() >= MAX_PINS {
            return Err(LockError::Full);
        }
        self.pins.push(pin);
        self.pins.sort_by(|a, b| a.reference.cmp(&b.reference));
        Ok(())
    }
}

impl Shelf {
    /// Takes the data directory of a node.
    pub fn of(data_dir: &Path) -> Shelf {
        Shelf { dir: data_dir.to_owned() }
    }

    /// Reads the lock; one that is missing pins nothing.
    ///
    /// # Errors
    /// [`LockError::Damaged`], because going on without would forget what was pinned.
    pub fn lock(&self) -> Result<Lock, LockError> {
        let path = self.dir.join(FILE);
        let Some(text) = read(&path, MAX_BYTES)? else {
            return Ok(Lock { version: VERSION, pins: Vec::new() });
        };
        let damaged = |reason: String| LockError::Damaged { path: path.clone(), reason };
        let text = String::from_utf8(text).map_err(|_| damaged("it is no text".to_owned()))?;
        let lock: Lock = toml::from_str(&text).map_err(|error| damaged(error.message().to_owned()))?;
        match lock.version {
            VERSION => Ok(lock),
            other => Err(damaged(format!("it has version {other}, this program reads {VERSION}"))),
        }
    }

    /// Pins a reference, keeps what was fetched for it, and lets go what no pin names any more. Returns where the
    /// lock lies.
    ///
    /// # Errors
    /// When the disk refuses, the lock is damaged or full.
    pub fn keep(&self, pin: Pin, pulled: &Pulled) -> Result<PathBuf, LockError> {
        let shelf = self.dir.join(SHELF);
        fs::create_dir_all(&shelf).map_err(|cause| LockError::Io { path: shelf.clone(), cause })?;
        // Two who install at once must not forget each other's pin.
        let guard = File::open(&shelf).and_then(|dir| dir.lock().map(|()| dir));
        let _guard = guard.map_err(|cause| LockError::Io { path: shelf.clone(), cause })?;
        let mut lock = self.lock()?;
        lock.set(pin)?;
        write(&self.path_of(pulled.digest), &pulled.file)?;
        let text = toml::to_string(&lock).expect("a list of texts is always TOML");
        let path = self.dir.join(FILE);
        write(&path, (HEAD.to_owned() + &text).as_bytes())?;
        self.tidy(&lock)?;
        Ok(path)
    }

    /// Returns what was kept for a pin; `None` when it is gone.
    ///
    /// # Errors
    /// [`LockError::Changed`] when it is not what was put there.
    pub fn kept(&self, pin: &Pin) -> Result<Option<Bytes>, LockError> {
        let Some(bytes) = read(&self.path_of(pin.digest), limits::PACKAGE_BYTES as u64)? else {
            return Ok(None);
        };
        let bytes = Bytes::from(bytes);
        let changed = || LockError::Changed { digest: pin.digest };
        let component = match package::is_package(&bytes) {
            true => Package::decode(&bytes).map_err(|_| changed())?.component,
            false => &bytes[..],
        };
        if Digest::of(component) == pin.component { Ok(Some(bytes)) } else { Err(changed()) }
    }

    fn path_of(&self, digest: Digest) -> PathBuf {
        self.dir.join(SHELF).join(format!("sha256-{}", digest.hex()))
    }

    /// Deletes what no pin names.
    fn tidy(&self, lock: &Lock) -> Result<(), LockError> {
        let shelf = self.dir.join(SHELF);
        let failed = |cause| LockError::Io { path: shelf.clone(), cause };
        for entry in fs::read_dir(&shelf).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let is_named = lock.pins.iter().any(|pin| self.path_of(pin.digest) == path);
            if !is_named {
                fs::remove_file(&path).map_err(failed)?;
            }
        }
        Ok(())
    }
}

fn read(path: &Path, max: u64) -> Result<Option<Vec<u8>>, LockError> {
    let failed = |cause| LockError::Io { path: path.to_owned(), cause };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > max {
        let reason = format!("it has more than {max} bytes");
        return Err(LockError::Damaged { path: path.to_owned(), reason });
    }
    Ok(Some(bytes))
}

/// Beside its place and then moved there, so that a cut of the power leaves the old or the new.
fn write(path: &Path, bytes: &[u8]) -> Result<(), LockError> {
    let failed = |cause| LockError::Io { path: path.to_owned(), cause };
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut draft = tempfile::Builder::new().prefix(".draft-").tempfile_in(dir).map_err(failed)?;
    draft.write_all(bytes).and_then(|()| draft.as_file().sync_all()).map_err(failed)?;
    draft.persist(path).map(|_| ()).map_err(|error| failed(error.error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(reference: &str, content: &'static [u8]) -> (Pin, Pulled) {
        let component = Digest::of(content);
        let digest = Digest::of(&[b"manifest of ", content].concat());
        let pin = Pin {
            reference: reference.to_owned(),
            digest,
            component,
            plugin: "acme/fast".to_owned(),
            version: "1.0.0".to_owned(),
        };
        let file = Bytes::from_static(content);
        (pin, Pulled { digest, component, file, signatures: 0, warnings: Vec::new() })
    }

    #[test]
    fn what_was_pinned_is_there_after_a_restart_and_what_is_not_pinned_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::of(dir.path());
        let reference: Reference = "oci://h/a:1".parse().unwrap();
        assert_eq!(shelf.lock().unwrap().pin(&reference), None);
        let (old, old_file) = pin("oci://h/a:1", b"old");
        let (new, new_file) = pin("oci://h/a:1", b"new");
        let (other, other_file) = pin("oci://h/a:2", b"other");
        shelf.keep(old.clone(), &old_file).unwrap();
        shelf.keep(other.clone(), &other_file).unwrap();
        assert_eq!(shelf.kept(&old).unwrap().as_deref(), Some(&b"old"[..]));

        shelf.keep(new.clone(), &new_file).unwrap();

        let shelf = Shelf::of(dir.path());
        assert_eq!(shelf.lock().unwrap().pin(&reference), Some(&new));
        assert_eq!(shelf.kept(&old).unwrap(), None);
        assert_eq!(shelf.kept(&new).unwrap().as_deref(), Some(&b"new"[..]));
        assert_eq!(shelf.kept(&other).unwrap().as_deref(), Some(&b"other"[..]));
    }

    /// W16: what lies on the disk is used only if it is what was fetched.
    #[test]
    fn what_was_changed_on_the_shelf_is_not_given_out() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::of(dir.path());
        let (pin, file) = pin("oci://h/a:1", b"old");
        shelf.keep(pin.clone(), &file).unwrap();

        for content in [&b"olt"[..], b"", b"meshpkg\x01 and rubbish"] {
            fs::write(shelf.path_of(pin.digest), content).unwrap();
            assert!(matches!(shelf.kept(&pin), Err(LockError::Changed { .. })));
        }
    }

    #[test]
    fn a_damaged_lock_is_an_error_and_not_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::of(dir.path());
        for text in
            ["version = 2\n", "version = 1\nplugins = []\n", "rubbish", "version = 1\n[[plugin]]\n", "\u{0}"]
        {
            fs::write(dir.path().join(FILE), text).unwrap();
            assert!(matches!(shelf.lock(), Err(LockError::Damaged { .. })), "{text}");
            let (pin, file) = pin("oci://h/a:1", b"x");
            assert!(shelf.keep(pin, &file).is_err());
            assert_eq!(fs::read_to_string(dir.path().join(FILE)).unwrap(), text);
        }
        fs::write(dir.path().join(FILE), vec![b' '; 2 << 20]).unwrap();
        assert!(matches!(shelf.lock(), Err(LockError::Damaged { .. })));
    }

    #[test]
    fn pins_are_bounded() {
        let mut lock = Lock { version: VERSION, pins: Vec::new() };
        for n in 0..MAX_PINS {
            lock.set(pin(&format!("oci://h/a:{n}"), b"x").0).unwrap();
        }

        assert!(matches!(lock.set(pin("oci://h/b", b"x").0), Err(LockError::Full)));
        assert!(lock.set(pin("oci://h/a:7", b"y").0).is_ok());
    }
}
