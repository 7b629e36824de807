//! A recording in pieces that are kept in memory: each is a segment, with all that is needed to read
//! it, and can be put into a file or dropped without a look at the others.

use std::io::Cursor;

use prost::Message as _;

use super::decode;
use super::frame::{self, Frame};
use super::tables::Tables;
use super::watching::watching_from_proto;
use crate::proto::{self, packet::Content};
use crate::rebuild::event::Event;
use crate::rebuild::watching::Watching;

/// A segment of a recording, encoded.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Everything that came before it is at or before this time (CLOCK_MONOTONIC, nanoseconds).
    pub from: u64,
    /// Everything in it is at or before this time.
    pub until: u64,
    /// Events in it.
    pub events: u64,
    /// Its frames, without the one that begins the segment.
    pub(super) body: Box<[u8]>,
}

/// What a piece says.
#[derive(Debug)]
pub enum Told<'a> {
    /// Events.
    Events(&'a [Event]),
    /// From here on polls of all tasks, or of some, are not watched.
    Unwatched(Watching),
}

impl Piece {
    /// Bytes that it takes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.body.len() + size_of::<Self>()
    }

    /// Gives back the events in it and when watching paused, in order.
    ///
    /// # Errors
    /// In words, when it is not as it was made: a bug.
    pub fn read(&self, mut take: impl FnMut(Told<'_>)) -> Result<(), String> {
        let mut source = Cursor::new(&self.body);
        let mut payload = Vec::new();
        let mut tables = Tables::default();
        loop {
            match frame::read(&mut source, &mut payload).map_err(|error| error.to_string())? {
                Frame::Whole => {}
                Frame::End => return Ok(()),
                Frame::CutOff(_) => return Err("a piece was cut off".to_owned()),
                Frame::Damaged(reason) => return Err(reason.to_owned()),
            }
            let mut packet =
                proto::Packet::decode(payload.as_slice()).map_err(|error| error.to_string())?;
            tables.extend(&mut packet)?;
            match packet.content {
                Some(Content::Events(events)) => {
                    take(Told::Events(&decode::events(events, &tables)?));
                }
                Some(Content::Watching(watching)) => {
                    let watching = watching_from_proto(&watching, &tables.strings)?;
                    if !watching.are_all_polls() {
                        take(Told::Unwatched(watching));
                    }
                }
                _ => {}
            }
        }
    }
}

/// Where the segments of a writer of pieces begin.
#[derive(Debug)]
pub(super) struct Cuts {
    begun: Vec<Begin>,
    /// Offset of what was not handed out yet.
    base: u64,
}

#[derive(Clone, Copy, Debug)]
struct Begin {
    /// Offset of the frame that begins it.
    frame: u64,
    /// Offset of what follows that frame.
    body: u64,
    time: u64,
    /// Events before it.
    events: u64,
}

impl Cuts {
    pub(super) fn starting_at(time: u64) -> Self {
        let first = Begin {
            frame: 0,
            body: 0,
            time,
            events: 0,
        };
        Self {
            begun: vec![first],
            base: 0,
        }
    }

    /// A segment begins; nothing before it is later than `time`, and there are `events` before it.
    pub(super) fn begin(&mut self, frame: u64, body: u64, time: u64, events: u64) {
        self.begun.push(Begin {
            frame,
            body,
            time,
            events,
        });
    }

    /// The segments that are over, out of the bytes that were written since the last time.
    pub(super) fn pieces(&mut self, bytes: &[u8]) -> Vec<Piece> {
        let at = |offset: u64| usize::try_from(offset - self.base).unwrap_or(usize::MAX);
        let pieces = self.begun.windows(2).filter_map(|pair| {
            let [one, next] = pair else { return None };
            let body = bytes.get(at(one.body)..at(next.frame))?;
            (!body.is_empty()).then(|| Piece {
                from: one.time,
                until: next.time,
                events: next.events - one.events,
                body: body.into(),
            })
        });
        let pieces = pieces.collect();
        if let Some(last) = self.begun.pop() {
            self.base = last.body;
            self.begun.clear();
            self.begun.push(last);
        }
        pieces
    }
}
