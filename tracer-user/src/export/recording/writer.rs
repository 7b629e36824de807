//! Writing a recording while it happens.
//!
//! Events are gathered into blocks; a block goes to the file when it is full, when anything else is
//! written, and at the latest with the first call after a second ([`Writer::flush_if_due`] is for
//! callers with nothing to write). After an error nothing more is written, as what follows could
//! not be told from what is missing: what was written stays readable, and [`Writer::not_written`]
//! counts the rest. A file that comes to its limit is ended in order; the rest is after its end.

mod blocks;
mod packets;
mod pieces;

use foldhash::{HashMap, HashMapExt as _};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use self::packets::State;
use super::error::RecordingError;
use super::frame::MAGIC;
use super::header::{End, Header, Loss, statistics_to_proto};
use super::pieces::Cuts;
use super::segments::Segments;
use super::tables::Interner;
use super::watching::watching_to_proto;
use super::{deflated, trees};
use crate::proto::{self, packet::Content};
use crate::rebuild::event::{Event, UnitId};
use crate::rebuild::snapshot::Snapshot;
use crate::rebuild::tracker::Statistics;
use crate::rebuild::watching::Watching;

/// Events in a block at most.
const BLOCK: usize = 4096;

/// How long events wait for their block to fill.
const PATIENCE: Duration = Duration::from_secs(1);

/// Writes a recording.
#[derive(Debug)]
pub struct Writer<W: Write> {
    path: PathBuf,
    out: W,
    tables: Interner,
    segments: Segments,
    block: Vec<Event>,
    /// For each unit in the block the sequence number that would follow without a hole.
    next: HashMap<UnitId, u64>,
    block_since: Option<Instant>,
    snapshots: u32,
    bytes: u64,
    events: u64,
    not_written: u64,
    /// The latest time that something in the file is about.
    latest: u64,
    /// The last counts in the file.
    counts: Option<proto::Statistics>,
    limit: Option<u64>,
    state: State,
    /// Where segments were begun, for who takes the file in pieces.
    cuts: Option<Cuts>,
}

/// What a finished recording holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes.
    pub bytes: u64,
    /// Events.
    pub events: u64,
}

impl Writer<File> {
    /// Creates the file, or empties what is there, and writes the header. A file that is made under
    /// sudo belongs to the user who ran it.
    ///
    /// # Errors
    /// [`RecordingError::Create`], [`RecordingError::Write`].
    pub fn create(path: &Path, header: &Header) -> Result<Self, RecordingError> {
        let file = crate::outfile::create(path).map_err(|source| RecordingError::Create {
            path: path.to_owned(),
            source,
        })?;
        Self::new(path, file, header)
    }
}

impl<W: Write> Writer<W> {
    /// Begins a recording on anything that takes bytes; `path` is what errors call it.
    ///
    /// # Errors
    /// [`RecordingError::Write`].
    pub fn new(path: &Path, out: W, header: &Header) -> Result<Self, RecordingError> {
        let mut writer = Self::bare(path, out, header.started);
        writer.put(&MAGIC)?;
        writer.packet(Content::Header(header.to_proto()))?;
        writer.segments = Segments::starting_at(writer.bytes);
        Ok(writer)
    }

    /// Without a header.
    fn bare(path: &Path, out: W, started: u64) -> Self {
        Self {
            path: path.to_owned(),
            out,
            tables: Interner::default(),
            segments: Segments::starting_at(0),
            block: Vec::new(),
            next: HashMap::new(),
            block_since: None,
            snapshots: 0,
            bytes: 0,
            events: 0,
            not_written: 0,
            latest: started,
            counts: None,
            limit: None,
            state: State::Open,
            cuts: None,
        }
    }

    /// Begins segments this often, for tests that need many.
    #[cfg(test)]
    pub(super) fn with_segments_of(mut self, bytes: u64) -> Self {
        self.segments = Segments::of_length(bytes, self.bytes);
        self
    }

    /// Ends the file in order before it has more bytes than this. What comes after that is not
    /// written, which is no error; see [`Writer::is_full`].
    #[must_use]
    pub fn with_limit(mut self, bytes: u64) -> Self {
        self.limit = Some(bytes);
        self
    }

    /// Whether the file came to its limit and has been ended.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.state == State::Full
    }

    /// Takes events.
    ///
    /// # Errors
    /// [`RecordingError::Write`] when the file could not be written, now or before.
    pub fn events(&mut self, events: &[Event]) -> Result<(), RecordingError> {
        for (at, event) in events.iter().enumerate() {
            let next = self.next.get(&event.id.unit);
            let hole = next.is_some_and(|next| *next != event.id.sequence);
            if (hole || self.block.len() >= BLOCK)
                && let Err(error) = self.flush()
            {
                self.not_written += (events.len() - at) as u64;
                return Err(error);
            }
            let next = event.id.sequence.wrapping_add(1);
            self.next.insert(event.id.unit, next);
            self.block.push(event.clone());
            self.block_since.get_or_insert_with(Instant::now);
        }
        self.flush_if_due()
    }

    /// Says that the kernel lost records.
    ///
    /// # Errors
    /// As [`Writer::events`].
    pub fn losses(&mut self, losses: &[Loss]) -> Result<(), RecordingError> {
        let lost = losses.iter().filter(|loss| loss.count > 0);
        let lost: Vec<proto::Loss> = lost
            .map(|loss| proto::Loss {
                cpu: loss.cpu,
                count: loss.count,
                until: loss.until,
            })
            .collect();
        if lost.is_empty() {
            return Ok(());
        }
        self.flush()?;
        let until = losses.iter().map(|loss| loss.until).max();
        self.packet(Content::Losses(proto::Losses {
            lost,
            ..proto::Losses::default()
        }))?;
        self.reached(until);
        Ok(())
    }

    /// Says that events were made and are not in the file, at or before `until` (CLOCK_MONOTONIC,
    /// nanoseconds).
    ///
    /// # Errors
    /// As [`Writer::events`].
    pub fn dropped(&mut self, count: u64, until: u64) -> Result<(), RecordingError> {
        self.flush()?;
        self.packet(Content::Losses(proto::Losses {
            dropped: count,
            dropped_until: until,
            ..proto::Losses::default()
        }))?;
        self.reached(Some(until));
        Ok(())
    }

    /// Writes what is watched from a moment on.
    ///
    /// # Errors
    /// As [`Writer::events`].
    pub fn watching(&mut self, watching: &Watching) -> Result<(), RecordingError> {
        self.flush()?;
        self.start_segment_if_due()?;
        let content = watching_to_proto(watching, &mut self.tables);
        self.packet(Content::Watching(content))?;
        self.reached(Some(watching.time));
        Ok(())
    }

    /// Writes counts as they were at `time` (CLOCK_MONOTONIC, nanoseconds).
    ///
    /// # Errors
    /// As [`Writer::events`].
    pub fn statistics(&mut self, counts: &Statistics, time: u64) -> Result<(), RecordingError> {
        self.flush()?;
        let counts = statistics_to_proto(time, counts);
        self.packet(Content::Statistics(counts))?;
        self.counts = Some(counts);
        Ok(())
    }

    /// Writes what memory told from `time` on (CLOCK_MONOTONIC, nanoseconds).
    ///
    /// # Errors
    /// As [`Writer::events`].
    pub fn snapshot(&mut self, snapshot: &Snapshot, time: u64) -> Result<(), RecordingError> {
        self.flush()?;
        let number = self.snapshots;
        self.snapshots = self.snapshots.wrapping_add(1);
        self.start_segment_if_due()?;
        let mut tables = std::mem::take(&mut self.tables);
        let written = trees::parts(snapshot, time, number, &mut tables, |part, tables| {
            std::mem::swap(&mut self.tables, tables);
            let mut written = self.packet(deflated::content(part));
            if written.is_ok() && self.tables.is_full() {
                written = self.start_segment();
            }
            std::mem::swap(&mut self.tables, tables);
            written
        });
        self.tables = tables;
        self.reached(Some(time));
        written
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// As [`Writer::events`].
    pub fn flush(&mut self) -> Result<(), RecordingError> {
        let block = std::mem::take(&mut self.block);
        self.next.clear();
        self.block_since = None;
        let written = self.block(&block);
        self.block = block;
        self.block.clear();
        written
    }

    /// Writes what waits if it has waited for a second.
    ///
    /// # Errors
    /// As [`Writer::events`].
    pub fn flush_if_due(&mut self) -> Result<(), RecordingError> {
        match self.block_since {
            Some(since) if since.elapsed() >= PATIENCE => self.flush(),
            _ => Ok(()),
        }
    }

    /// Writes what waits and the end, unless the file came to its limit before.
    ///
    /// # Errors
    /// As [`Writer::events`].
    pub fn finish(mut self, end: &End) -> Result<Written, RecordingError> {
        self.flush()?;
        if self.state == State::Open {
            let counts = statistics_to_proto(end.time, &end.statistics);
            self.end(end.time, &end.reason, Some(counts))?;
        }
        self.out.flush().map_err(|source| RecordingError::Write {
            path: self.path.clone(),
            source,
        })?;
        Ok(Written {
            bytes: self.bytes,
            events: self.events,
        })
    }

    /// Bytes written so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Events written so far, without those that wait.
    #[must_use]
    pub fn events_written(&self) -> u64 {
        self.events
    }

    /// Events that could not be written.
    #[must_use]
    pub fn not_written(&self) -> u64 {
        self.not_written
    }

    fn reached(&mut self, time: Option<u64>) {
        self.latest = self.latest.max(time.unwrap_or(0));
    }

    fn start_segment_if_due(&mut self) -> Result<(), RecordingError> {
        if self.segments.is_due(self.bytes) || self.tables.is_full() {
            self.start_segment()?;
        }
        Ok(())
    }

    /// Empties the tables, what was not written of them included.
    fn start_segment(&mut self) -> Result<(), RecordingError> {
        self.tables = Interner::default();
        let offset = self.bytes;
        self.packet(Content::Segment(proto::Segment {
            time: self.latest,
            events: self.events,
        }))?;
        if self.state == State::Open {
            self.segments.start(offset, self.latest);
        }
        if let Some(cuts) = &mut self.cuts {
            cuts.begin(offset, self.bytes, self.latest, self.events);
        }
        Ok(())
    }
}

impl<W: Write> Drop for Writer<W> {
    /// What waits is written even if the program ends otherwise than through
    /// [`Writer::finish`]; the file then has no end packet, and says so.
    fn drop(&mut self) {
        if self.state == State::Open {
            let _ = self.flush();
        }
    }
}
