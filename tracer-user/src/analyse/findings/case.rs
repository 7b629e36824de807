//! What the analyses are given.

use std::collections::HashMap;
use std::sync::Arc;

use crate::address::Address;
use crate::analyse::history::{History, TaskHistory, UnitIndex};
use crate::rebuild::snapshot::{Snapshot, TaskInfo};

/// All that is known of a process over a while.
#[derive(Debug)]
pub struct Case<'a> {
    /// What events told; empty when only memory was looked at.
    pub history: &'a History,
    /// What memory told, in order of time: two at least where anything is to be concluded from what
    /// did not change.
    pub moments: &'a [Moment],
    /// What counts as long.
    pub thresholds: Thresholds,
}

/// What memory told at one time.
#[derive(Clone, Debug)]
pub struct Moment {
    /// When reading began: CLOCK_MONOTONIC, nanoseconds.
    pub time: u64,
    /// All tasks and threads.
    pub snapshot: Arc<Snapshot>,
}

/// What counts as long. Nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// A poll that holds its worker for longer is a finding (`--long-poll`).
    pub long_poll: u64,
    /// A task that is woken and not polled for longer is one (`--slow-to-run`).
    pub slow_to_run: u64,
    /// A task that is not polled for longer is one (`--stalled`).
    pub stalled: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            long_poll: 10_000_000,
            slow_to_run: 100_000_000,
            stalled: 60_000_000_000,
        }
    }
}

/// Tells tasks apart over moments and events: addresses alone are reused within milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TaskName {
    /// Its `Header`, or the future of a root without one.
    pub address: Address,
    /// As `dump` names it.
    pub id: Arc<str>,
}

impl TaskName {
    /// Of a task in a snapshot.
    #[must_use]
    pub fn of(task: &TaskInfo) -> Self {
        Self {
            address: task.address,
            id: task.id.as_str().into(),
        }
    }
}

impl<'a> Case<'a> {
    /// The last look at memory, if there was one.
    #[must_use]
    pub fn now(&self) -> Option<&'a Moment> {
        self.moments.last()
    }

    /// When the case ends: CLOCK_MONOTONIC, nanoseconds.
    #[must_use]
    pub fn end(&self) -> u64 {
        let looked = self.now().map_or(0, |moment| moment.time);
        self.history.span.end.max(looked)
    }

    /// The units of the tasks that memory told of, by how `dump` names them.
    #[must_use]
    pub fn units(&self) -> HashMap<TaskName, UnitIndex> {
        let tasks = (0..).zip(&self.history.units);
        tasks
            .filter_map(|(index, unit)| {
                let task: &TaskHistory = unit.task()?;
                let name = TaskName {
                    address: task.address,
                    id: Arc::clone(&task.name),
                };
                // The last one with this name is the one that lives.
                Some((name, UnitIndex(index)))
            })
            .collect()
    }

    /// CPU time that a hypervisor took from the machine between the first and the last look, of all
    /// CPUs together: nanoseconds; `None` where that is not known.
    #[must_use]
    pub fn stolen(&self) -> Option<u64> {
        let mut known = self
            .moments
            .iter()
            .filter_map(|moment| moment.snapshot.stolen);
        let before = known.next()?;
        Some(known.next_back()?.saturating_sub(before))
    }

    /// The part of the trace in which all events were watched, 0 to 1.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    pub fn watched(&self) -> f64 {
        let all = self.end().saturating_sub(self.history.span.start).max(1);
        let missing = &self.history.missing;
        let less = missing.unwatched_ns.saturating_add(missing.partly_ns);
        (1.0 - less as f64 / all as f64).clamp(0.0, 1.0)
    }

    /// Whether anything of the events is missing: what did not happen cannot be concluded from
    /// them then.
    #[must_use]
    pub fn events_are_missing(&self) -> bool {
        let missing = &self.history.missing;
        self.events_are_lost()
            || missing.pauses > 0
            || !missing.left_out.is_empty()
            || missing.wakes_left_out
    }

    /// Whether events that were watched are missing: lost, or more than are kept.
    #[must_use]
    pub fn events_are_lost(&self) -> bool {
        let missing = &self.history.missing;
        missing.records_lost > 0
            || missing.events_dropped > 0
            || missing.gaps > 0
            || missing.beyond_limits > 0
    }
}
