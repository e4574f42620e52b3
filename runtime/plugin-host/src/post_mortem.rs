//! What can be learnt from an instance that has trapped: its panic message and its stack. Runs nothing of it.
//!
//! Policies have no imports, so a guest cannot tell the host why it gives up. Instead it may export a global
//! [`NOTE`] that holds the address of a note in its memory: a length of four bytes, little-endian, and so many
//! bytes of text. The SDK's panic hook writes one. The host reads it after the trap; everything in it is a
//! stranger's, so it is bounded and cleaned.

use wasmtime::{Store, WasmBacktrace, WasmCoreDump};

use crate::settings::clip;

/// The global that a guest's core module exports.
pub const NOTE: &str = "meshwork-panic-note";
/// Bytes of a note's text that are read.
pub const NOTE_BYTES: usize = 1024;
/// Frames that are kept, the innermost first.
pub const FRAMES: usize = 16;

/// What a trap left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostMortem {
    /// What the guest said before it gave up, with the place in its source.
    pub panic: Option<String>,
    /// The functions on its stack, the innermost first, with the place in the source where that is known.
    pub frames: Vec<String>,
    /// Whether the component names its functions; without a name section, frames are numbers.
    pub has_names: bool,
}

impl PostMortem {
    /// Reads what the error and the memory of the failed instance tell.
    pub(crate) fn of<T: 'static>(error: &wasmtime::Error, store: &mut Store<T>) -> PostMortem {
        let dump = error.downcast_ref::<WasmCoreDump>();
        let panic = dump.and_then(|dump| note(dump, store));
        let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
            return PostMortem { panic, ..PostMortem::default() };
        };
        let has_names = backtrace.frames().iter().any(|frame| frame.func_name().is_some());
        PostMortem { panic, frames: frames_of(&backtrace.to_string()), has_names }
    }

    /// Returns the innermost functions that are the plugin's own, not the language's.
    pub(crate) fn own_frames(&self) -> impl Iterator<Item = &str> {
        const NOT_ITS_OWN: [&str; 5] = ["core", "std", "alloc", "__rustc", "rust_panic"];
        let is_own = |name: &&str| {
            let start = name.trim_start_matches('<').split([':', ' ']).next();
            start.is_none_or(|start| !NOT_ITS_OWN.contains(&start))
        };
        self.frames.iter().map(|frame| frame.split(" at ").next().unwrap_or(frame)).filter(is_own)
    }
}

fn note<T: 'static>(dump: &WasmCoreDump, store: &mut Store<T>) -> Option<String> {
    dump.instances().iter().find_map(|instance| {
        let at = instance.get_global(&mut *store, NOTE)?.get(&mut *store).i32()?;
        let memory = instance.get_memory(&mut *store, "memory")?;
        let bytes = memory.data(&*store).get(usize::try_from(at.cast_unsigned()).ok()?..)?;
        text_of(bytes)
    })
}

/// Reads a length and as much text; `None` for an empty note and for one that is none.
fn text_of(bytes: &[u8]) -> Option<String> {
    let (len, text) = bytes.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?.min(NOTE_BYTES);
    let text = String::from_utf8_lossy(text.get(..len)?);
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Some(clean.trim().to_owned()).filter(|text| !text.is_empty())
}

/// Takes the frames out of the engine's text, which has the names demangled: one a line behind the module's name and
/// an exclamation mark, and the place in the source in a line of its own.
fn frames_of(text: &str) -> Vec<String> {
    let mut frames: Vec<String> = Vec::new();
    for line in text.lines() {
        if let Some(place) = line.trim().strip_prefix("at ") {
            if let Some(last) = frames.last_mut() {
                *last = clip(format!("{last} at {place}"));
            }
        } else if let Some((_, name)) = line.split_once('!') {
            if frames.len() == FRAMES {
                break;
            }
            frames.push(clip(without_hashes(name.trim())));
        }
    }
    frames
}

/// Drops the hash of each crate from a demangled name: `core[8f2a1c0d9e8b7a65]::fmt` is `core::fmt` to people.
fn without_hashes(name: &str) -> String {
    let mut out = String::new();
    let mut rest = name;
    while let Some((before, after)) = rest.split_once('[') {
        out.push_str(before);
        rest = match after.split_once(']') {
            Some((hash, after)) if hash.len() == 16 && hash.bytes().all(|c| c.is_ascii_hexdigit()) => after,
            _ => {
                out.push('[');
                after
            }
        };
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_dropped_and_slices_stay() {
        for (name, want) in [
            ("std[a543996e6e7dbf1e]::panicking::{closure#0}", "std::panicking::{closure#0}"),
            ("<[u8] as x[a543996e6e7dbf1e]::Y>::z", "<[u8] as x::Y>::z"),
            ("open[", "open["),
        ] {
            assert_eq!(without_hashes(name), want);
        }
    }

    // W07: what a guest left in its memory is a stranger's.
    #[test]
    fn a_note_is_bounded_and_cleaned() {
        let note = |len: u32, text: &[u8]| [&len.to_le_bytes()[..], text].concat();
        for (bytes, want) in [
            (note(5, b"hello, world"), Some("hello")),
            (note(0, b"hello"), None),
            (note(6, b"hello"), None),
            (note(u32::MAX, b"hello"), None),
            (note(3, b"a\x1b\nb"), Some("a")),
            (note(2, b"\xff\xfe"), Some("\u{fffd}\u{fffd}")),
            (vec![1, 0, 0], None),
        ] {
            assert_eq!(text_of(&bytes).as_deref(), want, "{bytes:?}");
        }
        let long = text_of(&note(u32::MAX, &[b'x'; 2 * NOTE_BYTES]));
        assert_eq!(long.map(|text| text.len()), Some(NOTE_BYTES));
    }

    #[test]
    fn frames_are_names_with_their_places() {
        let text = "error while executing at wasm backtrace:\n    0:   0x1a2 - m.wasm!core[a543996e6e7dbf1e]::panic\n    1:    0x77 - m.wasm!mine::route\n                    at src/lib.rs:7:3\n    2: <unknown>!<wasm function 3>";

        let frames = frames_of(text);

        assert_eq!(frames, ["core::panic", "mine::route at src/lib.rs:7:3", "<wasm function 3>"]);
        let dead = PostMortem { frames, ..PostMortem::default() };
        assert_eq!(dead.own_frames().collect::<Vec<_>>(), ["mine::route", "<wasm function 3>"]);
    }
}
