//! Units of a history: the row of each, what it is, and whether events of it are missing.

use std::sync::Arc;

use super::builder::Builder;
use super::task::TaskState;
use super::{Spawn, TaskHistory, UnitHistory, UnitIndex, UnitKind};
use crate::analyse::task_name;
use crate::rebuild::event::{Event, TaskUnit, Unit, UnitId};

/// Gaps that are kept with their time.
const MAX_GAPS: usize = 1_000_000;

/// A unit, beside its history.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The sequence number that follows without a hole.
    pub(super) next: u64,
    /// Its state, for a task that lives.
    pub(super) state: Option<Box<TaskState>>,
    /// Its spawn, told before it was described.
    pub(super) spawned: Option<Spawn>,
    /// It is over: nothing that is told of it later is believed.
    pub(super) over: bool,
}

impl Builder {
    /// The row of a unit; `None` when there are too many.
    pub(super) fn unit(&mut self, id: UnitId, time: u64) -> Option<UnitIndex> {
        if let Some(unit) = self.index.get(&id) {
            return Some(*unit);
        }
        if self.history.units.len() >= self.limits.units {
            return None;
        }
        let index = UnitIndex(u32::try_from(self.history.units.len()).ok()?);
        self.index.insert(id, index);
        self.known.push(Known::default());
        self.history.units.push(UnitHistory {
            id,
            kind: UnitKind::Unknown,
            first: time,
            last: time,
            polls: Vec::new(),
            awaits: Vec::new(),
            woken: Vec::new(),
            gaps: Vec::new(),
        });
        Some(index)
    }

    pub(super) fn kind_mut(&mut self, unit: UnitIndex) -> Option<&mut UnitKind> {
        self.history
            .units
            .get_mut(unit.0 as usize)
            .map(|unit| &mut unit.kind)
    }

    /// Whether an event follows the last one of its unit; one that was there before does not, and
    /// after a hole something is missing.
    pub(super) fn is_next(&mut self, unit: UnitIndex, event: &Event) -> bool {
        let Some(known) = self.known.get_mut(unit.0 as usize) else {
            return false;
        };
        let (next, sequence) = (known.next, event.id.sequence);
        if sequence < next {
            return false;
        }
        known.next = sequence.saturating_add(1);
        if sequence > next && next > 0 {
            self.gap(unit, event.time, true);
        }
        if let Some(unit) = self.history.units.get_mut(unit.0 as usize) {
            unit.last = unit.last.max(event.time);
        }
        true
    }

    pub(super) fn gap(&mut self, unit: UnitIndex, time: u64, hole: bool) {
        if self.showing {
            self.history.missing.gaps += 1;
            if self.gaps < MAX_GAPS
                && let Some(unit) = self.history.units.get_mut(unit.0 as usize)
            {
                self.gaps += 1;
                unit.gaps.push(time);
            }
        }
        self.wakers_are_missing(unit);
        if let Some(known) = self.known.get_mut(unit.0 as usize)
            && let Some(state) = &mut known.state
        {
            state.gap(hole);
        }
    }

    pub(super) fn described(&mut self, unit: UnitIndex, described: &Unit, time: u64) {
        let Some(kind) = self.kind_mut(unit) else {
            return;
        };
        match (described, &mut *kind) {
            (Unit::Task(task), UnitKind::Task(known)) => describe(known, task),
            (Unit::Task(task), _) => self.new_task(unit, task, time),
            (Unit::Thread(thread), UnitKind::Thread { name, .. }) => {
                name.clone_from(&thread.name);
            }
            (Unit::Thread(thread), _) => {
                *kind = UnitKind::Thread {
                    tid: thread.tid,
                    name: thread.name.clone(),
                    polls_tasks: false,
                };
            }
            (Unit::Origin(origin), _) => *kind = UnitKind::Origin(*origin),
        }
    }

    fn new_task(&mut self, unit: UnitIndex, task: &TaskUnit, time: u64) {
        let mut history = TaskHistory {
            name: "".into(),
            address: task.address,
            future: None,
            blocking: false,
            existing: task.existing,
            spawned: None,
            end: None,
        };
        describe(&mut history, task);
        if task.task_id.is_none() {
            self.roots.insert(task.address, unit);
        }
        let at = unit.0 as usize;
        if let Some(known) = self.known.get_mut(at) {
            history.spawned = known.spawned.take();
            let state = known
                .state
                .get_or_insert_with(|| Box::new(TaskState::new(time)));
            if history.spawned.is_some() {
                state.spawned();
            }
        }
        if let Some(unit) = self.history.units.get_mut(at) {
            unit.kind = UnitKind::Task(history);
        }
    }
}

fn describe(known: &mut TaskHistory, task: &TaskUnit) {
    known.name = task_name(&task.runtime, task.task_id, task.address).into();
    if let Some(future) = &task.future {
        known.blocking = future.contains("BlockingTask<") || future.ends_with("BlockingTask");
        known.future = Some(Arc::clone(future));
    }
}
