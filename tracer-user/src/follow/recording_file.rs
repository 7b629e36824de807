//! The recording as a place for the follower's entries.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::ending::Ending;
use super::reader::Moment;
use super::recorder::{Entry, Progress, Sink};
use super::summary::FileSummary;
use crate::export::recording::{End, Header, Loss, RecordingError, Writer};
use crate::rebuild::tracker::Statistics;

/// A recording that is being written.
#[derive(Debug)]
pub struct RecordingFile(Writer<File>);

impl RecordingFile {
    /// Begins a recording of at most `limit` bytes.
    ///
    /// # Errors
    /// When the file cannot be made or written.
    pub fn create(
        path: &Path,
        header: &Header,
        limit: Option<u64>,
    ) -> Result<Self, RecordingError> {
        let writer = Writer::create(path, header)?;
        Ok(Self(match limit {
            Some(bytes) => writer.with_limit(bytes),
            None => writer,
        }))
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
        let bytes = self.0.bytes();
        let events = self.0.events_written();
        let full = self.0.is_full();
        let end = End {
            time,
            reason: ending.word().to_owned(),
            events,
            statistics: statistics.clone(),
        };
        // After a failure in between nothing more is written, and that failure is the one to tell.
        let (bytes, events, failure) = match (progress.failure, self.0.finish(&end)) {
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
        }
    }
}

impl Sink for RecordingFile {
    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        match entry {
            Entry::Events(events) => self.0.events(events),
            Entry::Lost { cpu, count, until } => self.0.losses(&[Loss {
                cpu: *cpu,
                count: *count,
                until: *until,
            }]),
            Entry::Dropped { count, until } => self.0.dropped(*count, *until),
            Entry::Statistics { counts, time } => self.0.statistics(counts, *time),
            Entry::Snapshot {
                moment: Moment::Meanwhile,
                ..
            } => Ok(()),
            Entry::Snapshot { snapshot, time, .. } => self.0.snapshot(snapshot, *time),
        }
        .map_err(io::Error::other)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush_if_due().map_err(io::Error::other)
    }

    fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    fn is_full(&self) -> bool {
        self.0.is_full()
    }
}
