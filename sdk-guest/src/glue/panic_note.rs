//! Leaves the last words of a plugin where the host finds them after the trap: it has no import to say them with.
//!
//! The module exports a global with the address of a note in its memory: a length of four bytes, little-endian,
//! and so many bytes of text. The host reads it once the instance is dead. Never read or written by a live one.

use std::cell::UnsafeCell;
use std::fmt::{self, Write};
use std::panic::PanicHookInfo;

/// Bytes of a note that the host reads.
const TEXT_BYTES: usize = 1024;

#[repr(C)]
pub struct Note {
    len: UnsafeCell<u32>,
    text: UnsafeCell<[u8; TEXT_BYTES]>,
}

// SAFETY: wasm32-unknown-unknown without the threads proposal has one thread.
unsafe impl Sync for Note {}

#[unsafe(export_name = "meshwork-panic-note")]
pub static NOTE: Note = Note { len: UnsafeCell::new(0), text: UnsafeCell::new([0; TEXT_BYTES]) };

/// Lets every panic from now on leave a note.
pub fn install() {
    std::panic::set_hook(Box::new(|info| leave(info)));
}

fn leave(info: &PanicHookInfo<'_>) {
    let mut writer = Writer { len: 0 };
    let message = info.payload_as_str().unwrap_or("a panic without words");
    // What does not fit is cut, and there is nobody to tell.
    let _ = match info.location() {
        Some(place) => write!(writer, "{message} at {}:{}", place.file(), place.line()),
        None => writer.write_str(message),
    };
}

struct Writer {
    len: usize,
}

impl Write for Writer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = text.len().min(TEXT_BYTES - self.len);
        // SAFETY: one thread, and no reference to the note lives longer than these two statements.
        let note = unsafe { &mut *NOTE.text.get() };
        note[self.len..self.len + fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.len += fits;
        // SAFETY: as above.
        unsafe { *NOTE.len.get() = self.len as u32 };
        Ok(())
    }
}
