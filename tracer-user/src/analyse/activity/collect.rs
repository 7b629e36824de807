//! Events one by one -> [`Activity`].

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use super::open::Snapshots;
use super::units::{Off, TaskRow, Units};
use super::wakes::WakeCounts;
use super::{Activity, Missing, Poll, TypeActivity};
use crate::rebuild::event::{EndSeen, Event, EventKind, Unit, UnitId};
use crate::rebuild::snapshot::TaskInfo;

/// Polls that are named as the longest.
const LONGEST: usize = 20;

/// Types of tasks that are told apart.
const MAX_TYPES: usize = 100_000;

/// What became of a task until the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Over,
    Open,
    /// Open, and polled where no probe stands.
    OpenUnwatched,
}

/// Collects [`Activity`].
#[derive(Debug)]
pub struct Collector {
    started: u64,
    from: u64,
    until: u64,
    last: u64,
    events: u64,
    tasks: u64,
    tasks_existing: u64,
    tasks_over: u64,
    polls_begun: u64,
    polls_with_cause: u64,
    units: Units,
    types: HashMap<Option<Arc<str>>, TypeActivity>,
    wakes: WakeCounts,
    longest: Vec<Poll>,
    snapshots: Snapshots,
    missing: Missing,
}

impl Collector {
    /// Begins with a trace that started at this time (CLOCK_MONOTONIC, nanoseconds).
    #[must_use]
    pub fn new(started: u64) -> Self {
        Self {
            started,
            from: started,
            until: u64::MAX,
            last: started,
            events: 0,
            tasks: 0,
            tasks_existing: 0,
            tasks_over: 0,
            polls_begun: 0,
            polls_with_cause: 0,
            units: Units::default(),
            types: HashMap::new(),
            wakes: WakeCounts::default(),
            longest: Vec::new(),
            snapshots: Snapshots::default(),
            missing: Missing::default(),
        }
    }

    /// Counts only what happens at or after `from` and at or before `until`, CLOCK_MONOTONIC in
    /// nanoseconds; tasks that are alive then are among it. To be called before any event.
    pub fn window(&mut self, from: u64, until: u64) {
        self.from = from;
        self.until = until.max(from);
    }

    /// Takes events, in the order of the trace.
    pub fn events(&mut self, events: &[Event]) {
        for event in events {
            self.reached(event.time);
            if event.time >= self.from {
                self.begin();
            }
            if event.time <= self.until {
                self.events += 1;
                self.event(event);
            }
        }
    }

    /// Takes note that the kernel lost records of a CPU.
    pub fn lost(&mut self, cpu: u32, count: u64) {
        self.missing.records = self.missing.records.saturating_add(count);
        // Only so many CPUs exist; a hostile file may name more.
        let of_cpu = self.missing.by_cpu.entry(cpu.min(4095)).or_default();
        *of_cpu = of_cpu.saturating_add(count);
    }

    /// Takes note that events are not in the file.
    pub fn dropped(&mut self, count: u64) {
        self.missing.events_dropped = self.missing.events_dropped.saturating_add(count);
    }

    /// Takes tasks of a snapshot of memory that was taken from `time` on, and whether they are the
    /// last ones of it.
    pub fn snapshot(&mut self, number: u32, time: u64, last: bool, tasks: Vec<TaskInfo>) {
        self.snapshots.part(number, time, last, tasks);
    }

    /// Takes note that the trace went on until this time. Events from before may still come: a
    /// recording's counts run ahead of its events.
    pub fn reached(&mut self, time: u64) {
        self.last = self.last.max(time.min(self.until));
    }

    /// What is to be counted begins, if it has not: what was counted is forgotten, and what goes on
    /// is kept.
    fn begin(&mut self) {
        if self.started >= self.from {
            return;
        }
        self.started = self.from;
        self.last = self.last.max(self.from);
        self.events = 0;
        (self.tasks, self.tasks_existing) = self.units.forget_counts();
        self.tasks_over = 0;
        self.polls_begun = 0;
        self.polls_with_cause = 0;
        self.types.clear();
        self.wakes = WakeCounts::default();
        self.longest.clear();
        self.missing.gaps = 0;
    }

    fn event(&mut self, event: &Event) {
        let unit = event.id.unit;
        match &event.kind {
            EventKind::Described(described) => self.described(unit, described, event.time),
            EventKind::PollBegin { thread } => {
                self.units.thread_polls(*thread);
                self.polls_begun += 1;
                self.polls_with_cause += u64::from(event.cause.is_some());
                if let Some(task) = self.task(unit, event.time) {
                    task.is_seen_polled = true;
                    task.polled_on = Some(*thread);
                    task.polled_since = Some(event.time);
                    task.off = Off::default();
                }
            }
            EventKind::PollEnd { began, seen, .. } => self.poll_end(event, *began, *seen),
            EventKind::Blocked { preempted, .. } => {
                if let Some(task) = self.task(unit, event.time) {
                    task.off.since = Some((event.time, *preempted));
                }
            }
            EventKind::Unblocked => {
                if let Some(task) = self.task(unit, event.time) {
                    task.off.end(event.time);
                }
            }
            EventKind::Wake { task, effect, .. } => {
                // What a thread does for the kernel's I/O readiness or timers is theirs.
                let by = event
                    .cause
                    .map(|cause| cause.unit)
                    .filter(|cause| self.units.is_origin(*cause))
                    .unwrap_or(unit);
                self.wakes.count(&self.units, by, *task, *effect);
                if let Some(woken) = self.units.task_mut(*task) {
                    woken.counts.wakes += 1;
                }
                self.touch(unit, event.time);
            }
            EventKind::Finished { .. } => {
                if let Some(task) = self.units.remove_task(unit) {
                    self.tasks_over += 1;
                    self.fold(task, Fate::Over);
                }
            }
            EventKind::Gap { lost } => {
                self.missing.gaps = self.missing.gaps.saturating_add(*lost);
                self.touch(unit, event.time);
            }
            // Where it stands is nothing that it does: memory tells it, too.
            EventKind::AwaitChanged { .. } => {}
            EventKind::Spawned { .. }
            | EventKind::Aborted { .. }
            | EventKind::Fired
            | EventKind::WakerCloned { .. }
            | EventKind::WakerDropped { .. }
            | EventKind::PanicBegan { .. }
            | EventKind::PanicRaised { .. }
            | EventKind::FuturePoll { .. } => self.touch(unit, event.time),
        }
    }

    fn described(&mut self, id: UnitId, unit: &Unit, time: u64) {
        match unit {
            Unit::Task(unit) => {
                if let Some(task) = self.units.task_mut(id) {
                    task.describe(unit);
                    return;
                }
                if self.units.add_task(id, TaskRow::new(unit, time)) {
                    self.tasks += 1;
                    self.tasks_existing += u64::from(unit.existing);
                } else {
                    self.missing.not_followed += 1;
                }
            }
            Unit::Thread(unit) => {
                if !self.units.add_thread(id, unit) {
                    self.missing.not_followed += 1;
                }
            }
            Unit::Origin(origin) => self.units.add_origin(id, *origin),
        }
    }

    fn task(&mut self, unit: UnitId, time: u64) -> Option<&mut TaskRow> {
        let task = self.units.task_mut(unit)?;
        task.last = task.last.max(time);
        Some(task)
    }

    fn touch(&mut self, unit: UnitId, time: u64) {
        let _ = self.task(unit, time);
    }

    fn poll_end(&mut self, event: &Event, began: Option<u64>, end: EndSeen) {
        let started = self.started;
        let worst = match self.longest.last() {
            Some(last) if self.longest.len() == LONGEST => last.length_ns,
            _ => 0,
        };
        let Some(task) = self.task(event.id.unit, event.time) else {
            return;
        };
        task.is_seen_polled = true;
        let thread = task.polled_on.take();
        let seen = task.polled_since.take();
        task.off.end(event.time);
        let off = std::mem::take(&mut task.off);
        task.counts.polls += 1;
        let is_known = end != EndSeen::NotWatched;
        let Some(began) = began.or(seen).filter(|_| is_known) else {
            task.counts.polls_of_unknown_length += 1;
            return;
        };
        let length = event.time.saturating_sub(began);
        let counts = &mut task.counts;
        counts.busy_ns = counts.busy_ns.saturating_add(length);
        counts.off_cpu_ns = counts.off_cpu_ns.saturating_add(off.all().min(length));
        counts.longest_poll_ns = counts.longest_poll_ns.max(length);
        let named = (length > worst).then(|| (task.name.clone(), task.counts.future.clone()));
        if let Some((task, future)) = named {
            let poll = Poll {
                task,
                future,
                began_ns: began.saturating_sub(started),
                length_ns: length,
                blocked_ns: off.blocked.min(length),
                preempted_ns: off.preempted.min(length),
                exact: end.is_exact(),
                thread: thread.and_then(|thread| self.units.tid(thread)),
            };
            let at = self
                .longest
                .partition_point(|other| other.length_ns >= length);
            self.longest.insert(at, poll);
            self.longest.truncate(LONGEST);
        }
        if let Some(thread) = thread {
            self.units.thread_busy(thread, length);
        }
    }

    /// Adds a task to its type.
    fn fold(&mut self, task: TaskRow, fate: Fate) {
        let mut future = task.counts.future;
        if self.types.len() >= MAX_TYPES && !self.types.contains_key(&future) {
            future = Some("(further types)".into());
        }
        let row = self.types.entry(future.clone()).or_default();
        row.future = future;
        row.tasks += 1;
        row.existing += u64::from(task.existing);
        row.open += u64::from(fate != Fate::Over);
        row.unwatched += u64::from(fate == Fate::OpenUnwatched);
        row.polls += task.counts.polls;
        row.polls_of_unknown_length += task.counts.polls_of_unknown_length;
        row.busy_ns = row.busy_ns.saturating_add(task.counts.busy_ns);
        row.off_cpu_ns = row.off_cpu_ns.saturating_add(task.counts.off_cpu_ns);
        row.longest_poll_ns = row.longest_poll_ns.max(task.counts.longest_poll_ns);
        row.wakes += task.counts.wakes;
    }

    /// What there is to say.
    #[must_use]
    pub fn finish(mut self) -> Activity {
        self.begin();
        let wakes = self.wakes.finish(&self.units);
        let rows = self.units.take_tasks();
        let mut open = Vec::with_capacity(rows.len());
        for (unit, task) in rows {
            let row = self.snapshots.open_task(unit, &task, self.last);
            let fate = match row.polls {
                Some(_) => Fate::Open,
                None => Fate::OpenUnwatched,
            };
            open.push(row);
            self.fold(task, fate);
        }
        open.sort_by_key(|task| (Reverse(task.quiet_ns), task.task.clone()));
        let mut types: Vec<TypeActivity> = self.types.into_values().collect();
        types.sort_by_key(|row| (Reverse(row.busy_ns), Reverse(row.polls), row.future.clone()));
        Activity {
            duration_ns: self.last.saturating_sub(self.started),
            events: self.events,
            tasks: self.tasks,
            tasks_existing: self.tasks_existing,
            tasks_over: self.tasks_over,
            polls: types.iter().map(|row| row.polls).sum(),
            polls_begun: self.polls_begun,
            polls_with_cause: self.polls_with_cause,
            types,
            threads: self.units.threads(),
            wakes,
            longest_polls: self.longest,
            open,
            missing: self.missing,
        }
    }
}
