//! Wake-ups by who made them.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::units::{Units, What};
use crate::rebuild::event::{Origin, UnitId, WakeEffect};

/// Pairs of waker and woken that are told apart.
const MAX_PAIRS: usize = 100_000;

/// Who woke.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Waker {
    /// The woken task itself, while it was polled.
    Itself,
    /// Another task, while it was polled.
    Task {
        /// Its future.
        future: Option<Arc<str>>,
    },
    /// A thread that polls tasks, outside any: the runtime's I/O or timer driver, or what it defers.
    RuntimeThread {
        /// The thread's name.
        name: Option<Arc<str>>,
    },
    /// A thread that polls no task: a blocking pool's or the program's own.
    OtherThread {
        /// The thread's name.
        name: Option<Arc<str>>,
    },
    /// I/O readiness, told by the kernel.
    Io,
    /// A timer, told by the kernel.
    Timer,
    /// A signal.
    Signal,
    /// Not known: what described it is missing.
    Unknown,
}

/// Wake-ups of tasks of one type by one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WakePair {
    /// Who woke.
    pub by: Waker,
    /// The future of the woken task; `None` when it is not known or the task was over.
    pub woken: Option<Arc<str>>,
    /// How often.
    pub count: u64,
    /// Those of them that found the task scheduled already or over.
    pub without_effect: u64,
}

/// All wake-ups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Wakes {
    /// How many.
    pub total: u64,
    /// By a task of itself.
    pub by_itself: u64,
    /// By another task.
    pub by_tasks: u64,
    /// By threads that poll tasks, outside any.
    pub by_runtime_threads: u64,
    /// By other threads.
    pub by_other_threads: u64,
    /// By the kernel: I/O, timers, signals.
    pub by_origins: u64,
    /// By something that is not known.
    pub by_unknown: u64,
    /// Those that found the task scheduled already.
    pub redundant: u64,
    /// Those that found the task over.
    pub too_late: u64,
    /// By source and type of the woken task, the most frequent first.
    pub pairs: Vec<WakePair>,
}

/// Who woke, as it is known while the trace is read: whether a thread polls shows later.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Source {
    Itself,
    Task(Option<Arc<str>>),
    Thread(UnitId),
    Origin(Origin),
    Unknown,
    /// One of too many.
    Further,
}

#[derive(Debug, Default)]
struct Count {
    all: u64,
    redundant: u64,
    too_late: u64,
}

#[derive(Debug, Default)]
pub(super) struct WakeCounts {
    pairs: HashMap<(Source, Option<Arc<str>>), Count>,
}

impl WakeCounts {
    pub(super) fn count(&mut self, units: &Units, by: UnitId, woken: UnitId, effect: WakeEffect) {
        let source = if by == woken {
            Source::Itself
        } else {
            match units.what(by) {
                What::Task(future) => Source::Task(future),
                What::Thread(..) => Source::Thread(by),
                What::Origin(origin) => Source::Origin(origin),
                What::Unknown => Source::Unknown,
            }
        };
        let woken = match units.what(woken) {
            What::Task(future) => future,
            _ => None,
        };
        let mut key = (source, woken);
        if self.pairs.len() >= MAX_PAIRS && !self.pairs.contains_key(&key) {
            key = (Source::Further, None);
        }
        let count = self.pairs.entry(key).or_default();
        count.all += 1;
        count.redundant += u64::from(effect == WakeEffect::Redundant);
        count.too_late += u64::from(effect == WakeEffect::AlreadyOver);
    }

    pub(super) fn finish(&mut self, units: &Units) -> Wakes {
        let mut wakes = Wakes::default();
        let mut merged: HashMap<(Waker, Option<Arc<str>>), WakePair> = HashMap::new();
        for ((source, woken), count) in self.pairs.drain() {
            let by = match source {
                Source::Itself => Waker::Itself,
                Source::Task(future) => Waker::Task { future },
                Source::Thread(unit) => match units.what(unit) {
                    What::Thread(name, true) => Waker::RuntimeThread { name },
                    What::Thread(name, false) => Waker::OtherThread { name },
                    _ => Waker::Unknown,
                },
                Source::Origin(Origin::Io { .. }) => Waker::Io,
                Source::Origin(Origin::Timer) => Waker::Timer,
                Source::Origin(Origin::Signal) => Waker::Signal,
                Source::Unknown | Source::Further => Waker::Unknown,
            };
            wakes.total += count.all;
            wakes.redundant += count.redundant;
            wakes.too_late += count.too_late;
            *match by {
                Waker::Itself => &mut wakes.by_itself,
                Waker::Task { .. } => &mut wakes.by_tasks,
                Waker::RuntimeThread { .. } => &mut wakes.by_runtime_threads,
                Waker::OtherThread { .. } => &mut wakes.by_other_threads,
                Waker::Io | Waker::Timer | Waker::Signal => &mut wakes.by_origins,
                Waker::Unknown => &mut wakes.by_unknown,
            } += count.all;
            let pair = merged
                .entry((by.clone(), woken.clone()))
                .or_insert(WakePair {
                    by,
                    woken,
                    count: 0,
                    without_effect: 0,
                });
            pair.count += count.all;
            pair.without_effect += count.redundant + count.too_late;
        }
        wakes.pairs = merged.into_values().collect();
        wakes
            .pairs
            .sort_by_cached_key(|pair| (Reverse(pair.count), pair.by.clone(), pair.woken.clone()));
        wakes
    }
}
