//! Blocks of events: one packet each, or several where one would be too long.

use std::io::Write;

use prost::Message as _;

use super::super::error::RecordingError;
use super::super::frame::{FRAME_HEADER, MAX_PAYLOAD};
use super::super::segments::units_message;
use super::super::tables::ENTRIES;
use super::super::{awaits, encode};
use super::{State, Writer};
use crate::proto::packet::Content;
use crate::rebuild::event::{Event, EventKind};

/// Events that were not written, and why.
struct Unwritten(u64, RecordingError);

/// How many futures an event places.
fn placed(event: &Event) -> usize {
    match &event.kind {
        EventKind::AwaitChanged { suspension, .. } => awaits::placed(suspension),
        EventKind::PanicBegan { suspension, .. } => suspension.futures.len(),
        _ => 0,
    }
}

impl<W: Write> Writer<W> {
    /// Writes events as one packet, or as several where one would be too long.
    pub(super) fn block(&mut self, events: &[Event]) -> Result<(), RecordingError> {
        if events.is_empty() || self.state == State::Full {
            return Ok(());
        }
        let written = self.try_block(events);
        if let Err(Unwritten(count, error)) = written {
            self.not_written += count;
            return Err(error);
        }
        Ok(())
    }

    fn try_block(&mut self, events: &[Event]) -> Result<(), Unwritten> {
        let all = |error| Unwritten(events.len() as u64, error);
        let several = events.len() > 1;
        if several && events.iter().map(placed).sum::<usize>() > awaits::MAX_PLACED {
            return self.halves(events);
        }
        self.start_segment_if_due().map_err(all)?;
        for units in self.segments.untold(events) {
            let units = units_message(&units, &mut self.tables);
            self.packet(Content::Units(units)).map_err(all)?;
        }
        let encoded = encode::events(events, &mut self.tables);
        if several && self.tables.is_over() {
            // A segment of its own has empty tables.
            self.start_segment().map_err(all)?;
            return self.halves(events);
        }
        if several && encoded.encoded_len() + ENTRIES + FRAME_HEADER > MAX_PAYLOAD {
            return self.halves(events);
        }
        self.packet(Content::Events(encoded)).map_err(all)?;
        if self.state == State::Open {
            self.events += events.len() as u64;
            self.segments.remember(events);
            self.reached(events.iter().map(|event| event.time).max());
        }
        Ok(())
    }

    fn halves(&mut self, events: &[Event]) -> Result<(), Unwritten> {
        let (first, second) = events.split_at(events.len() / 2);
        if let Err(Unwritten(count, error)) = self.try_block(first) {
            return Err(Unwritten(count + second.len() as u64, error));
        }
        self.try_block(second)
    }
}
