//! Critical paths: the chain of waits and polls that made up a duration.
//!
//! In: a [`History`](super::history::History) and two moments. Out: [`Piece`]s that follow each
//! other without holes, so that their lengths sum to the duration. Pure.
//!
//! The path is walked backwards ([`walk()`]). What a task did in its polls is its own time. Before a
//! poll it was scheduled, since the wake-up that caused the poll. Before that it waited: if a poll
//! of another task made the wake-up, that task is followed for the time of the wait, and only for
//! that (what it did before the wait began held nobody up); if not, it waited for the world
//! outside. Where the task awaits several things at once, the one that came last is followed, and
//! polls of the task for the others count as a part of its wait.

mod aggregate;
mod follow;
mod named;
mod walk;

#[cfg(test)]
mod tests;

use super::history::{AwaitIndex, PollIndex, UnitIndex, WakeIndex};

pub use aggregate::{Aggregate, AwaitedPlace, Share, aggregate};
pub use named::{NamedEvent, time_of};
pub use walk::{Question, walk};

/// A piece of a critical path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Begin, CLOCK_MONOTONIC in nanoseconds.
    pub from: u64,
    /// End: the begin of the next piece.
    pub to: u64,
    /// The unit in which the time went by.
    pub unit: UnitIndex,
    /// The await instance that it went by in, innermost, where it is known.
    pub within: Option<AwaitIndex>,
    /// What the time was.
    pub kind: PieceKind,
}

impl Piece {
    /// Its length in nanoseconds.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.to.saturating_sub(self.from)
    }
}

/// What the time of a piece was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceKind {
    /// The task was polled, on the CPU.
    Polled(PollIndex),
    /// The task was polled, its thread asleep in the kernel.
    Blocked(PollIndex),
    /// The task was polled, its thread without a CPU.
    Preempted(PollIndex),
    /// The task was scheduled and not polled yet.
    Scheduled(Option<WakeIndex>),
    /// The task waited, and what ended the wait came from outside the traced tasks: I/O, a timer,
    /// a thread. The wake-up that ended it, where it is known.
    Waiting(Option<WakeIndex>),
    /// Not known: events are missing.
    Unknown,
}

impl PieceKind {
    /// `polled`, `blocked`, `preempted`, `scheduled`, `waiting`, `unknown`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Polled(_) => "polled",
            Self::Blocked(_) => "blocked",
            Self::Preempted(_) => "preempted",
            Self::Scheduled(_) => "scheduled",
            Self::Waiting(_) => "waiting",
            Self::Unknown => "unknown",
        }
    }

    /// The wake-up that ended it, where it is known.
    #[must_use]
    pub const fn wake(self) -> Option<WakeIndex> {
        match self {
            Self::Scheduled(wake) | Self::Waiting(wake) => wake,
            _ => None,
        }
    }
}

/// A critical path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CriticalPath {
    /// Its pieces in order of time: each begins where the one before ends.
    pub pieces: Vec<Piece>,
    /// The walk was given up at its limit: the rest, at the beginning, is one unknown piece.
    pub cut_off: bool,
}

impl CriticalPath {
    /// The sum of the pieces' lengths in nanoseconds: the duration.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.pieces.iter().map(Piece::length).sum()
    }
}
