//! Activity: who was polled how often and how long, who woke whom, and what was still open at the
//! end.
//!
//! One pass over the trace, fed bit by bit; memory is bounded by the number of tasks that are alive
//! at once and by limits, not by the length of the trace. What is beyond a limit is counted.

mod collect;
mod open;
mod units;
mod wakes;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::{Serialize, Serializer};

pub use self::collect::Collector;
pub use self::open::{AwaitPlace, OpenTask, Waiting};
pub use self::wakes::{WakePair, Waker, Wakes};

/// Tasks of one type. In JSON what polls would tell is `null` where no poll of any of them is seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeActivity {
    /// Path of the future; `None` for tasks whose future is not known.
    pub future: Option<Arc<str>>,
    /// Tasks seen.
    pub tasks: u64,
    /// Those of them that were there before the trace.
    pub existing: u64,
    /// Those of them that were not over at its end.
    pub open: u64,
    /// Those of them that are polled where no probe stands: roots of `block_on`.
    pub unwatched: u64,
    /// Polls that ended.
    pub polls: u64,
    /// Those of them whose begin was not seen, so that their length is not known.
    pub polls_of_unknown_length: u64,
    /// Nanoseconds inside the polls of known length. An upper bound where ends were noticed late.
    pub busy_ns: u64,
    /// Nanoseconds of these off the CPU.
    pub off_cpu_ns: u64,
    /// The longest poll.
    pub longest_poll_ns: u64,
    /// Wake-ups of these tasks.
    pub wakes: u64,
}

impl TypeActivity {
    /// Whether polls of some of these tasks would be seen.
    #[must_use]
    pub const fn is_watched(&self) -> bool {
        self.unwatched < self.tasks || self.polls > 0
    }
}

impl Serialize for TypeActivity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct View<'a> {
            future: Option<&'a Arc<str>>,
            tasks: u64,
            existing: u64,
            open: u64,
            unwatched: u64,
            polls: Option<u64>,
            polls_of_unknown_length: Option<u64>,
            busy_ns: Option<u64>,
            off_cpu_ns: Option<u64>,
            longest_poll_ns: Option<u64>,
            wakes: u64,
        }
        let seen = |value: u64| self.is_watched().then_some(value);
        let view = View {
            future: self.future.as_ref(),
            tasks: self.tasks,
            existing: self.existing,
            open: self.open,
            unwatched: self.unwatched,
            polls: seen(self.polls),
            polls_of_unknown_length: seen(self.polls_of_unknown_length),
            busy_ns: seen(self.busy_ns),
            off_cpu_ns: seen(self.off_cpu_ns),
            longest_poll_ns: seen(self.longest_poll_ns),
            wakes: self.wakes,
        };
        view.serialize(serializer)
    }
}

/// A poll.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Poll {
    /// The task, as `asynctrace dump` names it.
    pub task: String,
    /// Its future.
    pub future: Option<Arc<str>>,
    /// Nanoseconds from the start of the trace to its begin; 0 if it began before.
    pub began_ns: u64,
    /// Its length in nanoseconds.
    pub length_ns: u64,
    /// Nanoseconds of it off the CPU: asleep in a system call, or waiting for a lock of the OS.
    pub blocked_ns: u64,
    /// Nanoseconds of it off the CPU because the scheduler took it.
    pub preempted_ns: u64,
    /// Whether the length is exact; otherwise it is an upper bound.
    pub exact: bool,
    /// Id of the thread.
    pub thread: Option<u32>,
}

/// What polled tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ThreadActivity {
    /// Thread id.
    pub tid: u32,
    /// Its name.
    pub name: Option<Arc<str>>,
    /// Polls that began on it.
    pub polls: u64,
    /// Nanoseconds inside polls of known length.
    pub busy_ns: u64,
}

/// What is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// Records that the kernel lost.
    pub records: u64,
    /// The same by CPU.
    pub by_cpu: std::collections::BTreeMap<u32, u64>,
    /// Events that did not get into the file.
    pub events_dropped: u64,
    /// Events that are known to be missing in tasks and threads, at least.
    pub gaps: u64,
    /// Tasks or threads that were not followed here, for there are limits.
    pub not_followed: u64,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Activity {
    /// Nanoseconds from the start to the last event.
    pub duration_ns: u64,
    /// Events.
    pub events: u64,
    /// Tasks seen.
    pub tasks: u64,
    /// Those of them that were there before the trace.
    pub tasks_existing: u64,
    /// Those that are over.
    pub tasks_over: u64,
    /// Polls that ended.
    pub polls: u64,
    /// Polls that began, and of these those whose cause (a wake-up or the spawn) is known.
    pub polls_begun: u64,
    /// See there.
    pub polls_with_cause: u64,
    /// Tasks by type, the busiest first.
    pub types: Vec<TypeActivity>,
    /// Threads that polled, the busiest first.
    pub threads: Vec<ThreadActivity>,
    /// Wake-ups.
    pub wakes: Wakes,
    /// The longest polls, the longest first.
    pub longest_polls: Vec<Poll>,
    /// Tasks that were not over, those that did nothing for longest first.
    pub open: Vec<OpenTask>,
    /// What is missing.
    pub missing: Missing,
}
