//! Events -> [`History`]: which part of the builder an event goes to.
//!
//! Streaming: events in the order of the recording, in any portions. Whatever they say, nothing
//! here panics, and memory is bounded by [`Limits`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::order;
use super::tree::Standing;
use super::units::Known;
use super::wakers::Deed;
use super::watched::Watched;
use super::{Awaited, History, UnitIndex, UnitKind};
use crate::address::Address;
use crate::rebuild::event::{Event, EventKind, UnitId};
use crate::rebuild::snapshot::TaskInfo;
use crate::rebuild::tracker::key_of_listed;

/// How much a history may hold. What goes beyond is counted in
/// [`Missing::beyond_limits`](super::Missing::beyond_limits).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Tasks, threads and origins.
    pub units: usize,
    /// Polls.
    pub polls: usize,
    /// Await instances.
    pub awaits: usize,
    /// Wake-ups.
    pub wakes: usize,
}

impl Default for Limits {
    /// About a gigabyte when all are reached.
    fn default() -> Self {
        Self {
            units: 1_000_000,
            polls: 3_000_000,
            awaits: 3_000_000,
            wakes: 3_000_000,
        }
    }
}

/// Makes a [`History`].
#[derive(Debug)]
pub struct Builder {
    pub(super) history: History,
    pub(super) limits: Limits,
    /// Whether what happens now is to be shown.
    pub(super) showing: bool,
    pub(super) index: HashMap<UnitId, UnitIndex>,
    /// What is known of each unit beside its history.
    pub(super) known: Vec<Known>,
    /// Leaves that polls refer to.
    pub(super) leaves: usize,
    awaited: HashSet<Arc<Awaited>>,
    /// Tasks without an id, which memory has a name for.
    pub(super) roots: HashMap<Address, UnitIndex>,
    from: u64,
    /// When what is shown ends, CLOCK_MONOTONIC in nanoseconds.
    pub(super) until: u64,
    pub(super) gaps: usize,
    pub(super) watched: Watched,
    /// Rows of panics that are not on their way yet, innermost last.
    pub(super) open_panics: HashMap<UnitIndex, Vec<usize>>,
}

impl Builder {
    /// Begins with a trace that started at this time.
    #[must_use]
    pub fn new(started: u64) -> Self {
        Self::with_limits(started, Limits::default())
    }

    /// As [`Builder::new`], with other limits.
    #[must_use]
    pub fn with_limits(started: u64, limits: Limits) -> Self {
        Self {
            history: History {
                span: started..started,
                ..History::default()
            },
            limits,
            showing: true,
            index: HashMap::new(),
            known: Vec::new(),
            leaves: 0,
            awaited: HashSet::new(),
            roots: HashMap::new(),
            from: 0,
            until: u64::MAX,
            gaps: 0,
            watched: Watched::default(),
            open_panics: HashMap::new(),
        }
    }

    /// Shows only what goes on at or after `from` and at or before `until`, CLOCK_MONOTONIC in
    /// nanoseconds. What began before keeps its begin; polls and wake-ups from before are left out,
    /// and so are tasks that were over, unless something that is shown names them.
    /// To be called before any event.
    pub fn window(&mut self, from: u64, until: u64) {
        let started = self.history.span.start;
        self.from = from.max(started);
        self.until = until.max(self.from);
        self.showing = self.from <= started;
        self.history.span = self.from..self.from;
    }

    /// Takes events, in the order of the trace.
    pub fn events(&mut self, events: &[Event]) {
        for event in events {
            self.happens(event.time);
            if event.time <= self.until {
                self.event(event);
            }
        }
    }

    /// Takes note that the kernel lost records.
    pub fn lost(&mut self, count: u64) {
        let lost = &mut self.history.missing.records_lost;
        *lost = lost.saturating_add(count);
    }

    /// Takes note that events are not in the recording.
    pub fn dropped(&mut self, count: u64) {
        let dropped = &mut self.history.missing.events_dropped;
        *dropped = dropped.saturating_add(count);
    }

    /// Takes tasks of a snapshot of memory, for the names of those without an id.
    pub fn snapshot_part(&mut self, tasks: &[TaskInfo]) {
        for task in tasks {
            let key = key_of_listed(task);
            if key.id.is_none()
                && let Some(unit) = self.roots.get(&key.address)
                && let Some(UnitKind::Task(known)) = self.kind_mut(*unit)
                && *known.name != *task.id
            {
                known.name = task.id.as_str().into();
            }
        }
    }

    /// Takes note that the trace went on until this time. Events from before may still come: a
    /// recording's counts run ahead of its events.
    pub fn reached(&mut self, time: u64) {
        let time = time.min(self.until);
        self.history.span.end = self.history.span.end.max(time);
    }

    /// Something happens at this time: all that comes is of this time or later.
    pub(super) fn happens(&mut self, time: u64) {
        self.reached(time);
        if time >= self.from {
            self.begin_to_show();
        }
    }

    fn begin_to_show(&mut self) {
        if !self.showing {
            self.showing = true;
            self.show_what_goes_on();
        }
    }

    /// The history.
    #[must_use]
    pub fn finish(mut self) -> History {
        self.begin_to_show();
        self.end_pause();
        let end = self.history.span.end;
        for at in 0..self.known.len() {
            if let Some(mut state) = self.known[at].state.take() {
                let unit = UnitIndex(u32::try_from(at).unwrap_or(u32::MAX));
                self.wakers_at_the_end(unit, &mut state);
                self.stays(&mut state, end);
                self.poll_goes_on(&mut state, end);
            }
        }
        super::over_before::leave_out(&mut self.history);
        super::outlast::settle(&mut self.history);
        order::settle(&mut self.history);
        self.history
    }

    pub(super) fn intern(&mut self, awaited: Awaited) -> Arc<Awaited> {
        if let Some(known) = self.awaited.get(&awaited) {
            return Arc::clone(known);
        }
        let awaited = Arc::new(awaited);
        self.awaited.insert(Arc::clone(&awaited));
        awaited
    }

    fn event(&mut self, event: &Event) {
        let time = event.time;
        let Some(unit) = self.unit(event.id.unit, time) else {
            self.history.missing.beyond_limits += 1;
            return;
        };
        if !self.is_next(unit, event) {
            return;
        }
        match &event.kind {
            EventKind::Described(described) => self.described(unit, described, time),
            EventKind::Spawned { task } => self.spawned(unit, *task, event),
            EventKind::PollBegin { thread } => self.poll_begin(unit, *thread, event),
            EventKind::PollEnd {
                outcome,
                seen,
                began,
            } => {
                self.poll_end(unit, event, *outcome, *seen, *began);
                if outcome.is_over() {
                    self.finished(unit, event, *outcome);
                }
            }
            EventKind::AwaitChanged { suspension, marks } => {
                if let Some(mut state) = self.take_state(unit, time) {
                    self.close_if_open(&mut state, time);
                    self.stands(unit, &mut state, time, suspension, *marks);
                    self.give_state(unit, state);
                }
            }
            EventKind::Wake {
                task,
                by_value,
                effect,
            } => {
                self.wake(unit, *task, *effect, event);
                let by_value = *by_value;
                self.count_waker(unit, *task, Deed::Woke { by_value }, event.cause, time);
            }
            EventKind::Blocked { preempted, syscall } => {
                self.off_cpu(unit, time, *preempted, *syscall);
            }
            EventKind::Unblocked => self.on_cpu(unit, time),
            EventKind::Aborted { task } => {
                let by = self.doer(unit, event.cause);
                if let Some(task) = self.unit(*task, time)
                    && let Some(mut state) = self.take_state(task, time)
                {
                    state.aborted(event.id, by);
                    self.give_state(task, state);
                }
            }
            EventKind::Finished { outcome } => self.finished(unit, event, *outcome),
            EventKind::Gap { .. } => self.gap(unit, time, false),
            EventKind::WakerCloned { task } => {
                self.count_waker(unit, *task, Deed::Cloned, event.cause, time);
            }
            EventKind::WakerDropped { task } => {
                self.count_waker(unit, *task, Deed::Dropped, event.cause, time);
            }
            EventKind::PanicBegan {
                location,
                suspension,
                ..
            } => self.panic_began(unit, event, location.as_ref(), suspension),
            EventKind::PanicRaised { message } => {
                self.panic_raised(unit, event, message.as_ref());
            }
            EventKind::Fired | EventKind::FuturePoll { .. } => {}
        }
        if event.cause.is_some_and(|cause| cause.unit == event.id.unit) {
            self.happened_inside(unit, event.cause, time);
        }
    }

    /// What goes on gets its rows, as the history shows what happens from now on.
    fn show_what_goes_on(&mut self) {
        self.show_what_is_not_watched();
        for at in 0..self.known.len() {
            let Ok(unit) = u32::try_from(at).map(UnitIndex) else {
                break;
            };
            let Some(mut state) = self.known[at].state.take() else {
                continue;
            };
            let mut nodes = std::mem::take(&mut state.tree.nodes);
            for node in 0..nodes.len() {
                if nodes[node].standing == Standing::Left {
                    continue;
                }
                let parent = nodes[node].parent.and_then(|parent| nodes[parent].row);
                nodes[node].row = self.add_await(unit, &nodes[node], parent);
            }
            state.tree.nodes = nodes;
            self.known[at].state = Some(state);
        }
        self.show_open_polls();
    }
}
