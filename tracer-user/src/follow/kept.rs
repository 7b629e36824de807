//! Where a session's entries go: a recording, the evidence for a judgement, or both.

use std::io;
use std::path::PathBuf;

use super::ending::Ending;
use super::evidence::{Evidence, Gathered};
use super::flight::Flight;
use super::recorder::{Entry, Progress, Sink};
use super::recording_file::RecordingFile;
use super::summary::FileSummary;
use crate::rebuild::tracker::Statistics;

/// What is kept of a session.
#[derive(Debug, Default)]
pub struct Kept {
    /// The recording.
    pub file: Option<RecordingFile>,
    /// The last stretch, which becomes a recording when something happens.
    pub flight: Option<Box<Flight>>,
    /// The evidence.
    pub evidence: Option<Evidence>,
}

impl Kept {
    /// Whether anything is kept.
    #[must_use]
    pub const fn is_wanted(&self) -> bool {
        self.file.is_some() || self.flight.is_some() || self.evidence.is_some()
    }

    /// Ends the recording, see [`RecordingFile::finish`], and hands out the evidence.
    #[must_use]
    pub fn finish(
        self,
        path: Option<PathBuf>,
        ending: Ending,
        time: u64,
        statistics: &Statistics,
        progress: Progress,
    ) -> (Option<FileSummary>, Option<Gathered>) {
        let file = self.file.zip(path);
        let file = match (file, self.flight) {
            (Some((file, path)), _) => Some(file.finish(path, ending, time, statistics, progress)),
            (None, Some(flight)) => Some(flight.finish(ending, time, statistics, progress)),
            (None, None) => None,
        };
        let gathered = self.evidence.map(|mut evidence| {
            evidence.reached(time);
            evidence.finish()
        });
        (file, gathered)
    }
}

impl Sink for Kept {
    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        if let Some(evidence) = &mut self.evidence {
            evidence.entry(entry);
        }
        match (&mut self.file, &mut self.flight) {
            (Some(file), _) => file.write(entry),
            (None, Some(flight)) => flight.write(entry),
            (None, None) => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match (&mut self.file, &mut self.flight) {
            (Some(file), _) => file.flush(),
            (None, Some(flight)) => flight.flush(),
            (None, None) => Ok(()),
        }
    }

    fn bytes(&self) -> u64 {
        let of_flight = self.flight.as_deref().map_or(0, Sink::bytes);
        self.file.as_ref().map_or(of_flight, Sink::bytes)
    }

    fn is_full(&self) -> bool {
        self.file.as_ref().is_some_and(Sink::is_full)
    }
}
