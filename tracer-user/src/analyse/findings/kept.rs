//! Futures that a task keeps without polling them, in every look at memory from one on, at the same
//! address and in the same state; and for how long.
//!
//! A healthy `select!` loop keeps a future while it works on another arm, and polls it again when it
//! is done: that it stands where it stood does not tell that it was not polled. Events do, and so
//! does a future that is ready: a poll would have taken it further.

use std::collections::{HashMap, HashSet};

use super::case::{Case, TaskName};
use super::preorder::{Preorder, is_body, is_same};
use super::source::{is_users, is_well_known};
use crate::address::Address;
use crate::analyse::history::UnitIndex;
use crate::rebuild::snapshot::{TaskInfo, TaskState};
use crate::rebuild::suspension::Place;
use crate::rebuild::tree::AwaitNode;

/// A future that its task keeps without polling it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept<'a> {
    /// Its task's place in the last look.
    pub index: usize,
    /// The task in the last look.
    pub task: &'a TaskInfo,
    /// The future.
    pub future: &'a AwaitNode,
    /// The body that keeps it.
    pub keeper: &'a AwaitNode,
    /// Looks in which it was so; two at least.
    pub looks: usize,
    /// Time of the first of them: CLOCK_MONOTONIC, nanoseconds.
    pub from: u64,
    /// Time of the last one.
    pub to: u64,
    /// Until when it is known what it did: the last look, or the end of the trace where that is
    /// earlier.
    pub until: u64,
    /// What it waits for is there in all of these looks.
    pub ready: bool,
    /// Since when it is ready, where a deadline tells that.
    pub due: Option<u64>,
    /// What events tell.
    pub polled: Polled,
    /// Its task stands where it stood in the first of the looks.
    pub stands: bool,
    /// Its task was seen to be polled since the first of the looks.
    pub goes_on: bool,
}

/// What events tell of the polls of a kept future since the first look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Polled {
    /// Nothing.
    Unknown,
    /// It was not polled since this time at least: CLOCK_MONOTONIC, nanoseconds. When it was last
    /// polled, where `seen` is set; otherwise the trace is not older.
    NotSince {
        /// The time.
        time: u64,
        /// Its last poll was seen to end then.
        seen: bool,
    },
    /// It was polled in between: it is not abandoned.
    InBetween,
}

impl Kept<'_> {
    /// For how long it is known not to have been polled, in nanoseconds; 0 when it is not.
    pub(super) fn unpolled(&self) -> u64 {
        let by_events = match self.polled {
            Polled::NotSince { time, .. } => self.until.saturating_sub(time),
            Polled::InBetween => return 0,
            Polled::Unknown => 0,
        };
        // That its task stands where it stood tells that only where events show no poll of it.
        let stood = self.stands && self.polled != Polled::Unknown && !self.goes_on;
        let by_memory = if self.ready || stood {
            self.to.saturating_sub(self.from)
        } else {
            0
        };
        let by_deadline = match self.due {
            Some(due) if self.ready => self.to.saturating_sub(due),
            _ => 0,
        };
        by_events.max(by_memory).max(by_deadline)
    }
}

/// Everything that is kept and not polled in the last look and the one before it.
pub(super) fn kept<'a>(case: &Case<'a>) -> Vec<Kept<'a>> {
    let Some((last, earlier)) = case.moments.split_last() else {
        return Vec::new();
    };
    let mut found: Vec<Kept<'a>> = Vec::new();
    for (index, task) in last.snapshot.tasks.iter().enumerate() {
        if task.state == TaskState::Complete {
            continue;
        }
        for (future, keeper) in kept_by(task) {
            let (ready, due) = readiness(future);
            found.push(Kept {
                index,
                task,
                future,
                keeper,
                looks: 1,
                from: last.time,
                to: last.time,
                until: last.time,
                ready,
                due,
                polled: Polled::Unknown,
                stands: true,
                goes_on: false,
            });
        }
    }
    if found.is_empty() {
        return found;
    }
    for (back, moment) in earlier.iter().rev().enumerate() {
        let wanted: HashSet<(u64, &str)> = found
            .iter()
            .filter(|kept| kept.looks == back + 1)
            .map(|kept| (kept.task.address.0, kept.task.id.as_str()))
            .collect();
        let mut then: HashMap<(u64, &str, Option<Address>), (&AwaitNode, &TaskInfo)> =
            HashMap::new();
        for task in &moment.snapshot.tasks {
            if wanted.contains(&(task.address.0, task.id.as_str())) {
                for (future, _) in kept_by(task) {
                    let key = (task.address.0, task.id.as_str(), future.address);
                    then.insert(key, (future, task));
                }
            }
        }
        for kept in found.iter_mut().filter(|kept| kept.looks == back + 1) {
            let key = (
                kept.task.address.0,
                kept.task.id.as_str(),
                kept.future.address,
            );
            if let Some((future, task)) = then.get(&key)
                && is_same(future, kept.future)
            {
                kept.looks += 1;
                kept.from = moment.time;
                kept.ready &= readiness(future).0;
                kept.stands &= stands(task, kept.task);
            }
        }
    }
    found.retain(|kept| kept.looks >= 2);
    let units = case.units();
    for kept in &mut found {
        if let Some(&unit) = units.get(&TaskName::of(kept.task)) {
            kept.polled = polled(case, unit, kept);
            kept.until = case.history.span.end.min(kept.to);
            let polls = &case.history[unit].polls;
            kept.goes_on = polls
                .last()
                .is_some_and(|&poll| case.history[poll].begin > kept.from);
        }
        kept.goes_on |= !kept.stands;
    }
    found
}

/// What a task keeps without polling it, and by which body: not what is inside of that.
fn kept_by(task: &TaskInfo) -> Vec<(&AwaitNode, &AwaitNode)> {
    let Some(root) = &task.tree else {
        return Vec::new();
    };
    // Most tasks keep nothing: no preorder for those.
    let mut keeps = false;
    root.visit(&mut |node| keeps |= !node.not_awaited.is_empty());
    if !keeps {
        return Vec::new();
    }
    let tree = Preorder::of(root);
    let alive = tree.futures.iter().filter(|at| at.alive);
    alive
        .flat_map(|at| at.node.not_awaited.iter().map(|kept| (kept, at.node)))
        .filter(|(kept, _)| kept.address.is_some())
        .collect()
}

/// Whether something that a future waits for is there, and since when as far as deadlines tell.
fn readiness(future: &AwaitNode) -> (bool, Option<u64>) {
    let tree = Preorder::of(future);
    let mut ready = false;
    let mut due: Option<u64> = None;
    for leaf in tree.leaves() {
        let waits = tree.futures[leaf].node.waits_for.as_ref();
        if let Some(waits) = waits.filter(|waits| waits.ready() == Some(true)) {
            ready = true;
            let deadline = waits.number("deadline_ns");
            due = match (due, deadline) {
                (Some(due), Some(deadline)) => Some(due.min(deadline)),
                (due, deadline) => due.or(deadline),
            };
        }
    }
    (ready, due)
}

fn stands(before: &TaskInfo, now: &TaskInfo) -> bool {
    before.state == TaskState::Idle
        && now.state == TaskState::Idle
        && matches!((&before.tree, &now.tree), (Some(before), Some(now)) if is_same(before, now))
}

/// Whether events show the kept future among those that its task awaited since the first look. What
/// is kept lies at one place all the while, so that nothing else is there.
fn polled(case: &Case<'_>, unit: UnitIndex, kept: &Kept<'_>) -> Polled {
    let history = case.history;
    let unit = &history[unit];
    // A trace with holes tells nothing.
    if unit.polls.is_empty() && unit.awaits.is_empty() || case.events_are_missing() {
        return Polled::Unknown;
    }
    let root = kept.task.tree.as_ref().and_then(|tree| tree.address);
    let places = places(kept.future, root);
    let mut last = None;
    for &instance in &unit.awaits {
        let instance = &history[instance];
        if !places.contains(&instance.place) {
            continue;
        }
        match instance.end {
            // Each poll tells where its task stood before it: it goes on as far as that is known,
            // so that the polls since then found it among what was awaited.
            None if polled_after(case, unit, kept.from) => return Polled::InBetween,
            None => last = last.max(Some(last_poll_before(case, unit, kept.from))),
            Some(end) if end > kept.from => return Polled::InBetween,
            Some(end) => last = last.max(Some(end)),
        }
    }
    match last {
        Some(time) => Polled::NotSince {
            time: time.max(history.span.start),
            seen: time > history.span.start,
        },
        None => Polled::NotSince {
            time: history.span.start,
            seen: false,
        },
    }
}

fn polled_after(case: &Case<'_>, unit: &crate::analyse::history::UnitHistory, time: u64) -> bool {
    let last = unit.polls.last();
    last.is_some_and(|&poll| case.history[poll].begin > time)
}

fn last_poll_before(
    case: &Case<'_>,
    unit: &crate::analyse::history::UnitHistory,
    time: u64,
) -> u64 {
    let polls = unit.polls.iter().map(|&poll| &case.history[poll]);
    let before = polls.filter(|poll| poll.begin <= time);
    before.filter_map(|poll| poll.end).max().unwrap_or(0)
}

/// Where the futures of a kept one lie, as events tell it.
fn places(future: &AwaitNode, root: Option<Address>) -> HashSet<Place> {
    /// A task's future is not larger.
    const FAR: u64 = 1 << 24;
    let tree = Preorder::of(future);
    let mut places = HashSet::new();
    for address in tree.futures.iter().filter_map(|at| at.node.address) {
        places.insert(Place::Outside(address));
        if let Some(root) = root {
            let offset = address.since(root);
            if offset < FAR {
                places.insert(Place::Inside(offset));
            }
        }
    }
    places
}

/// Whether a kept future is one of a library alone (a timer, a notification, a receiver), which
/// loses nothing when it is not polled.
pub(super) fn is_plain(future: &AwaitNode) -> bool {
    let tree = Preorder::of(future);
    !tree.futures.iter().any(|at| {
        let node = at.node;
        (is_body(node.kind) || at.alive && !at.waits_inside && node.waits_for.is_none())
            && is_users(node)
            && !is_well_known(&node.future)
    })
}
