//! Small made-up traces for tests of this module and of those that read histories.
//!
//! ```text
//! let mut trace = Trace::new();
//! let worker = trace.worker(1);
//! let task = trace.task(17, "app::serve");
//! trace.spawn(worker, task, 1_000);
//! trace.poll(task, worker, 2_000, 2_100, Some(spawn));
//! trace.stands(task, 9_000, &[body(0, 0, "app::serve", 23), leaf(1, 8, "Sleep", "sleep", 1)]);
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use super::{Builder, History};
use crate::address::Address;
use crate::rebuild::event::{
    EndSeen, Event, EventId, EventKind, Origin, Outcome, TaskUnit, ThreadUnit, Unit, UnitId,
    WakeEffect,
};
use crate::rebuild::suspension::{FutureState, Marks, Place, SuspendedFuture, Suspension};
use crate::rebuild::tree::{NodeKind, NodeState};

/// A trace under construction; it gives sequence numbers. Events are to be added in order of time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    pub(crate) events: Vec<Event>,
    next: HashMap<UnitId, u64>,
    units: u64,
}

/// A future of a made-up suspension, with its mark.
#[derive(Clone, Debug)]
pub(crate) struct Future {
    pub(crate) future: SuspendedFuture,
    pub(crate) mark: Option<u8>,
}

/// An async function at a line of `src/main.rs`.
pub(crate) fn body(depth: u16, place: u64, path: &str, line: u32) -> Future {
    future(depth, place, path, NodeKind::AsyncFn, Some(line), None)
}

/// The same, made with arguments of this mark.
pub(crate) fn marked_body(depth: u16, place: u64, path: &str, line: u32, mark: u8) -> Future {
    Future {
        mark: Some(mark),
        ..body(depth, place, path, line)
    }
}

/// A future that holds others: what `select!` makes, a `Timeout`.
pub(crate) fn holder(depth: u16, place: u64, path: &str) -> Future {
    future(depth, place, path, NodeKind::Future, None, None)
}

/// A leaf without a mark.
pub(crate) fn leaf(depth: u16, place: u64, path: &str, waits_for: &str) -> Future {
    let waits_for = Some(waits_for).filter(|kind| !kind.is_empty());
    future(depth, place, path, NodeKind::Leaf, None, waits_for)
}

/// A sleep; its mark is of its deadline.
pub(crate) fn sleep(depth: u16, place: u64, mark: u8) -> Future {
    Future {
        mark: Some(mark),
        ..leaf(depth, place, "tokio::time::sleep::Sleep", "sleep")
    }
}

fn future(
    depth: u16,
    place: u64,
    path: &str,
    kind: NodeKind,
    line: Option<u32>,
    waits_for: Option<&str>,
) -> Future {
    Future {
        future: SuspendedFuture {
            depth,
            place: Place::Inside(place),
            mark: None,
            state: Arc::new(FutureState {
                future: path.into(),
                kind,
                state: NodeState::Suspended,
                file: line.map(|_| "src/main.rs".into()),
                line,
                waits_for: waits_for.map(Into::into),
            }),
        },
        mark: None,
    }
}

/// A suspension of these futures.
pub(crate) fn suspension(futures: &[Future], missing: Option<&str>) -> (Arc<Suspension>, Marks) {
    let mut marks = Marks::default();
    let mut next = 0_u8;
    let futures = futures.iter().map(|future| {
        let mut suspended = future.future.clone();
        if let Some(mark) = future.mark {
            marks.0[usize::from(next)] = mark;
            suspended.mark = Some(next);
            next += 1;
        }
        suspended
    });
    let suspension = Suspension {
        futures: futures.collect(),
        missing: missing.map(Into::into),
    };
    (Arc::new(suspension), marks)
}

impl Trace {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn event(
        &mut self,
        unit: UnitId,
        time: u64,
        kind: EventKind,
        cause: Option<EventId>,
    ) -> EventId {
        let sequence = self.next.entry(unit).or_default();
        let id = EventId {
            unit,
            sequence: *sequence,
        };
        *sequence += 1;
        self.events.push(Event {
            id,
            time,
            kind,
            cause,
        });
        id
    }

    pub(crate) fn unit(&mut self, time: u64, unit: Unit) -> UnitId {
        let id = UnitId(self.units);
        self.units += 1;
        self.event(id, time, EventKind::Described(Arc::new(unit)), None);
        id
    }

    /// A thread.
    pub(crate) fn thread(&mut self, tid: u32, name: &str, time: u64) -> UnitId {
        let name = Some(name.into());
        self.unit(time, Unit::Thread(ThreadUnit { tid, name }))
    }

    pub(crate) fn origin(&mut self, origin: Origin, time: u64) -> UnitId {
        self.unit(time, Unit::Origin(origin))
    }

    /// A task that was there before the trace (or just was not seen to be spawned).
    pub(crate) fn task(&mut self, id: u64, future: &str, time: u64, existing: bool) -> UnitId {
        let task = TaskUnit {
            runtime: "tokio".into(),
            address: Address(0x1000 * id),
            task_id: Some(id),
            generation: 0,
            future: Some(future.into()),
            existing,
        };
        self.unit(time, Unit::Task(task))
    }

    /// A task that `by` spawns; returns the spawn too.
    pub(crate) fn spawned(
        &mut self,
        by: UnitId,
        id: u64,
        future: &str,
        time: u64,
        cause: Option<EventId>,
    ) -> (UnitId, EventId) {
        let task = self.task(id, future, time, false);
        let spawn = self.event(by, time, EventKind::Spawned { task }, cause);
        (task, spawn)
    }

    pub(crate) fn begin(
        &mut self,
        task: UnitId,
        thread: UnitId,
        time: u64,
        cause: Option<EventId>,
    ) -> EventId {
        self.event(task, time, EventKind::PollBegin { thread }, cause)
    }

    pub(crate) fn end(&mut self, task: UnitId, began: u64, time: u64, outcome: Outcome) {
        let seen = EndSeen::ExitProbe;
        let began = Some(began);
        let kind = EventKind::PollEnd {
            outcome,
            seen,
            began,
        };
        self.event(task, time, kind, None);
        if outcome.is_over() {
            self.event(task, time, EventKind::Finished { outcome }, None);
        }
    }

    /// A poll that ends pending; returns its begin.
    pub(crate) fn poll(
        &mut self,
        task: UnitId,
        thread: UnitId,
        from: u64,
        to: u64,
        cause: Option<EventId>,
    ) -> EventId {
        let begin = self.begin(task, thread, from, cause);
        self.end(task, from, to, Outcome::Pending);
        begin
    }

    /// Tells where a task has stood since its last poll ended.
    pub(crate) fn stands(&mut self, task: UnitId, time: u64, futures: &[Future]) {
        let (suspension, marks) = suspension(futures, None);
        self.event(
            task,
            time,
            EventKind::AwaitChanged { suspension, marks },
            None,
        );
    }

    pub(crate) fn wake(
        &mut self,
        by: UnitId,
        task: UnitId,
        time: u64,
        cause: Option<EventId>,
    ) -> EventId {
        let kind = EventKind::Wake {
            task,
            by_value: true,
            effect: WakeEffect::Scheduled,
        };
        self.event(by, time, kind, cause)
    }

    pub(crate) fn history(&self, started: u64, ended: u64) -> History {
        let mut builder = Builder::new(started);
        builder.events(&self.events);
        builder.reached(ended);
        builder.finish()
    }
}
