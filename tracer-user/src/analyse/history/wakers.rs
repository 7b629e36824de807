//! Wakers, counted: who cloned wakers of a task, what became of them, and which awaits a task stood
//! in when it cloned its own. A future that returned `Pending` without keeping a waker is one that
//! cloned none, or whose clones were dropped and not used.
//!
//! What is counted is what the probed functions were called for. A compiler that knows which waker
//! it has may inline the clone or the drop into the caller, which is then not seen: that no clone
//! was seen says something only where other instances of the same future were seen to clone
//! ([`History::clones_by_future`]), and where the recording has the probe ([`Probed::clones`]).

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::builder::Builder;
use super::task::TaskState;
use super::{AwaitIndex, History, UnitIndex, Wake};
use crate::rebuild::event::{EventId, UnitId};

/// What happened to wakers of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WakerCounts {
    /// Cloned, by anybody.
    pub cloned: u64,
    /// Dropped without waking.
    pub dropped: u64,
    /// Consumed by waking (`Waker::wake`).
    pub consumed: u64,
    /// Used to wake by reference, which leaves the waker there.
    pub woken_by_reference: u64,
}

/// The wakers of a task as events count them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TaskWakers {
    /// Since the trace began.
    pub total: WakerCounts,
    /// Since its last poll began; since the trace began where [`last_poll_seen`](Self::last_poll_seen)
    /// does not hold.
    pub since_poll: WakerCounts,
    /// Clones that the task itself made in its last poll.
    pub cloned_in_last_poll: u64,
    /// The begin of its last poll was seen. Otherwise it is not known what it did there: it was
    /// polled before the trace, or that event is missing.
    pub last_poll_seen: bool,
    /// Events of this task are missing since its last poll began: the counts are too low, perhaps.
    pub gap_since_poll: bool,
}

/// Clones of a task's waker by the task itself, while it stood in one leaf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AwaitWakers {
    /// Clones in the polls that came to this leaf or left it again: in its first poll, in those
    /// that it outlasted, and in the one that ended it.
    pub cloned: u32,
    /// Those polls, as far as they were seen.
    pub polls: u32,
    /// In one of them the task stood in other leaves too, before or after, or it is not known where
    /// it stood: some of the clones may be theirs.
    pub shared: bool,
}

/// Which functions had probes: what has none does not happen as far as a history tells. `None`
/// where that is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probed {
    /// Clones of wakers.
    pub clones: Option<bool>,
    /// Drops of wakers.
    pub drops: Option<bool>,
    /// Wake-ups that consume the waker, and those by reference.
    pub wakes: Option<bool>,
    /// Spawns.
    pub spawns: Option<bool>,
}

impl Probed {
    /// By the kinds of the probes that were attached, as a recording's header names them.
    #[must_use]
    pub fn by_kinds<'a>(kinds: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut clones, mut drops, mut spawns) = (false, false, false);
        let (mut by_value, mut by_reference) = (false, false);
        for kind in kinds {
            match kind {
                "waker_clone" => clones = true,
                "waker_drop" => drops = true,
                "wake_by_value" => by_value = true,
                "wake_by_reference" => by_reference = true,
                "spawn" => spawns = true,
                _ => {}
            }
        }
        Self {
            clones: Some(clones),
            drops: Some(drops),
            wakes: Some(by_value && by_reference),
            spawns: Some(spawns),
        }
    }
}

/// The counts of a history.
#[derive(Clone, Debug, Default)]
pub struct Wakers {
    /// Which of them can be seen.
    pub probed: Probed,
    /// By unit; shorter than the units where nothing was counted for the rest.
    pub(super) tasks: Vec<TaskWakers>,
    /// By await instance.
    pub(super) awaits: Vec<AwaitWakers>,
}

impl History {
    /// What was counted of a task's wakers.
    #[must_use]
    pub fn wakers(&self, task: UnitIndex) -> TaskWakers {
        let tasks = &self.wakers.tasks;
        tasks.get(task.0 as usize).copied().unwrap_or_default()
    }

    /// Clones of the task's waker by the task itself while it stood in this leaf.
    #[must_use]
    pub fn await_wakers(&self, leaf: AwaitIndex) -> AwaitWakers {
        let awaits = &self.wakers.awaits;
        awaits.get(leaf.0 as usize).copied().unwrap_or_default()
    }

    /// The last wake-up of a task, whatever it did.
    #[must_use]
    pub fn last_wake(&self, task: UnitIndex) -> Option<&Wake> {
        let unit = self.units.get(task.0 as usize)?;
        unit.woken.last().map(|wake| &self[*wake])
    }

    /// Wake-ups of the task of an await instance between its start and its end, or the end of the
    /// trace. Not all of them need be for this instance, where the task waits for several things.
    #[must_use]
    pub fn wakes_during(&self, instance: AwaitIndex) -> u64 {
        let row = &self[instance];
        let until = row.end.unwrap_or(self.span.end);
        let woken = &self[row.task].woken;
        let before = |time: u64| woken.partition_point(|wake| self[*wake].time < time);
        let after = |time: u64| woken.partition_point(|wake| self[*wake].time <= time);
        after(until).saturating_sub(before(row.start)) as u64
    }

    /// Clones by path of the leaf that the task stood in, where it stood in that one only: futures
    /// which are in here were seen to clone a waker.
    #[must_use]
    pub fn clones_by_future(&self) -> HashMap<&Arc<str>, u64> {
        let mut clones = HashMap::new();
        for (row, wakers) in self.awaits.iter().zip(&self.wakers.awaits) {
            if wakers.cloned > 0 && !wakers.shared {
                let count = clones.entry(&row.awaited.future).or_default();
                *count += u64::from(wakers.cloned);
            }
        }
        clones
    }
}

/// What happened to a waker.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    Cloned,
    Dropped,
    Woke { by_value: bool },
}

impl Builder {
    /// Says which functions had probes.
    pub fn probed(&mut self, probed: Probed) {
        self.history.wakers.probed = probed;
    }

    /// Something happened to a waker of `task`, done by `by` because of the event `cause`.
    pub(super) fn count_waker(
        &mut self,
        by: UnitIndex,
        task: UnitId,
        deed: Deed,
        cause: Option<EventId>,
        time: u64,
    ) {
        let Some(task) = self.unit(task, time) else {
            self.history.missing.beyond_limits += 1;
            return;
        };
        let own = by == task && cause.is_some();
        let Some(wakers) = self.task_wakers(task) else {
            return;
        };
        for counts in [&mut wakers.total, &mut wakers.since_poll] {
            let count = match deed {
                Deed::Cloned => &mut counts.cloned,
                Deed::Dropped => &mut counts.dropped,
                Deed::Woke { by_value: true } => &mut counts.consumed,
                Deed::Woke { by_value: false } => &mut counts.woken_by_reference,
            };
            *count = count.saturating_add(1);
        }
        if own && matches!(deed, Deed::Cloned) {
            wakers.cloned_in_last_poll = wakers.cloned_in_last_poll.saturating_add(1);
        }
    }

    /// A poll of the task begins; `leaves` are those that it stands in, `None` when that is not
    /// known.
    pub(super) fn count_wakers_of_next_poll(
        &mut self,
        task: UnitIndex,
        state: &mut TaskState,
        leaves: Option<&[AwaitIndex]>,
    ) {
        self.attribute_clones(task, state, leaves);
        if let Some(wakers) = self.task_wakers(task) {
            wakers.since_poll = WakerCounts::default();
            wakers.cloned_in_last_poll = 0;
            wakers.last_poll_seen = true;
            wakers.gap_since_poll = false;
        }
    }

    /// A poll went by whose begin was not seen.
    pub(super) fn poll_was_not_seen(&mut self, task: UnitIndex, state: &mut TaskState) {
        state.last_poll = None;
        if let Some(wakers) = self.task_wakers(task) {
            wakers.last_poll_seen = false;
            wakers.cloned_in_last_poll = 0;
        }
    }

    /// Events of a task are missing.
    pub(super) fn wakers_are_missing(&mut self, unit: UnitIndex) {
        let wakers = self.history.wakers.tasks.get_mut(unit.0 as usize);
        if let Some(wakers) = wakers {
            wakers.gap_since_poll = true;
        }
    }

    /// The trace ends: the task stands where it was told to since its last poll, if it was.
    pub(super) fn wakers_at_the_end(&mut self, task: UnitIndex, state: &mut TaskState) {
        let told = state.known && state.since.is_none() && state.open.is_none();
        let leaves = told.then(|| self.leaves_of(state));
        self.attribute_clones(task, state, leaves.as_deref());
    }

    /// Gives the clones of the last poll to the leaves that the task stood in before it, and to
    /// those that it stands in since.
    pub(super) fn attribute_clones(
        &mut self,
        task: UnitIndex,
        state: &mut TaskState,
        after: Option<&[AwaitIndex]>,
    ) {
        let Some((poll, stood)) = state.last_poll.take() else {
            return;
        };
        let history = &mut self.history;
        let cloned = history.wakers.tasks.get(task.0 as usize);
        let cloned = cloned.map_or(0, |wakers| wakers.cloned_in_last_poll);
        let cloned = u32::try_from(cloned).unwrap_or(u32::MAX);
        let Some(poll) = history.polls.get(poll.0 as usize) else {
            return;
        };
        let before = &poll.waited_in[..];
        let new = after.unwrap_or_default();
        let agree = before == new;
        let new = if agree { &[] } else { new };
        // Where a task is polled first it stood in none.
        let shared = !stood
            || after.is_none()
            || before.len() > 1
            || new.len() > 1
            || (!new.is_empty() && !before.is_empty());
        let count = |wakers: &mut Vec<AwaitWakers>, leaf: AwaitIndex| {
            if let Some(wakers) = wakers.get_mut(leaf.0 as usize) {
                wakers.cloned = wakers.cloned.saturating_add(cloned);
                wakers.polls = wakers.polls.saturating_add(1);
                wakers.shared |= shared;
            }
        };
        for leaf in before {
            count(&mut history.wakers.awaits, *leaf);
        }
        if new.is_empty() {
            return;
        }
        // At most 256 leaves each, and sorted only where the two differ.
        let mut known = before.to_vec();
        known.sort_unstable();
        for leaf in new {
            if known.binary_search(leaf).is_err() {
                count(&mut history.wakers.awaits, *leaf);
            }
        }
    }

    fn task_wakers(&mut self, task: UnitIndex) -> Option<&mut TaskWakers> {
        let (at, units) = (task.0 as usize, self.history.units.len());
        let tasks = &mut self.history.wakers.tasks;
        if at >= tasks.len() && at < units {
            tasks.resize(at + 1, TaskWakers::default());
        }
        tasks.get_mut(at)
    }
}
