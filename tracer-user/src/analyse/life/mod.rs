//! The life of one task in order: its spawn, its polls, where it waited and for how long, who woke
//! it, its end.
//!
//! In: a [`History`]. Out: a [`Life`], whose JSON form is that of `report --task ID --json`
//! (schema 1: fields may be added, never renamed or removed). Pure.

mod tell;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::Serialize;

use super::history::{
    AwaitIndex, AwaitOutcome, Awaited, History, PollCause, PollIndex, TaskHistory, TaskWakers,
    UnitHistory, UnitIndex,
};
use super::is_root_name;
use super::profile::{OpenAwait, open_awaits};
use crate::rebuild::event::{EndSeen, Outcome, WakeEffect};

/// Version of the JSON form.
pub const SCHEMA: u32 = 1;

/// The life of a task. Times are nanoseconds since the start of the recording, negative before it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Life {
    /// [`SCHEMA`].
    pub schema: u32,
    /// As `asynctrace dump` names it.
    pub task: Arc<str>,
    /// Path of its future.
    pub future: Option<Arc<str>>,
    /// It was there before the recording.
    pub existing: bool,
    /// How many polls of it there are; `None` for a root that is polled where no probe stands.
    pub polls: Option<usize>,
    /// Nanoseconds in polls that ended; `None` where these are not seen.
    pub polled_ns: Option<u64>,
    /// Its wakers, counted.
    pub wakers: TaskWakers,
    /// Whether clones of wakers were counted at all; `None` when the recording does not tell.
    pub sees_clones: Option<bool>,
    /// What happened, in order.
    pub events: Vec<Happening>,
    /// Further ones that are not listed, as there are too many.
    pub left_out: usize,
    /// The awaits that go on at the end, in preorder.
    pub open_awaits: Vec<OpenAwait>,
    /// When it was being polled at the end: since when, and by which of its functions.
    pub current: Option<CurrentPoll>,
}

/// The poll that goes on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CurrentPoll {
    /// Since when.
    pub since_ns: i64,
    /// The innermost async body that is known to run.
    pub within: Option<Arc<Awaited>>,
}

/// Something that happened to the task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Happening {
    /// When.
    pub at_ns: i64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// Who did something.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Who {
    /// `tokio/17`, or a thread's name and id.
    pub name: Arc<str>,
    /// For a task: its future.
    pub future: Option<Arc<str>>,
    /// What that task was in the middle of, innermost, where it is known.
    pub within: Option<Arc<Awaited>>,
    /// What moved a thread outside polls: `timer`, `io`, `signal`.
    pub origin: Option<&'static str>,
    /// The file descriptor that was ready.
    pub fd: Option<i32>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// It was spawned.
    Spawned {
        /// By whom.
        by: Who,
    },
    /// Events are missing here.
    Gap,
    /// It was woken.
    Woken {
        /// By whom.
        by: Who,
        /// What that did.
        #[serde(serialize_with = "effect_name")]
        effect: WakeEffect,
        /// Nanoseconds to the poll that it caused, where it caused one.
        to_poll_ns: Option<u64>,
    },
    /// It was polled.
    Poll {
        /// How long; `None` when the end is not known.
        length_ns: Option<u64>,
        /// The length is an upper bound, as the end was noticed by what came after it.
        at_most: bool,
        /// Nanoseconds of it asleep in the kernel.
        blocked_ns: u64,
        /// Nanoseconds of it without a CPU.
        preempted_ns: u64,
        /// By which thread.
        thread: Option<Arc<str>>,
        /// What had it scheduled: `wake`, `spawn`.
        cause: Option<&'static str>,
        /// How it ended.
        #[serde(serialize_with = "outcome_name")]
        outcome: Outcome,
    },
    /// It began to await something.
    AwaitBegins {
        /// The number of this instance in the trace.
        id: u32,
        /// What, and where.
        #[serde(flatten)]
        awaited: Arc<Awaited>,
        /// How many awaits it lies in.
        depth: u16,
        /// It had begun before.
        at_least: bool,
    },
    /// What it awaited ended.
    AwaitEnds {
        /// The number of this instance in the trace.
        id: u32,
        /// What, and where.
        #[serde(flatten)]
        awaited: Arc<Awaited>,
        /// How many awaits it lies in.
        depth: u16,
        /// How.
        outcome: AwaitOutcome,
        /// Nanoseconds from its begin, of which it may not be the first.
        duration_ns: u64,
        /// It is older than that.
        at_least: bool,
        /// Nanoseconds of it outside polls.
        waiting_ns: u64,
        /// Nanoseconds of it inside polls.
        polled_ns: u64,
    },
    /// It was over.
    Ended {
        /// How.
        #[serde(serialize_with = "outcome_name")]
        outcome: Outcome,
        /// Who aborted it, where that was seen.
        aborted_by: Option<Who>,
    },
}

/// The tasks that an id names: as `dump` prints it, or the number alone. Addresses and ids of
/// different runtimes may name several.
#[must_use]
pub fn named(history: &History, id: &str) -> Vec<UnitIndex> {
    let named = |task: &TaskHistory| {
        *task.name == *id
            || task
                .name
                .strip_prefix("tokio/")
                .is_some_and(|number| number == id)
    };
    (0..)
        .zip(&history.units)
        .filter(|(_, unit)| unit.task().is_some_and(named))
        .map(|(at, _)| UnitIndex(at))
        .collect()
}

/// The life of a task, of which at most `limit` events are listed; `None` when it is none.
#[must_use]
pub fn life(history: &History, started: u64, index: UnitIndex, limit: usize) -> Option<Life> {
    let unit = history.units.get(index.0 as usize)?;
    let task = unit.task()?;
    let teller = tell::Teller { history, started };
    let mut events = order(history, unit, task);
    let left_out = events.len().saturating_sub(limit);
    events.truncate(limit);
    let mut depths = tell::Depths::default();
    let events = events
        .into_iter()
        .map(|(time, moment)| Happening {
            at_ns: teller.since_start(time),
            what: teller.what(unit, task, &moment, &mut depths),
        })
        .collect();
    let current = history.current(index).map(|current| CurrentPoll {
        since_ns: teller.since_start(current.since),
        within: current.within.map(|row| Arc::clone(&history[row].awaited)),
    });
    let is_watched = !unit.polls.is_empty() || !is_root_name(&task.name);
    let lengths = unit.polls.iter().filter_map(|poll| history[*poll].length());
    Some(Life {
        schema: SCHEMA,
        task: Arc::clone(&task.name),
        future: task.future.clone(),
        existing: task.existing,
        polls: is_watched.then_some(unit.polls.len()),
        polled_ns: is_watched.then(|| lengths.fold(0, u64::saturating_add)),
        wakers: history.wakers(index),
        sees_clones: history.wakers.probed.clones,
        events,
        left_out,
        open_awaits: open_awaits(history, index),
        current,
    })
}

/// Something that is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Gap,
    Spawned,
    Woken(super::history::WakeIndex),
    Poll(PollIndex),
    Ends(AwaitIndex),
    Begins(AwaitIndex),
    Ended,
}

impl Moment {
    /// What comes first of what has the same time: causes before effects, what ends before what
    /// begins, inner ends before outer, outer begins before inner.
    fn rank(self) -> (u8, i64) {
        match self {
            Self::Gap => (0, 0),
            Self::Spawned => (1, 0),
            Self::Woken(wake) => (2, wake.0.into()),
            Self::Poll(poll) => (3, poll.0.into()),
            Self::Ends(row) => (4, -i64::from(row.0)),
            Self::Begins(row) => (5, row.0.into()),
            Self::Ended => (6, 0),
        }
    }
}

fn order(history: &History, unit: &UnitHistory, task: &TaskHistory) -> Vec<(u64, Moment)> {
    let mut moments: Vec<(u64, Moment)> = Vec::new();
    moments.extend(unit.gaps.iter().map(|time| (*time, Moment::Gap)));
    moments.extend(task.spawned.map(|spawned| (spawned.time, Moment::Spawned)));
    let wakes = unit.woken.iter();
    moments.extend(wakes.map(|wake| (history[*wake].time, Moment::Woken(*wake))));
    let polls = unit.polls.iter();
    moments.extend(polls.map(|poll| (history[*poll].begin, Moment::Poll(*poll))));
    for row in &unit.awaits {
        let instance = &history[*row];
        moments.push((instance.start, Moment::Begins(*row)));
        moments.extend(instance.end.map(|end| (end, Moment::Ends(*row))));
    }
    moments.extend(task.end.map(|end| (end.time, Moment::Ended)));
    moments.sort_by_key(|(time, moment)| (*time, moment.rank()));
    moments
}

fn outcome_name<S: serde::Serializer>(outcome: &Outcome, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(outcome_word(*outcome))
}

/// The word for an outcome.
#[must_use]
pub const fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pending => "pending",
        Outcome::Ready => "ready",
        Outcome::Cancelled => "cancelled",
        Outcome::Panicked => "panicked",
        Outcome::Over => "over",
        Outcome::Unknown => "unknown",
    }
}

fn effect_name<S: serde::Serializer>(effect: &WakeEffect, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(match effect {
        WakeEffect::Scheduled => "scheduled",
        WakeEffect::PollAgain => "poll_again",
        WakeEffect::Redundant => "redundant",
        WakeEffect::AlreadyOver => "already_over",
        WakeEffect::Unknown => "unknown",
    })
}

/// The word for a cause of a poll.
const fn cause_word(cause: PollCause) -> &'static str {
    match cause {
        PollCause::Wake(_) => "wake",
        PollCause::Spawn => "spawn",
    }
}

const fn is_upper_bound(seen: EndSeen) -> bool {
    !seen.is_exact()
}
