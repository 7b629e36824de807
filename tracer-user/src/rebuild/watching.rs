//! What of a process is watched from a moment on: everything at first, less when that would cost
//! the process more than it may.

use std::sync::Arc;

/// What is watched from a moment on, until the next such moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watching {
    /// The moment, CLOCK_MONOTONIC in nanoseconds.
    pub time: u64,
    /// Polls of tasks and spawns. Without them, only panics are watched, and what tasks do is not
    /// known.
    pub polls: bool,
    /// Wake-ups, where polls are. Without them it is not known why tasks are polled.
    pub wakes: bool,
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
            wakes: true,
            waker_counts: true,
            nested: true,
            ends: true,
            left_out: Vec::new(),
        }
    }

    /// Whether nothing is left out.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.are_all_polls() && self.wakes && self.waker_counts && self.nested && self.ends
    }

    /// Whether polls of all tasks are watched.
    #[must_use]
    pub fn are_all_polls(&self) -> bool {
        self.polls && self.left_out.is_empty()
    }

    /// Whether polls of the tasks with this future are left out, although those of others are not.
    #[must_use]
    pub fn leaves_out(&self, future: Option<&Arc<str>>) -> bool {
        future.is_some_and(|future| self.left_out.contains(future))
    }
}
