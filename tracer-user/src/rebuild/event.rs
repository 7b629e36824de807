//! The event model: what happened, to which execution unit, and because of what.
//!
//! An [execution unit](Unit) is one sequential thing. Each [`Event`] belongs to the unit that *did*
//! it and has the next sequence number there; where it depends on something, [`Event::cause`] names
//! the event it depends on. Causes only ever name earlier events, so events form a directed
//! acyclic graph: order inside a unit is the sequence number, order between units the causes.
//!
//! | event | belongs to | its cause |
//! |---|---|---|
//! | described | the unit itself | - |
//! | poll begin | the task | the wake, spawn or abort that had it scheduled |
//! | await changed, poll end, blocked, unblocked, gap | the task | - (order says it) |
//! | finished | the task | the abort that had it cancelled, otherwise - |
//! | wake, waker cloned, waker dropped, spawned, aborted | the task or thread that did it | the poll it was done in; outside polls, what the thread was doing: an origin's *fired* |
//! | panic began, panic raised | the task or thread that panics | the poll it is in |
//! | fired | the origin | - |
//! | future poll | the task whose poll it is in | that poll |
//!
//! A missing cause means "not known" and never "none": it was lost, happened before the recording,
//! or is of a kind that no probe sees. Spans are derived from events, never stored.

use std::fmt;
use std::sync::Arc;

use super::suspension::{Marks, Suspension};
use crate::address::Address;

/// Names a unit within one trace. Numbers are given in order of first sight, from 0, and are never
/// given twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnitId(pub u64);

impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "u{}", self.0)
    }
}

/// Names an event within one trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId {
    /// The unit it belongs to.
    pub unit: UnitId,
    /// Its place there, from 0 without holes.
    pub sequence: u64,
}

/// One sequential thing that runs and waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    /// An async task.
    Task(TaskUnit),
    /// A thread, for what it does outside any task.
    Thread(ThreadUnit),
    /// A cause inside the kernel.
    Origin(Origin),
}

/// An async task as a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskUnit {
    /// The runtime that polls it: `tokio`, ...
    pub runtime: Arc<str>,
    /// Its `Header`, or the future of a root without one.
    pub address: Address,
    /// The runtime's own number for it, where it has one and it could be read.
    pub task_id: Option<u64>,
    /// How many units with this address and id the trace had before: addresses are reused within
    /// milliseconds, and runtimes without ids have nothing else to tell tasks apart.
    pub generation: u32,
    /// Path of its future, where it is known.
    pub future: Option<Arc<str>>,
    /// It was there before the first event (known from memory), so that its beginning was not seen.
    pub existing: bool,
}

/// A thread as a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadUnit {
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// The name it gave itself, where it is known.
    pub name: Option<Arc<str>>,
}

/// A cause inside the kernel, transparent: what it causes is caused by the world outside. There is
/// one unit for each I/O resource, and one for all timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A file descriptor became ready.
    Io {
        /// The runtime's record of it (tokio: `ScheduledIo`), where it is known.
        resource: Option<Address>,
        /// The file descriptor, where it is known.
        fd: Option<i32>,
    },
    /// A timer ran out.
    Timer,
    /// A signal.
    Signal,
}

/// How a poll, or a task, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The future is not ready: the task goes on to exist.
    Pending,
    /// The future returned a value.
    Ready,
    /// The future was dropped on request.
    Cancelled,
    /// The future panicked.
    Panicked,
    /// The task is over; whether it returned, was cancelled or panicked is not known.
    Over,
    /// Not known.
    Unknown,
}

impl Outcome {
    /// Whether the task exists no longer as something that can be polled.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(
            self,
            Self::Ready | Self::Cancelled | Self::Panicked | Self::Over
        )
    }
}

/// What a wake-up did to the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WakeEffect {
    /// The task was idle and is now scheduled.
    Scheduled,
    /// The task was being polled and will be polled again.
    PollAgain,
    /// The task was scheduled already: nothing.
    Redundant,
    /// The task was over: nothing.
    AlreadyOver,
    /// The task's state was not readable.
    Unknown,
}

/// How the end of a poll was noticed: without a probe at the exit it is the first later thing that
/// proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EndSeen {
    /// By the next event on its thread: it ended at or before that.
    NextEvent,
    /// When its thread left the CPU outside the poll: it ended at or before that.
    LeftCpu,
    /// By a probe at its exit: the time is the end's own.
    ExitProbe,
    /// When its thread ended.
    ThreadExit,
    /// By a later event of the task, while its own record is missing.
    Inferred,
    /// It was not: polls of other tasks were not watched, to keep a budget, and what came next on its
    /// thread came later. The time is that of the last thing that is known to have happened inside it.
    NotWatched,
}

impl EndSeen {
    /// Whether the time is the end's own; otherwise it is an upper bound, but for
    /// [`EndSeen::NotWatched`].
    #[must_use]
    pub const fn is_exact(self) -> bool {
        matches!(self, Self::ExitProbe)
    }
}

/// Where a panic began: `std::panic::Location`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct PanicLocation {
    /// The source file, as the compiler was called with it.
    pub file: Arc<str>,
    /// The line, 1-based.
    pub line: u32,
    /// The column, 1-based.
    pub column: u32,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// What is known of the unit: always its first event, and again whenever more is known.
    Described(Arc<Unit>),
    /// It spawned a task.
    Spawned {
        /// The new task.
        task: UnitId,
    },
    /// Its poll began.
    PollBegin {
        /// The thread that polls.
        thread: UnitId,
    },
    /// Its poll ended.
    PollEnd {
        /// How.
        outcome: Outcome,
        /// How that was noticed.
        seen: EndSeen,
        /// When the poll began, CLOCK_MONOTONIC in nanoseconds; `None` when that was not seen.
        began: Option<u64>,
    },
    /// Where it has stood since its last poll ended (or since before the trace). Known at the
    /// begin of its next poll, of which it is the event before with the same time, or from memory
    /// while it is idle. A poll begin without it means: where it stood the time before.
    AwaitChanged {
        /// Its futures.
        suspension: Arc<Suspension>,
        /// What tells them from others at the same places.
        marks: Marks,
    },
    /// It woke a task.
    Wake {
        /// The task.
        task: UnitId,
        /// Whether the waker was consumed (`wake`) or only used (`wake_by_ref`).
        by_value: bool,
        /// What that did.
        effect: WakeEffect,
    },
    /// It cloned a waker of a task.
    WakerCloned {
        /// The task that the waker wakes.
        task: UnitId,
    },
    /// It dropped a waker of a task without waking.
    WakerDropped {
        /// The task that the waker would have woken.
        task: UnitId,
    },
    /// The thread left the CPU inside the poll.
    Blocked {
        /// It could have gone on (the scheduler took the CPU); otherwise it went to sleep.
        preempted: bool,
        /// Number of the system call that it was in; `None` when it was in none (a page fault, an
        /// interrupt), or that is not known (recordings of format 1.0).
        syscall: Option<u32>,
    },
    /// The thread is on the CPU again.
    Unblocked,
    /// It aborted a task: the task is cancelled when it is polled next.
    Aborted {
        /// The task.
        task: UnitId,
    },
    /// The origin had its effect on this process: what it wakes refers to it.
    Fired,
    /// It is over: its last event, apart from a change of what is known of it.
    Finished {
        /// How; never [`Outcome::Pending`].
        outcome: Outcome,
    },
    /// A panic began in its poll, or on the thread outside any. It may be caught, and the task go
    /// on.
    PanicBegan {
        /// Where, where that is known.
        location: Option<Arc<PanicLocation>>,
        /// Its futures at that moment, each at its last suspension: a future that runs keeps that
        /// state. As far as memory has them as the poll found them; what is missing is said.
        suspension: Arc<Suspension>,
        /// What tells them from others at the same places.
        marks: Marks,
    },
    /// A panic is on its way, after its hook: it unwinds, or aborts the process. Without a begin
    /// before it in this poll, it was raised again (`std::panic::resume_unwind`).
    PanicRaised {
        /// What it says, where that is known; the first 256 bytes.
        message: Option<Arc<str>>,
    },
    /// Events of this unit are missing here.
    Gap {
        /// How many at least.
        lost: u64,
    },
    /// A future inside it was polled.
    FuturePoll {
        /// Where the future is.
        future: Address,
        /// Its path, where the probe knows it.
        name: Option<Arc<str>>,
        /// How many polls of probed futures it is nested in, the task's own not counted.
        depth: u8,
    },
}

impl EventKind {
    /// The other unit that the event is about, where there is one.
    #[must_use]
    pub const fn target(&self) -> Option<UnitId> {
        match self {
            Self::Spawned { task }
            | Self::Aborted { task }
            | Self::Wake { task, .. }
            | Self::WakerCloned { task }
            | Self::WakerDropped { task } => Some(*task),
            Self::PollBegin { thread } => Some(*thread),
            _ => None,
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The unit that did it, and its place there.
    pub id: EventId,
    /// CLOCK_MONOTONIC, nanoseconds. Never less than that of the event before it in its unit.
    pub time: u64,
    /// What happened.
    pub kind: EventKind,
    /// The event that it depends on; `None` when that is not known.
    pub cause: Option<EventId>,
}
