//! The units of a trace while it is read: tasks that are alive, threads, origins. Bounded.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use super::{ThreadActivity, TypeActivity};
use crate::analyse::task_name;
use crate::rebuild::event::{Origin, TaskUnit, ThreadUnit, UnitId};
use crate::rebuild::tracker::TaskKey;

/// Tasks that are alive at once at most, and threads: more than a tracker keeps.
const MAX_TASKS: usize = 1_000_000;
const MAX_THREADS: usize = 100_000;
const MAX_ORIGINS: usize = 1_000;

/// A task that is alive.
#[derive(Debug)]
pub(super) struct TaskRow {
    pub(super) name: String,
    pub(super) key: TaskKey,
    pub(super) existing: bool,
    /// Polls of it are seen: there was one, in the window or before.
    pub(super) is_seen_polled: bool,
    pub(super) last: u64,
    pub(super) polled_on: Option<UnitId>,
    pub(super) polled_since: Option<u64>,
    pub(super) off: Off,
    pub(super) counts: TypeActivity,
}

/// Time off the CPU inside a poll.
#[derive(Debug, Default)]
pub(super) struct Off {
    /// Off since then, and whether the scheduler took the CPU.
    pub(super) since: Option<(u64, bool)>,
    pub(super) blocked: u64,
    pub(super) preempted: u64,
}

impl Off {
    pub(super) fn end(&mut self, time: u64) {
        if let Some((since, preempted)) = self.since.take() {
            let length = time.saturating_sub(since);
            let off = if preempted {
                &mut self.preempted
            } else {
                &mut self.blocked
            };
            *off = off.saturating_add(length);
        }
    }

    pub(super) fn all(&self) -> u64 {
        self.blocked.saturating_add(self.preempted)
    }
}

impl TaskRow {
    pub(super) fn new(unit: &TaskUnit, time: u64) -> Self {
        let mut row = Self {
            name: String::new(),
            key: TaskKey {
                address: unit.address,
                id: unit.task_id,
            },
            existing: unit.existing,
            is_seen_polled: false,
            last: time,
            polled_on: None,
            polled_since: None,
            off: Off::default(),
            counts: TypeActivity::default(),
        };
        row.describe(unit);
        row
    }

    pub(super) fn describe(&mut self, unit: &TaskUnit) {
        self.name = task_name(&unit.runtime, unit.task_id, unit.address);
        if unit.future.is_some() {
            self.counts.future.clone_from(&unit.future);
        }
    }
}

#[derive(Debug)]
struct ThreadRow {
    tid: u32,
    name: Option<Arc<str>>,
    polls: u64,
    busy: u64,
}

/// What a unit is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Task(Option<Arc<str>>),
    /// With whether it polls tasks.
    Thread(Option<Arc<str>>, bool),
    Origin(Origin),
    Unknown,
}

#[derive(Debug, Default)]
pub(super) struct Units {
    tasks: HashMap<UnitId, TaskRow>,
    threads: HashMap<UnitId, ThreadRow>,
    origins: HashMap<UnitId, Origin>,
}

impl Units {
    pub(super) fn task_mut(&mut self, unit: UnitId) -> Option<&mut TaskRow> {
        self.tasks.get_mut(&unit)
    }

    /// `false` when there are too many.
    pub(super) fn add_task(&mut self, unit: UnitId, row: TaskRow) -> bool {
        let fits = self.tasks.len() < MAX_TASKS;
        if fits {
            self.tasks.insert(unit, row);
        }
        fits
    }

    pub(super) fn remove_task(&mut self, unit: UnitId) -> Option<TaskRow> {
        self.tasks.remove(&unit)
    }

    pub(super) fn take_tasks(&mut self) -> HashMap<UnitId, TaskRow> {
        std::mem::take(&mut self.tasks)
    }

    /// `false` when there are too many.
    pub(super) fn add_thread(&mut self, unit: UnitId, thread: &ThreadUnit) -> bool {
        if let Some(row) = self.threads.get_mut(&unit) {
            row.name.clone_from(&thread.name);
            return true;
        }
        let fits = self.threads.len() < MAX_THREADS;
        if fits {
            let row = ThreadRow {
                tid: thread.tid,
                name: thread.name.clone(),
                polls: 0,
                busy: 0,
            };
            self.threads.insert(unit, row);
        }
        fits
    }

    pub(super) fn add_origin(&mut self, unit: UnitId, origin: Origin) {
        if self.origins.len() < MAX_ORIGINS {
            self.origins.insert(unit, origin);
        }
    }

    pub(super) fn is_origin(&self, unit: UnitId) -> bool {
        self.origins.contains_key(&unit)
    }

    pub(super) fn thread_polls(&mut self, thread: UnitId) {
        if let Some(thread) = self.threads.get_mut(&thread) {
            thread.polls += 1;
        }
    }

    pub(super) fn thread_busy(&mut self, thread: UnitId, length: u64) {
        if let Some(thread) = self.threads.get_mut(&thread) {
            thread.busy = thread.busy.saturating_add(length);
        }
    }

    /// Forgets what was counted of each unit; returns how many tasks there are, and how many of
    /// them were there before the trace.
    pub(super) fn forget_counts(&mut self) -> (u64, u64) {
        for task in self.tasks.values_mut() {
            task.counts = TypeActivity {
                future: task.counts.future.take(),
                ..TypeActivity::default()
            };
        }
        for thread in self.threads.values_mut() {
            (thread.polls, thread.busy) = (0, 0);
        }
        let existing = self.tasks.values().filter(|task| task.existing).count();
        (self.tasks.len() as u64, existing as u64)
    }

    pub(super) fn tid(&self, thread: UnitId) -> Option<u32> {
        self.threads.get(&thread).map(|thread| thread.tid)
    }

    pub(super) fn what(&self, unit: UnitId) -> What {
        if let Some(task) = self.tasks.get(&unit) {
            What::Task(task.counts.future.clone())
        } else if let Some(thread) = self.threads.get(&unit) {
            What::Thread(thread.name.clone(), thread.polls > 0)
        } else if let Some(origin) = self.origins.get(&unit) {
            What::Origin(*origin)
        } else {
            What::Unknown
        }
    }

    /// The threads that polled, the busiest first.
    pub(super) fn threads(&self) -> Vec<ThreadActivity> {
        let polling = self.threads.values().filter(|thread| thread.polls > 0);
        let mut threads: Vec<ThreadActivity> = polling
            .map(|thread| ThreadActivity {
                tid: thread.tid,
                name: thread.name.clone(),
                polls: thread.polls,
                busy_ns: thread.busy,
            })
            .collect();
        threads.sort_by_key(|thread| (Reverse(thread.busy_ns), thread.tid));
        threads
    }
}
