//! The recording as a place for the follower's entries.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::ending::Ending;
use super::reader::Moment;
use super::recorder::{Entry, Progress, Sink};
use super::summary::FileSummary;
use crate::export::recording::{End, Header, Loss, RecordingError, Writer};
use crate::rebuild::snapshot::Snapshot;
use crate::rebuild::tracker::Statistics;

/// Bytes that the looks at memory between start and end may take in any recording.
pub const BETWEEN: u64 = 8 << 20;
/// The part of the file that they may take beyond that.
const SHARE: u64 = 4;

/// A recording that is being written.
#[derive(Debug)]
pub struct RecordingFile {
    writer: Writer<File>,
    between: Between,
}

/// Room for looks at memory between start and end: without a bound, those at 100,000 tasks would be
/// most of a file.
#[derive(Clone, Copy, Debug, Default)]
struct Between {
    /// Bytes that they may take in any case.
    least: u64,
    /// Bytes that they took.
    taken: u64,
    /// Bytes of the last look of all.
    last: u64,
}

impl Between {
    /// Whether the next one fits into a file of this many bytes; it is taken to be as long as the
    /// last.
    fn has_room(self, file: u64) -> bool {
        self.taken + self.last <= self.least.max(file / SHARE)
    }

    /// A look took this many bytes.
    fn took(&mut self, bytes: u64, moment: Moment) {
        self.last = bytes;
        if moment == Moment::Meanwhile {
            self.taken += bytes;
        }
    }
}

impl RecordingFile {
    /// Begins a recording of at most `limit` bytes, in which the looks at memory between start and
    /// end may take `between` bytes or a quarter of the file.
    ///
    /// # Errors
    /// When the file cannot be made or written.
    pub fn create(
        path: &Path,
        header: &Header,
        limit: Option<u64>,
        between: u64,
    ) -> Result<Self, RecordingError> {
        let mut writer = Writer::create(path, header)?;
        let mut least = between;
        if let Some(bytes) = limit {
            writer = writer.with_limit(bytes);
            least = least.min(bytes / SHARE);
        }
        Ok(Self {
            writer,
            between: Between {
                least,
                ..Between::default()
            },
        })
    }

    fn snapshot(
        &mut self,
        snapshot: &Snapshot,
        time: u64,
        moment: Moment,
    ) -> Result<(), RecordingError> {
        let before = self.writer.bytes();
        if moment == Moment::Meanwhile && !self.between.has_room(before) {
            return Ok(());
        }
        self.writer.snapshot(snapshot, time)?;
        self.between.took(self.writer.bytes() - before, moment);
        Ok(())
    }

    /// Writes the end of a session that ended at `time` (CLOCK_MONOTONIC, nanoseconds), unless the
    /// file came to its limit before. `progress` is what the writing thread knows, `statistics` the
    /// counts of the whole trace.
    #[must_use]
    pub fn finish(
        self,
        path: PathBuf,
        ending: Ending,
        time: u64,
        statistics: &Statistics,
        progress: Progress,
    ) -> FileSummary {
        let bytes = self.writer.bytes();
        let events = self.writer.events_written();
        let full = self.writer.is_full();
        let end = End {
            time,
            reason: ending.word().to_owned(),
            events,
            statistics: statistics.clone(),
        };
        // After a failure in between nothing more is written, and that failure is the one to tell.
        let (bytes, events, failure) = match (progress.failure, self.writer.finish(&end)) {
            (None, Ok(written)) => (written.bytes, written.events, None),
            (None, Err(error)) => (bytes, events, Some(error.to_string())),
            (Some(failure), _) => (bytes, events, Some(failure)),
        };
        FileSummary {
            path,
            bytes,
            events,
            dropped: progress.dropped,
            failure,
            full,
            also: Vec::new(),
        }
    }
}

impl Sink for RecordingFile {
    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        match entry {
            Entry::Events(events) => self.writer.events(events),
            Entry::Lost { cpu, count, until } => self.writer.losses(&[Loss {
                cpu: *cpu,
                count: *count,
                until: *until,
            }]),
            Entry::Dropped { count, until } => self.writer.dropped(*count, *until),
            Entry::Watching(watching) => self.writer.watching(watching),
            Entry::Statistics { counts, time } => self.writer.statistics(counts, *time),
            Entry::Snapshot {
                snapshot,
                time,
                moment,
            } => self.snapshot(snapshot, *time, *moment),
        }
        .map_err(io::Error::other)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush_if_due().map_err(io::Error::other)
    }

    fn bytes(&self) -> u64 {
        self.writer.bytes()
    }

    fn is_full(&self) -> bool {
        self.writer.is_full()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_between_take_a_bounded_part_of_the_file() {
        let mut between = Between {
            least: 1_000,
            ..Between::default()
        };
        between.took(300, Moment::Start);
        for _ in 0..3 {
            assert!(between.has_room(1_000));
            between.took(300, Moment::Meanwhile);
        }
        assert!(!between.has_room(1_000));
        assert!(!between.has_room(4_700));
        // A file that grew by events has room again.
        assert!(between.has_room(4_800));
    }
}
