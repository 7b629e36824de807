//! Requests: the await instances that a user thinks of as one piece of work, and everything that
//! was done for them.
//!
//! In: a [`History`](super::history::History) and patterns. Out: [`Request`]s, the graph of one,
//! what slow ones have in common. Pure.

use std::sync::Arc;

use super::history::{AwaitIndex, AwaitOutcome, UnitIndex};

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its number in this trace, from 1, in order of start.
    pub id: u32,
    /// Path of the async function whose instance it is.
    pub what: Arc<str>,
    /// The instance.
    pub root: AwaitIndex,
    /// Its task.
    pub task: UnitIndex,
    /// When it began, CLOCK_MONOTONIC in nanoseconds.
    pub start: u64,
    /// It is older than `start` says.
    pub at_least: bool,
    /// When it ended; `None`: it goes on at the end of the trace.
    pub end: Option<u64>,
    /// How it ended.
    pub outcome: AwaitOutcome,
}

impl Request {
    /// Its duration in nanoseconds, up to `now` (the end of the trace) when it is open.
    #[must_use]
    pub fn duration(&self, now: u64) -> u64 {
        self.end.unwrap_or(now).saturating_sub(self.start)
    }
}
