//! A hand-written future that returned Pending in the last poll and cloned no waker of its task
//! there, by events.
//!
//! A clone may be inlined, which no probe sees: that none was seen says something only where other
//! futures of the same type were seen to clone. And a future that keeps the waker of an earlier poll
//! has no need to clone: it says something only of one that began in that poll.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::case::Case;
use super::super::model::{Certainty, Sighting};
use super::super::source::is_users;
use super::Suspect;
use super::blame::{blame, is_handmade, keep_a_clone, looks, sighting};

/// Clones seen, by path of the leaf.
pub(super) struct Clones<'h>(HashMap<&'h Arc<str>, u64>);

impl<'h> Clones<'h> {
    /// Of a case; empty where nothing can be concluded from a clone that was not seen.
    pub(super) fn of(case: &Case<'h>) -> Self {
        let seen = case.history.wakers.probed.clones == Some(true) && !case.events_are_missing();
        Self(if seen {
            case.history.clones_by_future()
        } else {
            HashMap::new()
        })
    }
}

pub(super) fn judge(suspect: &Suspect<'_, '_>, clones: &Clones<'_>) -> Option<Sighting> {
    let task = &suspect.task;
    if clones.0.is_empty() || task.moved() {
        return None;
    }
    let history = suspect.case.history;
    let unit = task.past.unit?;
    let wakers = history.wakers(unit);
    if !wakers.last_poll_seen || wakers.gap_since_poll || wakers.since_poll.cloned > 0 {
        return None;
    }
    // Alone: any other leaf may have kept a waker of an earlier poll.
    let mut leaves = suspect.tree.leaves();
    let (index, None) = (leaves.next()?, leaves.next()) else {
        return None;
    };
    let leaf = suspect.tree.futures.get(index)?;
    let &others = clones.0.get(&leaf.node.future)?;
    if !is_handmade(leaf) || !is_users(leaf.node) {
        return None;
    }
    let last_poll = history[unit].polls.last().map(|&poll| &history[poll])?;
    let began = history[unit].awaits.iter().rev().find_map(|&instance| {
        let instance = &history[instance];
        (instance.awaited.future == leaf.node.future && instance.end.is_none()).then_some(instance)
    })?;
    if began.at_least || began.start < last_poll.begin {
        return None;
    }
    let blame = blame(suspect, index);
    let evidence = vec![
        format!(
            "{} began in the last poll of its task, and no waker of the task was cloned in that \
             poll or since; other futures of this type were seen to clone {others} wakers",
            leaf.node.future
        ),
        looks(suspect),
    ];
    let summary = format!(
        "a task that waits at {} has left no waker behind: {} returned Pending and cloned none",
        blame.awaited_at, blame.culprit
    );
    let advice = keep_a_clone(&blame);
    Some(sighting(
        suspect,
        blame,
        Certainty::Likely,
        summary,
        evidence,
        advice,
    ))
}
