//! Tasks that are known from memory: they were there before any event.

use std::collections::HashSet;
use std::sync::Arc;

use super::task::TaskKey;
use super::{Task, Tracker};
use crate::rebuild::event::{Event, Outcome};
use crate::rebuild::snapshot::{Snapshot, TaskInfo, TaskState};

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
    /// that was not seen. A snapshot that is not complete says nothing of the kind. `gone` are tasks of
    /// [`Tracker::missed`] that memory proves to be over. The records from before the end of the reading must
    /// have been applied.
    pub fn reconcile(
        &mut self,
        snapshot: &Snapshot,
        gone: &HashSet<TaskKey>,
        time: u64,
        into: &mut Vec<Event>,
    ) {
        self.seed(snapshot, time, into);
        let coverage = &snapshot.coverage;
        let is_complete =
            coverage.tasks_listed == coverage.tasks_counted && coverage.torn_tasks == 0;
        let before = into.len();
        let listed: HashSet<TaskKey> = snapshot.tasks.iter().map(key_of_listed).collect();
        let over: Vec<(TaskKey, u64)> = self
            .table
            .iter()
            .filter(|task| !task.is_over() && task.open.is_none() && !listed.contains(&task.key))
            .filter_map(|task| {
                let should_be_listed = is_complete && task.listed;
                match self.missed_since(task, time) {
                    // It ended some time after that: nothing is known of it from then on.
                    Some(end) if should_be_listed || gone.contains(&task.key) => {
                        let is_made = task.last_seen.saturating_add(BEING_MADE_NS) < time;
                        is_made.then_some((task.key, end))
                    }
                    _ if should_be_listed && task.last_seen < time => Some((task.key, time)),
                    _ => None,
                }
            })
            .collect();
        for (key, end) in over {
            self.finish(&key, end, Outcome::Over, into);
        }
        self.counts.events += (into.len() - before) as u64;
    }

    /// Live tasks that may have ended unseen, at most so many: not everything was seen since they were seen
    /// last.
    #[must_use]
    pub fn missed(&self, now: u64, most: usize) -> Vec<TaskKey> {
        if self.all_polls_since == 0 && self.clean_since == 0 {
            return Vec::new();
        }
        self.table
            .iter()
            .filter(|task| task.key.id.is_some() && !task.is_over())
            .filter(|task| self.missed_since(task, now).is_some())
            .map(|task| task.key)
            .take(most)
            .collect()
    }

    /// The last event of a task of which something may have been missed since.
    fn missed_since(&self, task: &Task, now: u64) -> Option<u64> {
        let missed = self.all_polls_since.min(now).max(self.clean_since);
        (task.last_seen < missed).then_some(task.last_event)
    }

    fn seed_task(&mut self, info: &TaskInfo, time: u64, into: &mut Vec<Event>) {
        let key = key_of_listed(info);
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
