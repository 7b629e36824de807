//! Reading a recording: from its header to its last whole packet.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use prost::Message as _;

use super::error::RecordingError;
use super::frame::{self, Frame, MAGIC};
use super::header::{End, Header, Loss, statistics_from_proto};
use super::seek::Known;
use super::segments::{self, KnownUnit};
use super::tables::Tables;
use super::trees::{self, SnapshotPart};
use super::watching::watching_from_proto;
use super::{MAJOR, decode, deflated};
use crate::proto::{self, packet::Content};
use crate::rebuild::event::Event;
use crate::rebuild::tracker::Statistics;
use crate::rebuild::watching::Watching;

/// What a recording says next.
#[derive(Clone, Debug)]
pub enum Item {
    /// Events, in the order they were made.
    Events(Vec<Event>),
    /// Records that the kernel lost.
    Losses(Vec<Loss>),
    /// Events that were made and are not in the file.
    Dropped {
        /// How many.
        count: u64,
        /// At or before this time.
        until: u64,
    },
    /// What is watched from a moment on; everything, until this says otherwise.
    Watching(Watching),
    /// Counts since the start.
    Statistics {
        /// When.
        time: u64,
        /// The counts, without losses by CPU.
        counts: Statistics,
    },
    /// A part of what memory told.
    Snapshot(SnapshotPart),
    /// What is known of units that the next events mention, at this place of the file. Only after
    /// [`Reader::seek_to`]: who reads from the beginning knows it. Each segment tells it anew.
    Units(Vec<KnownUnit>),
    /// The end.
    End(End),
}

/// How a recording ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With its end packet.
    Complete,
    /// After a whole packet, without an end packet: it is still written, or its writer was killed.
    Open,
    /// Inside a packet: it is being written at this moment, or was cut off.
    CutOff {
        /// Bytes of the packet that is not whole.
        bytes: u64,
    },
    /// With something that is not as it was written; what follows cannot be told.
    Damaged {
        /// Where the packet begins.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
}

/// Reads a recording.
#[derive(Debug)]
pub struct Reader<R: Read> {
    pub(super) path: PathBuf,
    pub(super) source: R,
    header: Header,
    minor: u32,
    /// Where the header ends.
    pub(super) begin: u64,
    pub(super) offset: u64,
    pub(super) payload: Vec<u8>,
    tables: Tables,
    pub(super) known: Known,
    /// Whether the reader is not where it would be without a jump.
    jumped: bool,
    /// Whether a snapshot has begun since.
    snapshot: bool,
    waiting: Option<Item>,
    skipped: u64,
    ended: bool,
    ending: Option<Ending>,
}

impl Reader<BufReader<File>> {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// Any [`RecordingError`] but those of writing.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        let file = File::open(path).map_err(|source| RecordingError::Open {
            path: path.to_owned(),
            source,
        })?;
        Self::new(path, BufReader::with_capacity(1 << 16, file))
    }
}

impl<R: Read> Reader<R> {
    /// Reads the header from anything that gives bytes; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn new(path: &Path, mut source: R) -> Result<Self, RecordingError> {
        let path = path.to_owned();
        let read_error = |offset, source| RecordingError::Read {
            path: path.clone(),
            offset,
            source,
        };
        let mut magic = [0; MAGIC.len()];
        let got = frame::fill(&mut source, &mut magic).map_err(|error| read_error(0, error))?;
        if got == 0 {
            return Err(RecordingError::Empty { path });
        }
        if magic[..got] != MAGIC[..got] {
            let reason = foreign(&magic[..got]);
            return Err(RecordingError::Foreign { path, reason });
        }
        let mut payload = Vec::new();
        let found = frame::read(&mut source, &mut payload)
            .map_err(|error| read_error(MAGIC.len() as u64, error))?;
        let cut_off = |more: usize| RecordingError::NoHeader {
            path: path.clone(),
            bytes: (got + more) as u64,
        };
        match found {
            Frame::Whole => {}
            Frame::End => return Err(cut_off(0)),
            Frame::CutOff(bytes) => return Err(cut_off(bytes)),
            Frame::Damaged(reason) => {
                return Err(RecordingError::DamagedHeader {
                    path,
                    reason: reason.to_owned(),
                });
            }
        }
        let damaged = |reason: String| RecordingError::DamagedHeader {
            path: path.clone(),
            reason,
        };
        let packet = proto::Packet::decode(payload.as_slice())
            .map_err(|error| damaged(error.to_string()))?;
        let Some(Content::Header(header)) = packet.content else {
            return Err(damaged("the first packet is no header".to_owned()));
        };
        let (major, minor) = (header.major, header.minor);
        if major != MAJOR {
            return Err(RecordingError::OtherVersion { path, major, minor });
        }
        if packet.strings.len() + packet.states.len() + packet.suspensions.len() > 0 {
            return Err(damaged("it comes with entries of tables".to_owned()));
        }
        let header = Header::from_proto(header).map_err(damaged)?;
        let begin = (MAGIC.len() + frame::FRAME_HEADER + payload.len()) as u64;
        Ok(Self {
            begin,
            offset: begin,
            path,
            source,
            header,
            minor,
            payload,
            tables: Tables::default(),
            known: Known::default(),
            jumped: false,
            snapshot: false,
            waiting: None,
            skipped: 0,
            ended: false,
            ending: None,
        })
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Minor version of the file's format.
    #[must_use]
    pub fn minor(&self) -> u32 {
        self.minor
    }

    /// What comes next; `None` at the end, of which [`Reader::ending`] tells.
    ///
    /// # Errors
    /// [`RecordingError::Read`] when the file cannot be read. Damage is an [`Ending`], no error.
    pub fn next_item(&mut self) -> Result<Option<Item>, RecordingError> {
        loop {
            if let Some(item) = self.waiting.take() {
                return Ok(Some(item));
            }
            if self.ending.is_some() {
                return Ok(None);
            }
            let found = frame::read(&mut self.source, &mut self.payload).map_err(|source| {
                RecordingError::Read {
                    path: self.path.clone(),
                    offset: self.offset,
                    source,
                }
            })?;
            match found {
                Frame::Whole => match self.item() {
                    Ok(item) => {
                        self.offset += (frame::FRAME_HEADER + self.payload.len()) as u64;
                        if item.is_some() {
                            return Ok(item);
                        }
                    }
                    Err(reason) => self.damaged(reason),
                },
                Frame::End if self.ended => self.ending = Some(Ending::Complete),
                Frame::End => self.ending = Some(Ending::Open),
                Frame::CutOff(bytes) => {
                    self.ending = Some(Ending::CutOff {
                        bytes: bytes as u64,
                    });
                }
                Frame::Damaged(reason) => self.damaged(reason.to_owned()),
            }
        }
    }

    /// How the recording ends, once [`Reader::next_item`] has returned `None`.
    #[must_use]
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// Where the last whole packet that was read ends: without a jump, the bytes read so far.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Packets left out because a later minor version has more kinds of them.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Forgets what was read: the source is at a segment's beginning, `offset` in the file.
    pub(super) fn begin_again(&mut self, offset: u64) {
        self.offset = offset;
        self.tables = Tables::default();
        self.jumped = true;
        self.snapshot = false;
        self.waiting = None;
        self.ended = false;
        self.ending = None;
    }

    fn damaged(&mut self, reason: String) {
        self.ending = Some(Ending::Damaged {
            offset: self.offset,
            reason,
        });
    }

    /// What the packet in the buffer says; `None` when it has nothing to say to this version.
    fn item(&mut self) -> Result<Option<Item>, String> {
        let mut packet =
            proto::Packet::decode(self.payload.as_slice()).map_err(|error| error.to_string())?;
        if self.ended {
            return Err("there is a packet after the end".to_owned());
        }
        if let Some(Content::Segment(_)) = packet.content {
            self.tables = Tables::default();
        }
        let entries = packet.strings.len() + packet.states.len() + packet.suspensions.len();
        self.tables.extend(&mut packet)?;
        Ok(match packet.content {
            None => {
                self.skipped += u64::from(entries == 0);
                None
            }
            Some(Content::Header(_)) => return Err("there is a second header".to_owned()),
            Some(Content::Segment(_) | Content::Index(_)) => None,
            Some(Content::Units(units)) if self.jumped => {
                Some(Item::Units(segments::units(units, &self.tables)?))
            }
            Some(Content::Units(_)) => None,
            Some(Content::Events(events)) => {
                Some(Item::Events(decode::events(events, &self.tables)?))
            }
            Some(Content::Losses(losses)) => self.losses(losses),
            Some(Content::Watching(watching)) => {
                let strings = &self.tables.strings;
                Some(Item::Watching(watching_from_proto(&watching, strings)?))
            }
            Some(Content::Statistics(counts)) => Some(Item::Statistics {
                time: counts.time,
                counts: statistics_from_proto(&counts),
            }),
            Some(Content::Snapshot(part)) => self.part(part)?,
            Some(Content::DeflatedSnapshot(part)) => self.part(deflated::snapshot(&part)?)?,
            Some(Content::End(end)) => {
                self.ended = true;
                Some(Item::End(End {
                    time: end.time,
                    reason: end.reason,
                    events: end.events,
                    statistics: end
                        .statistics
                        .as_ref()
                        .map(statistics_from_proto)
                        .unwrap_or_default(),
                }))
            }
        })
    }

    fn part(&mut self, part: proto::Snapshot) -> Result<Option<Item>, &'static str> {
        // Who jumped into the middle of a snapshot is not told half of it.
        self.snapshot |= part.summary.is_some() || !self.jumped;
        if !self.snapshot {
            return Ok(None);
        }
        let part = trees::part(part, &self.tables.strings)?;
        Ok(Some(Item::Snapshot(part)))
    }

    fn losses(&mut self, losses: proto::Losses) -> Option<Item> {
        let lost: Vec<Loss> = losses
            .lost
            .into_iter()
            .map(|loss| Loss {
                cpu: loss.cpu,
                count: loss.count,
                until: loss.until,
            })
            .collect();
        let dropped = (losses.dropped > 0).then_some(Item::Dropped {
            count: losses.dropped,
            until: losses.dropped_until,
        });
        if lost.is_empty() {
            return dropped;
        }
        self.waiting = dropped;
        Some(Item::Losses(lost))
    }
}

/// What the first bytes look like.
fn foreign(bytes: &[u8]) -> String {
    let known = match bytes {
        [0x7f, b'E', b'L', b'F', ..] => "an ELF file",
        [0x1f, 0x8b, ..] => "a gzip file",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "a zstd file",
        [b'P', b'E', b'R', b'F', b'I', b'L', b'E', ..] => "a perf recording",
        [b'{' | b'[', ..] => "JSON or other text",
        [first, ..] if *first == MAGIC[0] || bytes.starts_with(b"\x09ATRC") => {
            "a recording damaged by a transfer as text, or something else"
        }
        _ => {
            let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            return format!("it begins with {}", hex.join(" "));
        }
    };
    format!("it looks like {known}")
}
