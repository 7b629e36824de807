//! Going to a time: to the last segment before which nothing is as late as that.
//!
//! A recording that was ended in order has an index, which its last bytes lead to. Without one the
//! frames' headers are enough: they are gone through, from where the last search ended, and only
//! what begins a segment is read. Nothing in an index is believed: the segment must be there.

use std::io::{self, Read, Seek, SeekFrom};

use prost::Message as _;

use super::error::RecordingError;
use super::frame::{self, FRAME_HEADER, Frame, MAX_PAYLOAD};
use super::reader::Reader;
use super::segments::starts;
use crate::proto::{self, packet::Content};

/// First byte of a segment's payload: field 9, length-delimited.
const SEGMENT: u8 = 0x4a;

/// What stands before the index's offset in the last bytes: field 15, 64 bits.
const INDEX: u8 = 0x79;

/// Length of these last bytes.
const TAIL: usize = 9;

/// The segments that are known.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Offset and time of each, in order; without the first, which follows the header.
    segments: Vec<(u64, u64)>,
    /// Frames before this offset have been looked at.
    until: u64,
    /// These are all.
    complete: bool,
}

impl<R: Read + Seek> Reader<R> {
    /// Goes to where reading must begin so that nothing of `time` (CLOCK_MONOTONIC, nanoseconds)
    /// or later is left out: [`Reader::next_item`] then begins some 2 MiB before it at most. Units
    /// are told by [`Item::Units`](super::Item::Units) before the first events that mention them.
    /// Works in both directions, after the end, and while the file is written. The source's first
    /// byte must be the recording's.
    ///
    /// # Errors
    /// [`RecordingError::Read`].
    pub fn seek_to(&mut self, time: u64) -> Result<(), RecordingError> {
        let at = self.segment_of(time).map_err(|error| self.io(error))?;
        self.source
            .seek(SeekFrom::Start(at))
            .map_err(|error| self.io(error))?;
        self.begin_again(at);
        Ok(())
    }

    fn segment_of(&mut self, time: u64) -> io::Result<u64> {
        if !self.known.complete
            && let Some(segments) = self.index()?
        {
            self.known.segments = segments;
            self.known.complete = true;
        }
        if self.known.complete {
            match self.known.before(time) {
                None => return Ok(self.begin),
                Some((at, told)) if self.segment_at(at)? == Some(told) => return Ok(at),
                // The index lies, or the file was changed.
                Some(_) => self.known = Known::default(),
            }
        }
        self.search()?;
        Ok(self.known.before(time).map_or(self.begin, |(at, _)| at))
    }

    /// The index, where the file has one.
    fn index(&mut self) -> io::Result<Option<Vec<(u64, u64)>>> {
        let length = self.source.seek(SeekFrom::End(0))?;
        let Some(tail_at) = length.checked_sub(TAIL as u64) else {
            return Ok(None);
        };
        self.source.seek(SeekFrom::Start(tail_at))?;
        let mut tail = [0; TAIL];
        if frame::fill(&mut self.source, &mut tail)? < TAIL {
            return Ok(None);
        }
        let [INDEX, offset @ ..] = tail else {
            return Ok(None);
        };
        let offset = u64::from_le_bytes(offset);
        if offset < self.begin || offset >= tail_at {
            return Ok(None);
        }
        Ok(match self.packet_at(offset)? {
            Some(Content::Index(index)) => starts(&index),
            _ => None,
        })
    }

    /// The time of the segment that begins with the frame at this offset; `None` when none does.
    fn segment_at(&mut self, offset: u64) -> io::Result<Option<u64>> {
        Ok(match self.packet_at(offset)? {
            Some(Content::Segment(segment)) => Some(segment.time),
            _ => None,
        })
    }

    fn packet_at(&mut self, offset: u64) -> io::Result<Option<Content>> {
        self.source.seek(SeekFrom::Start(offset))?;
        if frame::read(&mut self.source, &mut self.payload)? != Frame::Whole {
            return Ok(None);
        }
        let packet = proto::Packet::decode(self.payload.as_slice());
        Ok(packet.ok().and_then(|packet| packet.content))
    }

    /// Goes through the frames that have not been looked at.
    fn search(&mut self) -> io::Result<()> {
        let mut at = self.known.until.max(self.begin);
        let end = self.source.seek(SeekFrom::End(0))?;
        self.source.seek(SeekFrom::Start(at))?;
        loop {
            let mut header = [0; FRAME_HEADER + 1];
            let got = frame::fill(&mut self.source, &mut header)?;
            let [a, b, c, d, _, _, _, _, first] = header;
            let length = u64::from(u32::from_le_bytes([a, b, c, d]));
            let next = at + FRAME_HEADER as u64 + length;
            if got < FRAME_HEADER || length > MAX_PAYLOAD as u64 || next > end {
                break;
            }
            if first == SEGMENT && length > 0 {
                let last = self.known.segments.last().map_or(0, |(_, time)| *time);
                match self.segment_at(at)? {
                    Some(time) if time >= last => self.known.segments.push((at, time)),
                    // Damaged: what follows cannot be trusted.
                    _ => break,
                }
                self.source.seek(SeekFrom::Start(next))?;
            } else {
                // Backwards by one when the payload is empty.
                let rest = length.cast_signed() - (got - FRAME_HEADER) as i64;
                self.source.seek_relative(rest)?;
            }
            at = next;
        }
        self.known.until = at;
        Ok(())
    }

    fn io(&self, source: io::Error) -> RecordingError {
        RecordingError::Read {
            path: self.path.clone(),
            offset: self.offset,
            source,
        }
    }
}

impl Known {
    /// The last segment before which nothing is as late as this.
    fn before(&self, time: u64) -> Option<(u64, u64)> {
        let after = self.segments.partition_point(|(_, until)| *until < time);
        self.segments.get(after.checked_sub(1)?).copied()
    }
}
