//! A look at all tasks -> a [`Table`] for the live view. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use crate::analyse::sampled::Collector;
use crate::rebuild::snapshot::{Snapshot, TaskInfo, TaskState};
use crate::rebuild::tracker::key_of_listed;
use crate::show::live::awaiting::summarise;
use crate::show::live::table::{Status, Table, TaskLabel, TaskRow};

/// Rows of one table at most.
const MAX_ROWS: usize = 200_000;

/// The table of the last look, at `now` (CLOCK_MONOTONIC, nanoseconds).
#[must_use]
pub fn table(snapshot: &Snapshot, collector: &Collector, status: Status, now: u64) -> Table {
    let tasks = snapshot
        .tasks
        .iter()
        .filter(|task| task.state != TaskState::Complete);
    let mut rows: Vec<TaskRow> = tasks
        .map(|task| row(task, collector, snapshot.time))
        .collect();
    rows.sort_unstable_by(|a, b| (&a.label, a.key).cmp(&(&b.label, b.key)));
    let rows_left_out = rows.len().saturating_sub(MAX_ROWS);
    rows.truncate(MAX_ROWS);
    Table {
        now,
        status,
        rows,
        rows_left_out,
        threads: HashMap::new(),
        nested: HashMap::new(),
        standing: HashMap::new(),
    }
}

fn row(task: &TaskInfo, collector: &Collector, time: u64) -> TaskRow {
    let key = key_of_listed(task);
    let (since, from_before) = collector.since(&key).unwrap_or((time, false));
    TaskRow {
        key,
        label: match key.id {
            Some(number) => TaskLabel::Numbered {
                runtime: task.runtime,
                number,
            },
            None => TaskLabel::Named(task.id.as_str().into()),
        },
        future: Arc::clone(&task.future),
        state: task.state,
        since,
        // Between two looks nobody looks: it has stood there for at least as long.
        since_before_attach: from_before || task.state == TaskState::Idle,
        unwatched: false,
        // Looks tell of no poll and no wake-up.
        activity: None,
        awaiting: task.tree.as_ref().map(|tree| summarise(tree, 0)),
    }
}
