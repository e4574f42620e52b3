//! Records of bytes in memory that was taken once: the oldest give way. Knows nothing of what they say.

/// A bounded queue of records, each in one piece.
///
/// The memory is taken at once, and the system provides it as it is written to.
#[derive(Debug)]
pub(super) struct Ring {
    bytes: Box<[u8]>,
    /// Where the oldest record starts.
    head: usize,
    /// Where the next one goes.
    tail: usize,
    /// Where the records behind `head` end, once the newer ones start again at the front.
    turn: Option<usize>,
    records: u64,
}

/// The length in front of each record.
const PREFIX: usize = 4;

impl Ring {
    pub(super) fn new(bytes: usize) -> Ring {
        Ring { bytes: vec![0; bytes].into(), head: 0, tail: 0, turn: None, records: 0 }
    }

    /// Bytes of a record, at most: a quarter of all, so that one never drives out everything else.
    pub(super) fn max_record(&self) -> usize {
        (self.bytes.len() / 4).saturating_sub(PREFIX)
    }

    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// Bytes of the memory.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of it that the records take, with their lengths.
    pub(super) fn used(&self) -> usize {
        match (self.records, self.turn) {
            (0, _) => 0,
            (_, None) => self.tail - self.head,
            (_, Some(turn)) => turn - self.head + self.tail,
        }
    }

    /// Makes room for a record of this length and returns it to be filled, with the number of old records that
    /// gave way; `None` when it is longer than one may be.
    #[inline]
    pub(super) fn append(&mut self, len: usize) -> Option<(&mut [u8], u64)> {
        if len > self.max_record() {
            return None;
        }
        let need = len + PREFIX;
        let before = self.records;
        let at = self.place(need);
        let gone = before - self.records;
        self.records += 1;
        self.tail = at + need;
        let record = &mut self.bytes[at..at + need];
        let (prefix, record) = record.split_at_mut(PREFIX);
        prefix.copy_from_slice(&(len as u32).to_le_bytes());
        Some((record, gone))
    }

    /// Finds room for so many bytes in one piece; drops the oldest records for it.
    fn place(&mut self, need: usize) -> usize {
        loop {
            if self.records == 0 {
                (self.head, self.tail, self.turn) = (0, 0, None);
            }
            match self.turn {
                None if self.bytes.len() - self.tail >= need => return self.tail,
                None => {
                    self.turn = Some(self.tail);
                    self.tail = 0;
                }
                Some(_) if self.head - self.tail >= need => return self.tail,
                Some(turn) => self.drop_oldest(turn),
            }
        }
    }

    fn drop_oldest(&mut self, turn: usize) {
        self.head += PREFIX + self.len_at(self.head);
        self.records -= 1;
        if self.head >= turn {
            (self.head, self.turn) = (0, None);
        }
    }

    fn len_at(&self, at: usize) -> usize {
        let prefix = self.bytes[at..].first_chunk::<PREFIX>().expect("a record has its length in front");
        u32::from_le_bytes(*prefix) as usize
    }

    /// Drops the oldest record.
    pub(super) fn pop(&mut self) {
        if self.records > 0 {
            self.drop_oldest(self.turn.unwrap_or(usize::MAX));
        }
    }

    /// Returns the records, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let (mut at, mut turn) = (self.head, self.turn);
        (0..self.records).map(move |_| {
            if turn.is_some_and(|turn| at >= turn) {
                (at, turn) = (0, None);
            }
            let start = at + PREFIX;
            at = start + self.len_at(at);
            &self.bytes[start..at]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(ring: &mut Ring, value: u8, len: usize) -> u64 {
        let (record, gone) = ring.append(len).unwrap();
        record.fill(value);
        gone
    }

    #[test]
    fn the_newest_records_stay_and_the_oldest_give_way() {
        let mut ring = Ring::new(256);
        let mut gone = 0;
        // Lengths that do not divide the whole, so that the turn falls everywhere.
        for n in 0..200u64 {
            gone += fill(&mut ring, n as u8, 1 + (n * 7 % 40) as usize);

            let kept: Vec<u8> = ring.iter().map(|record| record[0]).collect();

            assert_eq!(ring.records() + gone, n + 1);
            let first = (n + 1 - ring.records()) as u8;
            assert_eq!(kept, (first..=n as u8).collect::<Vec<u8>>(), "after {n}");
            assert_eq!(
                ring.used(),
                ring.iter().map(|record| record.len() + PREFIX).sum::<usize>(),
                "after {n}"
            );
            assert!(ring.iter().all(|record| record.iter().all(|&byte| byte == record[0])), "after {n}");
        }
        assert!(ring.records() >= 3, "{}", ring.records());
    }

    #[test]
    fn a_record_longer_than_a_quarter_is_not_taken() {
        let mut ring = Ring::new(256);
        fill(&mut ring, 1, 60);

        assert!(ring.append(61).is_none());
        assert_eq!(ring.records(), 1);
    }

    #[test]
    fn the_oldest_can_be_dropped_until_none_is_left() {
        let mut ring = Ring::new(256);
        for n in 0..20 {
            fill(&mut ring, n, 50);
        }

        while ring.records() > 0 {
            ring.pop();
        }

        assert_eq!(ring.iter().count(), 0);
        assert_eq!(fill(&mut ring, 9, 60), 0);
    }
}
