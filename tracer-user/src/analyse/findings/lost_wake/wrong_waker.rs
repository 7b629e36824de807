//! What a task waits for would wake another one, or none: a waker of an earlier poll by another
//! task, or a waiter without a waker.

use super::super::model::{Certainty, Sighting};
use super::super::preorder::Preorder;
use super::super::source::{base, is_never, is_well_known, makes_own_wakers};
use super::Suspect;
use super::blame::{blame, looks, sighting};
use crate::rebuild::tree::WaitsFor;

/// Whom the waker that was found wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wakes {
    /// Another task.
    Another,
    /// Nobody: there is none where one should be.
    Nobody,
}

pub(super) fn judge(suspect: &Suspect<'_, '_>) -> Option<Sighting> {
    if suspect.task.moved() {
        return None;
    }
    let tree = &suspect.tree;
    let (index, wakes) = tree.leaves().find_map(|index| {
        let now = wrong(tree, index)?;
        (wrong(&suspect.before, index) == Some(now)).then_some((index, now))
    })?;
    let alone = tree.leaves().count() == 1;
    let waits = tree.futures.get(index)?.node.waits_for.as_ref()?;
    let blame = blame(suspect, index);
    let seen = match wakes {
        Wakes::Another => format!(
            "the waker that {} keeps is of another task, not of the one that waits",
            tree.futures.get(index)?.node.future
        ),
        Wakes::Nobody => format!(
            "{} waits for {} with no waker registered there",
            tree.futures.get(index)?.node.future,
            waits.kind
        ),
    };
    let mut evidence = vec![seen, looks(suspect)];
    if let (true, Some(left)) = (alone, suspect.task.now.wakers) {
        evidence.push(format!(
            "by its reference count {left} wakers of it are left at most, abort handles included"
        ));
    }
    let summary = match wakes {
        Wakes::Another => format!(
            "a task that waits at {} will not be woken: {} keeps the waker of another task",
            blame.awaited_at, blame.culprit
        ),
        Wakes::Nobody => format!(
            "a task that waits at {} will not be woken by {}: no waker is registered",
            blame.awaited_at, blame.culprit
        ),
    };
    let advice = format!(
        "let {} take the waker of each poll (`Waker::clone_from`), as a future may be polled by \
         another task than the first time",
        blame.culprit
    );
    Some(sighting(
        suspect,
        blame,
        Certainty::Likely,
        summary,
        evidence,
        advice,
    ))
}

/// Whether the leaf at `index` would wake somebody else than its task. What lies below a future that
/// polls with wakers of its own making does, and is right to.
fn wrong(tree: &Preorder<'_>, index: usize) -> Option<Wakes> {
    let at = tree.futures.get(index)?;
    let waits = at.node.waits_for.as_ref()?;
    if is_never(at.node) {
        return None;
    }
    if tree
        .outwards(index)
        .skip(1)
        .any(|at| makes_own_wakers(&at.node.future) || !passes_on(&at.node.future, at.node.kind))
    {
        return None;
    }
    match (waits.text("waker_kept"), waits.text("waker")) {
        (Some("other"), _) | (_, Some("other")) => Some(Wakes::Another),
        (_, Some("none")) if is_waiting(waits) => Some(Wakes::Nobody),
        _ => None,
    }
}

/// Whether a future above a leaf polls it with the waker that it is polled with, surely: async bodies
/// do, and so do the usual combinators. One written by hand may make its own.
fn passes_on(path: &str, kind: crate::rebuild::tree::NodeKind) -> bool {
    super::super::preorder::is_body(kind) || is_well_known(base(path))
}

/// Whether a leaf of this kind has a waker registered as long as it waits.
fn is_waiting(waits: &WaitsFor) -> bool {
    match waits.kind {
        "lock" | "semaphore" => {
            let queued = waits.details.get("queued");
            queued.and_then(serde_json::Value::as_bool) == Some(true)
        }
        "sleep" | "oneshot" | "channel" | "notify" | "join" => true,
        _ => false,
    }
}
