//! What an export is made of, and the intervals that follow from it: where a history has no end,
//! the end of the trace stands in, and is marked as open.

use std::collections::HashMap;
use std::sync::Arc;

use super::recording::{Header, Loss};
use crate::analyse::history::{
    Await, AwaitIndex, AwaitOutcome, Doer, History, Poll, PollIndex, TaskHistory, UnitHistory,
    UnitIndex, UnitKind,
};
use crate::analyse::requests::Request;
use crate::analyse::sampled::Sampled;
use crate::rebuild::event::{EndSeen, Origin, Outcome};

/// A recording, read and joined.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// What the recording says of itself.
    pub header: &'a Header,
    /// What happened.
    pub history: &'a History,
    /// Records that the kernel lost, in order of time.
    pub losses: &'a [Loss],
    /// Its requests, in order of start; empty when there are none.
    pub requests: &'a [Request],
    /// What looks at memory told, in a recording of nothing but those.
    pub sampled: Option<&'a Sampled>,
}

/// From when to when something went on. CLOCK_MONOTONIC, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) start: u64,
    /// Never before the start.
    pub(super) end: u64,
    /// It goes on at the end of the trace, which is what `end` is.
    pub(super) open: bool,
}

impl Interval {
    /// What takes no time.
    pub(super) fn moment(time: u64) -> Self {
        Self {
            start: time,
            end: time,
            open: false,
        }
    }
}

/// The last poll of each thread.
#[derive(Debug)]
pub(super) struct LastPolls(HashMap<Option<UnitIndex>, PollIndex>);

impl LastPolls {
    pub(super) fn is_last(&self, index: PollIndex, poll: &Poll) -> bool {
        self.0.get(&poll.thread) == Some(&index)
    }
}

/// What is known of a poll's begin and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PollTime {
    /// Both, or the end is that of the trace.
    Known(Interval),
    /// Only the begin: the end was lost.
    EndNotSeen(u64),
    /// Only the end: the begin was lost.
    BeginNotSeen(u64),
}

impl<'a> Source<'a> {
    /// When the trace ended: nothing is drawn after it.
    pub(super) fn end(&self) -> u64 {
        self.history.span.end
    }

    pub(super) fn unit(&self, index: UnitIndex) -> Option<&'a UnitHistory> {
        self.history.units.get(index.0 as usize)
    }

    pub(super) fn instance(&self, index: AwaitIndex) -> Option<&'a Await> {
        self.history.awaits.get(index.0 as usize)
    }

    pub(super) fn poll(&self, index: PollIndex) -> Option<&'a Poll> {
        self.history.polls.get(index.0 as usize)
    }

    /// Tasks with their index, but for those that were over before: some of what is shown may name
    /// them.
    pub(super) fn tasks(
        &self,
    ) -> impl Iterator<Item = (UnitIndex, &'a UnitHistory, &'a TaskHistory)> + use<'a> {
        let from = self.history.span.start;
        let units = self.history.units.iter();
        units
            .enumerate()
            .filter(move |(_, unit)| !unit.was_over_before(from))
            .filter_map(|(index, unit)| match &unit.kind {
                UnitKind::Task(task) => Some((UnitIndex(u32::try_from(index).ok()?), unit, task)),
                _ => None,
            })
    }

    /// From the first sight of a task, its spawn if that was seen, to its end.
    pub(super) fn life(&self, unit: &UnitHistory, task: &TaskHistory) -> Interval {
        match task.end {
            Some(end) => Interval {
                start: unit.first,
                end: end.time.max(unit.first),
                open: false,
            },
            None => Interval {
                start: unit.first,
                end: self.end().max(unit.last).max(unit.first),
                open: true,
            },
        }
    }

    /// The instance that is the task's own future, as opposed to what it awaits.
    pub(super) fn own_future(&self, unit: &UnitHistory) -> Option<AwaitIndex> {
        unit.awaits.iter().copied().find(|index| {
            self.instance(*index).is_some_and(|instance| {
                instance.parent.is_none()
                    && instance.former_parents.is_empty()
                    && instance.outcome != AwaitOutcome::Detached
                    && instance.awaited.by.is_none()
            })
        })
    }

    /// The instance in whose body a task was spawned.
    pub(super) fn spawned_within(&self, task: UnitIndex) -> Option<AwaitIndex> {
        self.unit(task)?.task()?.spawned?.by.within
    }

    pub(super) fn await_interval(&self, instance: &Await) -> Interval {
        Interval {
            start: instance.start,
            end: instance
                .end
                .unwrap_or_else(|| self.end())
                .max(instance.start),
            open: instance.end.is_none(),
        }
    }

    /// Which poll is the last of its thread.
    pub(super) fn last_polls(&self) -> LastPolls {
        let polls = (0..).map(PollIndex).zip(&self.history.polls);
        LastPolls(polls.map(|(index, poll)| (poll.thread, index)).collect())
    }

    /// A poll without an end is open when nothing came after it on its thread and in its task;
    /// otherwise its end was lost, and no end is made up for it.
    pub(super) fn poll_time(
        &self,
        index: PollIndex,
        poll: &Poll,
        last_on_thread: bool,
    ) -> PollTime {
        let last_of_task = self
            .unit(poll.task)
            .is_some_and(|unit| unit.polls.last() == Some(&index));
        match poll.end {
            Some(_) if poll.seen == EndSeen::NotWatched && poll.begin_known => {
                PollTime::EndNotSeen(poll.begin)
            }
            Some(end) if poll.begin_known => PollTime::Known(Interval {
                start: poll.begin,
                end: end.max(poll.begin),
                open: false,
            }),
            Some(end) => PollTime::BeginNotSeen(end),
            None if last_of_task && last_on_thread && poll.begin_known => {
                PollTime::Known(Interval {
                    start: poll.begin,
                    end: self.end().max(poll.begin),
                    open: true,
                })
            }
            None => PollTime::EndNotSeen(poll.begin),
        }
    }

    /// What a unit is called: `tokio/17 app::serve`, `thread 4243 worker`, `timer`.
    pub(super) fn unit_name(&self, index: UnitIndex) -> String {
        match self.unit(index).map(|unit| &unit.kind) {
            Some(UnitKind::Task(task)) => match &task.future {
                Some(future) => format!("{} {future}", task.name),
                None => task.name.to_string(),
            },
            Some(UnitKind::Thread { tid, name, .. }) => match name {
                Some(name) => format!("thread {tid} {name}"),
                None => format!("thread {tid}"),
            },
            Some(UnitKind::Origin(origin)) => origin_name(*origin),
            Some(UnitKind::Unknown) | None => "not known".to_owned(),
        }
    }

    /// Who did something, in which await, moved by what.
    pub(super) fn doer_name(&self, doer: &Doer) -> String {
        let mut name = self.unit_name(doer.unit);
        if let Some(within) = doer.within.and_then(|index| self.instance(index)) {
            name.push_str(" in ");
            name.push_str(&within.awaited.future);
        }
        if let Some(origin) = doer.origin {
            name.push_str(" because of ");
            name.push_str(&self.unit_name(origin));
        }
        name
    }
}

fn origin_name(origin: Origin) -> String {
    match origin {
        Origin::Io { fd: Some(fd), .. } => format!("fd {fd}"),
        Origin::Io {
            resource: Some(resource),
            ..
        } => format!("I/O {resource}"),
        Origin::Io { .. } => "I/O".to_owned(),
        Origin::Timer => "timer".to_owned(),
        Origin::Signal => "signal".to_owned(),
    }
}

/// What a task is grouped under: the path of its future.
pub(super) fn type_name(task: &TaskHistory) -> Arc<str> {
    match &task.future {
        Some(future) => Arc::clone(future),
        None if task.blocking => "(blocking work)".into(),
        None => "(future not known)".into(),
    }
}

/// `src/main.rs:23`, where it is known.
pub(super) fn place(instance: &Await) -> Option<String> {
    let file = instance.awaited.file.as_deref()?;
    Some(match instance.awaited.line {
        Some(line) => format!("{file}:{line}"),
        None => file.to_owned(),
    })
}

/// The word for an outcome.
pub(super) fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pending => "pending",
        Outcome::Ready => "ready",
        Outcome::Cancelled => "cancelled",
        Outcome::Panicked => "panicked",
        Outcome::Over => "over",
        Outcome::Unknown => "unknown",
    }
}

/// The word for how an await ended.
pub(super) fn await_outcome_word(outcome: AwaitOutcome) -> &'static str {
    match outcome {
        AwaitOutcome::Open => "open",
        AwaitOutcome::Detached => "detached",
        AwaitOutcome::Ready => "ready",
        AwaitOutcome::Cancelled => "cancelled",
        AwaitOutcome::Panicked => "panicked",
        AwaitOutcome::Over => "over",
        AwaitOutcome::Unknown => "unknown",
    }
}
