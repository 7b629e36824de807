//! Histories made by hand, for tests.

use std::sync::Arc;

use super::history::{
    Await, AwaitIndex, AwaitOutcome, Awaited, Doer, History, Poll, PollCause, PollIndex, Spawn,
    TaskHistory, UnitHistory, UnitIndex, UnitKind, Wake, WakeIndex,
};
use crate::address::Address;
use crate::rebuild::event::{EndSeen, EventId, Origin, Outcome, UnitId, WakeEffect};
use crate::rebuild::suspension::Place;
use crate::rebuild::tree::NodeKind;

/// Makes a [`History`]. Times are in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    pub(crate) history: History,
    sequence: u64,
}

impl Sample {
    fn event(&mut self, unit: UnitIndex) -> EventId {
        self.sequence += 1;
        EventId {
            unit: UnitId(u64::from(unit.0)),
            sequence: self.sequence,
        }
    }

    fn unit(&mut self, kind: UnitKind, first: u64) -> UnitIndex {
        let index = UnitIndex(self.history.units.len() as u32);
        self.history.units.push(UnitHistory {
            id: UnitId(u64::from(index.0)),
            kind,
            first,
            last: first,
            polls: Vec::new(),
            awaits: Vec::new(),
            woken: Vec::new(),
            gaps: Vec::new(),
        });
        index
    }

    /// A task that was there before the trace.
    pub(crate) fn task(&mut self, future: &str) -> UnitIndex {
        let name = format!("tokio/{}", self.history.units.len());
        let task = TaskHistory {
            name: name.into(),
            address: Address(0x1000),
            future: Some(future.into()),
            blocking: false,
            existing: true,
            spawned: None,
            end: None,
        };
        self.unit(UnitKind::Task(task), 0)
    }

    /// A task that `by` spawned.
    pub(crate) fn spawn(&mut self, future: &str, time: u64, by: Doer) -> UnitIndex {
        let unit = self.task(future);
        let event = self.event(by.unit);
        let history = &mut self.history.units[unit.0 as usize];
        history.first = time;
        if let UnitKind::Task(task) = &mut history.kind {
            task.existing = false;
            task.spawned = Some(Spawn { time, event, by });
        }
        unit
    }

    pub(crate) fn thread(&mut self, name: &str) -> UnitIndex {
        self.unit(
            UnitKind::Thread {
                tid: 7,
                name: Some(name.into()),
                polls_tasks: true,
            },
            0,
        )
    }

    pub(crate) fn origin(&mut self, origin: Origin) -> UnitIndex {
        self.unit(UnitKind::Origin(origin), 0)
    }

    /// A poll without a cause.
    pub(crate) fn poll(&mut self, task: UnitIndex, begin: u64, end: u64) -> PollIndex {
        let event = self.event(task);
        let index = PollIndex(self.history.polls.len() as u32);
        self.history.polls.push(Poll {
            task,
            event,
            thread: None,
            begin,
            begin_known: true,
            end: Some(end),
            seen: EndSeen::ExitProbe,
            outcome: Outcome::Pending,
            blocked: 0,
            preempted: 0,
            cause: None,
            waited_in: Vec::new(),
        });
        self.history.units[task.0 as usize].polls.push(index);
        self.history.span.end = self.history.span.end.max(end);
        index
    }

    /// A wake-up of `task` that caused `poll`.
    pub(crate) fn wake(
        &mut self,
        task: UnitIndex,
        time: u64,
        by: Doer,
        poll: PollIndex,
    ) -> WakeIndex {
        let event = self.event(by.unit);
        let index = WakeIndex(self.history.wakes.len() as u32);
        self.history.wakes.push(Wake {
            time,
            event,
            task,
            by,
            effect: WakeEffect::Scheduled,
            poll: Some(poll),
        });
        self.history.units[task.0 as usize].woken.push(index);
        self.history.polls[poll.0 as usize].cause = Some(PollCause::Wake(index));
        index
    }

    /// An await instance; whether it waits for something (`waits_for`) makes it a leaf.
    pub(crate) fn instance(
        &mut self,
        task: UnitIndex,
        parent: Option<AwaitIndex>,
        future: &str,
        line: u32,
        waits_for: Option<&str>,
        span: (u64, u64),
    ) -> AwaitIndex {
        let by = parent.map(|parent| {
            let parent = &self.history.awaits[parent.0 as usize].awaited;
            Arc::clone(&parent.future)
        });
        let awaited = Arc::new(Awaited {
            future: future.into(),
            kind: match waits_for {
                Some(_) => NodeKind::Leaf,
                None if future.starts_with("app") => NodeKind::AsyncFn,
                None => NodeKind::Future,
            },
            waits_for: waits_for.map(Arc::from),
            file: by.as_ref().map(|by| {
                if by.starts_with("app") {
                    Arc::from("src/main.rs")
                } else {
                    Arc::from("/root/.cargo/registry/src/index-1/dep-1.0.0/src/lib.rs")
                }
            }),
            line: by.is_some().then_some(line),
            by,
        });
        let index = AwaitIndex(self.history.awaits.len() as u32);
        self.history.awaits.push(Await {
            task,
            parent,
            former_parents: Vec::new(),
            awaited,
            place: Place::Inside(u64::from(index.0)),
            start: span.0,
            at_least: false,
            end: Some(span.1),
            outcome: AwaitOutcome::Ready,
            waiting: if waits_for.is_some() {
                span.1 - span.0
            } else {
                0
            },
            polled: 0,
            polls: 1,
        });
        self.history.units[task.0 as usize].awaits.push(index);
        self.history.span.end = self.history.span.end.max(span.1);
        index
    }

    /// The instance goes on at the end of the trace.
    pub(crate) fn open(&mut self, instance: AwaitIndex) {
        let instance = &mut self.history.awaits[instance.0 as usize];
        instance.end = None;
        instance.outcome = AwaitOutcome::Open;
    }

    /// The poll came after a wait in `leaf`.
    pub(crate) fn waited(&mut self, poll: PollIndex, leaf: AwaitIndex) {
        self.history.polls[poll.0 as usize].waited_in.push(leaf);
    }
}

/// A task, in a poll.
pub(crate) fn task_in(unit: UnitIndex, poll: PollIndex, within: AwaitIndex) -> Doer {
    Doer {
        unit,
        poll: Some(poll),
        within: Some(within),
        origin: None,
    }
}

/// A thread outside polls.
pub(crate) fn thread_by(unit: UnitIndex, origin: Option<UnitIndex>) -> Doer {
    Doer {
        unit,
        poll: None,
        within: None,
        origin,
    }
}
