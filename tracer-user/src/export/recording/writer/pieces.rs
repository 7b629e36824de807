//! Pieces of a recording: made in memory by one writer, appended by another.

use std::io::Write;
use std::path::Path;

use super::Writer;
use crate::export::recording::error::RecordingError;
use crate::export::recording::pieces::{Cuts, Piece};
use crate::export::recording::segments::Segments;

/// Units that are remembered between pieces at most: some 50 MB.
const MAX_KNOWN_OF_PIECES: usize = 300_000;

impl Writer<Vec<u8>> {
    /// Begins to make pieces of a recording that started at this time (CLOCK_MONOTONIC,
    /// nanoseconds); [`Writer::cut`] hands them out.
    #[must_use]
    pub fn of_pieces(started: u64) -> Self {
        let mut writer = Self::bare(Path::new("memory"), Vec::new(), started);
        writer.segments = Segments::of_length(u64::MAX, 0).remembering(MAX_KNOWN_OF_PIECES);
        writer.cuts = Some(Cuts::starting_at(started));
        writer
    }

    /// Bytes since the last cut; events that wait for their block are not among them.
    #[must_use]
    pub fn uncut(&self) -> usize {
        self.out.len()
    }

    /// Hands out what came since the last cut, mostly as one piece, none if there was nothing.
    /// `now` (CLOCK_MONOTONIC, nanoseconds) is not before anything that came.
    ///
    /// # Errors
    /// As [`Writer::events`]: never for a write to memory, but for what fits into no packet.
    pub fn cut(&mut self, now: u64) -> Result<Vec<Piece>, RecordingError> {
        self.flush()?;
        if self.out.is_empty() {
            return Ok(Vec::new());
        }
        self.reached(Some(now));
        self.start_segment()?;
        self.segments.forget_starts();
        let bytes = std::mem::take(&mut self.out);
        let cuts = self.cuts.as_mut();
        Ok(cuts.map_or_else(Vec::new, |cuts| cuts.pieces(&bytes)))
    }
}

impl<W: Write> Writer<W> {
    /// Appends a piece that another writer made, as a segment of its own. Only pieces and the end
    /// may follow.
    ///
    /// # Errors
    /// As [`Writer::events`].
    pub fn append(&mut self, piece: &Piece) -> Result<(), RecordingError> {
        self.flush()?;
        self.reached(Some(piece.from));
        self.start_segment()?;
        self.put(&piece.body)?;
        self.events += piece.events;
        self.reached(Some(piece.until));
        Ok(())
    }
}
