//! What of a process is watched from a moment on: everything at first, less when that would cost
//! the process more than it may.

use std::sync::Arc;

/// What is watched from a moment on, until the next such moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watching {
    /// The moment, CLOCK_MONOTONIC in nanoseconds.
    pub time: u64,
    /// Polls of tasks, wake-ups and spawns. Without them, only panics are watched, and what tasks
    /// do is not known.
    pub polls: bool,
    /// Clones and drops of wakers.
    pub waker_counts: bool,
    /// Polls of nested futures, where they were asked for.
    pub nested: bool,
    /// Exact ends of polls, where they were asked for. Without them a poll ends with what is seen
    /// next.
    pub ends: bool,
    /// Futures of the tasks whose polls are not watched although those of others are.
    pub left_out: Vec<Arc<str>>,
}

impl Watching {
    /// Everything, from this moment on.
    #[must_use]
    pub const fn everything(time: u64) -> Self {
        Self {
            time,
            polls: true,
            waker_counts: true,
            nested: true,
            ends: true,
            left_out: Vec::new(),
        }
    }

    /// Whether nothing is left out.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.polls && self.waker_counts && self.nested && self.ends && self.left_out.is_empty()
    }
}
