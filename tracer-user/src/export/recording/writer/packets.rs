//! Packets on their way into the file: what they refer to before them, their frames, the limit that
//! ends the file in order, and the error after which nothing more is written.

use std::io::{self, Write};

use prost::Message as _;

use super::Writer;
use crate::export::recording::error::RecordingError;
use crate::export::recording::frame::{self, FRAME_HEADER};
use crate::proto::{self, packet::Content};

/// Bytes that an end takes at most, without the index.
const END: u64 = 1024;

/// The reason in the end of a file that came to its limit.
const FULL: &str = "size";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// It came to its limit and has an end.
    Full,
    Failed,
}

impl<W: Write> Writer<W> {
    pub(super) fn packet(&mut self, content: Content) -> Result<(), RecordingError> {
        let (before, mut packet) = self.tables.take();
        for packet in before {
            self.frame(&packet)?;
        }
        packet.content = Some(content);
        self.frame(&packet)
    }

    /// Writes a packet if the limit leaves room for it, otherwise the end.
    fn frame(&mut self, packet: &proto::Packet) -> Result<(), RecordingError> {
        if self.state == State::Full {
            return Ok(());
        }
        let size = (packet.encoded_len() + FRAME_HEADER) as u64;
        let reserve = self.segments.index_size() + END;
        if let Some(limit) = self.limit
            && self.bytes + size + reserve > limit
        {
            self.end(self.latest, FULL, self.counts)?;
            self.state = State::Full;
            return Ok(());
        }
        self.put_packet(packet)
    }

    /// Writes the index and the end, whatever the limit.
    pub(super) fn end(
        &mut self,
        time: u64,
        reason: &str,
        statistics: Option<proto::Statistics>,
    ) -> Result<(), RecordingError> {
        let index = self.bytes;
        self.put_packet(&proto::Packet {
            content: Some(Content::Index(self.segments.index())),
            ..proto::Packet::default()
        })?;
        self.put_packet(&proto::Packet {
            content: Some(Content::End(proto::End {
                time,
                reason: reason.to_owned(),
                events: self.events,
                statistics,
                index,
            })),
            ..proto::Packet::default()
        })
    }

    fn put_packet(&mut self, packet: &proto::Packet) -> Result<(), RecordingError> {
        let payload = packet.encode_to_vec();
        let mut bytes = Vec::with_capacity(payload.len() + FRAME_HEADER);
        if frame::append(&payload, &mut bytes) {
            self.put(&bytes)
        } else {
            self.state = State::Failed;
            Err(self.error(io::ErrorKind::FileTooLarge.into()))
        }
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), RecordingError> {
        if self.state == State::Failed {
            return Err(self.error(io::Error::other("an earlier write failed")));
        }
        match self.out.write_all(bytes) {
            Ok(()) => {
                self.bytes += bytes.len() as u64;
                Ok(())
            }
            Err(source) => {
                self.state = State::Failed;
                Err(self.error(source))
            }
        }
    }

    fn error(&self, source: io::Error) -> RecordingError {
        RecordingError::Write {
            path: self.path.clone(),
            source,
        }
    }
}
