//! One row of the task table: what is known of a task, and what the tracker needs to join the next
//! record to it.

use std::sync::Arc;

use super::standing::Since;
use crate::address::Address;
use crate::rebuild::event::{Event, EventId, EventKind, TaskUnit, Unit, UnitId, WakeEffect};
use crate::rebuild::snapshot::TaskState;
use crate::rebuild::suspension::{Marks, Suspension};

/// What tells one task from another while both may be met: ids of runtimes that number their tasks
/// are unique in a process, addresses are reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskKey {
    /// Its `Header`, or the future of a root without one.
    pub address: Address,
    /// The runtime's number for it, where it could be read.
    pub id: Option<u64>,
}

/// Who did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// A task, while it was polled.
    Task {
        /// Its unit.
        unit: UnitId,
        /// What tells it from others.
        key: TaskKey,
    },
    /// A thread outside any task.
    Thread {
        /// Its unit.
        unit: UnitId,
        /// Thread id in the initial pid namespace.
        tid: u32,
    },
}

impl Actor {
    /// The unit.
    #[must_use]
    pub const fn unit(&self) -> UnitId {
        match self {
            Self::Task { unit, .. } | Self::Thread { unit, .. } => *unit,
        }
    }
}

/// The last wake-up of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastWake {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub time: u64,
    /// Who woke it.
    pub by: Actor,
    /// Whether the waker was consumed (`wake`) or only used (`wake_by_ref`).
    pub by_value: bool,
    /// What it did.
    pub effect: WakeEffect,
}

/// A task as the tracker knows it. Times are CLOCK_MONOTONIC in nanoseconds, counts are of what was
/// seen since the tracker began.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its unit in the trace.
    pub unit: UnitId,
    /// What tells it from others.
    pub key: TaskKey,
    /// How many units with this key were seen before.
    pub generation: u32,
    /// The runtime that polls it.
    pub runtime: Arc<str>,
    /// Path of its future, where it is known.
    pub future: Option<Arc<str>>,
    /// It was there before the first event.
    pub existing: bool,
    /// Its state, as the last record or snapshot tells it.
    pub state: TaskState,
    /// Polls that ended or were proved to have ended.
    pub polls: u64,
    /// Nanoseconds inside polls, the time off the CPU included. Only of polls whose begin was
    /// seen; an upper bound where the end was noticed late.
    pub busy: u64,
    /// Nanoseconds of [`Task::busy`] during which the thread was off the CPU.
    pub off_cpu: u64,
    /// The longest of these polls, in nanoseconds.
    pub longest_poll: u64,
    /// Begin of the poll that goes on.
    pub polled_since: Option<u64>,
    /// Wake-ups.
    pub wakes: u64,
    /// Wake-ups that found it scheduled already.
    pub redundant_wakes: u64,
    /// The last wake-up.
    pub last_wake: Option<LastWake>,
    /// Clones of its waker less drops of them; may be negative, as clones from before are not
    /// known.
    pub waker_balance: i64,
    /// Who spawned it.
    pub spawned_by: Option<Actor>,
    /// First sight of it.
    pub first_seen: u64,
    /// Last sight of it.
    pub last_seen: u64,
    /// Events of it that are known to be missing.
    pub lost: u64,
    /// It was in a snapshot of memory.
    pub(super) listed: bool,
    pub(super) sequence: u64,
    pub(super) last_event: u64,
    pub(super) open: Option<OpenPoll>,
    pub(super) closed: Option<(u32, u64)>,
    pub(super) began: Option<u64>,
    pub(super) scheduled_by: Pending,
    pub(super) gap_told_for: u64,
    /// The abort that has not had its effect yet, and its time.
    pub(super) aborted: Option<(EventId, u64)>,
    /// Begin of the poll in which a panic began.
    pub(super) panicked: Option<u64>,
    /// Time of the last record of a poll.
    pub(super) last_polled: u64,
    /// Where it stood when that was told last.
    pub(super) suspended: Option<(Arc<Suspension>, Marks)>,
    /// Since when each of those futures has been there.
    pub(super) since: Vec<Since>,
    /// When that was.
    pub(super) told: u64,
    /// Polls of it were not watched for a while since that was told.
    pub(super) missed: bool,
    /// Its polls are not watched.
    pub(super) unwatched: bool,
    /// Since when its polls are watched again, when it was not polled since.
    pub(super) watched_from: Option<u64>,
}

/// A poll that goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenPoll {
    pub(super) event: EventId,
    pub(super) tid: u32,
    pub(super) began: u64,
    pub(super) cancelled: bool,
    pub(super) off_since: Option<u64>,
    /// Whether its thread could have gone on running at `off_since`.
    pub(super) off_preempted: bool,
    pub(super) off_total: u64,
}

/// What will have caused the next poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pending {
    /// Nothing known.
    None,
    /// This event, at this time.
    By(EventId, u64),
    /// More than one may have: saying one of them could be wrong.
    Ambiguous,
}

impl Task {
    pub(super) fn new(
        unit: UnitId,
        key: TaskKey,
        generation: u32,
        runtime: Arc<str>,
        time: u64,
    ) -> Self {
        Self {
            unit,
            key,
            generation,
            runtime,
            future: None,
            existing: false,
            state: TaskState::Unknown,
            polls: 0,
            busy: 0,
            off_cpu: 0,
            longest_poll: 0,
            polled_since: None,
            wakes: 0,
            redundant_wakes: 0,
            last_wake: None,
            waker_balance: 0,
            spawned_by: None,
            first_seen: time,
            last_seen: time,
            lost: 0,
            listed: false,
            sequence: 0,
            last_event: time,
            open: None,
            closed: None,
            began: None,
            scheduled_by: Pending::None,
            gap_told_for: 0,
            aborted: None,
            panicked: None,
            last_polled: 0,
            suspended: None,
            since: Vec::new(),
            told: 0,
            missed: false,
            unwatched: false,
            watched_from: None,
        }
    }

    /// This task as somebody who did something.
    #[must_use]
    pub const fn as_actor(&self) -> Actor {
        Actor::Task {
            unit: self.unit,
            key: self.key,
        }
    }

    /// When it came into its state, as far as records tell: the begin of the poll that goes on, the
    /// wake-up that scheduled it, or its last own event, which is a poll's end. For a task that was
    /// found in its state (no polls, [`Task::existing`]) it is the first sight, so the task has been
    /// in it for at least that long; so it has where its polls were not watched for a while.
    #[must_use]
    pub fn state_since(&self) -> u64 {
        match (self.state, self.last_wake) {
            (TaskState::Running, _) => self.polled_since.unwrap_or(self.last_event),
            (TaskState::Scheduled, Some(wake)) if wake.effect != WakeEffect::PollAgain => {
                wake.time.max(self.last_event)
            }
            _ => self.last_event.max(self.watched_from.unwrap_or(0)),
        }
    }

    /// Whether its polls are watched now. If not, it may be in another state than it was seen in last.
    #[must_use]
    pub const fn is_watched(&self) -> bool {
        !self.unwatched
    }

    /// Since when its polls are watched, where they were not for a while before and none came since:
    /// its state may have begun before that.
    #[must_use]
    pub const fn watched_from(&self) -> Option<u64> {
        self.watched_from
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == TaskState::Complete
    }

    /// Appends an event of this task.
    pub(super) fn emit(
        &mut self,
        time: u64,
        kind: EventKind,
        cause: Option<EventId>,
        into: &mut Vec<Event>,
    ) -> EventId {
        let id = EventId {
            unit: self.unit,
            sequence: self.sequence,
        };
        self.sequence += 1;
        self.last_event = time;
        self.last_seen = self.last_seen.max(time);
        into.push(Event {
            id,
            time,
            kind,
            cause,
        });
        id
    }

    /// Appends what is known of this task.
    pub(super) fn describe(&mut self, time: u64, into: &mut Vec<Event>) {
        let unit = Unit::Task(TaskUnit {
            runtime: Arc::clone(&self.runtime),
            address: self.key.address,
            task_id: self.key.id,
            generation: self.generation,
            future: self.future.clone(),
            existing: self.existing,
        });
        self.emit(time, EventKind::Described(Arc::new(unit)), None, into);
    }

    /// Where it has stood since its last poll, as far as the last poll's begin or memory told.
    #[must_use]
    pub fn suspension(&self) -> Option<&Arc<Suspension>> {
        self.suspended.as_ref().map(|(suspension, _)| suspension)
    }

    /// Whether nothing has told yet where it has stood since its last poll.
    pub(super) fn is_untold(&self) -> bool {
        self.told <= self.last_polled
    }

    /// Says where it has stood since its last poll, if that is elsewhere than before, or `again` is
    /// set, or polls of it were not watched since that was told: they may have changed it, and changed
    /// it back.
    pub(super) fn stands_at(
        &mut self,
        suspension: &Arc<Suspension>,
        marks: Marks,
        again: bool,
        time: u64,
        into: &mut Vec<Event>,
    ) {
        let same = self.suspended.as_ref().is_some_and(|(known, before)| {
            *before == marks && (Arc::ptr_eq(known, suspension) || known == suspension)
        });
        let missed = std::mem::take(&mut self.missed);
        if same && !again && !missed {
            return;
        }
        self.since = self.since_of(suspension, marks);
        self.told = time;
        self.suspended = Some((Arc::clone(suspension), marks));
        let kind = EventKind::AwaitChanged {
            suspension: Arc::clone(suspension),
            marks,
        };
        self.emit(time, kind, None, into);
    }

    /// Takes note of what may have caused its next poll: an event with this effect. Nothing of it was
    /// lost since `clean_since`.
    pub(super) fn schedule(
        &mut self,
        effect: WakeEffect,
        event: EventId,
        time: u64,
        clean_since: u64,
    ) {
        self.scheduled_by = match (effect, self.scheduled_by) {
            (WakeEffect::Redundant | WakeEffect::AlreadyOver, before) => before,
            (WakeEffect::Scheduled | WakeEffect::PollAgain, before) => match before {
                // Two that both found it unscheduled: they raced, or a poll between was not seen.
                Pending::By(_, known) if known > clean_since => Pending::Ambiguous,
                Pending::Ambiguous => Pending::Ambiguous,
                _ => Pending::By(event, time),
            },
            // Without a word it schedules if it is the first since a poll that was seen.
            (WakeEffect::Unknown, Pending::None)
                if self.began.is_some_and(|began| began > clean_since) =>
            {
                Pending::By(event, time)
            }
            (WakeEffect::Unknown, before) => before,
        };
    }

    /// Says that events of this task are missing.
    pub(super) fn gap(&mut self, time: u64, lost: u64, into: &mut Vec<Event>) {
        self.lost += lost;
        self.emit(time, EventKind::Gap { lost }, None, into);
    }

    /// The poll that a record of this task was made in: by the begin that the record names or, when
    /// it names none, the one that goes on on its thread, provided that nothing was lost since.
    pub(super) fn poll_of(&self, tid: u32, poll: u64, clean_since: u64) -> Option<&OpenPoll> {
        self.open.as_ref().filter(|open| {
            open.tid == tid
                && match poll {
                    0 => open.began > clean_since,
                    began => open.began == began,
                }
        })
    }
}
