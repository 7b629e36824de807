//! A hand-written future that waits for much longer than all of its equals did. By itself that is
//! what a slow peer looks like, too: possible, and likely only where memory shows that what it waits
//! for is there.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::case::Case;
use super::super::model::{Certainty, Sighting};
use super::super::past::{duration, times};
use super::super::preorder::is_body;
use super::Suspect;
use super::blame::{blame, is_handmade, looks, sighting};
use super::ready::what_is_there;
use crate::analyse::history::AwaitOutcome;

/// Equals that tell how long it takes.
const ENOUGH: usize = 20;
/// It has to wait for so much longer than 99 of 100 of them did, and than the longest of them.
const TIMES_P99: u64 = 100;
const TIMES_LONGEST: u64 = 10;
/// And for so long at least, in nanoseconds.
const LONG: u64 = 1_000_000_000;

/// A leaf and where it is awaited: path, file, line.
type Key = (Arc<str>, Option<Arc<str>>, Option<u32>);

/// How long those waited that are over, by what and where.
pub(super) struct Peers(HashMap<Key, Vec<u64>>);

impl Peers {
    /// Of a case.
    pub(super) fn of(case: &Case<'_>) -> Self {
        let mut peers: HashMap<Key, Vec<u64>> = HashMap::new();
        let over = |outcome| matches!(outcome, AwaitOutcome::Ready | AwaitOutcome::Over);
        for instance in &case.history.awaits {
            let awaited = &instance.awaited;
            let handmade = awaited.waits_for.is_none() && !is_body(awaited.kind);
            if let (true, true, Some(end)) = (handmade, over(instance.outcome), instance.end) {
                let key = (
                    Arc::clone(&awaited.future),
                    awaited.file.clone(),
                    awaited.line,
                );
                let waited = end.saturating_sub(instance.start);
                peers.entry(key).or_default().push(waited);
            }
        }
        peers.retain(|_, waited| waited.len() >= ENOUGH);
        for waited in peers.values_mut() {
            waited.sort_unstable();
        }
        Self(peers)
    }
}

pub(super) fn judge(suspect: &Suspect<'_, '_>, peers: &Peers) -> Option<Sighting> {
    let task = &suspect.task;
    if peers.0.is_empty() || task.moved() {
        return None;
    }
    let tree = &suspect.tree;
    let index = tree
        .leaves()
        .find(|&leaf| is_handmade(&tree.futures[leaf]))?;
    let leaf = tree.futures.get(index)?;
    let body = tree
        .outwards(index)
        .find(|at| is_body(at.node.kind) && at.node.line.is_some())?;
    let key = (
        Arc::clone(&leaf.node.future),
        body.node.file.clone(),
        body.node.line,
    );
    let waited = peers.0.get(&key)?;
    let at = |share: usize| waited[(waited.len() - 1) * share / 100];
    let longest = *waited.last()?;
    let long = LONG
        .max(at(99).saturating_mul(TIMES_P99))
        .max(longest.saturating_mul(TIMES_LONGEST));
    if task.duration() < long {
        return None;
    }
    let waits = leaf.node.waits_for.as_ref();
    let is_there = waits.is_some_and(|waits| waits.ready() == Some(true));
    let certainty = if is_there {
        Certainty::Likely
    } else {
        Certainty::Possible
    };
    let blame = blame(suspect, index);
    let mut evidence = vec![
        format!(
            "it has waited there for {} at least, while {} others were over in {} (half of them), \
             {} (99 of 100), {} (all)",
            duration(task.duration()),
            waited.len(),
            duration(at(50)),
            duration(at(99)),
            duration(longest)
        ),
        looks(suspect),
    ];
    // Which descriptor it waits for is a guess there: told, and for the reader to judge.
    evidence.extend(waits.filter(|waits| waits.kind == "io").map(what_is_there));
    if let Some(unit) = task.past.unit {
        let wakers = suspect.case.history.wakers(unit);
        let counts = &wakers.since_poll;
        if wakers.last_poll_seen {
            evidence.push(format!(
                "since its last poll began its waker was cloned {}, dropped {}, and used to wake {}",
                counted(counts.cloned),
                counted(counts.dropped),
                counted(counts.consumed.saturating_add(counts.woken_by_reference)),
            ));
        }
    }
    let summary = format!(
        "a task waits at {} for much longer than its equals did: {} may not wake it",
        blame.awaited_at, blame.culprit
    );
    let advice = format!(
        "see whether what {} waits for was there before its callback was registered",
        blame.culprit
    );
    Some(sighting(
        suspect, blame, certainty, summary, evidence, advice,
    ))
}

fn counted(count: u64) -> String {
    times(usize::try_from(count).unwrap_or(usize::MAX))
}
