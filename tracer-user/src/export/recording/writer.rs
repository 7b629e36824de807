//! Writing a recording while it happens.
//!
//! Events are gathered into blocks; a block goes to the file when it is full, when anything else is
//! written, and at the latest with the first call after a second ([`Writer::flush_if_due`] is for
//! callers with nothing to write). After an error nothing more is written, as what follows could
//! not be told from what is missing: what was written stays readable, and [`Writer::not_written`]
//! counts the rest.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use prost::Message as _;

use super::error::RecordingError;
use super::frame::{self, FRAME_HEADER, MAGIC, MAX_PAYLOAD};
use super::header::{End, Header, Loss, statistics_to_proto};
use super::strings::Interner;
use super::{encode, trees};
use crate::proto::{self, packet::Content};
use crate::rebuild::event::{Event, UnitId};
use crate::rebuild::snapshot::Snapshot;
use crate::rebuild::tracker::Statistics;

/// Events in a block at most.
const BLOCK: usize = 4096;

/// How long events wait for their block to fill.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes of strings that go into the same packet as what they are for; more go before it.
const STRINGS: usize = 256 * 1024;

/// Writes a recording.
#[derive(Debug)]
pub struct Writer<W: Write> {
    path: PathBuf,
    out: W,
    strings: Interner,
    block: Vec<Event>,
    /// For each unit in the block the sequence number that would follow without a hole.
    next: HashMap<UnitId, u64>,
    block_since: Option<Instant>,
    snapshots: u32,
    bytes: u64,
    events: u64,
    not_written: u64,
    failed: bool,
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
        let file = create_file(path, sudo_user()).map_err(|source| RecordingError::Create {
            path: path.to_owned(),
            source,
        })?;
        Self::new(path, file, header)
    }
}

/// Whoever may write the folder may have put a link there: only a file that is really new is given
/// away.
fn create_file(path: &Path, owner: Option<Owner>) -> io::Result<File> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(file) => {
            if let Some((user, group)) = owner {
                rustix::fs::fchown(&file, Some(user), Some(group))?;
            }
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().write(true).truncate(true).open(path)
        }
        Err(error) => Err(error),
    }
}

type Owner = (rustix::fs::Uid, rustix::fs::Gid);

/// The user who ran sudo, if we run as root through it.
fn sudo_user() -> Option<Owner> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    let user = number("SUDO_UID")?;
    let group = number("SUDO_GID")?;
    Some((
        rustix::fs::Uid::from_raw(user),
        rustix::fs::Gid::from_raw(group),
    ))
}

impl<W: Write> Writer<W> {
    /// Begins a recording on anything that takes bytes; `path` is what errors call it.
    ///
    /// # Errors
    /// [`RecordingError::Write`].
    pub fn new(path: &Path, out: W, header: &Header) -> Result<Self, RecordingError> {
        let mut writer = Self {
            path: path.to_owned(),
            out,
            strings: Interner::default(),
            block: Vec::new(),
            next: HashMap::new(),
            block_since: None,
            snapshots: 0,
            bytes: 0,
            events: 0,
            not_written: 0,
            failed: false,
        };
        writer.put(&MAGIC)?;
        writer.packet(Content::Header(header.to_proto()))?;
        Ok(writer)
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
        self.packet(Content::Losses(proto::Losses {
            lost,
            ..proto::Losses::default()
        }))
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
        }))
    }

    /// Writes counts as they were at `time` (CLOCK_MONOTONIC, nanoseconds).
    ///
    /// # Errors
    /// As [`Writer::events`].
    pub fn statistics(&mut self, counts: &Statistics, time: u64) -> Result<(), RecordingError> {
        self.flush()?;
        self.packet(Content::Statistics(statistics_to_proto(time, counts)))
    }

    /// Writes what memory told from `time` on (CLOCK_MONOTONIC, nanoseconds).
    ///
    /// # Errors
    /// As [`Writer::events`].
    pub fn snapshot(&mut self, snapshot: &Snapshot, time: u64) -> Result<(), RecordingError> {
        self.flush()?;
        let number = self.snapshots;
        self.snapshots = self.snapshots.wrapping_add(1);
        let mut strings = std::mem::take(&mut self.strings);
        let written = trees::parts(snapshot, time, number, &mut strings, |part, strings| {
            std::mem::swap(&mut self.strings, strings);
            let written = self.packet(Content::Snapshot(part));
            std::mem::swap(&mut self.strings, strings);
            written
        });
        self.strings = strings;
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

    /// Writes what waits and the end.
    ///
    /// # Errors
    /// As [`Writer::events`].
    pub fn finish(mut self, end: &End) -> Result<Written, RecordingError> {
        self.flush()?;
        self.packet(Content::End(proto::End {
            time: end.time,
            reason: end.reason.clone(),
            events: self.events,
            statistics: Some(statistics_to_proto(end.time, &end.statistics)),
        }))?;
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

    /// Writes events as one packet, or as several where one would be too long.
    fn block(&mut self, events: &[Event]) -> Result<(), RecordingError> {
        if events.is_empty() {
            return Ok(());
        }
        let encoded = encode::events(events, &mut self.strings);
        if encoded.encoded_len() + STRINGS + FRAME_HEADER > MAX_PAYLOAD && events.len() > 1 {
            let (first, second) = events.split_at(events.len() / 2);
            self.block(first)?;
            return self.block(second);
        }
        let written = self.packet(Content::Events(encoded));
        match written {
            Ok(()) => self.events += events.len() as u64,
            Err(_) => self.not_written += events.len() as u64,
        }
        written
    }

    fn packet(&mut self, content: Content) -> Result<(), RecordingError> {
        let many = self.strings.fresh_bytes() > STRINGS;
        let (mut restart_strings, mut strings) = self.strings.take();
        if many {
            for chunk in chunks(strings) {
                self.frame(&proto::Packet {
                    restart_strings: std::mem::take(&mut restart_strings),
                    strings: chunk,
                    content: None,
                })?;
            }
            strings = Vec::new();
        }
        self.frame(&proto::Packet {
            restart_strings,
            strings,
            content: Some(content),
        })?;
        self.strings.restart_if_full();
        Ok(())
    }

    fn frame(&mut self, packet: &proto::Packet) -> Result<(), RecordingError> {
        let payload = packet.encode_to_vec();
        let mut bytes = Vec::with_capacity(payload.len() + FRAME_HEADER);
        if frame::append(&payload, &mut bytes) {
            self.put(&bytes)
        } else {
            self.failed = true;
            Err(self.error(io::ErrorKind::FileTooLarge.into()))
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), RecordingError> {
        if self.failed {
            return Err(self.error(io::Error::other("an earlier write failed")));
        }
        match self.out.write_all(bytes) {
            Ok(()) => {
                self.bytes += bytes.len() as u64;
                Ok(())
            }
            Err(source) => {
                self.failed = true;
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

/// Strings in runs that each fit into a packet.
fn chunks(strings: Vec<String>) -> Vec<Vec<String>> {
    let mut chunks = vec![Vec::new()];
    let mut size = 0;
    for text in strings {
        if size > STRINGS {
            chunks.push(Vec::new());
            size = 0;
        }
        size += text.len() + 8;
        if let Some(last) = chunks.last_mut() {
            last.push(text);
        }
    }
    chunks
}

impl<W: Write> Drop for Writer<W> {
    /// What waits is written even if the program ends otherwise than through
    /// [`Writer::finish`]; the file then has no end packet, and says so.
    fn drop(&mut self) {
        if !self.failed {
            let _ = self.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use rustix::fs::{Gid, Uid};

    use super::create_file;

    #[test]
    fn a_new_file_is_given_to_the_sudo_user_and_an_old_one_is_not() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("t.astrace");
        // Without root a file can be given to oneself only.
        let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
        let owner = if user.is_root() {
            (Uid::from_raw(12_345), Gid::from_raw(12_346))
        } else {
            (user, group)
        };
        drop(create_file(&path, Some(owner)).unwrap());
        let made = std::fs::metadata(&path).unwrap();
        assert_eq!(
            (made.uid(), made.gid()),
            (owner.0.as_raw(), owner.1.as_raw())
        );

        let old = folder.path().join("old.astrace");
        std::fs::write(&old, "something").unwrap();
        let link = folder.path().join("link.astrace");
        std::os::unix::fs::symlink(&old, &link).unwrap();
        for path in [&old, &link] {
            drop(create_file(path, Some(owner)).unwrap());
            let kept = std::fs::metadata(&old).unwrap();
            assert_eq!((kept.uid(), kept.len()), (user.as_raw(), 0));
        }
    }
}
