//! What the live view shows: one value for the whole table, made a few times a second by whoever
//! follows the events, never changed afterwards and shared without copying.
//!
//! Rows hold numbers and shared strings only, so that a table of 100,000 tasks costs a few
//! milliseconds to make; words are formed when a row is drawn. Text may come from a hostile target
//! and is escaped when it is drawn.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::analyse::sampled::Changes;
use crate::rebuild::snapshot::TaskState;

pub use crate::rebuild::nested::NestedPoll;
pub use crate::rebuild::tracker::{Standing, TaskKey};

/// The name of a task: `tokio/17`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TaskLabel {
    /// A task that its runtime numbers.
    Numbered {
        /// `tokio`, ...
        runtime: &'static str,
        /// Its number.
        number: u64,
    },
    /// A root without a task header, for example `tokio/block_on/1`, or a task whose number could
    /// not be read.
    Named(Arc<str>),
}

impl fmt::Display for TaskLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Numbered { runtime, number } => write!(f, "{runtime}/{number}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// Who woke a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WokenBy {
    /// A task that was being polled, by its number where that could be read.
    Task(Option<u64>),
    /// A thread outside any task: the I/O or timer driver of a runtime, or a thread of the program.
    Thread(u32),
}

/// The last wake-up of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastWake {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub at: u64,
    /// Wake-ups were not watched for a while since then: there may have been later ones.
    pub at_most: bool,
    /// Who did it.
    pub by: WokenBy,
}

/// What a task was found to be waiting for when its memory was last read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaiting {
    /// File and line of the innermost await in the program's own code, where debug information
    /// tells.
    pub site: Option<(Arc<str>, u32)>,
    /// What the leaf waits for, or the leaf's type where that is all that is known.
    pub what: Arc<str>,
    /// Polls of the task seen when its memory was read. More polls since then mean that this
    /// describes an earlier suspension.
    pub read_at_poll: u64,
}

/// What polls and wake-ups told of a task. Absent for tasks that no probe can see.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Activity {
    /// Polls since the attach.
    pub polls: u64,
    /// Polls a second over the last few seconds.
    pub polls_per_second: f64,
    /// Time spent in polls since the attach.
    pub busy: Duration,
    /// The share of one CPU that it used over the last few seconds, 0 to 1 (more is rounding).
    pub busy_share: f64,
    /// The last wake-up, where one was seen.
    pub last_wake: Option<LastWake>,
}

/// One task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskRow {
    /// Its identity.
    pub key: TaskKey,
    /// Its name.
    pub label: TaskLabel,
    /// The path of its future.
    pub future: Arc<str>,
    /// Its state.
    pub state: TaskState,
    /// When it came into that state: `CLOCK_MONOTONIC`, nanoseconds.
    pub since: u64,
    /// It was found in that state then, at the attach or after a pause, so it has been in it for at least
    /// that long.
    pub since_before_attach: bool,
    /// Its polls are not watched now, to keep a budget: it may be in another state since.
    pub unwatched: bool,
    /// What events told of it; `None` when no probe can see its polls.
    pub activity: Option<Activity>,
    /// Where it waits, where that is known.
    pub awaiting: Option<Awaiting>,
}

impl TaskRow {
    /// Whether the task was polled since its await was read, so that the await may be another now.
    #[must_use]
    pub fn await_is_old(&self) -> bool {
        match (&self.awaiting, &self.activity) {
            (Some(awaiting), Some(activity)) => activity.polls != awaiting.read_at_poll,
            _ => false,
        }
    }
}

/// The file that is being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingStatus {
    /// Its path as the user gave it.
    pub path: String,
    /// Bytes written.
    pub bytes: u64,
    /// Events that did not reach the file because writing was too slow.
    pub dropped: u64,
}

/// A session without probes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplingStatus {
    /// Looks at memory until now.
    pub looks: u64,
    /// Looks a second, as they are planned now.
    pub per_second: f64,
    /// Looks a second that were asked for.
    pub asked: f64,
    /// What changed between looks, since the start.
    pub changes: Changes,
    /// What the session itself takes, as a share of one CPU.
    pub own_cpu: f64,
}

/// The header of the view.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// Name of the program.
    pub program: String,
    /// Its process id.
    pub pid: i32,
    /// Its runtimes, in words: `tokio multi_thread, tokio current_thread`.
    pub runtimes: String,
    /// Time since the attach.
    pub elapsed: Duration,
    /// Events since the attach.
    pub events: u64,
    /// Events a second over the last few seconds.
    pub events_per_second: f64,
    /// Events that the kernel could not hand over.
    pub lost: u64,
    /// Estimated cost to the target as a share of one CPU; `None` while nothing is known.
    pub overhead: Option<f64>,
    /// The recording, where there is one.
    pub recording: Option<RecordingStatus>,
    /// The one thing the user should know now, for example why awaits are not shown.
    pub notice: Option<String>,
    /// How memory is looked at, where that is all: then there are no events to be counted.
    pub sampling: Option<SamplingStatus>,
}

/// Everything that one refresh shows.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// The time of all "ago" values: `CLOCK_MONOTONIC`, nanoseconds.
    pub now: u64,
    /// The header.
    pub status: Status,
    /// One row a live task, in the order of [`TaskLabel`]. At most `u32::MAX` of them.
    pub rows: Vec<TaskRow>,
    /// Live tasks that have no row because the table is bounded.
    pub rows_left_out: usize,
    /// Names of the target's threads.
    pub threads: HashMap<u32, Arc<str>>,
    /// With `--futures`: what was polled inside the last poll of each task, outermost first.
    pub nested: HashMap<TaskKey, Vec<NestedPoll>>,
    /// Of the tasks whose trees are shown: their futures in preorder, with since when.
    pub standing: HashMap<TaskKey, Vec<Standing>>,
}

#[cfg(test)]
#[path = "table_samples.rs"]
pub(crate) mod samples;
