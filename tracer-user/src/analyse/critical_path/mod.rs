//! Critical paths: the chain of waits and polls that made up a duration.
//!
//! In: a [`History`](super::history::History) and two moments. Out: [`Piece`]s that follow each
//! other without holes, so that their lengths sum to the duration. Pure.

use super::history::{AwaitIndex, PollIndex, UnitIndex, WakeIndex};

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
