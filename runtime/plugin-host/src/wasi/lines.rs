//! What a guest prints, cut into log lines.

use crate::limits::LOG_LINE_BYTES;

/// The line that has begun and not ended. Never longer than a log line may be.
#[derive(Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// Takes in what was printed and hands out the lines that are complete; a line that is too long is cut into
    /// several.
    pub(super) fn push(&mut self, printed: &[u8], mut line: impl FnMut(String)) {
        for piece in printed.split_inclusive(|&byte| byte == b'\n') {
            let (text, is_end) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            self.fill(text, &mut line);
            if is_end && !self.begun.is_empty() {
                line(self.take());
            }
        }
    }

    fn fill(&mut self, mut text: &[u8], line: &mut impl FnMut(String)) {
        while self.begun.len() + text.len() > LOG_LINE_BYTES {
            let (head, rest) = text.split_at(LOG_LINE_BYTES - self.begun.len());
            self.begun.extend_from_slice(head);
            line(self.take());
            text = rest;
        }
        self.begun.extend_from_slice(text);
    }

    /// Returns the line that has begun, with marks in place of what is no text.
    fn take(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.begun).into_owned();
        self.begun.clear();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(printed: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for part in printed {
            lines.push(part, |line| out.push(line));
        }
        out
    }

    #[test]
    fn lines_are_put_together_from_parts_and_empty_ones_are_left_out() {
        assert_eq!(lines(&[b"one\ntw", b"o\n\n", b"three"]), ["one", "two"]);
    }

    #[test]
    fn a_line_without_an_end_is_cut_where_a_log_line_ends() {
        let printed = vec![b'x'; 2 * LOG_LINE_BYTES + 1];

        let lengths: Vec<usize> = lines(&[&printed, b"\n"]).iter().map(String::len).collect();

        assert_eq!(lengths, [LOG_LINE_BYTES, LOG_LINE_BYTES, 1]);
    }

    #[test]
    fn what_is_no_text_is_marked() {
        assert_eq!(lines(&[b"a\xffb\n"]), ["a\u{fffd}b"]);
    }
}
