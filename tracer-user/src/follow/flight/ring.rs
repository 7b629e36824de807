//! The last stretch of a session, encoded: pieces that can be read without each other, of which the
//! oldest are dropped, and what was known before them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::export::recording::{Loss, Piece, RecordingError, Told, Writer};
use crate::follow::before::Before;
use crate::follow::recorder::Entry;
use crate::rebuild::event::Event;
use crate::rebuild::watching::Watching;

/// A stretch consists of so many pieces, about: so much more than was asked is kept at most.
const PIECES: u64 = 32;
/// Bytes of a piece: shorter ones tell names too often, longer ones are much to drop at once.
const SHORTEST: u64 = 64 << 10;
const LONGEST: u64 = 2 << 20;
/// Nanoseconds of a piece at least, when it is cut by time.
const BRIEFEST: u64 = 100_000_000;
/// The part of the stretch that looks at memory may take, beside the last two.
const LOOKS_SHARE: u64 = 4;
/// Looks that are kept in any case.
const LAST_LOOKS: usize = 2;
/// Bytes that are kept when only a time is asked for.
pub const MAX_BYTES: u64 = 512 << 20;

/// How much to keep: what is less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// This time.
    pub time: Option<Duration>,
    /// So many bytes of encoded events and looks.
    pub bytes: Option<u64>,
}

impl Keep {
    fn nanoseconds(self) -> u64 {
        self.time.map_or(u64::MAX, |time| {
            u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
        })
    }

    fn most_bytes(self) -> u64 {
        self.bytes.unwrap_or(MAX_BYTES)
    }
}

/// Keeps the last stretch.
#[derive(Debug)]
pub struct Ring {
    keep: Keep,
    writer: Writer<Vec<u8>>,
    kept: VecDeque<Kept>,
    bytes: u64,
    looks: usize,
    look_bytes: u64,
    before: Before,
    /// What was watched when the stretch begins, and what since.
    watching: VecDeque<Watching>,
    /// The latest time that anything told was about.
    now: u64,
    /// When the piece that is being filled began.
    piece_since: u64,
    /// What is older is not complete: from the end of the last piece that was dropped.
    from: u64,
    /// The first piece was dropped because of the bytes, before its time.
    short: bool,
    /// Pieces that could not be read back: a bug.
    unreadable: u64,
}

#[derive(Debug)]
struct Kept {
    piece: Arc<Piece>,
    is_look: bool,
}

/// What is kept, at one moment.
#[derive(Clone, Debug)]
pub struct Stretch {
    /// From when on it tells everything, CLOCK_MONOTONIC in nanoseconds.
    pub from: u64,
    /// Until when.
    pub until: u64,
    /// What was known before.
    pub before: Vec<Event>,
    /// What was watched at its begin, when that was not everything ever since.
    pub watching: Option<Watching>,
    /// The pieces, in order.
    pub pieces: Vec<Arc<Piece>>,
    /// It is shorter than was asked, as there were too many bytes.
    pub short: bool,
}

impl Ring {
    /// Of a session that started at this time (CLOCK_MONOTONIC, nanoseconds).
    #[must_use]
    pub fn new(keep: Keep, started: u64) -> Self {
        Self {
            keep,
            writer: Writer::of_pieces(started),
            kept: VecDeque::new(),
            bytes: 0,
            looks: 0,
            look_bytes: 0,
            before: Before::default(),
            watching: VecDeque::new(),
            now: started,
            piece_since: started,
            from: started,
            short: false,
            unreadable: 0,
        }
    }

    /// Takes what the session tells next.
    ///
    /// # Errors
    /// When something does not fit into any packet.
    pub fn take(&mut self, entry: &Entry) -> Result<(), RecordingError> {
        match entry {
            Entry::Events(events) => {
                let latest = events.iter().map(|event| event.time).max();
                self.now = self.now.max(latest.unwrap_or(0));
                self.writer.events(events)?;
            }
            Entry::Lost { cpu, count, until } => {
                self.now = self.now.max(*until);
                self.writer.losses(&[Loss {
                    cpu: *cpu,
                    count: *count,
                    until: *until,
                }])?;
            }
            Entry::Dropped { count, until } => {
                self.now = self.now.max(*until);
                self.writer.dropped(*count, *until)?;
            }
            Entry::Watching(watching) => {
                self.now = self.now.max(watching.time);
                self.watching.push_back(watching.clone());
                self.writer.watching(watching)?;
            }
            Entry::Statistics { counts, time } => {
                self.now = self.now.max(*time);
                self.writer.statistics(counts, *time)?;
            }
            Entry::Snapshot { snapshot, time, .. } => {
                // Pieces of its own: it is kept longer than what happened around it.
                self.cut(false)?;
                self.now = self.now.max(*time);
                self.writer.snapshot(snapshot, *time)?;
                self.cut(true)?;
            }
        }
        let age = self.now.saturating_sub(self.piece_since);
        let due = (self.keep.nanoseconds() / PIECES).max(BRIEFEST);
        let full = (self.keep.most_bytes() / PIECES).clamp(SHORTEST, LONGEST);
        if self.writer.uncut() as u64 >= full || age >= due {
            self.cut(false)?;
        }
        Ok(())
    }

    fn cut(&mut self, is_look: bool) -> Result<(), RecordingError> {
        for piece in self.writer.cut(self.now)? {
            let bytes = piece.bytes() as u64;
            self.bytes += bytes;
            if is_look {
                self.looks += 1;
                self.look_bytes += bytes;
            }
            let piece = Arc::new(piece);
            self.kept.push_back(Kept { piece, is_look });
        }
        self.piece_since = self.now;
        self.forget();
        Ok(())
    }

    fn forget(&mut self) {
        let most = self.keep.most_bytes();
        while self.looks > LAST_LOOKS && self.look_bytes > most / LOOKS_SHARE {
            if !self.forget_first(|kept| kept.is_look) {
                break;
            }
        }
        let since = self.now.saturating_sub(self.keep.nanoseconds());
        let is_old = |kept: &Kept| kept.piece.until <= since;
        loop {
            let events = self.kept.iter().find(|kept| !kept.is_look);
            let old = events.is_some_and(is_old);
            if !old && self.bytes <= most {
                break;
            }
            if !self.forget_first(|kept| !kept.is_look) {
                break;
            }
            self.short = !old;
        }
        // A look is of use as long as it is the last, or belongs to what is kept.
        let from = self.from;
        while self.looks > LAST_LOOKS
            && self.forget_first(|kept| kept.is_look && kept.piece.until <= from)
        {}
    }

    /// Drops the first of these; `false` when there is none.
    fn forget_first(&mut self, which: impl Fn(&Kept) -> bool) -> bool {
        let Some(at) = self.kept.iter().position(which) else {
            return false;
        };
        let Some(Kept { piece, is_look }) = self.kept.remove(at) else {
            return false;
        };
        let bytes = piece.bytes() as u64;
        self.bytes -= bytes;
        if is_look {
            self.looks -= 1;
            self.look_bytes -= bytes;
            return true;
        }
        self.from = self.from.max(piece.until.saturating_add(1));
        // Of those before it, the last one still holds.
        while self
            .watching
            .get(1)
            .is_some_and(|next| next.time < self.from)
        {
            self.watching.pop_front();
        }
        let before = &mut self.before;
        let read = piece.read(|told| match told {
            Told::Events(events) => events.iter().for_each(|event| before.take(event)),
            Told::Unwatched(watching) => before.pause(&watching),
        });
        if let Err(reason) = read {
            tracing::error!("a kept piece cannot be read: {reason}");
            self.unreadable += 1;
        }
        true
    }

    /// What is kept now.
    ///
    /// # Errors
    /// As [`Ring::take`].
    pub fn stretch(&mut self) -> Result<Stretch, RecordingError> {
        self.cut(false)?;
        Ok(Stretch {
            from: self.from,
            until: self.now,
            before: self.before.events(),
            watching: {
                let first = self.watching.front();
                first.filter(|first| first.time < self.from).cloned()
            },
            pieces: self
                .kept
                .iter()
                .map(|kept| Arc::clone(&kept.piece))
                .collect(),
            short: self.short,
        })
    }

    /// Bytes that are kept.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes + self.writer.uncut() as u64
    }

    /// The latest time that anything told was about, CLOCK_MONOTONIC in nanoseconds.
    #[must_use]
    pub const fn now(&self) -> u64 {
        self.now
    }

    /// Lets its time go on while nothing happens.
    ///
    /// # Errors
    /// As [`Ring::take`].
    pub fn flush(&mut self) -> Result<(), RecordingError> {
        self.writer.flush_if_due()
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
