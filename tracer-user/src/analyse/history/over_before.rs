//! Tasks that were over before the history begins to show: nothing of them is left but their name,
//! so they are kept only where something that is shown names them, as the task that spawned it does.

use super::{Doer, History, TaskHistory, UnitHistory, UnitIndex};

/// Leaves those tasks out that nothing names, and numbers the others anew.
pub(super) fn leave_out(history: &mut History) {
    let from = history.span.start;
    let mut kept: Vec<bool> = history
        .units
        .iter()
        .map(|unit| !unit.was_over_before(from))
        .collect();
    if kept.iter().all(|kept| *kept) {
        return;
    }
    keep_named(history, &mut kept);
    let places = places(&kept);
    renumber(history, &places);
    retain(&mut history.units, &kept);
    retain(&mut history.wakers.tasks, &kept);
}

impl UnitHistory {
    /// Whether it is a task that ended before this time.
    #[must_use]
    pub fn was_over_before(&self, time: u64) -> bool {
        let end = self.task().and_then(|task| task.end);
        end.is_some_and(|end| end.time < time)
    }
}

/// Keeps the units that rows name, and those that kept units name in turn.
fn keep_named(history: &History, kept: &mut [bool]) {
    let of_polls = history.polls.iter().map(|poll| poll.task);
    let of_awaits = history.awaits.iter().map(|row| row.task);
    let of_panics = history.panics.iter().map(|panic| panic.unit);
    let of_wakes = history.wakes.iter();
    let of_wakes = of_wakes.flat_map(|wake| [wake.task, wake.by.unit]);
    for unit in of_polls.chain(of_awaits).chain(of_panics).chain(of_wakes) {
        keep(kept, unit);
    }
    let mut open: Vec<usize> = (0..kept.len()).filter(|at| kept[*at]).collect();
    while let Some(at) = open.pop() {
        let Some(task) = history.units[at].task() else {
            continue;
        };
        for doer in doers(task) {
            if keep(kept, doer.unit) {
                open.push(doer.unit.0 as usize);
            }
        }
    }
}

/// Keeps a unit; whether it was not before.
fn keep(kept: &mut [bool], unit: UnitIndex) -> bool {
    let kept = kept.get_mut(unit.0 as usize);
    kept.is_some_and(|kept| !std::mem::replace(kept, true))
}

/// Who spawned a task, and who aborted it.
fn doers(task: &TaskHistory) -> impl Iterator<Item = &Doer> {
    let spawned = task.spawned.iter().map(|spawn| &spawn.by);
    let aborted = task.end.iter().filter_map(|end| end.aborted.as_ref());
    spawned.chain(aborted)
}

/// Where each unit goes; of those that go nowhere it says nothing.
fn places(kept: &[bool]) -> Vec<UnitIndex> {
    let mut next = 0;
    let place = |kept: &bool| {
        let place = UnitIndex(next);
        next += u32::from(*kept);
        place
    };
    kept.iter().map(place).collect()
}

fn renumber(history: &mut History, places: &[UnitIndex]) {
    let unit = |unit: &mut UnitIndex| *unit = places[unit.0 as usize];
    let doer = |doer: &mut Doer| {
        unit(&mut doer.unit);
        doer.origin.iter_mut().for_each(unit);
    };
    for poll in &mut history.polls {
        unit(&mut poll.task);
        poll.thread.iter_mut().for_each(unit);
    }
    for panic in &mut history.panics {
        unit(&mut panic.unit);
    }
    for row in &mut history.awaits {
        unit(&mut row.task);
    }
    for wake in &mut history.wakes {
        unit(&mut wake.task);
        doer(&mut wake.by);
    }
    for row in &mut history.units {
        if let super::UnitKind::Task(task) = &mut row.kind {
            task.spawned
                .iter_mut()
                .for_each(|spawn| doer(&mut spawn.by));
            let end = task.end.iter_mut();
            end.filter_map(|end| end.aborted.as_mut()).for_each(doer);
        }
    }
}

/// Keeps the rows that are kept. There may be fewer rows than units.
fn retain<T>(rows: &mut Vec<T>, kept: &[bool]) {
    let mut kept = kept.iter();
    rows.retain(|_| kept.next().copied().unwrap_or(true));
}
