//! Reading and writing little-endian fields; every read is checked, none panics.

use crate::frame::Violation;

/// What is left of a frame.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Violation> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(Violation::Truncated)?;
        self.0 = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Violation> {
        let (head, tail) = self.0.split_first_chunk().ok_or(Violation::Truncated)?;
        self.0 = tail;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Violation> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Violation> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Violation> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Violation> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length of one byte, then that much UTF-8 without control characters.
    pub(crate) fn text(&mut self) -> Result<String, Violation> {
        let len = self.u8()?;
        let text = std::str::from_utf8(self.take(usize::from(len))?).map_err(|_| Violation::BadText)?;
        if text.chars().any(char::is_control) {
            return Err(Violation::BadText);
        }
        Ok(text.to_owned())
    }

    pub(crate) fn end(&self) -> Result<(), Violation> {
        if self.0.is_empty() { Ok(()) } else { Err(Violation::TrailingBytes { len: self.0.len() }) }
    }
}

/// Appends a text with a length of one byte; the caller has checked that it fits.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    let len = text.len().min(usize::from(u8::MAX));
    out.push(len as u8);
    out.extend_from_slice(&text.as_bytes()[..len]);
}
