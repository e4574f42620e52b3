//! The digest of what a call was given: equal inputs can be told from different ones without keeping them.

/// BLAKE3 over the name of a call and its arguments, each with its length.
pub(crate) struct Input(blake3::Hasher);

impl Input {
    /// Starts with the call and the time it was told.
    pub(crate) fn of(call: &str, now_ms: u64) -> Input {
        Input(blake3::Hasher::new()).bytes(call.as_bytes()).number(now_ms)
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Input {
        self.0.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        self
    }

    pub(crate) fn number(mut self, number: u64) -> Input {
        self.0.update(&number.to_le_bytes());
        self
    }

    pub(crate) fn numbers(mut self, column: &[u32]) -> Input {
        self.0.update(&(column.len() as u64).to_le_bytes());
        for number in column {
            self.0.update(&number.to_le_bytes());
        }
        self
    }

    pub(crate) fn digest(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
