//! A recording on the command line: which part of it, and what it holds, joined.

use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::duration::since_start;
use crate::analyse::history::History;
use crate::export::recording::{
    Ending, Header, Item, Reader, RecordingError, Window, builder, join,
};

/// Which part of a recording.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct WindowArguments {
    /// Leave out what ended before this many seconds after the recording's start
    #[arg(long, value_name = "SECS", value_parser = since_start)]
    pub(super) from: Option<Duration>,

    /// Leave out what began later than this many seconds after the recording's start
    #[arg(long, value_name = "SECS", value_parser = since_start)]
    pub(super) to: Option<Duration>,
}

impl WindowArguments {
    pub(super) fn window(&self) -> Window {
        Window {
            from: self.from,
            to: self.to,
        }
    }
}

/// What a recording holds, joined.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) header: Header,
    pub(super) history: History,
    /// How the file ends.
    pub(super) ending: Ending,
}

/// A recording that was gone through.
#[derive(Debug)]
pub(super) struct GoneThrough {
    pub(super) header: Header,
    /// How the file ends.
    pub(super) ending: Ending,
    /// Why the recording was ended, where it was ended in order.
    pub(super) ended_because: Option<String>,
    /// Bytes of whole packets.
    pub(super) bytes: u64,
    /// Minor version of the format.
    pub(super) minor: u32,
    /// Packets that only a later version can read.
    pub(super) skipped: u64,
}

/// Reads a recording to its end, or as far as it is whole, and shows each item.
///
/// # Errors
/// When the file cannot be opened or read, or is no recording.
pub(super) fn go_through(
    path: &Path,
    mut show: impl FnMut(&Header, &Item),
) -> Result<GoneThrough, RecordingError> {
    let mut reader = Reader::open(path)?;
    let header = reader.header().clone();
    let mut ended_because = None;
    while let Some(item) = reader.next_item()? {
        show(&header, &item);
        if let Item::End(end) = item {
            ended_because = Some(end.reason).filter(|reason| !reason.is_empty());
        }
    }
    Ok(GoneThrough {
        header,
        ending: reader.ending().cloned().unwrap_or(Ending::Open),
        ended_because,
        bytes: reader.offset(),
        minor: reader.minor(),
        skipped: reader.skipped(),
    })
}

/// Reads a recording to its end, or as far as it is whole, joins what it says, and shows each item
/// to `also`.
///
/// # Errors
/// As [`go_through`].
pub(super) fn read(
    path: &Path,
    window: Window,
    mut also: impl FnMut(&Header, &Item),
) -> Result<Recorded, RecordingError> {
    let mut history = None;
    let read = go_through(path, |header, item| {
        join(item, history.get_or_insert_with(|| builder(header, window)));
        also(header, item);
    })?;
    let history = history.unwrap_or_else(|| builder(&read.header, window));
    Ok(Recorded {
        header: read.header,
        history: history.finish(),
        ending: read.ending,
    })
}

/// The word for an ending, and what to say of it.
pub(super) fn ending_in_words(ending: &Ending) -> (&'static str, Option<String>) {
    match ending {
        Ending::Complete => ("complete", None),
        Ending::Open => (
            "open",
            Some(
                "the recording has no end: it is still being written, or its writer was killed; \
                 this is what it has so far"
                    .to_owned(),
            ),
        ),
        Ending::CutOff { bytes } => (
            "cut_off",
            Some(format!(
                "the recording was cut off, or is being written: its last {bytes} bytes are no \
                 whole packet and were left out"
            )),
        ),
        Ending::Damaged { offset, reason } => (
            "damaged",
            Some(format!(
                "the recording is damaged at byte {offset} ({reason}): this is what stands before"
            )),
        ),
    }
}
