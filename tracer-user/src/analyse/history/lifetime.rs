//! A task from its spawn to its end. Its state is lent out to what looks at one task at a time.

use super::builder::Builder;
use super::task::TaskState;
use super::{AwaitOutcome, Doer, Spawn, TaskEnd, UnitHistory, UnitIndex, UnitKind};
use crate::rebuild::event::{Event, EventId, EventKind, Outcome, UnitId};

impl Builder {
    /// Lends the state of a task out; made where there is none, `None` when it is over.
    pub(super) fn take_state(&mut self, unit: UnitIndex, time: u64) -> Option<Box<TaskState>> {
        let known = self.known.get_mut(unit.0 as usize)?;
        if known.over {
            return None;
        }
        Some(
            known
                .state
                .take()
                .unwrap_or_else(|| Box::new(TaskState::new(time))),
        )
    }

    pub(super) fn give_state(&mut self, unit: UnitIndex, state: Box<TaskState>) {
        if let Some(known) = self.known.get_mut(unit.0 as usize) {
            known.state = Some(state);
        }
    }

    pub(super) fn spawned(&mut self, by: UnitIndex, task: UnitId, event: &Event) {
        let spawn = Spawn {
            time: event.time,
            event: event.id,
            by: self.doer(by, event.cause),
        };
        let Some(task) = self.unit(task, event.time) else {
            return;
        };
        let Some(known) = self.known.get_mut(task.0 as usize) else {
            return;
        };
        match self.history.units.get_mut(task.0 as usize) {
            Some(UnitHistory {
                kind: UnitKind::Task(history),
                ..
            }) => {
                if history.spawned.is_none() && !history.existing {
                    history.spawned = Some(spawn);
                    if let Some(state) = &mut known.state {
                        state.spawned();
                    }
                }
            }
            _ => known.spawned = Some(spawn),
        }
    }

    pub(super) fn finished(&mut self, unit: UnitIndex, event: &Event, outcome: Outcome) {
        let aborted = |aborts: &[(EventId, Doer)]| {
            let cause = event.cause?;
            let found = aborts.iter().find(|(abort, _)| *abort == cause);
            found.map(|(_, by)| *by)
        };
        let Some(mut state) = self.take_state(unit, event.time) else {
            // Its last poll told already that it is over; this may tell why.
            let aborts = self
                .known
                .get_mut(unit.0 as usize)
                .and_then(|known| known.state.take());
            if let (Some(state), Some(UnitKind::Task(task))) = (aborts, self.kind_mut(unit))
                && let Some(end) = &mut task.end
            {
                end.aborted = end.aborted.or_else(|| aborted(&state.aborts));
            }
            return;
        };
        self.close_if_open(&mut state, event.time);
        self.attribute_clones(unit, &mut state, Some(&[]));
        let end = TaskEnd {
            time: state.clock.at(event.time).time,
            outcome,
            aborted: aborted(&state.aborts),
        };
        self.is_over(&mut state, event.time, await_outcome(outcome));
        if let Some(UnitKind::Task(task)) = self.kind_mut(unit) {
            task.end = Some(end);
        }
        if let Some(known) = self.known.get_mut(unit.0 as usize) {
            known.over = true;
            // The abort that its end refers to is all that is still asked for.
            known.state = (!state.aborts.is_empty()
                && !matches!(event.kind, EventKind::Finished { .. }))
            .then(|| {
                *state = TaskState {
                    aborts: std::mem::take(&mut state.aborts),
                    ..TaskState::new(event.time)
                };
                state
            });
        }
    }
}

fn await_outcome(outcome: Outcome) -> AwaitOutcome {
    match outcome {
        Outcome::Ready => AwaitOutcome::Ready,
        Outcome::Cancelled => AwaitOutcome::Cancelled,
        Outcome::Panicked => AwaitOutcome::Panicked,
        Outcome::Pending | Outcome::Over | Outcome::Unknown => AwaitOutcome::Over,
    }
}
