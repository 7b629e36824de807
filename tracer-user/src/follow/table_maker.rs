//! The tracker's task table and what was read from memory -> a [`Table`] for the view. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::rates::Rate;
use crate::rebuild::nested::NestedPolls;
use crate::rebuild::snapshot::{Snapshot, TaskInfo};
use crate::rebuild::tracker::{Actor, Task, TaskKey, Tracker, key_of_listed};
use crate::show::live::awaiting::summarise;
use crate::show::live::model::TreeReading;
use crate::show::live::table::{
    Activity, Awaiting, LastWake, Status, Table, TaskLabel, TaskRow, WokenBy,
};

/// Rows of one table at most. More live tasks are counted, the lowest numbers have a row.
const MAX_ROWS: usize = 200_000;

/// What is kept of a task between two tables.
#[derive(Clone, Debug, Default)]
struct Kept {
    polls: Rate,
    busy: Rate,
    awaiting: Option<Awaiting>,
    /// The name of a root without a number.
    name: Option<Arc<str>>,
    /// The round in which the task was last in the table.
    round: u64,
}

/// Makes tables. Remembers for each live task what rates and awaits need.
#[derive(Debug, Default)]
pub struct TableMaker {
    kept: HashMap<TaskKey, Kept>,
    round: u64,
    made_at: u64,
}

impl TableMaker {
    /// Takes over the names and awaits of all tasks of a snapshot that was taken from `time` on
    /// (CLOCK_MONOTONIC, nanoseconds).
    pub fn take_snapshot(&mut self, snapshot: &Snapshot, time: u64, tracker: &Tracker) {
        for info in &snapshot.tasks {
            let key = key_of_listed(info);
            if key.id.is_none() {
                self.keep(key).name = Some(info.id.as_str().into());
            }
            self.take_tree(key, info, time, tracker);
        }
    }

    /// Takes over what was read of single tasks.
    pub fn take_readings(&mut self, readings: HashMap<TaskKey, TreeReading>, tracker: &Tracker) {
        for (key, reading) in readings {
            if let Ok(info) = reading.task {
                self.take_tree(key, &info, reading.at, tracker);
            }
        }
    }

    fn take_tree(&mut self, key: TaskKey, info: &TaskInfo, time: u64, tracker: &Tracker) {
        let (Some(task), Some(tree)) = (tracker.task(&key), &info.tree) else {
            return;
        };
        // A poll since the reading makes it an old one.
        let polled_since = task.polls > 0 && task.state_since() > time;
        let polls = task.polls.saturating_sub(u64::from(polled_since));
        self.keep(key).awaiting = Some(summarise(tree, polls));
    }

    fn keep(&mut self, key: TaskKey) -> &mut Kept {
        let round = self.round;
        self.kept.entry(key).or_insert_with(|| Kept {
            // As if it had been in the last table, with nothing counted.
            round,
            ..Kept::default()
        })
    }

    /// Makes a table of the live tasks at `now` (CLOCK_MONOTONIC, nanoseconds).
    pub fn make(
        &mut self,
        tracker: &Tracker,
        nested: &NestedPolls,
        status: Status,
        now: u64,
    ) -> Table {
        let elapsed = match self.made_at {
            0 => Duration::ZERO,
            before => Duration::from_nanos(now.saturating_sub(before)),
        };
        self.made_at = now;
        self.round += 1;
        let mut rows: Vec<TaskRow> = tracker
            .tasks()
            .filter(|task| !task.is_over())
            .map(|task| self.row(task, tracker, elapsed, now))
            .collect();
        let round = self.round;
        self.kept.retain(|_, kept| kept.round == round);
        rows.sort_unstable_by(|a, b| (&a.label, a.key).cmp(&(&b.label, b.key)));
        let rows_left_out = rows.len().saturating_sub(MAX_ROWS);
        rows.truncate(MAX_ROWS);
        let nested = rows
            .iter()
            .filter_map(|row| {
                let polls = nested.of(tracker.task(&row.key)?.unit);
                (!polls.is_empty()).then(|| (row.key, polls.to_vec()))
            })
            .collect();
        let threads = rows
            .iter()
            .filter_map(|row| match row.activity?.last_wake?.by {
                WokenBy::Thread(tid) => Some((tid, Arc::clone(tracker.thread_name(tid)?))),
                WokenBy::Task(_) => None,
            })
            .collect();
        Table {
            now,
            status,
            rows,
            rows_left_out,
            threads,
            nested,
            standing: HashMap::new(),
        }
    }

    fn row(&mut self, task: &Task, tracker: &Tracker, elapsed: Duration, now: u64) -> TaskRow {
        // The time in the poll that goes on counts as it passes, not when it ends; where its end would
        // not be seen, it may have ended.
        let ends_are_seen = tracker.all_polls_are_watched();
        let in_poll = task
            .polled_since
            .filter(|_| ends_are_seen)
            .map_or(0, |began| now.saturating_sub(began));
        let busy = task
            .busy
            .saturating_add(in_poll)
            .saturating_sub(task.off_cpu);
        let kept = self.kept.entry(task.key).or_default();
        if kept.round + 1 == self.round {
            kept.polls.update(task.polls, elapsed);
            kept.busy.update(busy, elapsed);
        } else {
            // New in the table: its counts so far were made at unknown times.
            kept.polls = Rate::starting_at(task.polls);
            kept.busy = Rate::starting_at(busy);
        }
        kept.round = self.round;
        let label = match (task.key.id, &kept.name) {
            (Some(number), _) => TaskLabel::Numbered {
                runtime: runtime_name(&task.runtime),
                number,
            },
            (None, Some(name)) => TaskLabel::Named(Arc::clone(name)),
            (None, None) => {
                TaskLabel::Named(format!("{}/{}", task.runtime, task.key.address).into())
            }
        };
        // A root that only memory knows is polled where no probe stands.
        let seen = task.key.id.is_some() || !task.existing || task.polls > 0 || task.wakes > 0;
        let activity = seen.then(|| Activity {
            polls: task.polls,
            polls_per_second: kept.polls.per_second(),
            busy: Duration::from_nanos(busy),
            busy_share: kept.busy.per_second() / 1e9,
            last_wake: task.last_wake.map(|wake| LastWake {
                at: wake.time,
                at_most: wake.time < tracker.wakes_watched_since(),
                by: match wake.by {
                    Actor::Task { key, .. } => WokenBy::Task(key.id),
                    Actor::Thread { tid, .. } => WokenBy::Thread(tid),
                },
            }),
        });
        TaskRow {
            key: task.key,
            label,
            future: task.future.clone().unwrap_or_else(|| "not known".into()),
            state: task.state,
            since: task.state_since(),
            since_before_attach: task.watched_from().is_some()
                || task.existing && task.polls == 0 && task.polled_since.is_none(),
            unwatched: !task.is_watched() || (task.polled_since.is_some() && !ends_are_seen),
            activity,
            awaiting: kept.awaiting.clone(),
        }
    }
}

/// The runtimes that have numbers for their tasks.
fn runtime_name(runtime: &str) -> &'static str {
    match runtime {
        "tokio" => "tokio",
        _ => "task",
    }
}

#[cfg(test)]
#[path = "table_maker_tests.rs"]
pub(super) mod tests;
