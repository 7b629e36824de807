//! The task table: bounded, whatever the target does.
//!
//! A task that is over stays for a while, as wakers of it are still used and the view shows it;
//! then it goes. A live task goes only when there are more than the limit, the ones unseen for
//! longest first; that is counted, and the task comes back as a new unit when it is seen again.

use std::collections::VecDeque;

use foldhash::{HashMap, HashMapExt as _};

use super::task::{Task, TaskKey};
use crate::address::Address;
use crate::rebuild::event::UnitId;

#[derive(Debug)]
pub(super) struct Table {
    tasks: HashMap<TaskKey, Task>,
    /// The id of the task that was last seen at an address.
    occupants: HashMap<Address, u64>,
    /// Tasks that are over, the first to end in front. An entry whose unit is not that of the row
    /// any more is left over from a row that was replaced.
    over: VecDeque<(TaskKey, UnitId)>,
    live: usize,
    max_live: usize,
    max_over: usize,
    /// Tasks that were over when they left the table.
    pub(super) dropped: u64,
    /// Live tasks that left the table because there were too many.
    pub(super) forgotten: u64,
}

impl Table {
    pub(super) fn new(max_live: usize, max_over: usize) -> Self {
        Self {
            tasks: HashMap::new(),
            occupants: HashMap::new(),
            over: VecDeque::new(),
            live: 0,
            max_live: max_live.max(1),
            max_over,
            dropped: 0,
            forgotten: 0,
        }
    }

    pub(super) fn get(&self, key: &TaskKey) -> Option<&Task> {
        self.tasks.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &TaskKey) -> Option<&mut Task> {
        self.tasks.get_mut(key)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Task> {
        self.tasks.values_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values()
    }

    /// Rows of live tasks.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// The task with another id that was last seen at this address.
    pub(super) fn other_occupant(&self, key: &TaskKey) -> Option<TaskKey> {
        let id = *self.occupants.get(&key.address)?;
        let other = TaskKey {
            address: key.address,
            id: Some(id),
        };
        (key.id.is_some() && key.id != Some(id) && self.tasks.contains_key(&other)).then_some(other)
    }

    /// Adds a live task in place of what had its key.
    pub(super) fn insert(&mut self, task: Task) {
        let key = task.key;
        // In place of a task that is over there is one live task more.
        let replaces_live = self.tasks.get(&key).is_some_and(|task| !task.is_over());
        if self.live >= self.max_live && !replaces_live {
            self.forget_oldest();
        }
        if let Some(id) = key.id {
            self.occupants.insert(key.address, id);
        }
        self.live += 1;
        match self.tasks.insert(key, task) {
            Some(old) if old.is_over() => self.dropped += 1,
            Some(_) => self.live -= 1,
            None => {}
        }
    }

    /// The task with this key, live until now, is over. Called once for each.
    pub(super) fn retire(&mut self, key: TaskKey, unit: UnitId) {
        self.live = self.live.saturating_sub(1);
        self.over.push_back((key, unit));
        while self.over.len() > self.max_over {
            let Some((key, unit)) = self.over.pop_front() else {
                return;
            };
            if self.tasks.get(&key).is_some_and(|task| task.unit == unit) {
                self.remove(&key);
                self.dropped += 1;
            }
        }
    }

    fn remove(&mut self, key: &TaskKey) {
        self.tasks.remove(key);
        if self.occupants.get(&key.address).copied() == key.id {
            self.occupants.remove(&key.address);
        }
    }

    /// Drops an eighth of the live tasks at once, so that the search for the oldest is paid rarely.
    fn forget_oldest(&mut self) {
        let mut seen: Vec<(u64, TaskKey)> = self
            .tasks
            .values()
            .filter(|task| !task.is_over())
            .map(|task| (task.last_seen, task.key))
            .collect();
        let count = (self.max_live / 8).clamp(1, seen.len().max(1));
        if seen.len() > count {
            seen.select_nth_unstable(count - 1);
        }
        for (_, key) in seen.into_iter().take(count) {
            self.remove(&key);
            self.live = self.live.saturating_sub(1);
            self.forgotten += 1;
        }
    }
}
