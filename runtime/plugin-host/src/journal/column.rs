//! Columns as bytes: their length, and the values or, where all are equal, the one value. Reads only what it wrote,
//! and says so when it is something else.

/// Set in the length of a column whose values are all equal: then one stands for all.
const SAME: u32 = 1 << 31;
const LEN: usize = 4;

/// A column to be written.
#[derive(Clone, Copy)]
pub(super) enum Column<'a> {
    Bytes(&'a [u8]),
    Words(&'a [u32]),
    Longs(&'a [u64]),
}

impl Column<'_> {
    pub(super) fn rows(&self) -> usize {
        match self {
            Column::Bytes(column) => column.len(),
            Column::Words(column) => column.len(),
            Column::Longs(column) => column.len(),
        }
    }

    fn width(&self) -> usize {
        match self {
            Column::Bytes(_) => 1,
            Column::Words(_) => 4,
            Column::Longs(_) => 8,
        }
    }

    /// Messages that come together are mostly alike: one destination, one class, one size.
    #[inline]
    fn is_same(&self) -> bool {
        fn same<T: PartialEq>(column: &[T]) -> bool {
            column
                .split_first()
                .is_some_and(|(first, rest)| !rest.is_empty() && rest.iter().all(|v| v == first))
        }
        match self {
            Column::Bytes(column) => same(column),
            Column::Words(column) => same(column),
            Column::Longs(column) => same(column),
        }
    }

    /// Returns the bytes that it will take, and whether all values are equal.
    #[inline]
    pub(super) fn measure(&self) -> (usize, bool) {
        let is_same = self.is_same();
        let values = if is_same { 1 } else { self.rows() };
        (LEN + values * self.width(), is_same)
    }

    /// Writes it to the front of `out` and returns what is left of that.
    #[inline]
    pub(super) fn put<'o>(&self, out: &'o mut [u8], (len, is_same): (usize, bool)) -> &'o mut [u8] {
        let (own, rest) = out.split_at_mut(len);
        let (head, values) = own.split_at_mut(LEN);
        let rows = self.rows() as u32 | if is_same { SAME } else { 0 };
        head.copy_from_slice(&rows.to_le_bytes());
        match self {
            Column::Bytes(column) => values.copy_from_slice(&column[..values.len()]),
            Column::Words(column) => {
                let places = values.as_chunks_mut::<4>().0.iter_mut();
                places.zip(*column).for_each(|(place, value)| *place = value.to_le_bytes());
            }
            Column::Longs(column) => {
                let places = values.as_chunks_mut::<8>().0.iter_mut();
                places.zip(*column).for_each(|(place, value)| *place = value.to_le_bytes());
            }
        }
        rest
    }
}

/// Takes values from the front of a record.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn bytes(&mut self) -> Option<Vec<u8>> {
        self.column(|[byte]| byte)
    }

    pub(super) fn words(&mut self) -> Option<Vec<u32>> {
        self.column(u32::from_le_bytes)
    }

    pub(super) fn longs(&mut self) -> Option<Vec<u64>> {
        self.column(u64::from_le_bytes)
    }

    fn column<const N: usize, T: Clone>(&mut self, value: fn([u8; N]) -> T) -> Option<Vec<T>> {
        let head = self.u32()?;
        let rows = (head & !SAME) as usize;
        if head & SAME != 0 {
            // Only the journal itself writes these, and nothing in it has more rows than a state has bytes.
            return Some(vec![value(self.array()?); rows.min(crate::limits::STATE_BYTES)]);
        }
        let (values, _) = self.take(rows.checked_mul(N)?)?.as_chunks::<N>();
        Some(values.iter().map(|bytes| value(*bytes)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_come_back_as_they_were_and_equal_values_cost_one() {
        for (column, bytes) in [(vec![], 4), (vec![7], 8), (vec![7, 7, 7, 7], 8), (vec![7, 8, 7], 16)] {
            let measured = Column::Words(&column).measure();
            let mut out = vec![0; measured.0];

            let rest = Column::Words(&column).put(&mut out, measured).len();

            assert_eq!((measured.0, rest), (bytes, 0), "{column:?}");
            assert_eq!(Reader(&out).words(), Some(column));
        }
    }

    #[test]
    fn widths_do_not_mix() {
        let (bytes, longs) = (Column::Bytes(&[1, 2, 3]), Column::Longs(&[u64::MAX, 0]));
        let measured = [bytes.measure(), longs.measure()];
        let mut out = vec![0; measured[0].0 + measured[1].0];
        longs.put(bytes.put(&mut out, measured[0]), measured[1]);

        let mut reader = Reader(&out);

        assert_eq!((reader.bytes(), reader.longs()), (Some(vec![1, 2, 3]), Some(vec![u64::MAX, 0])));
        assert_eq!(Reader(&out[..10]).longs(), None);
    }
}
