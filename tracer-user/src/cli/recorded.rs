//! A recording on the command line: which part of it, and what it holds, joined.

use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::duration::since_start;
use crate::analyse::history::History;
use crate::error::{Advice, ExitCode, Result};
use crate::export::recording::{Ending, Header, Item, Reader, Window, builder, join};

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

/// `--from` and `--to` name no part of the recording.
#[derive(Debug, thiserror::Error)]
enum WindowError {
    /// The part ends before it begins, or has no length.
    #[error("--from {} is not before --to {}", from.as_secs_f64(), to.as_secs_f64())]
    Backwards { from: Duration, to: Duration },
    /// The part begins after the recording's end.
    #[error(
        "--from {} is after the end: the recording has {}",
        from.as_secs_f64(),
        length_in_words(*length)
    )]
    PastTheEnd { from: Duration, length: Duration },
}

impl Advice for WindowError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }

    fn next_step(&self) -> Option<String> {
        Some(
            match self {
                Self::Backwards { .. } => {
                    "both are seconds after the recording's start; --from has to be before --to"
                }
                Self::PastTheEnd { .. } => {
                    "--from and --to are seconds after the recording's start"
                }
            }
            .to_owned(),
        )
    }
}

/// A length that is still in the recording when it is given as `--from`: rounded down.
fn length_in_words(length: Duration) -> String {
    let tenths = length.as_millis() / 100;
    if tenths > 0 {
        format!("{}.{} s", tenths / 10, tenths % 10)
    } else {
        format!("0.{:03} s", length.as_millis())
    }
}

impl WindowArguments {
    pub(super) fn window(&self) -> Window {
        Window {
            from: self.from,
            to: self.to,
        }
    }

    /// Whether this can be a part of any recording.
    fn is_in_order(&self) -> Result<(), WindowError> {
        match (self.from, self.to) {
            (Some(from), Some(to)) if from >= to => Err(WindowError::Backwards { from, to }),
            _ => Ok(()),
        }
    }

    /// Whether this begins in a recording of that length.
    fn begins_within(&self, length: Duration) -> Result<(), WindowError> {
        match self.from {
            Some(from) if from > length => Err(WindowError::PastTheEnd { from, length }),
            _ => Ok(()),
        }
    }
}

/// Up to when an item tells, CLOCK_MONOTONIC in nanoseconds.
fn told_until(item: &Item) -> u64 {
    match item {
        Item::Events(events) => events.iter().map(|event| event.time).max().unwrap_or(0),
        Item::Losses(losses) => losses.iter().map(|loss| loss.until).max().unwrap_or(0),
        Item::Dropped { until, .. } => *until,
        Item::Watching(watching) => watching.time,
        Item::Statistics { time, .. } => *time,
        Item::Snapshot(part) => part.time,
        Item::Units(_) => 0,
        Item::End(end) => end.time,
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

/// Reads a recording to its end, or as far as it is whole, and shows each item. How long it is is
/// known only then, and so is whether the window lies in it.
///
/// # Errors
/// When the file cannot be opened or read, or is no recording, or the window is no part of it.
pub(super) fn go_through(
    path: &Path,
    window: WindowArguments,
    mut show: impl FnMut(&Header, &Item),
) -> Result<GoneThrough> {
    window.is_in_order()?;
    let mut reader = Reader::open(path)?;
    let header = reader.header().clone();
    let mut ended_because = None;
    let mut last = header.started;
    while let Some(item) = reader.next_item()? {
        last = last.max(told_until(&item));
        show(&header, &item);
        if let Item::End(end) = item {
            ended_because = Some(end.reason).filter(|reason| !reason.is_empty());
        }
    }
    window.begins_within(Duration::from_nanos(last - header.started))?;
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
    arguments: WindowArguments,
    mut also: impl FnMut(&Header, &Item),
) -> Result<Recorded> {
    let window = arguments.window();
    let mut history = None;
    let read = go_through(path, arguments, |header, item| {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn window(from: Option<u64>, to: Option<u64>) -> WindowArguments {
        WindowArguments {
            from: from.map(Duration::from_millis),
            to: to.map(Duration::from_millis),
        }
    }

    #[test]
    fn a_window_begins_before_it_ends() {
        for fine in [
            window(None, None),
            window(Some(7_000), None),
            window(None, Some(1)),
            window(Some(1), Some(2)),
        ] {
            assert!(fine.is_in_order().is_ok(), "{fine:?}");
        }
        let error = window(Some(7_000), Some(2_500)).is_in_order().unwrap_err();
        assert_eq!(error.to_string(), "--from 7 is not before --to 2.5");
        assert_eq!(error.exit_code(), ExitCode::Usage);
        assert!(window(Some(2), Some(2)).is_in_order().is_err());
    }

    #[test]
    fn a_window_begins_in_the_recording() {
        let length = Duration::from_millis(20_050);
        for from in [None, Some(0), Some(20_050)] {
            assert!(window(from, None).begins_within(length).is_ok(), "{from:?}");
        }
        let error = window(Some(20_051), None).begins_within(length);
        let error = error.unwrap_err();
        assert_eq!(
            error.to_string(),
            "--from 20.051 is after the end: the recording has 20.0 s"
        );
        assert_eq!(error.exit_code(), ExitCode::Usage);
    }

    #[test]
    fn a_length_is_rounded_down() {
        let words = |milliseconds| length_in_words(Duration::from_millis(milliseconds));
        assert_eq!(words(5_999), "5.9 s");
        assert_eq!(words(99), "0.099 s");
        assert_eq!(words(0), "0.000 s");
    }
}
