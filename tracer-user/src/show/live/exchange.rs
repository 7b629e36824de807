//! Where the threads of a live session meet: the follower of events puts tables, the view says
//! which tasks it shows, the reader of memory puts what it found. Each slot holds the newest value
//! only, so that a slow terminal or a slow reader delays itself and nobody else.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::found::Found;
use super::model::TreeReading;
use super::table::{Table, TaskKey};

/// The meeting place. All methods return at once, except [`Exchange::wait_for_wanted`].
#[derive(Debug, Default)]
pub struct Exchange {
    table: Mutex<Option<Arc<Table>>>,
    wanted: Mutex<Vec<TaskKey>>,
    wanted_changed: Condvar,
    /// Somebody asked for a reading of all tasks.
    all_wanted: AtomicBool,
    /// Tasks that may have ended unseen.
    missed: Mutex<Arc<[TaskKey]>>,
    /// Bounded by the tasks on the screen: only these are read.
    readings: Mutex<HashMap<TaskKey, TreeReading>>,
    selected: Mutex<Option<TreeReading>>,
    found: Mutex<Option<Arc<Found>>>,
    stopped: AtomicBool,
}

/// A slot is only ever replaced or taken whole, so it is good even after a panic elsewhere.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Exchange {
    /// Replaces the table that the view has not taken yet.
    pub fn put_table(&self, table: Arc<Table>) {
        *lock(&self.table) = Some(table);
    }

    /// The newest table, once.
    pub fn take_table(&self) -> Option<Arc<Table>> {
        lock(&self.table).take()
    }

    /// Says which tasks are on the screen, the selected one first.
    pub fn put_wanted(&self, wanted: Vec<TaskKey>) {
        let mut slot = lock(&self.wanted);
        // The reader reads all of them now and then; only a new selection is urgent.
        let urgent = slot.first() != wanted.first();
        *slot = wanted;
        drop(slot);
        if urgent {
            self.wanted_changed.notify_all();
        }
    }

    /// The tasks on the screen, after `pause` or as soon as another task is selected.
    pub fn wait_for_wanted(&self, pause: Duration) -> Vec<TaskKey> {
        let wanted = lock(&self.wanted);
        if self.is_stopped() || self.all_wanted.load(Ordering::Acquire) {
            return Vec::new();
        }
        let (wanted, _) = self
            .wanted_changed
            .wait_timeout(wanted, pause)
            .unwrap_or_else(PoisonError::into_inner);
        wanted.clone()
    }

    /// Asks for a reading of all tasks as soon as possible, which everybody gets who is told of
    /// readings.
    pub fn want_all(&self) {
        // Under the lock that the reader waits with, so that it cannot miss it.
        let _wanted = lock(&self.wanted);
        self.all_wanted.store(true, Ordering::Release);
        self.wanted_changed.notify_all();
    }

    /// Whether somebody asked for a reading of all tasks since the last call.
    pub fn take_all_wanted(&self) -> bool {
        self.all_wanted.swap(false, Ordering::AcqRel)
    }

    /// Hands over what the memory of a task told; `selected` for the task whose tree is shown.
    pub fn put_reading(&self, reading: TreeReading, selected: bool) {
        if selected {
            *lock(&self.selected) = Some(reading.clone());
        }
        lock(&self.readings).insert(reading.key, reading);
    }

    /// What was read of tasks since the last call, for the table.
    pub fn take_readings(&self) -> HashMap<TaskKey, TreeReading> {
        std::mem::take(&mut lock(&self.readings))
    }

    /// What was read of the selected task, once.
    pub fn take_selected(&self) -> Option<TreeReading> {
        lock(&self.selected).take()
    }

    /// Replaces what was found until now.
    pub fn put_found(&self, found: Arc<Found>) {
        *lock(&self.found) = Some(found);
    }

    /// What was found until now, once.
    pub fn take_found(&self) -> Option<Arc<Found>> {
        lock(&self.found).take()
    }

    /// Says which tasks may have ended unseen: it is looked after them when all tasks are read.
    pub fn put_missed(&self, missed: Vec<TaskKey>) {
        *lock(&self.missed) = missed.into();
    }

    /// The tasks that may have ended unseen.
    #[must_use]
    pub fn missed(&self) -> Arc<[TaskKey]> {
        Arc::clone(&lock(&self.missed))
    }

    /// Ends the view and the reader.
    pub fn stop(&self) {
        // Under the lock that the reader waits with, so that it cannot miss it.
        let _wanted = lock(&self.wanted);
        self.stopped.store(true, Ordering::Release);
        self.wanted_changed.notify_all();
    }

    /// Whether the session ends.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::live::table::samples;

    #[test]
    fn only_the_newest_table_is_kept() {
        let exchange = Exchange::default();
        exchange.put_table(Arc::default());
        exchange.put_table(Arc::new(samples::service()));
        assert_eq!(exchange.take_table().unwrap().rows.len(), 4);
        assert!(exchange.take_table().is_none());
    }

    #[test]
    fn a_waiting_reader_is_woken_by_a_selection_and_by_the_end() {
        let exchange = Exchange::default();
        let key = samples::service().rows[1].key;
        let start = std::time::Instant::now();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut rounds = Vec::new();
                while !exchange.is_stopped() {
                    rounds.push(exchange.wait_for_wanted(Duration::from_secs(60)));
                }
                rounds
            });
            exchange.put_wanted(vec![key]);
            exchange.stop();
            for round in reader.join().unwrap() {
                assert!(round.is_empty() || round == [key]);
            }
        });
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
