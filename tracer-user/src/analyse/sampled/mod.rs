//! What looks at memory tell without a single event: where tasks wait, and what changed between
//! looks.
//!
//! In: snapshots in order of time ([`Collector`]). Out: [`Sampled`]: an await profile in
//! task-samples (one task in one look), types of tasks, changes, and who stood still the longest.
//! Pure; memory is that of the distinct awaits and of a few words for each future of a live task.
//!
//! A look tells of its moment only. Counts of samples are exact; times are estimates (each sample
//! stands for the time half way to its neighbours), and no poll, wake-up or duration of an await is
//! told: none was seen.

mod collect;
mod rows;
mod shape;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::Serialize;

pub use self::collect::Collector;
pub use self::rows::{SampledAwait, SampledType, StandingTask};

use crate::analyse::history::Awaited;

/// What all looks tell together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sampled {
    /// How the looks were taken.
    pub looks: Looks,
    /// Task-samples by the state of the task.
    pub samples: Samples,
    /// What changed between looks, all looks together.
    pub changes: Changes,
    /// The same for each look; the last [`Collector::LOOKS`] of them.
    pub by_look: Vec<Look>,
    /// Where tasks wait, where most of their time is spent first.
    pub awaits: Vec<SampledAwait>,
    /// Tasks by type, those with most samples first.
    pub types: Vec<SampledType>,
    /// Live tasks that have stood still for longest, the longest first.
    pub standing: Vec<StandingTask>,
    /// Futures and tasks that were not counted because there are more than fit into memory.
    pub beyond_limits: u64,
    /// Chains of awaits with what they have to themselves, for stacks.
    #[serde(skip)]
    pub stacks: Vec<SampledStack>,
}

/// How the looks were taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Looks {
    /// How many.
    pub count: u64,
    /// Time of the first, CLOCK_MONOTONIC in nanoseconds.
    pub first_ns: u64,
    /// Time of the last.
    pub last_ns: u64,
    /// Looks a second, from the first to the last; `None` with fewer than two.
    pub per_second: Option<f64>,
    /// Looks a second that were asked for, where that is known.
    pub asked_per_second: Option<f64>,
    /// The longest time between two looks, nanoseconds.
    pub longest_between_ns: u64,
}

/// Task-samples: one task in one look counts one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Samples {
    /// All of them.
    pub tasks: u64,
    /// Of tasks that waited.
    pub idle: u64,
    /// Of tasks that had been woken and were not polled yet.
    pub scheduled: u64,
    /// Of tasks that were being polled.
    pub running: u64,
    /// Of tasks that had ended and were not freed yet.
    pub complete: u64,
    /// Of tasks whose state could not be read.
    pub unknown: u64,
    /// Of tasks that waited and whose place could not be read: no types in the debug information, or
    /// memory that changed while it was read.
    pub idle_unplaced: u64,
}

impl Samples {
    fn add(&mut self, other: Self) {
        self.tasks += other.tasks;
        self.idle += other.idle;
        self.scheduled += other.scheduled;
        self.running += other.running;
        self.complete += other.complete;
        self.unknown += other.unknown;
        self.idle_unplaced += other.idle_unplaced;
    }
}

/// What changed from one look to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Tasks that were not there before.
    pub came: u64,
    /// Tasks that are not there any more.
    pub went: u64,
    /// Tasks that were polled, woken, or stand elsewhere.
    pub moved: u64,
    /// Tasks that waited and wait as before: the same futures at the same places for the same things.
    /// They may have been polled and have come back there in between.
    pub still: u64,
}

impl Changes {
    fn add(&mut self, other: Self) {
        self.came += other.came;
        self.went += other.went;
        self.moved += other.moved;
        self.still += other.still;
    }
}

/// One look, and what changed since the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Look {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub time_ns: u64,
    /// Tasks in it.
    pub tasks: u64,
    /// What changed; the first look has nothing to be compared with.
    #[serde(flatten)]
    pub changes: Changes,
}

/// A chain of awaits from a task's own future down.
#[derive(Clone, Debug, PartialEq)]
pub struct SampledStack {
    /// The chain without its last await: its place among all, always before this one's.
    pub above: Option<u32>,
    /// Type of the task.
    pub task: Arc<str>,
    /// The last await of the chain.
    pub awaited: Arc<Awaited>,
    /// Task-samples in which nothing was awaited below it.
    pub samples: u64,
    /// The time that these stand for, nanoseconds.
    pub time_ns: u64,
}
