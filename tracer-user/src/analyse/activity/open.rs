//! Tasks that were not over when the trace ended, and where the last snapshot of memory says that
//! they wait.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::units::TaskRow;
use crate::analyse::is_root_name;
use crate::analyse::profile::OpenAwait;
use crate::rebuild::event::UnitId;
use crate::rebuild::snapshot::{TaskInfo, TaskState};
use crate::rebuild::tracker::{TaskKey, key_of_listed};
use crate::rebuild::tree::{AwaitNode, WaitsFor};

/// Tasks of a snapshot that are kept at most.
const MAX_TASKS: usize = 200_000;

/// Leaves and awaits of one task that are kept.
const MAX_LEAVES: usize = 4;
const MAX_AWAITS: usize = 64;

/// A future and the await it stands at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct AwaitPlace {
    /// Path of the future.
    pub future: Arc<str>,
    /// Source file.
    pub file: Arc<str>,
    /// Line, 1-based.
    pub line: u32,
}

/// Where a task waits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Waiting {
    /// When memory was read, in nanoseconds before the end of the trace.
    pub read_ns_before_end: u64,
    /// The task's state then.
    pub state: TaskState,
    /// The awaits on the way from the task's future to its first leaf.
    pub awaits: Vec<AwaitPlace>,
    /// What its leaves wait for, the first ones.
    pub waits_for: Vec<WaitsFor>,
}

/// A task that was not over.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpenTask {
    /// Its unit.
    #[serde(skip)]
    pub unit: UnitId,
    /// As `asynctrace dump` names it.
    pub task: String,
    /// Its future.
    pub future: Option<Arc<str>>,
    /// It was there before the trace.
    pub existing: bool,
    /// Its polls that ended; `None` for a root that is polled where no probe stands.
    pub polls: Option<u64>,
    /// Nanoseconds inside them; `None` where these are not seen.
    pub busy_ns: Option<u64>,
    /// Nanoseconds from the last thing it did to the end of the trace; `None` where that is not seen.
    pub quiet_ns: Option<u64>,
    /// Nanoseconds for which it had been polled at the end; `None` when it was not being polled.
    pub polled_for_ns: Option<u64>,
    /// Where it waits, by the last snapshot of memory that has it.
    pub waiting: Option<Waiting>,
    /// The awaits that go on, in preorder, and for how long they have, where events tell.
    pub open_awaits: Vec<OpenAwait>,
}

/// The newest that memory told of each task.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    tasks: HashMap<TaskKey, Seen>,
}

#[derive(Debug)]
struct Seen {
    snapshot: u32,
    time: u64,
    id: String,
    state: TaskState,
    awaits: Vec<AwaitPlace>,
    waits_for: Vec<WaitsFor>,
}

impl Snapshots {
    /// Takes tasks of a snapshot; with the last of them, what older ones told is forgotten.
    pub(super) fn part(&mut self, snapshot: u32, time: u64, last: bool, tasks: Vec<TaskInfo>) {
        for task in tasks {
            let key = key_of_listed(&task);
            if self.tasks.len() < MAX_TASKS || self.tasks.contains_key(&key) {
                self.tasks.insert(key, seen(task, snapshot, time));
            }
        }
        if last {
            self.tasks.retain(|_, seen| seen.snapshot == snapshot);
        }
    }

    pub(super) fn open_task(&self, unit: UnitId, task: &TaskRow, end: u64) -> OpenTask {
        let seen = self.tasks.get(&task.key);
        let waiting = seen.map(|seen| Waiting {
            read_ns_before_end: end.saturating_sub(seen.time),
            state: seen.state,
            awaits: seen.awaits.clone(),
            waits_for: seen.waits_for.clone(),
        });
        let is_root = seen.map_or(task.key.id.is_none(), |seen| is_root_name(&seen.id));
        let is_watched = task.is_seen_polled || !is_root;
        OpenTask {
            unit,
            // Memory has a name for roots, which have no id.
            task: seen.map_or(&task.name, |seen| &seen.id).clone(),
            future: task.counts.future.clone(),
            existing: task.existing,
            polls: is_watched.then_some(task.counts.polls),
            busy_ns: is_watched.then_some(task.counts.busy_ns),
            quiet_ns: is_watched.then(|| end.saturating_sub(task.last)),
            polled_for_ns: task.polled_since.map(|since| end.saturating_sub(since)),
            waiting,
            open_awaits: Vec::new(),
        }
    }
}

fn seen(task: TaskInfo, snapshot: u32, time: u64) -> Seen {
    let mut seen = Seen {
        snapshot,
        time,
        id: task.id,
        state: task.state,
        awaits: Vec::new(),
        waits_for: Vec::new(),
    };
    let mut node = task.tree.as_ref();
    while let Some(here) = node {
        if let (Some(file), Some(line)) = (&here.file, here.line)
            && seen.awaits.len() < MAX_AWAITS
        {
            seen.awaits.push(AwaitPlace {
                future: Arc::clone(&here.future),
                file: Arc::clone(file),
                line,
            });
        }
        node = here.children.first();
    }
    if let Some(root) = &task.tree {
        root.visit(&mut |node: &AwaitNode| {
            if let Some(waits_for) = &node.waits_for
                && seen.waits_for.len() < MAX_LEAVES
            {
                seen.waits_for.push(waits_for.clone());
            }
        });
    }
    seen
}
