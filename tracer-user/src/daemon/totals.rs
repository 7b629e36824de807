//! What events tell of a target, counted: by type of task, over all of its processes since the
//! daemon started, so that counters never go back. Pure, and bounded: of each target only so many
//! types are told apart, and only so many tasks followed.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use crate::follow::recorder::Entry;
use crate::rebuild::event::{EndSeen, Event, EventKind, Unit, UnitId, WakeEffect};
use crate::show::escape::acts;
use crate::walk::without_arguments;

/// Tasks of one process that are followed: as many as the tracker follows, and threads.
const MAX_UNITS: usize = 300_000;
/// Bytes of a type's name at most.
const MAX_NAME: usize = 300;

/// Upper bounds of the buckets, nanoseconds.
pub const BOUNDS: [u64; 16] = [
    10_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
];

/// Times by length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// In each bucket, the last of which has no bound.
    pub buckets: [u64; BOUNDS.len() + 1],
    /// All of them.
    pub count: u64,
    /// Their sum, nanoseconds.
    pub sum: u64,
}

impl Histogram {
    fn take(&mut self, time: u64) {
        let at = BOUNDS.partition_point(|bound| *bound < time);
        if let Some(bucket) = self.buckets.get_mut(at) {
            *bucket += 1;
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(time);
    }
}

/// What was counted of the tasks of a type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeCounts {
    /// Polls that ended.
    pub polls: u64,
    /// How long they took, where the begin was seen.
    pub poll_time: Histogram,
    /// From the wake-up to the poll.
    pub delay: Histogram,
    /// Tasks that appeared.
    pub begun: u64,
    /// Tasks that ended.
    pub over: u64,
}

/// What was counted of a target.
#[derive(Clone, Debug)]
pub struct Totals {
    max_types: usize,
    types: HashMap<Arc<str>, TypeCounts>,
    /// Of the types that are not told apart.
    pub other: TypeCounts,
    /// Wake-ups.
    pub wakes: u64,
    /// Events that were counted.
    pub events: u64,
    /// Records that the kernel lost.
    pub lost: u64,
    /// Events that this count was too slow for.
    pub uncounted: u64,
    /// Nanoseconds of sessions.
    pub session_ns: u64,
    /// Nanoseconds of these in which polls were watched: less than all where the budget asks for
    /// that.
    pub watched_ns: u64,
    /// Sessions that began.
    pub sessions: u64,
    /// Sessions that failed.
    pub failures: u64,
    /// Findings that opened, by kind.
    pub findings: HashMap<&'static str, u64>,
}

/// The label of the types that are not told apart.
pub const OTHER: &str = "other";

impl Totals {
    /// Nothing yet, of a target of which so many types are told apart.
    #[must_use]
    pub fn new(max_types: usize) -> Self {
        Self {
            max_types,
            types: HashMap::new(),
            other: TypeCounts::default(),
            wakes: 0,
            events: 0,
            lost: 0,
            uncounted: 0,
            session_ns: 0,
            watched_ns: 0,
            sessions: 0,
            failures: 0,
            findings: HashMap::new(),
        }
    }

    /// The types that are told apart, by name.
    #[must_use]
    pub fn types(&self) -> Vec<(&str, &TypeCounts)> {
        let mut types: Vec<_> = self.types.iter().map(|(name, of)| (&**name, of)).collect();
        types.sort_by_key(|(name, _)| *name);
        types
    }

    /// The label of a type in metrics.
    #[must_use]
    pub fn label<'a>(&self, name: &'a str) -> Cow<'a, str> {
        let label = short(name);
        if self.types.contains_key(&*label) {
            label
        } else {
            OTHER.into()
        }
    }

    /// Polls of all types.
    #[must_use]
    pub fn polls(&self) -> u64 {
        let types: u64 = self.types.values().map(|of| of.polls).sum();
        types + self.other.polls
    }

    /// Makes room for a type, first come, first served; its label if it is told apart.
    fn know(&mut self, name: &Arc<str>) -> Option<Arc<str>> {
        let label = match short(name) {
            Cow::Borrowed(_) => Arc::clone(name),
            Cow::Owned(short) => short.into(),
        };
        if let Some((known, _)) = self.types.get_key_value(&label) {
            return Some(Arc::clone(known));
        }
        // A name that is not plain has no label of its own: two that look the same would make a
        // scrape invalid.
        let odd = label.len() > MAX_NAME || *label == *OTHER || label.contains(acts);
        if odd || self.types.len() >= self.max_types {
            return None;
        }
        self.types.insert(Arc::clone(&label), TypeCounts::default());
        Some(label)
    }

    fn of(&mut self, name: Option<&Arc<str>>) -> &mut TypeCounts {
        match name.and_then(|name| self.types.get_mut(name)) {
            Some(counts) => counts,
            None => &mut self.other,
        }
    }
}

/// A type's name, without its generic arguments where it is too long with them: what a server does for
/// a connection often is.
fn short(name: &str) -> Cow<'_, str> {
    if name.len() <= MAX_NAME {
        return name.into();
    }
    without_arguments(name).into()
}

/// A task of a session.
#[derive(Debug, Default)]
struct Task {
    /// Its type, where that is told apart.
    of: Option<Arc<str>>,
    /// When it was woken and not polled since.
    woken: Option<u64>,
    /// When its last poll ended.
    free: u64,
    /// Whether it is among those that appeared: it is once its type is known.
    counted: bool,
}

impl Task {
    fn count(&mut self, totals: &mut Totals) {
        if !std::mem::replace(&mut self.counted, true) {
            totals.of(self.of.as_ref()).begun += 1;
        }
    }
}

/// Counts the events of one session.
#[derive(Debug)]
pub struct Counting {
    tasks: HashMap<UnitId, Task>,
    /// Until when time was counted: CLOCK_MONOTONIC, nanoseconds.
    until: u64,
    /// Whether polls of all tasks are watched since then.
    polls: bool,
}

impl Counting {
    /// Of a session that began at this time (CLOCK_MONOTONIC, nanoseconds).
    #[must_use]
    pub fn new(started: u64) -> Self {
        Self {
            tasks: HashMap::new(),
            until: started,
            polls: true,
        }
    }

    fn reached(&mut self, time: u64, totals: &mut Totals) {
        let passed = time.saturating_sub(self.until);
        self.until = self.until.max(time);
        totals.session_ns = totals.session_ns.saturating_add(passed);
        if self.polls {
            totals.watched_ns = totals.watched_ns.saturating_add(passed);
        }
    }

    /// Something is not seen: whether tasks were polled meanwhile is not known.
    fn forget_wakes(&mut self) {
        for task in self.tasks.values_mut() {
            task.woken = None;
        }
    }

    /// Takes what the session tells next.
    pub fn take(&mut self, entry: &Entry, totals: &mut Totals) {
        match entry {
            Entry::Events(events) => {
                totals.events += events.len() as u64;
                for event in events {
                    self.event(event, totals);
                }
            }
            Entry::Lost { count, .. } => {
                totals.lost = totals.lost.saturating_add(*count);
                self.forget_wakes();
            }
            Entry::Dropped { count, .. } => {
                totals.uncounted = totals.uncounted.saturating_add(*count);
                self.forget_wakes();
            }
            Entry::Watching(watching) => {
                self.reached(watching.time, totals);
                self.polls = watching.are_all_polls();
                self.forget_wakes();
            }
            Entry::Statistics { time, .. } => self.reached(*time, totals),
            Entry::Snapshot { .. } => {}
        }
    }

    fn event(&mut self, event: &Event, totals: &mut Totals) {
        let unit = event.id.unit;
        match &event.kind {
            EventKind::Described(described) => self.described(unit, described, totals),
            EventKind::Wake { task, effect, .. } => {
                totals.wakes += 1;
                let counts = matches!(effect, WakeEffect::Scheduled | WakeEffect::PollAgain);
                if counts && let Some(task) = self.tasks.get_mut(task) {
                    task.woken.get_or_insert(event.time);
                }
            }
            EventKind::PollBegin { .. } => {
                if let Some(task) = self.tasks.get_mut(&unit)
                    && let Some(woken) = task.woken.take()
                {
                    // A wake-up during a poll counts from that poll's end.
                    let delay = event.time.saturating_sub(woken.max(task.free));
                    totals.of(task.of.as_ref()).delay.take(delay);
                }
            }
            EventKind::PollEnd {
                outcome,
                seen,
                began,
            } => {
                let task = self.tasks.get_mut(&unit);
                let counts = totals.of(task.as_ref().and_then(|task| task.of.as_ref()));
                counts.polls += 1;
                if let Some(began) = began
                    && *seen != EndSeen::NotWatched
                {
                    counts.poll_time.take(event.time.saturating_sub(*began));
                }
                if let Some(task) = task {
                    task.free = event.time;
                    task.count(totals);
                }
                if outcome.is_over() {
                    self.over(unit, totals);
                }
            }
            EventKind::Finished { .. } => self.over(unit, totals),
            _ => {}
        }
    }

    fn described(&mut self, id: UnitId, unit: &Unit, totals: &mut Totals) {
        let Unit::Task(unit) = unit else { return };
        if !self.tasks.contains_key(&id) && self.tasks.len() >= MAX_UNITS {
            return;
        }
        let task = self.tasks.entry(id).or_default();
        if let Some(name) = &unit.future {
            task.of = totals.know(name);
            task.count(totals);
        }
    }

    fn over(&mut self, unit: UnitId, totals: &mut Totals) {
        if let Some(mut task) = self.tasks.remove(&unit) {
            task.count(totals);
            totals.of(task.of.as_ref()).over += 1;
        }
    }
}

#[cfg(test)]
#[path = "totals_tests.rs"]
mod tests;
