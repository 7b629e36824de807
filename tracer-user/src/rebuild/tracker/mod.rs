//! Kernel records -> events and the task table.
//!
//! Comes in: the records of the ring buffers, in the order of their time, and what was lost of
//! them. Goes out: [`Event`]s, whose causes are only ever what is certain, and a bounded table of
//! tasks. Pure: it does no I/O and reads no clock.
//!
//! What keeps causes right when records are missing, doubled or out of order:
//!
//! - A record names the poll it was made in by its begin ([`Record::poll`]), so it is joined to
//!   that poll or to none.
//! - A wake-up is the cause of a poll only if the task's state word says that it scheduled the
//!   task (or, with no word, if it was the first since a poll that was seen), if nothing else may
//!   have, and if nothing was lost since.
//! - Losses are told with [`Tracker::lost`] *before* the records of the batch they were read with:
//!   then no cause reaches across them.
//! - A record older than the last one of its thread or task is late: it is counted, shows as a
//!   [gap](crate::rebuild::event::EventKind::Gap), and no pending cause survives it.

mod origin;
mod panic;
mod poll;
mod seed;
mod standing;
mod state_word;
mod table;
mod task;
mod thread;
mod trees;
mod wake;
mod watched;

#[cfg(test)]
mod truth_tests;
#[cfg(test)]
mod unit_tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use tracer_common::{Record, RecordKind};

pub use self::panic::PanicDetail;
pub use self::seed::key_of_listed;
pub use self::standing::Standing;
pub use self::task::{Actor, LastWake, Task, TaskKey};

use self::origin::Origins;
use self::state_word::StateWord;
use self::table::Table;
use self::thread::{Arrival, Threads};
use self::trees::Trees;
use super::event::{EndSeen, Event, EventKind, Outcome, UnitId};
use super::snapshot::TaskState;
use super::suspension::{Marks, Suspension};
use super::watching::Watching;
use crate::address::Address;

/// Losses are kept for this many CPUs each; those of further ones are added to the last.
const MAX_CPUS: u32 = 4095;

/// What a tracker is told at the start.
#[derive(Clone, Debug)]
pub struct Options {
    /// The runtime whose tasks the probes see. State words are read for `tokio` only.
    pub runtime: Arc<str>,
    /// Names by index of the probe in the plan: the future's path for a task's poll and for a
    /// nested poll. May be shorter than the plan.
    pub probe_names: Vec<Option<Arc<str>>>,
    /// Whether a probe sees panics begin.
    pub sees_panics: bool,
    /// When the probes were attached, CLOCK_MONOTONIC in nanoseconds: a poll that began before was
    /// not lost.
    pub started: u64,
    /// Live tasks in the table at most.
    pub max_tasks: usize,
    /// Tasks that are over in the table at most.
    pub max_over: usize,
    /// Threads at most.
    pub max_threads: usize,
}

impl Default for Options {
    /// 100,000 live tasks, 10,000 that are over, 4,096 threads: some 60 MB at most.
    fn default() -> Self {
        Self {
            runtime: "tokio".into(),
            probe_names: Vec::new(),
            sees_panics: false,
            started: 0,
            max_tasks: 100_000,
            max_over: 10_000,
            max_threads: 4_096,
        }
    }
}

/// Counts since the tracker began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Records applied, the unusable ones included.
    pub records: u64,
    /// Events made.
    pub events: u64,
    /// Records that were there twice.
    pub duplicates: u64,
    /// Records that came after later ones of their thread or task.
    pub late: u64,
    /// Records that are not of this version.
    pub undecodable: u64,
    /// Records about a poll that is not known.
    pub unmatched: u64,
    /// Records lost by the kernel, by CPU.
    pub lost: BTreeMap<u32, u64>,
    /// Polls whose end was seen or proved.
    pub polls: u64,
    /// Wake-ups.
    pub wakes: u64,
    /// Tasks that were seen to be spawned.
    pub spawned: u64,
    /// Tasks that are over.
    pub over: u64,
    /// Live tasks in the table.
    pub live: usize,
    /// Live tasks that left the table because there were too many.
    pub forgotten: u64,
    /// Threads known.
    pub threads: usize,
}

/// Turns records into events and keeps the task table.
#[derive(Debug)]
pub struct Tracker {
    runtime: Arc<str>,
    word: StateWord,
    probe_names: Vec<Option<Arc<str>>>,
    started: u64,
    table: Table,
    threads: Threads,
    trees: Trees,
    origins: Origins,
    panics: panic::Details,
    /// Whether panics are seen: only then a poll that ends its task without one returned a value.
    sees_panics: bool,
    next_unit: u64,
    /// Time of the newest record.
    now: u64,
    /// Records up to this time may be missing.
    clean_since: u64,
    /// What is watched.
    watching: Watching,
    /// Since when polls of all tasks are watched; [`u64::MAX`] when they are not.
    all_polls_since: u64,
    /// The same of wake-ups.
    wakes_since: u64,
    counts: Statistics,
}

impl Tracker {
    /// A tracker that knows nothing yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            word: StateWord::of_runtime(&options.runtime),
            runtime: options.runtime,
            probe_names: options.probe_names,
            started: options.started,
            table: Table::new(options.max_tasks, options.max_over),
            threads: Threads::new(options.max_threads),
            trees: Trees::new(),
            origins: Origins::default(),
            panics: panic::Details::new(),
            sees_panics: options.sees_panics,
            next_unit: 0,
            now: 0,
            clean_since: 0,
            watching: Watching::everything(0),
            all_polls_since: 0,
            wakes_since: 0,
            counts: Statistics::default(),
        }
    }

    /// Applies a record and appends the events it makes.
    pub fn apply(&mut self, record: &Record, into: &mut Vec<Event>) {
        let before = into.len();
        self.counts.records += 1;
        match RecordKind::from_u8(record.kind) {
            None => self.counts.undecodable += 1,
            Some(kind) => match self.arrive(record, into) {
                Arrival::InOrder => {
                    self.now = self.now.max(record.time);
                    self.dispatch(kind, record, into);
                }
                Arrival::Duplicate => self.counts.duplicates += 1,
                Arrival::Late => self.late(record, into),
            },
        }
        self.counts.events += (into.len() - before) as u64;
    }

    /// Takes note of a tree that records name by this hash. To be called before the records of the
    /// batch that it was read with are applied.
    pub fn tree(&mut self, hash: u64, suspension: Arc<Suspension>) {
        self.trees.insert(hash, suspension);
    }

    /// Takes note of where an idle task stands, as memory told at `time` (CLOCK_MONOTONIC,
    /// nanoseconds). The records from before must have been applied; a task that was polled since
    /// is left alone.
    pub fn suspended(
        &mut self,
        key: &TaskKey,
        suspension: &Arc<Suspension>,
        marks: Marks,
        time: u64,
        into: &mut Vec<Event>,
    ) {
        let before = into.len();
        if let Some(task) = self.table.get_mut(key)
            && !task.is_over()
            && task.open.is_none()
            && task.last_polled <= time
        {
            // News even where it is as before the last poll: until the next one nothing else says
            // so, and that may never come.
            let again = task.is_untold();
            let time = time.max(task.last_event);
            task.stands_at(suspension, marks, again, time, into);
        }
        self.counts.events += (into.len() - before) as u64;
    }

    /// Takes note that the kernel lost `count` records on a CPU at some time up to `until`
    /// (CLOCK_MONOTONIC, nanoseconds: when the counter was read). To be called before the records
    /// that were drained before the counter was read are applied.
    pub fn lost(&mut self, cpu: u32, count: u64, until: u64) {
        if count > 0 {
            *self.counts.lost.entry(cpu.min(MAX_CPUS)).or_default() += count;
            self.clean_since = self.clean_since.max(until);
        }
    }

    /// The tasks of the table, in no order.
    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.table.iter()
    }

    /// The task with this key.
    #[must_use]
    pub fn task(&self, key: &TaskKey) -> Option<&Task> {
        self.table.get(key)
    }

    /// Whether polls of all tasks are watched. If not, it is not seen when one ends.
    #[must_use]
    pub fn all_polls_are_watched(&self) -> bool {
        self.watching.are_all_polls()
    }

    /// Since when wake-ups are watched (CLOCK_MONOTONIC, nanoseconds): 0 when they always were,
    /// [`u64::MAX`] when they are not.
    #[must_use]
    pub const fn wakes_watched_since(&self) -> u64 {
        self.wakes_since
    }

    /// Gives a thread its name, for when it is described.
    pub fn name_thread(&mut self, tid: u32, name: Arc<str>) {
        self.threads.name(tid, name);
    }

    /// Tells which file descriptor a resource of the I/O driver is.
    pub fn resource(&mut self, resource: Address, fd: i32) {
        self.origins.name(resource, fd);
    }

    /// The name that a thread was given.
    #[must_use]
    pub fn thread_name(&self, tid: u32) -> Option<&Arc<str>> {
        self.threads.name_of(tid)
    }

    /// Counts up to now.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        Statistics {
            live: self.table.live(),
            forgotten: self.table.forgotten,
            threads: self.threads.len(),
            ..self.counts.clone()
        }
    }

    fn arrive(&mut self, record: &Record, into: &mut Vec<Event>) -> Arrival {
        self.threads
            .get_or_add(record.tid, record.time, &mut self.next_unit, into)
            .arrive(record)
    }

    fn dispatch(&mut self, kind: RecordKind, record: &Record, into: &mut Vec<Event>) {
        if self.is_left_out(kind, record) {
            return;
        }
        let done = match kind {
            RecordKind::PollBegin => self.poll_begin(record, into),
            RecordKind::PollEnd => self.poll_end(record, into),
            RecordKind::OffCpu | RecordKind::OnCpu => self.on_off_cpu(kind, record, into),
            RecordKind::WakeByValue | RecordKind::WakeByReference => {
                self.wake(record, kind == RecordKind::WakeByValue, into)
            }
            RecordKind::WakerClone | RecordKind::WakerDrop => {
                self.waker_counted(record, kind == RecordKind::WakerClone, into)
            }
            RecordKind::Spawn => self.spawn(record, into),
            RecordKind::FuturePoll => self.future_poll(record, into),
            RecordKind::Abort => self.abort(record, into),
            RecordKind::Panic => self.panic(record, into),
            RecordKind::PanicBegin => self.panic_begin(record, into),
        };
        if done.is_none() {
            self.late(record, into);
        }
    }

    /// A record that came after what it should have come before: what it would have changed is
    /// past, and causes that wait for their effect may be wrong ones.
    fn late(&mut self, record: &Record, into: &mut Vec<Event>) {
        self.counts.late += 1;
        self.clean_since = self.clean_since.max(self.now);
        let (address, id) = match RecordKind::from_u8(record.kind) {
            Some(
                RecordKind::PollBegin
                | RecordKind::PollEnd
                | RecordKind::OffCpu
                | RecordKind::OnCpu
                | RecordKind::Panic
                | RecordKind::PanicBegin,
            ) => (record.task, record.task_id),
            _ => (record.by, record.by_id),
        };
        if let Some(task) = self.table.get_mut(&TaskKey::of(address, id)) {
            if !task.is_over() {
                task.gap(task.last_event, 1, into);
            }
        } else if address == 0
            && let Some(thread) = self.threads.get_mut(record.tid)
        {
            thread.emit(thread.last_time, EventKind::Gap { lost: 1 }, None, into);
        }
    }

    /// Makes sure that the table has a live task with this key, and that its name is known where
    /// it can be. `None` when the record is older than what is known of the task.
    fn live_task(
        &mut self,
        key: TaskKey,
        time: u64,
        name: Option<&Arc<str>>,
        into: &mut Vec<Event>,
    ) -> Option<()> {
        self.displace_occupant(key, time, into)?;
        match self.table.get_mut(&key) {
            Some(task) if !task.is_over() => {
                if time < task.last_event {
                    return None;
                }
                if task.future.is_none() && name.is_some() {
                    task.future = name.cloned();
                    task.describe(time, into);
                }
            }
            _ => self.add(key, time, name, into),
        }
        Some(())
    }

    /// As [`Tracker::live_task`] for a task that something is done to: it may be over.
    fn known_task(&mut self, key: TaskKey, time: u64, into: &mut Vec<Event>) -> Option<()> {
        self.displace_occupant(key, time, into)?;
        if self.table.get(&key).is_none() {
            self.add(key, time, None, into);
        }
        Some(())
    }

    /// A record about another id at the same address says that the task there is over. `None` when
    /// it is the record that is the older one.
    fn displace_occupant(&mut self, key: TaskKey, time: u64, into: &mut Vec<Event>) -> Option<()> {
        let Some(other) = self.table.other_occupant(&key) else {
            return Some(());
        };
        let occupant = self.table.get(&other)?;
        // tokio's ids only grow, over all runtimes of a process.
        if time < occupant.last_event || (self.word == StateWord::Tokio && key.id < other.id) {
            return None;
        }
        if !occupant.is_over() {
            self.finish(&other, time, Outcome::Over, into);
        }
        Some(())
    }

    fn add(&mut self, key: TaskKey, time: u64, name: Option<&Arc<str>>, into: &mut Vec<Event>) {
        let generation = self
            .table
            .get(&key)
            .map_or(0, |before| before.generation.saturating_add(1));
        let unit = self.next_unit();
        let mut task = Task::new(unit, key, generation, Arc::clone(&self.runtime), time);
        task.future = name.cloned();
        task.describe(time, into);
        self.table.insert(task);
    }

    fn finish(&mut self, key: &TaskKey, time: u64, outcome: Outcome, into: &mut Vec<Event>) {
        let Some(task) = self.table.get_mut(key) else {
            return;
        };
        if let Some(open) = task.open.take() {
            poll::close(task, open, time, outcome, EndSeen::Inferred, into);
            self.counts.polls += 1;
        }
        let aborted = match (outcome, task.aborted) {
            (Outcome::Cancelled, Some((event, at))) if at > self.clean_since && at <= time => {
                Some(event)
            }
            _ => None,
        };
        task.emit(time, EventKind::Finished { outcome }, aborted, into);
        task.state = TaskState::Complete;
        task.scheduled_by = task::Pending::None;
        let unit = task.unit;
        self.counts.over += 1;
        self.table.retire(*key, unit);
    }

    fn next_unit(&mut self) -> UnitId {
        let unit = UnitId(self.next_unit);
        self.next_unit += 1;
        unit
    }

    fn probe_name(&self, probe: u32) -> Option<Arc<str>> {
        self.probe_names.get(probe as usize)?.clone()
    }
}

impl TaskKey {
    /// The key that a record's fields name.
    #[must_use]
    pub fn of(address: u64, id: u64) -> Self {
        Self {
            address: Address(address),
            id: (id != 0).then_some(id),
        }
    }
}
