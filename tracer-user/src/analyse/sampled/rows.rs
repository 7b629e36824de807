//! Rows of the result.

use std::sync::Arc;

use serde::Serialize;

use super::{Changes, Samples};
use crate::analyse::history::Awaited;

/// An await: the same future, awaited at the same place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SampledAwait {
    /// What is awaited, and where.
    #[serde(flatten)]
    pub awaited: Arc<Awaited>,
    /// Nothing was ever awaited below it: it is what was really waited for.
    pub leaf: bool,
    /// Task-samples of tasks that waited in it.
    pub task_samples: u64,
    /// Those of them in which it was the innermost await in the program's own code, or a leaf of a
    /// task that has none: where the program waits, as its author would say it.
    pub innermost_samples: u64,
    /// The part of all task-samples that they are, 0 to 1.
    pub share: f64,
    /// The time of tasks that its samples stand for, nanoseconds: an estimate.
    pub time_ns: u64,
    /// Times that a task was seen to have come to it; at least, as what lies between two looks is not
    /// seen.
    pub entered: u64,
    /// Tasks that waited in it at the last look.
    pub now: u64,
    /// The longest that one future of it was seen to stand: from the first look with it to the last,
    /// nanoseconds. It stood longer, by up to the time to the looks around these.
    pub longest_ns: u64,
    /// The task of that one.
    pub longest_task: Option<Arc<str>>,
    /// That one was there at the first look already.
    pub longest_from_before: bool,
}

/// Tasks of one type.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SampledType {
    /// Path of the tasks' future.
    pub future: Arc<str>,
    /// Tasks at the last look.
    pub now: u64,
    /// Tasks in the look with most of them.
    pub most: u64,
    /// Their samples by state.
    #[serde(flatten)]
    pub samples: Samples,
    /// What changed, all looks together.
    pub changes: Changes,
}

/// A task that has stood still until the last look.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StandingTask {
    /// `tokio/17`.
    pub id: Arc<str>,
    /// Path of its future.
    pub future: Arc<str>,
    /// Since the look at this time, CLOCK_MONOTONIC in nanoseconds.
    pub since_ns: u64,
    /// Until the last look, nanoseconds.
    pub standing_ns: u64,
    /// That was the first look: it may have stood there before.
    pub from_before: bool,
    /// The innermost awaits in the program's own code; what is waited for, where it has none.
    pub at: Vec<Arc<Awaited>>,
}
