//! Log lines of handlers; needs the grant `log`. Natively they go to standard error.

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something is broken.
    Error,
    /// Something is odd.
    Warn,
    /// Something happened.
    Info,
    /// Something for the author.
    Debug,
}

/// Writes one line.
pub fn write(level: Level, text: &str) {
    #[cfg(target_family = "wasm")]
    crate::glue::log(level, text);
    #[cfg(not(target_family = "wasm"))]
    eprintln!("{level:?}: {text}");
}

/// Writes panics to the log from now on; call it first in `configure`. It makes the grant `log` necessary.
pub fn panics() {
    #[cfg(target_family = "wasm")]
    std::panic::set_hook(Box::new(|panic| write(Level::Error, &panic.to_string())));
}
