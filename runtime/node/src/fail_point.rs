//! Places at which a test has a node killed, so that what a crash leaves behind is seen at each one of them.
//!
//! `MESHWORK_FAIL_POINT` names a file. Once that file holds the name of a place, whoever comes there ends the process as
//! SIGKILL does: nothing is flushed, nobody is told. A build without debug assertions has none of it.

use std::path::PathBuf;
use std::sync::OnceLock;

use rustix::process::{Signal, getpid, kill_process};

use crate::store::{Table, Write};

static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();

/// Ends the process here if the test says so.
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
    let file = FILE.get_or_init(|| std::env::var_os("MESHWORK_FAIL_POINT").map(PathBuf::from));
    file.as_ref()
        .and_then(|file| std::fs::read_to_string(file).ok())
        .is_some_and(|named| named.trim() == place)
}
