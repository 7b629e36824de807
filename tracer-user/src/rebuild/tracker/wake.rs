//! What a task or a thread does to tasks: wake-ups, wakers, spawns, and polls inside its own.

use tracer_common::Record;

use super::Tracker;
use super::poll::tell_lost_begin;
use super::task::{Actor, LastWake, Pending, TaskKey};
use crate::address::Address;
use crate::rebuild::event::{Event, EventId, EventKind, WakeEffect};
use crate::rebuild::snapshot::TaskState;

impl Tracker {
    pub(super) fn wake(
        &mut self,
        record: &Record,
        by_value: bool,
        into: &mut Vec<Event>,
    ) -> Option<()> {
        let effect = self.word.wake_effect(record.state);
        let key = self.target(record, effect != WakeEffect::AlreadyOver, into)?;
        let task = self.table.get(&key)?.unit;
        let kind = EventKind::Wake {
            task,
            by_value,
            effect,
        };
        let (actor, event) = if record.aux == 0 {
            let actor = self.actor(record, into)?;
            (actor, self.act(&actor, record, kind, into)?)
        } else {
            // What the thread did for a driver is caused by the kernel.
            let cause = self.fired(record, into);
            let thread = self.threads.get_mut(record.tid)?;
            let actor = Actor::Thread {
                unit: thread.unit,
                tid: thread.tid,
            };
            (actor, thread.emit(record.time, kind, cause, into))
        };
        self.counts.wakes += 1;

        let (now, clean_since) = (self.now, self.clean_since);
        let target = self.table.get_mut(&key)?;
        target.wakes += 1;
        target.redundant_wakes += u64::from(effect == WakeEffect::Redundant);
        target.last_seen = target.last_seen.max(record.time);
        target.last_wake = Some(LastWake {
            time: record.time,
            by: actor,
            by_value,
            effect,
        });
        if target.is_over() {
            return Some(());
        }
        if target.began.is_some_and(|began| began > record.time) {
            // The poll that it may have caused is past.
            self.clean_since = clean_since.max(now);
            return Some(());
        }
        // A probe that was hit on its way out, or in; what its task does about it is not seen.
        if self.watching.leaves_out(target.future.as_ref()) {
            return Some(());
        }
        target.schedule(effect, event, record.time, clean_since);
        if target.open.is_none() {
            target.state = TaskState::Scheduled;
        }
        Some(())
    }

    pub(super) fn waker_counted(
        &mut self,
        record: &Record,
        cloned: bool,
        into: &mut Vec<Event>,
    ) -> Option<()> {
        // Wakers outlive their tasks, and dropping one is no sign of life.
        let key = self.target(record, false, into)?;
        let actor = self.actor(record, into)?;
        let target = self.table.get_mut(&key)?;
        target.waker_balance += if cloned { 1 } else { -1 };
        let task = target.unit;
        let kind = if cloned {
            EventKind::WakerCloned { task }
        } else {
            EventKind::WakerDropped { task }
        };
        self.act(&actor, record, kind, into).map(|_| ())
    }

    pub(super) fn spawn(&mut self, record: &Record, into: &mut Vec<Event>) -> Option<()> {
        let key = TaskKey::of(record.task, record.task_id);
        // Two functions may see one spawn, and one of them is called without a task when the
        // runtime is shutting down.
        let is_known = key.id.is_some()
            && self
                .table
                .get(&key)
                .is_some_and(|task| task.spawned_by.is_some());
        if record.task == 0 || is_known {
            return Some(());
        }
        let actor = self.actor(record, into)?;
        if key.id.is_none()
            && let Some(before) = self.table.get(&key)
            && !before.is_over()
        {
            // Without ids, a spawn at its address is what says that the task before is over.
            if record.time < before.last_event {
                return None;
            }
            self.finish(
                &key,
                record.time,
                crate::rebuild::event::Outcome::Over,
                into,
            );
        }
        self.live_task(key, record.time, None, into)?;
        let task = self.table.get(&key)?.unit;
        let event = self.act(&actor, record, EventKind::Spawned { task }, into)?;
        self.counts.spawned += 1;
        let child = self.table.get_mut(&key)?;
        child.spawned_by = Some(actor);
        if self.watching.leaves_out(child.future.as_ref()) {
            return Some(());
        }
        if child.began.is_none() && child.scheduled_by == Pending::None {
            child.scheduled_by = Pending::By(event, record.time);
            child.state = TaskState::Scheduled;
        }
        Some(())
    }

    pub(super) fn future_poll(&mut self, record: &Record, into: &mut Vec<Event>) -> Option<()> {
        let actor = self.actor(record, into)?;
        let kind = EventKind::FuturePoll {
            future: Address(record.task),
            name: self.probe_name(record.probe),
            depth: record.aux,
        };
        self.act(&actor, record, kind, into).map(|_| ())
    }

    /// The task that a waker wakes.
    fn target(
        &mut self,
        record: &Record,
        must_live: bool,
        into: &mut Vec<Event>,
    ) -> Option<TaskKey> {
        let key = TaskKey::of(record.task, record.task_id);
        // With an id a task that is over stays over; without one a sign of life at its address is
        // the next task's.
        if must_live && key.id.is_none() {
            self.live_task(key, record.time, None, into)?;
        } else {
            self.known_task(key, record.time, into)?;
        }
        Some(key)
    }

    /// Who made a record.
    pub(super) fn actor(&mut self, record: &Record, into: &mut Vec<Event>) -> Option<Actor> {
        if record.by == 0 {
            let thread = self.threads.get_mut(record.tid)?;
            return Some(Actor::Thread {
                unit: thread.unit,
                tid: thread.tid,
            });
        }
        let key = TaskKey::of(record.by, record.by_id);
        self.live_task(key, record.time, None, into)?;
        self.table.get(&key).map(super::Task::as_actor)
    }

    /// Appends an event of the actor, caused by the poll it was made in.
    pub(super) fn act(
        &mut self,
        actor: &Actor,
        record: &Record,
        kind: EventKind,
        into: &mut Vec<Event>,
    ) -> Option<EventId> {
        match actor {
            Actor::Thread { tid, .. } => {
                let thread = self.threads.get_mut(*tid)?;
                Some(thread.emit(record.time, kind, None, into))
            }
            Actor::Task { key, .. } => {
                let task = self.table.get_mut(key)?;
                let cause = task
                    .poll_of(record.tid, record.poll, self.clean_since)
                    .map(|open| open.event);
                // What is left out is not lost.
                if cause.is_none() && !self.watching.leaves_out(task.future.as_ref()) {
                    tell_lost_begin(task, record, self.started, into);
                }
                Some(task.emit(record.time, kind, cause, into))
            }
        }
    }
}
