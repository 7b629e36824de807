//! What moves tasks from outside any task: I/O readiness and timers, aborts, panics.
//!
//! An origin is a unit of its own: one for each resource of the I/O driver, one for all timers. It
//! *fired* when its driver began to wake on some thread; each wake-up of that occasion refers to it.

use foldhash::HashMap;
use std::sync::Arc;

use tracer_common::{Record, WakeOrigin};

use super::Tracker;
use super::task::TaskKey;
use crate::address::Address;
use crate::rebuild::event::{Event, EventId, EventKind, Origin, Unit, UnitId};

/// Resources that are told apart; those of a service with a hundred thousand connections.
const MAX_ORIGINS: usize = 200_000;

/// An origin's unit.
#[derive(Debug)]
struct Known {
    unit: UnitId,
    sequence: u64,
    last: u64,
    /// The last occasion: the thread and when its driver began.
    fired: Option<(u32, u64, EventId)>,
    fd: Option<i32>,
}

/// The origins of a trace.
#[derive(Debug, Default)]
pub(super) struct Origins {
    known: HashMap<(u8, u64), Known>,
    descriptors: HashMap<Address, i32>,
}

impl Origins {
    pub(super) fn name(&mut self, resource: Address, fd: i32) {
        if self.descriptors.len() < MAX_ORIGINS || self.descriptors.contains_key(&resource) {
            self.descriptors.insert(resource, fd);
        }
    }
}

impl Tracker {
    /// The event of the origin that a wake-up's record names.
    pub(super) fn fired(&mut self, record: &Record, into: &mut Vec<Event>) -> Option<EventId> {
        let origin = WakeOrigin::from_u8(record.aux)?;
        let key = (record.aux, record.by);
        if !self.origins.known.contains_key(&key) {
            if self.origins.known.len() >= MAX_ORIGINS {
                return None;
            }
            let unit = self.next_unit();
            self.origins.known.insert(
                key,
                Known {
                    unit,
                    sequence: 0,
                    last: 0,
                    fired: None,
                    fd: None,
                },
            );
        }
        let resource = Address(record.by);
        let fd = self.origins.descriptors.get(&resource).copied();
        let known = self.origins.known.get_mut(&key)?;
        // A thread whose record comes late: what the origin did since is no cause of it.
        if known.last > record.time {
            return None;
        }
        if let Some((tid, begin, event)) = known.fired
            && (tid, begin) == (record.tid, record.by_id)
        {
            return Some(event);
        }
        let time = record.by_id.min(record.time).max(known.last);
        known.last = time;
        let mut emit = |kind| {
            let id = EventId {
                unit: known.unit,
                sequence: known.sequence,
            };
            known.sequence += 1;
            into.push(Event {
                id,
                time,
                kind,
                cause: None,
            });
            id
        };
        if known.fired.is_none() || known.fd != fd {
            known.fd = fd;
            let origin = match origin {
                WakeOrigin::Io => Origin::Io {
                    resource: (record.by != 0).then_some(resource),
                    fd,
                },
                WakeOrigin::Timer => Origin::Timer,
            };
            emit(EventKind::Described(Arc::new(Unit::Origin(origin))));
        }
        let event = emit(EventKind::Fired);
        known.fired = Some((record.tid, record.by_id, event));
        Some(event)
    }

    pub(super) fn abort(&mut self, record: &Record, into: &mut Vec<Event>) -> Option<()> {
        // A task that is over, or nothing that is known to be a task.
        if record.task == 0 || record.task_id == 0 {
            return Some(());
        }
        let key = TaskKey::of(record.task, record.task_id);
        self.known_task(key, record.time, into)?;
        // A handle's `abort` and what it calls are two functions and one abort; a further one before
        // the task is polled does nothing.
        let before = self.table.get(&key)?;
        if before
            .aborted
            .is_some_and(|(_, at)| before.began.is_none_or(|began| began < at))
        {
            return Some(());
        }
        let actor = self.actor(record, into)?;
        let task = self.table.get(&key)?.unit;
        let effect = self.word.wake_effect(record.state);
        let event = self.act(&actor, record, EventKind::Aborted { task }, into)?;
        let (now, clean_since) = (self.now, self.clean_since);
        let task = self.table.get_mut(&key)?;
        if task.is_over() {
            return Some(());
        }
        if task.began.is_some_and(|began| began > record.time) {
            // The poll that it may have caused is past.
            self.clean_since = clean_since.max(now);
            return Some(());
        }
        task.aborted = Some((event, record.time));
        // It is scheduled to be cancelled, as if it were woken.
        task.schedule(effect, event, record.time, clean_since);
        Some(())
    }
}
