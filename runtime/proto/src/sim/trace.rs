//! The trace: a hash over all that was carried and delivered, in order.

/// Bytes gathered before they are hashed: many small updates cost more than the hash itself.
const BUFFER: usize = 64 * 1024;

pub(super) struct Trace {
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
}

impl Default for Trace {
    fn default() -> Self {
        Trace { hasher: blake3::Hasher::new(), buffer: Vec::with_capacity(BUFFER) }
    }
}

impl Trace {
    /// Adds numbers and then bytes, whose length is among the numbers.
    pub(super) fn add<const N: usize>(&mut self, numbers: [u64; N], bytes: &[u8]) {
        if self.buffer.len() + 8 * N + bytes.len() > BUFFER {
            self.hasher.update(&self.buffer);
            self.buffer.clear();
        }
        for number in numbers {
            self.buffer.extend_from_slice(&number.to_le_bytes());
        }
        self.buffer.extend_from_slice(bytes);
    }

    pub(super) fn hash(&self) -> [u8; 32] {
        *self.hasher.clone().update(&self.buffer).finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_does_not_depend_on_when_it_is_asked_for_and_on_every_byte() {
        let (mut once, mut often, mut other) = (Trace::default(), Trace::default(), Trace::default());
        let bytes = vec![7; 1000];
        for n in 0..200 {
            once.add([n], &bytes);
            often.add([n], &bytes);
            often.hash();
            other.add([n.min(198)], &bytes);
        }

        assert_eq!(once.hash(), often.hash());
        assert_ne!(once.hash(), other.hash());
    }
}
