//! Frames: what makes a file readable up to its last whole packet.
//!
//! A file is [`MAGIC`] and then frames. A frame is the length of its payload (4 bytes, little
//! endian), a checksum (4 bytes, little endian: CRC-32 as in zip, over the four bytes of the length
//! and the payload), and the payload.

use std::io::{self, Read};

/// The first bytes of a recording. Like PNG's they show damage by a transfer as text: a byte above
/// 127, both kinds of line end, and the end-of-file of DOS.
pub(super) const MAGIC: [u8; 8] = *b"\x89ATRC\r\n\x1a";

/// Length of a frame's payload at most. With what protobuf's shortest forms expand to in memory,
/// it bounds what one packet can take to some 60 MB.
pub(super) const MAX_PAYLOAD: usize = 1 << 20;

/// Bytes before the payload.
pub(super) const FRAME_HEADER: usize = 8;

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}

/// Appends a frame. `false`, and nothing appended, when the payload is too long.
pub(super) fn append(payload: &[u8], into: &mut Vec<u8>) -> bool {
    let Some(length) = u32::try_from(payload.len())
        .ok()
        .filter(|_| payload.len() <= MAX_PAYLOAD)
    else {
        return false;
    };
    let length = length.to_le_bytes();
    into.extend_from_slice(&length);
    into.extend_from_slice(&checksum(length, payload).to_le_bytes());
    into.extend_from_slice(payload);
    true
}

/// What was found where a frame should be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A whole one; the payload is in the buffer.
    Whole,
    /// The end of the file.
    End,
    /// The file ends inside it, after this many bytes.
    CutOff(usize),
    /// It is not as it was written.
    Damaged(&'static str),
}

/// Reads the next frame's payload into `payload`. The buffer grows with what is really there.
pub(super) fn read(source: &mut impl Read, payload: &mut Vec<u8>) -> io::Result<Frame> {
    payload.clear();
    let mut header = [0; FRAME_HEADER];
    let got = fill(source, &mut header)?;
    if got == 0 {
        return Ok(Frame::End);
    }
    if got < FRAME_HEADER {
        return Ok(Frame::CutOff(got));
    }
    let [a, b, c, d, e, f, g, h] = header;
    let length = [a, b, c, d];
    let expected = u32::from_le_bytes([e, f, g, h]);
    let size = u32::from_le_bytes(length) as usize;
    if size > MAX_PAYLOAD {
        return Ok(Frame::Damaged("a packet is longer than any may be"));
    }
    let got = source.take(size as u64).read_to_end(payload)?;
    if got < size {
        return Ok(Frame::CutOff(FRAME_HEADER + got));
    }
    if checksum(length, payload) != expected {
        return Ok(Frame::Damaged("a packet's checksum is wrong"));
    }
    Ok(Frame::Whole)
}

/// Fills the buffer as far as there are bytes.
pub(super) fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match source.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}
