//! Cuts a lane's byte stream into frames. Knows lengths and limits, never what a frame means.

use bytes::{Buf, Bytes, BytesMut};

use super::{Lane, Violation};

/// Bytes of the length field before each frame.
pub(crate) const LEN: usize = 4;
/// Buffer that a busy lane reads into: some dozens of frames of common size share one allocation.
const READ_BUFFER: usize = 256 * 1024;
/// Buffer for a lane on which little arrives, so that idle links cost next to nothing.
const SMALL_BUFFER: usize = 4 * 1024;
/// A read from which on the lane counts as busy.
const BUSY_READ: usize = 16 * 1024;

/// What has arrived on one lane and is not yet a whole frame.
///
/// It never holds more than twice what has arrived, or one read buffer: a length field is checked against
/// the lane's limit when it is seen, and nothing is reserved for it.
pub(crate) struct Splitter {
    lane: Lane,
    buf: BytesMut,
}

impl Splitter {
    pub(crate) fn new(lane: Lane) -> Splitter {
        Splitter { lane, buf: BytesMut::new() }
    }

    /// Takes in what one read brought and returns the frames that are whole now.
    pub(crate) fn push(&mut self, chunks: &[Bytes]) -> Result<Vec<Bytes>, Violation> {
        let arrived = chunks.iter().map(Bytes::len).sum();
        self.make_room(arrived);
        for chunk in chunks {
            self.buf.extend_from_slice(chunk);
        }
        let frames = self.split()?;
        if self.buf.is_empty() && arrived < BUSY_READ {
            self.buf = BytesMut::new();
        }
        Ok(frames)
    }

    /// Returns the fault if the lane may not end here.
    pub(crate) fn end(&self) -> Result<(), Violation> {
        if self.buf.is_empty() { Ok(()) } else { Err(Violation::TruncatedFrame { lane: self.lane.number() }) }
    }

    fn make_room(&mut self, arrived: usize) {
        if self.buf.capacity() - self.buf.len() < arrived {
            let buffer = if arrived < BUSY_READ { SMALL_BUFFER } else { READ_BUFFER };
            self.buf.reserve(arrived.max(buffer));
        }
    }

    fn split(&mut self) -> Result<Vec<Bytes>, Violation> {
        let mut frames = Vec::new();
        while let Some(len) = self.frame_len()? {
            if self.buf.len() < LEN + len {
                break;
            }
            self.buf.advance(LEN);
            frames.push(self.buf.split_to(len).freeze());
        }
        Ok(frames)
    }

    fn frame_len(&self) -> Result<Option<usize>, Violation> {
        let Some(field) = self.buf.first_chunk::<LEN>() else { return Ok(None) };
        let (len, max, lane) =
            (u32::from_le_bytes(*field) as usize, self.lane.max_frame(), self.lane.number());
        match len {
            0 => Err(Violation::EmptyFrame { lane }),
            len if len > max => Err(Violation::FrameTooLong { lane, len, max }),
            len => Ok(Some(len)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(frames: &[&[u8]]) -> Vec<u8> {
        frames.iter().flat_map(|f| [&(f.len() as u32).to_le_bytes()[..], f].concat()).collect()
    }

    fn class_lane() -> Lane {
        Lane::new(1).expect("lane 1 exists")
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_were_cut() {
        let long = vec![7; 70_000];
        let stream = wire(&[b"a", b"bc", &long, b"d"]);
        for cut in [1, 2, 3, 5, 1_000, 65_536, stream.len()] {
            let mut splitter = Splitter::new(class_lane());

            let frames: Vec<Bytes> = stream
                .chunks(cut)
                .flat_map(|c| splitter.push(&[Bytes::copy_from_slice(c)]).expect("the stream is sound"))
                .collect();

            assert_eq!(frames, [&b"a"[..], b"bc", &long, b"d"], "cut every {cut}");
            assert_eq!(splitter.end(), Ok(()));
        }
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_its_bytes_arrive() {
        for (lane, max) in
            [(Lane::CONTROL, super::super::MAX_CONTROL_FRAME), (class_lane(), super::super::MAX_FRAME)]
        {
            let len = max + 1;
            let mut splitter = Splitter::new(lane);

            let fault = splitter.push(&[Bytes::from((len as u32).to_le_bytes().to_vec())]);

            assert_eq!(fault, Err(Violation::FrameTooLong { lane: lane.number(), len, max }));
        }
    }

    #[test]
    fn an_announced_length_reserves_no_memory() {
        let mut splitter = Splitter::new(class_lane());

        let frames = splitter.push(&[Bytes::from((1_000_000_u32).to_le_bytes().to_vec())]);

        assert_eq!(frames, Ok(vec![]));
        assert!(splitter.buf.capacity() <= SMALL_BUFFER, "{} bytes reserved", splitter.buf.capacity());
    }

    #[test]
    fn an_empty_frame_and_an_end_inside_a_frame_are_faults() {
        let mut empty = Splitter::new(class_lane());
        assert_eq!(empty.push(&[Bytes::from_static(&[0; 4])]), Err(Violation::EmptyFrame { lane: 1 }));

        let mut cut = Splitter::new(class_lane());
        assert_eq!(cut.push(&[Bytes::from_static(&[2, 0, 0, 0, 9])]), Ok(vec![]));
        assert_eq!(cut.end(), Err(Violation::TruncatedFrame { lane: 1 }));
    }
}
