//! Places at which a test has a node killed, so that what a crash leaves behind is seen at each one of them.

use std::path::PathBuf;
use std::sync::OnceLock;

use rustix::process::{Signal, getpid, kill_process};

use crate::store::{Table, Write};

static FILE: OnceLock<PathBuf> = OnceLock::new();

/// Has this process killed at a place of its code: once `file` holds the name of the place, whoever comes there ends the
/// process as SIGKILL does; nothing is flushed, nobody is told. For tests; a build without debug assertions never looks.
pub fn kill_at(file: PathBuf) {
    // The first one stays.
    let _ = FILE.set(file);
}

/// Ends the process here if a test says so.
#[inline]
pub(crate) fn fail_point(place: &str) {
    if cfg!(debug_assertions) && is_named(place) {
        let _ = kill_process(getpid(), Signal::KILL);
    }
}

/// As [`fail_point`], on the way of a batch that says what a slot is bound to.
#[inline]
pub(crate) fn fail_point_of(writes: &[Write], place: &str) {
    if cfg!(debug_assertions) && writes.iter().any(|write| write.table() == Table::Bindings) {
        fail_point(place);
    }
}

fn is_named(place: &str) -> bool {
    let named = FILE.get().and_then(|file| std::fs::read_to_string(file).ok());
    named.is_some_and(|named| named.trim() == place)
}
