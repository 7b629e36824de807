//! What memory tells between records. The first reading is applied at once, the others when
//! everything from before them has been.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::Follower;
use crate::address::Address;
use crate::follow::reader::{Moment, Reading};
use crate::follow::recorder::Entry;
use crate::follow::status_words::{notice_of, runtimes_in_words};
use crate::rebuild::snapshot::Snapshot;
use crate::rebuild::suspension::Suspension;
use crate::rebuild::tracker::TaskKey;
use crate::show::live::model::TreeReading;
use crate::walk::flat::Told;

impl Follower {
    /// Takes a reading of all tasks. The first one enters at once: an existing task is better known
    /// early. The others wait until the records from before them have come.
    pub fn take_reading(&mut self, mut reading: Reading) {
        for (tid, name) in reading.threads.drain(..) {
            self.tracker.name_thread(tid, name);
        }
        if reading.moment == Moment::Start {
            let suspensions = std::mem::take(&mut reading.suspensions);
            self.suspensions.push((reading.time, suspensions));
            self.apply_reading(reading);
        } else {
            self.waiting.push(reading);
        }
    }

    pub(super) fn apply_reading(&mut self, reading: Reading) {
        let Reading {
            time,
            snapshot,
            moment,
            gone,
            suspensions,
            ..
        } = reading;
        let snapshot = match snapshot {
            Ok(snapshot) => snapshot,
            Err(reason) => {
                if moment == Moment::Start {
                    let text = format!("tasks from before the attach are not known: {reason}");
                    self.notice = Some(text.clone());
                    self.unread = Some(text);
                }
                return;
            }
        };
        for (resource, fd) in resources(&snapshot) {
            self.tracker.resource(resource, fd);
        }
        let mut events = Vec::new();
        if moment == Moment::Start {
            self.tracker.seed(&snapshot, time, &mut events);
        } else {
            self.tracker.reconcile(&snapshot, &gone, time, &mut events);
        }
        self.record(events);
        self.apply_suspensions(suspensions, time);
        self.maker.take_snapshot(&snapshot, time, &self.tracker);
        self.listed = snapshot.tasks.len();
        self.runtimes = runtimes_in_words(&snapshot.runtimes);
        self.notice = notice_of(&snapshot).or_else(|| self.about.notice.clone());
        for recorder in [&mut self.recorder, &mut self.judging]
            .into_iter()
            .flatten()
        {
            recorder.entry(Entry::Snapshot {
                snapshot: Arc::clone(&snapshot),
                time,
                moment,
            });
        }
    }

    /// Where tasks stand, from memory that was read from `time` on; what happened before must have
    /// been applied.
    pub(super) fn apply_suspensions(&mut self, suspensions: Vec<(TaskKey, Told)>, time: u64) {
        let Some(decoder) = &mut self.decoder else {
            return;
        };
        let mut known: HashMap<u64, Arc<Suspension>> = HashMap::new();
        let mut events = Vec::new();
        for (key, told) in suspensions {
            let suspension = known
                .entry(told.hash)
                .or_insert_with(|| Arc::new(decoder.decode(&told.words)));
            self.tracker
                .suspended(&key, suspension, told.marks, time, &mut events);
        }
        self.record(events);
    }

    /// Takes what was read of the tasks on the screen.
    pub fn take_readings(&mut self, mut readings: HashMap<TaskKey, TreeReading>) {
        // Tables are made more often than the screen is read.
        if !readings.is_empty() {
            self.on_screen = readings.keys().copied().collect();
        }
        for reading in readings.values_mut() {
            if let Some(told) = reading.told.take() {
                self.suspensions
                    .push((reading.at, vec![(reading.key, told)]));
            }
        }
        self.maker.take_readings(readings, &self.tracker);
    }
}

/// The file descriptors of the I/O resources that tasks wait for.
fn resources(snapshot: &Snapshot) -> Vec<(Address, i32)> {
    let mut found = Vec::new();
    for tree in snapshot.tasks.iter().filter_map(|task| task.tree.as_ref()) {
        tree.visit(&mut |node| {
            let Some(wait) = &node.waits_for else { return };
            let record = wait.text("record");
            let resource = record
                .and_then(|text| text.strip_prefix("0x"))
                .and_then(|digits| u64::from_str_radix(digits, 16).ok());
            let fd = wait.details.get("fd").and_then(Value::as_i64);
            if let (Some(resource), Some(Ok(fd))) = (resource, fd.map(i32::try_from)) {
                found.push((Address(resource), fd));
            }
        });
    }
    found
}
