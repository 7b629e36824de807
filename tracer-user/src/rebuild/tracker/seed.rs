//! Tasks that are known from memory: they were there before any event.

use std::collections::HashSet;
use std::sync::Arc;

use super::task::TaskKey;
use super::{Task, Tracker};
use crate::rebuild::event::{Event, Outcome};
use crate::rebuild::snapshot::{Snapshot, TaskInfo, TaskState};

/// Futures of tasks that snapshots have listed are remembered up to this many.
const MAX_FUTURES: usize = 10_000;

/// A task that is spawned is in its runtime's list this soon, nanoseconds, whatever else the machine does.
const BEING_MADE_NS: u64 = 100_000_000;

impl Tracker {
    /// Takes over the tasks of a snapshot that was taken from `time` on (CLOCK_MONOTONIC,
    /// nanoseconds): those that are not known enter as existing ones, those that are known get
    /// their name where they have none.
    pub fn seed(&mut self, snapshot: &Snapshot, time: u64, into: &mut Vec<Event>) {
        let before = into.len();
        for info in &snapshot.tasks {
            self.seed_task(info, time, into);
        }
        self.counts.events += (into.len() - before) as u64;
    }

    /// As [`Tracker::seed`], and says of tasks that an earlier snapshot listed and this one does
    /// not that they are over: a task can end without a poll, when its runtime shuts down, or in one
    /// that was not seen. So it says of tasks that no snapshot listed, but others of their type
    /// (any, where all runtimes list all of their tasks), where not everything was seen since they
    /// were seen last. Does nothing of the kind after a snapshot that
    /// is not complete. The records from before `time` must have been applied.
    pub fn reconcile(&mut self, snapshot: &Snapshot, time: u64, into: &mut Vec<Event>) {
        self.seed(snapshot, time, into);
        let coverage = &snapshot.coverage;
        if coverage.tasks_listed != coverage.tasks_counted || coverage.torn_tasks > 0 {
            return;
        }
        let before = into.len();
        let listed: HashSet<TaskKey> = snapshot.tasks.iter().map(key_of_listed).collect();
        let seen_until = |task: &Task| {
            let missed = self.all_polls_since.min(time).max(self.clean_since);
            (task.last_seen < missed).then_some(task.last_event)
        };
        // Runtimes of several threads keep all tasks in their lists; of others not all may be found.
        let lists_all = !snapshot.runtimes.is_empty()
            && snapshot
                .runtimes
                .iter()
                .all(|runtime| runtime.scheduler == "multi_thread");
        let is_listed_type = |task: &Task| {
            let future = task.future.as_ref();
            task.key.id.is_some()
                && future.is_some_and(|future| {
                    self.listed_futures.contains(future) || lists_all && !is_blocking(future)
                })
        };
        let gone: Vec<(TaskKey, u64)> = self
            .table
            .iter()
            .filter(|task| !task.is_over() && task.open.is_none() && !listed.contains(&task.key))
            .filter_map(|task| match seen_until(task) {
                // It ended some time after that: nothing is known of it from then on.
                Some(end) if task.listed || is_listed_type(task) => {
                    (task.last_seen.saturating_add(BEING_MADE_NS) < time).then_some((task.key, end))
                }
                _ if task.listed && task.last_seen < time => Some((task.key, time)),
                _ => None,
            })
            .collect();
        for (key, end) in gone {
            self.finish(&key, end, Outcome::Over, into);
        }
        self.counts.events += (into.len() - before) as u64;
    }

    fn seed_task(&mut self, info: &TaskInfo, time: u64, into: &mut Vec<Event>) {
        let key = key_of_listed(info);
        if self.listed_futures.len() < MAX_FUTURES && !self.listed_futures.contains(&info.future) {
            self.listed_futures.insert(Arc::clone(&info.future));
        }
        if let Some(task) = self.table.get_mut(&key) {
            if task.is_over() {
                return;
            }
            task.listed = true;
            if task.last_seen <= time && task.open.is_none() {
                task.state = info.state;
            }
            if task.future.is_none() {
                task.future = Some(Arc::clone(&info.future));
                let last = task.last_event;
                task.describe(last, into);
            }
            return;
        }
        // What memory said may be older than a record about the next task at the address.
        if info.state == TaskState::Complete || self.table.other_occupant(&key).is_some() {
            return;
        }
        // Records from before the snapshot may still be on their way.
        let time = match self.started {
            0 => time,
            started => time.min(started),
        };
        let unit = self.next_unit();
        let mut task = super::Task::new(unit, key, 0, Arc::from(info.runtime), time);
        task.future = Some(Arc::clone(&info.future));
        task.existing = true;
        task.listed = true;
        task.state = info.state;
        task.describe(time, into);
        self.table.insert(task);
    }
}

/// Whether it is the work of a thread, which no list of tasks has.
fn is_blocking(future: &str) -> bool {
    future.contains("BlockingTask<") || future.ends_with("BlockingTask")
}

/// The key of a task in a snapshot: `tokio/17` carries the runtime's id, `tokio/block_on/1` is a
/// root, which has none.
#[must_use]
pub fn key_of_listed(info: &TaskInfo) -> TaskKey {
    let mut parts = info.id.split('/').skip(1);
    let id = match (parts.next(), parts.next()) {
        (Some(id), None) => id.parse().ok(),
        _ => None,
    };
    TaskKey {
        address: info.address,
        id,
    }
}
