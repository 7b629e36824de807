//! Perfetto's `TrackEvent` format: what <https://ui.perfetto.dev> and `trace_processor` open.
//!
//! | track | slices | moments |
//! |---|---|---|
//! | process | | records that the kernel lost |
//! | requests, a group | requests, on as many tracks as there are at a time | |
//! | its threads | polls | wake-ups and spawns that were done there |
//! | type of task, a group | | |
//! | a task in its group | the task's life, its await instances | places where events are missing |
//! | a branch below a task | await instances beside those above | |
//!
//! An arrow (flow) goes from a wake-up to the poll that it caused, and from a spawn to the new
//! task's first poll. What goes on at the end of the trace is ended there and marked `open`. The
//! clock is CLOCK_MONOTONIC, with a snapshot that ties it to the time of day.
//!
//! The format wants slices on one track nested, which `lanes` sees to. Events need not be
//! in order of time in the file, apart from those of equal time on one track.

mod packets;
mod requests;
mod tasks;
mod threads;
mod tracks;

use std::io::{self, Write};

use self::packets::{Note, Packets};
use self::tracks::Tracks;
use super::{Level, Source};

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Slices.
    pub slices: u64,
    /// Moments.
    pub instants: u64,
    /// Tracks.
    pub tracks: u64,
    /// Arrows.
    pub flows: u64,
}

/// Writes a trace.
///
/// # Errors
/// Those of `out`.
pub fn write(source: &Source<'_>, level: Level, out: &mut dyn Write) -> io::Result<Totals> {
    let mut packets = Packets::new(source.header, out)?;
    let mut tracks = Tracks::new(source.header, &mut packets)?;
    for loss in source.losses {
        let time = loss.until.min(source.end());
        let notes = [
            Note::Number("records", loss.count),
            Note::Number("cpu", loss.cpu.into()),
        ];
        packets.instant(
            tracks.process(),
            time,
            "the kernel lost records",
            "loss",
            &notes,
            None,
        )?;
    }
    requests::write(source, &mut tracks, &mut packets)?;
    if level >= Level::Polls {
        threads::write(source, &mut tracks, &mut packets)?;
    }
    if level >= Level::Tasks {
        tasks::write(source, level, &mut tracks, &mut packets)?;
    }
    packets.finish()
}
