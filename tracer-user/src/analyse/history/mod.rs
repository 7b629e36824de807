//! What happened in a trace, joined: tasks with their polls and awaits, and the wake-ups between
//! them. Everything that is reported, exported or drawn is made from this.
//!
//! In: [`Event`](crate::rebuild::event::Event)s in the order of the recording. Out: a [`History`].
//! Pure. Deliberately absent: requests and critical paths, which are questions to a history
//! (`analyse::requests`, `analyse::critical_path`).
//!
//! Times are CLOCK_MONOTONIC in nanoseconds.

mod again;
mod builder;
mod causes;
mod current;
mod fate;
mod instances;
mod lifetime;
mod moment;
mod order;
mod outlast;
mod over_before;
mod panics;
mod polls;
#[cfg(test)]
pub(crate) mod property_tests;
#[cfg(test)]
pub(crate) mod sample;
mod stands;
mod task;
#[cfg(test)]
mod tests;
mod tree;
mod units;
mod wakers;
#[cfg(test)]
mod wakers_tests;
mod watched;

use std::ops::{Index, Range};
use std::sync::Arc;

pub use self::builder::{Builder, Limits};
pub use self::current::Current;
pub use self::wakers::{AwaitWakers, Probed, TaskWakers, WakerCounts, Wakers};

use crate::address::Address;
use crate::rebuild::event::{EndSeen, EventId, Origin, Outcome, PanicLocation, UnitId, WakeEffect};
use crate::rebuild::suspension::{Place, Suspension};
use crate::rebuild::tree::NodeKind;

/// Index into [`History::units`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnitIndex(pub u32);

/// Index into [`History::awaits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AwaitIndex(pub u32);

/// Index into [`History::polls`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PollIndex(pub u32);

/// Index into [`History::wakes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WakeIndex(pub u32);

/// A trace, joined.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// When the trace began and ended.
    pub span: Range<u64>,
    /// Tasks, threads, origins, in order of their first event.
    pub units: Vec<UnitHistory>,
    /// Polls in order of their begin.
    pub polls: Vec<Poll>,
    /// When polls were off the CPU, in order of the polls and then of time.
    pub off_cpu: Vec<OffCpu>,
    /// Panics in order of time.
    pub panics: Vec<Panic>,
    /// Await instances; a parent stands before its children.
    pub awaits: Vec<Await>,
    /// Wake-ups in order of time.
    pub wakes: Vec<Wake>,
    /// What did not fit into the limits, or was lost: what is known is right, not complete.
    pub missing: Missing,
    /// Since when polls of all tasks and wake-ups were watched until the end, CLOCK_MONOTONIC in
    /// nanoseconds; `u64::MAX` when they were not at the end, 0 when they always were.
    pub watched_since: u64,
    /// Wakers, counted.
    pub wakers: Wakers,
    /// By poll: the last time at which something happened inside it; see [`History::known_until`].
    pub last_inside: Vec<u64>,
}

/// What is missing in a history.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Missing {
    /// Records that the kernel lost.
    pub records_lost: u64,
    /// Events that did not get into the recording.
    pub events_dropped: u64,
    /// Gaps: places in a unit's life where events are known to be missing.
    pub gaps: u64,
    /// Polls, awaits or wake-ups beyond the limits of memory.
    pub beyond_limits: u64,
    /// Suspensions of which nothing is known.
    pub suspensions_unknown: u64,
    /// Times at which nothing but panics was watched, so that tracing cost no more than it may.
    pub pauses: u64,
    /// How long that was, nanoseconds.
    pub unwatched_ns: u64,
    /// How long polls of some types, or wake-ups, were not watched while others were, for the same
    /// reason, nanoseconds.
    pub partly_ns: u64,
    /// Futures of the tasks whose polls were left out then.
    pub left_out: Vec<std::sync::Arc<str>>,
    /// Wake-ups were left out then: what had tasks polled is not known.
    pub wakes_left_out: bool,
}

/// A unit and what it did.
#[derive(Clone, Debug)]
pub struct UnitHistory {
    /// Its number in the trace.
    pub id: UnitId,
    /// What it is.
    pub kind: UnitKind,
    /// First sight of it. For a task whose spawn was seen: that moment.
    pub first: u64,
    /// Last sight of it.
    pub last: u64,
    /// Its polls, in order.
    pub polls: Vec<PollIndex>,
    /// Its await instances, in order of their start.
    pub awaits: Vec<AwaitIndex>,
    /// Wake-ups of it, in order of time.
    pub woken: Vec<WakeIndex>,
    /// Times at which events of it are missing.
    pub gaps: Vec<u64>,
}

/// What a unit is.
#[derive(Clone, Debug)]
pub enum UnitKind {
    /// An async task.
    Task(TaskHistory),
    /// A thread, for what it does outside any task.
    Thread {
        /// Thread id.
        tid: u32,
        /// Its name, where it is known.
        name: Option<Arc<str>>,
        /// Whether it polls async tasks: a worker of a runtime.
        polls_tasks: bool,
    },
    /// A cause inside the kernel.
    Origin(Origin),
    /// Not described in this recording.
    Unknown,
}

/// What is known of a task.
#[derive(Clone, Debug)]
pub struct TaskHistory {
    /// As `dump` names it: `tokio/17`.
    pub name: Arc<str>,
    /// Its `Header`, or the future of a root without one.
    pub address: Address,
    /// Path of its future.
    pub future: Option<Arc<str>>,
    /// It runs blocking work (`spawn_blocking`), not an async future.
    pub blocking: bool,
    /// It was there before the trace.
    pub existing: bool,
    /// Who spawned it.
    pub spawned: Option<Spawn>,
    /// Its end, when it was seen.
    pub end: Option<TaskEnd>,
}

/// How a task came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spawn {
    /// When.
    pub time: u64,
    /// The event that tells it.
    pub event: EventId,
    /// Who did it.
    pub by: Doer,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskEnd {
    /// When.
    pub time: u64,
    /// How.
    pub outcome: Outcome,
    /// Who aborted it, when that was seen.
    pub aborted: Option<Doer>,
}

/// Who did something, and in the middle of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doer {
    /// The task or thread.
    pub unit: UnitIndex,
    /// The poll it was done in.
    pub poll: Option<PollIndex>,
    /// The innermost await instance of that task that was there before that poll and after it: it, or
    /// something inside it, did it. The task's own future when everything ended in the poll.
    pub within: Option<AwaitIndex>,
    /// What moved a thread outside polls: I/O readiness, a timer.
    pub origin: Option<UnitIndex>,
}

/// A poll of a task.
#[derive(Clone, Debug)]
pub struct Poll {
    /// The task.
    pub task: UnitIndex,
    /// The event of its begin, or of its end when the begin is missing.
    pub event: EventId,
    /// The thread.
    pub thread: Option<UnitIndex>,
    /// Begin; equal to the end when it is not known.
    pub begin: u64,
    /// Whether the begin was seen.
    pub begin_known: bool,
    /// End; `None` when it goes on at the end of the trace, or was lost.
    pub end: Option<u64>,
    /// How the end was seen; when not by a probe at the exit the end is an upper bound, and with
    /// [`EndSeen::NotWatched`] a lower one.
    pub seen: EndSeen,
    /// How it ended.
    pub outcome: Outcome,
    /// Nanoseconds of it off the CPU: asleep in a system call or waiting for a lock of the OS.
    pub blocked: u64,
    /// Nanoseconds of it off the CPU because the scheduler took it.
    pub preempted: u64,
    /// What had the task scheduled.
    pub cause: Option<PollCause>,
    /// The leaves that the task waited in before this poll (instances that were going on and had no
    /// child), since the poll before.
    pub waited_in: Vec<AwaitIndex>,
}

impl Poll {
    /// Its length in nanoseconds, at most where its end is not exact; `None` when nothing says when it
    /// ended.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        let end = self.end.filter(|_| self.seen != EndSeen::NotWatched)?;
        Some(end.saturating_sub(self.begin))
    }
}

/// A while of a poll off the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffCpu {
    /// The poll.
    pub poll: PollIndex,
    /// Since when.
    pub from: u64,
    /// Until when.
    pub to: u64,
    /// The scheduler took the CPU; otherwise the thread was asleep.
    pub preempted: bool,
    /// Number of the system call it was in; `None` in none (a page fault), or not known.
    pub syscall: Option<u32>,
}

/// A panic that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    /// The task or thread that panicked.
    pub unit: UnitIndex,
    /// The poll it was in; `None` outside any, or when its begin was not seen.
    pub poll: Option<PollIndex>,
    /// The event that tells it.
    pub event: EventId,
    /// When.
    pub time: u64,
    /// Where; `None` when it was raised again (`resume_unwind`), or that is not known.
    pub location: Option<Arc<PanicLocation>>,
    /// The task's futures then, see
    /// [`PanicBegan`](crate::rebuild::event::EventKind::PanicBegan); `None` when its begin was not
    /// seen.
    pub stood: Option<Arc<Suspension>>,
    /// What it says, the first 256 bytes.
    pub message: Option<Arc<str>>,
    /// It was seen on its way, after its hook: unwinding, or aborting the process.
    pub raised: bool,
}

/// What had a task scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollCause {
    /// A wake-up.
    Wake(WakeIndex),
    /// Its spawn.
    Spawn,
}

/// A wake-up.
#[derive(Clone, Debug)]
pub struct Wake {
    /// When.
    pub time: u64,
    /// The event that tells it.
    pub event: EventId,
    /// The woken task.
    pub task: UnitIndex,
    /// Who did it.
    pub by: Doer,
    /// What it did.
    pub effect: WakeEffect,
    /// The poll that it caused.
    pub poll: Option<PollIndex>,
}

/// An await instance: one future, in one task, awaited at one place.
#[derive(Clone, Debug)]
pub struct Await {
    /// The task.
    pub task: UnitIndex,
    /// The instance that awaits it; `None` for the task's own future, or when it is detached.
    pub parent: Option<AwaitIndex>,
    /// Instances that awaited it before: it was moved, as a `&mut future` kept across two
    /// `select!`s is.
    pub former_parents: Vec<AwaitIndex>,
    /// What is awaited.
    pub awaited: Arc<Awaited>,
    /// Where it lies in memory.
    pub place: Place,
    /// When it began: the begin of the poll that made it for an async body, the end of that poll
    /// for a leaf, the spawn for the task's own future. For an instance that was found: when that
    /// was.
    pub start: u64,
    /// It was there when it was first seen, so that it is older than `start` says.
    pub at_least: bool,
    /// When it ended: the begin of the poll that ended it for a leaf, the end of that poll for
    /// what holds others. `None`: it goes on at the end of the trace.
    pub end: Option<u64>,
    /// How it ended.
    pub outcome: AwaitOutcome,
    /// Nanoseconds between start and end outside polls of its task.
    pub waiting: u64,
    /// Nanoseconds between start and end inside polls of its task.
    pub polled: u64,
    /// Polls of its task between start and end.
    pub polls: u32,
}

/// What is awaited, and where. Interned: the key of the await profile.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct Awaited {
    /// Path of the future.
    pub future: Arc<str>,
    /// What kind of future it is.
    pub kind: NodeKind,
    /// What it waits for, for a leaf whose type tells: `sleep`, `lock`, `channel`, ...
    pub waits_for: Option<Arc<str>>,
    /// Path of the future that awaits it.
    pub by: Option<Arc<str>>,
    /// Source file of the await, in the body of `by`; for what is awaited by a future that is no
    /// async body (`select!`'s, `Timeout`), the one of the nearest async body above.
    pub file: Option<Arc<str>>,
    /// Line of it, 1-based.
    pub line: Option<u32>,
}

/// How an await instance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AwaitOutcome {
    /// It goes on.
    Open,
    /// It is suspended, and no longer held by any future of its task that the walk reaches.
    Detached,
    /// It returned a value.
    Ready,
    /// It was dropped before it was ready: the task was aborted, or another branch was faster.
    Cancelled,
    /// It panicked.
    Panicked,
    /// It is over; whether it was ready is not known.
    Over,
    /// It was there until `end`; what became of it was not told before the trace ended.
    Unknown,
}

macro_rules! index {
    ($index:ty, $rows:ident, $row:ty) => {
        impl Index<$index> for History {
            type Output = $row;

            fn index(&self, index: $index) -> &$row {
                &self.$rows[index.0 as usize]
            }
        }
    };
}

index!(UnitIndex, units, UnitHistory);
index!(PollIndex, polls, Poll);
index!(AwaitIndex, awaits, Await);
index!(WakeIndex, wakes, Wake);

impl History {
    /// Whether everything was watched at this time and later. Else what was not seen since may have
    /// been.
    #[must_use]
    pub const fn is_watched_since(&self, time: u64) -> bool {
        self.watched_since <= time
    }

    /// Until when a poll is known to have gone on: its end where that is exact, otherwise the last
    /// thing that happened inside it. Its true end lies between this and [`Poll::end`].
    #[must_use]
    pub fn known_until(&self, poll: PollIndex) -> u64 {
        let row = &self[poll];
        match row.end {
            Some(end) if row.seen.is_exact() => end,
            _ => {
                let until = self.last_inside.get(poll.0 as usize).copied();
                until.unwrap_or(row.begin).max(row.begin)
            }
        }
    }

    /// When a poll ended. One that goes on ends with the trace, where that would have been seen, and
    /// otherwise with the last thing that is known of it.
    #[must_use]
    pub fn end_of(&self, poll: PollIndex) -> u64 {
        let goes_on = || match self.watched_since {
            u64::MAX => self.known_until(poll),
            _ => self.span.end,
        };
        self[poll].end.unwrap_or_else(goes_on)
    }

    /// The whiles that a poll was off the CPU, in order.
    #[must_use]
    pub fn off_cpu_of(&self, poll: PollIndex) -> &[OffCpu] {
        let from = self.off_cpu.partition_point(|off| off.poll < poll);
        let rest = self.off_cpu.get(from..).unwrap_or_default();
        let count = rest.partition_point(|off| off.poll == poll);
        rest.get(..count).unwrap_or_default()
    }
}

impl UnitHistory {
    /// What is known of it as a task; `None` when it is none.
    #[must_use]
    pub fn task(&self) -> Option<&TaskHistory> {
        match &self.kind {
            UnitKind::Task(task) => Some(task),
            _ => None,
        }
    }
}

impl Await {
    /// Nanoseconds from its start to its end, or to `now` (the end of the trace) when it is open.
    #[must_use]
    pub fn duration(&self, now: u64) -> u64 {
        self.end.unwrap_or(now).saturating_sub(self.start)
    }
}
