//! No waker of the task is left.
//!
//! tokio counts a task's references in its state word, and each waker is one. When a task is idle
//! and all references are accounted for otherwise, nothing can wake it any more (tokio 1.0 to 1.54:
//! `runtime/task/state.rs`; facts/runtimes.md). Each look is a proof of its own; the second one
//! guards against a misreading.

use super::super::model::{Certainty, Sighting};
use super::super::source::is_never;
use super::Suspect;
use super::blame::{blame, is_handmade, keep_a_clone, looks, sighting};

pub(super) fn judge(suspect: &Suspect<'_, '_>) -> Option<Sighting> {
    let task = &suspect.task;
    if task.now.wakers != Some(0) || task.before.wakers != Some(0) {
        return None;
    }
    let tree = &suspect.tree;
    let leaves: Vec<usize> = tree.leaves().collect();
    let never = |index: &usize| is_never(tree.futures[*index].node);
    if !leaves.is_empty() && leaves.iter().all(never) {
        return None;
    }
    // The hand-written one, or the first that may be ready one day.
    let awaited = || leaves.iter().copied().filter(|index| !never(index));
    let handmade = awaited().find(|&index| is_handmade(&tree.futures[index]));
    let named = handmade.or_else(|| awaited().next()).unwrap_or(0);
    let mut evidence = Vec::new();
    let mut certainty = Certainty::Proved;
    if task.moved() {
        // Nothing could have woken it: one of the two readings is wrong.
        certainty = Certainty::Possible;
        evidence.push(
            "events tell that it was polled or woken since, so that the reference count is not \
             what it is taken for"
                .to_owned(),
        );
    }
    if tree.is_incomplete() {
        certainty = certainty.min(Certainty::Likely);
        evidence.push(
            "its await tree could not be read in whole: it may wait for ever on purpose".to_owned(),
        );
    }
    evidence.insert(0, arithmetic(suspect));
    evidence.insert(1, looks(suspect));
    let blame = blame(suspect, named);
    let summary = format!(
        "nothing can wake a task that waits at {}: {} returned Pending and no waker of the task is \
         left",
        blame.awaited_at, blame.culprit
    );
    let advice = keep_a_clone(&blame);
    Some(sighting(
        suspect, blame, certainty, summary, evidence, advice,
    ))
}

/// The reference count, in words.
fn arithmetic(suspect: &Suspect<'_, '_>) -> String {
    let references = suspect.task.now.references;
    match references {
        Some(1) => "it is idle and not notified, and the only reference to it is its runtime's \
                    list: 1 - 1 = 0 wakers"
            .to_owned(),
        Some(references) => format!(
            "it is idle and not notified, and all of its {references} references are its runtime's \
             list and its handles: {references} - {references} = 0 wakers"
        ),
        None => {
            "it is idle and not notified, and none of the references to it is a waker".to_owned()
        }
    }
}
