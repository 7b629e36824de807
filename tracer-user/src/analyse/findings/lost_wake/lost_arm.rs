//! One of several futures that a task waits for at once has kept no waker, while the others have:
//! the reference count, less what the others are known to have registered.

use super::super::model::{Certainty, Sighting};
use super::super::preorder::Preorder;
use super::super::source::{is_never, is_users, makes_own_wakers};
use super::Suspect;
use super::blame::{blame, is_handmade, keep_a_clone, looks, sighting};

pub(super) fn judge(suspect: &Suspect<'_, '_>) -> Option<Sighting> {
    if suspect.task.moved() {
        return None;
    }
    let wakers = suspect.task.now.wakers?;
    if wakers == 0 || suspect.task.before.wakers != Some(wakers) {
        return None;
    }
    let now = arms(&suspect.tree)?;
    let before = arms(&suspect.before)?;
    if now.registered != wakers || before.registered != wakers || now.handmade != before.handmade {
        return None;
    }
    let &index = now.handmade.first()?;
    let lost = suspect.tree.futures.get(index)?.node;
    let certainty = if is_users(lost) {
        Certainty::Likely
    } else {
        Certainty::Possible
    };
    let blame = blame(suspect, index);
    let evidence = vec![
        format!(
            "it waits for {} futures at once; {} of the task are left, and the others have \
             registered {}: {wakers} - {} = 0 for {}",
            now.registered as usize + now.handmade.len() + now.never,
            wakers_are(wakers),
            if now.registered == 1 { "it" } else { "them" },
            now.registered,
            lost.future,
        ),
        looks(suspect),
    ];
    let summary = format!(
        "one of the futures awaited at {} cannot wake its task: {} returned Pending and kept no \
         waker",
        blame.awaited_at, blame.culprit
    );
    let advice = keep_a_clone(&blame);
    Some(sighting(
        suspect, blame, certainty, summary, evidence, advice,
    ))
}

fn wakers_are(wakers: u64) -> String {
    match wakers {
        1 => "1 waker".to_owned(),
        many => format!("{many} wakers"),
    }
}

/// What a task waits for at once.
#[derive(Debug, PartialEq, Eq)]
struct Arms {
    /// Those that have registered a waker of the task where it can be seen.
    registered: u64,
    /// Those of which nothing is known: their indexes.
    handmade: Vec<usize>,
    /// Those that are never ready and need none.
    never: usize,
}

/// The arms; `None` when anything else may have a waker, or have none and need none.
fn arms(tree: &Preorder<'_>) -> Option<Arms> {
    if tree.is_incomplete() {
        return None;
    }
    let mut arms = Arms {
        registered: 0,
        handmade: Vec::new(),
        never: 0,
    };
    for index in tree.leaves() {
        let own = |node: &str| makes_own_wakers(node);
        if tree.outwards(index).any(|at| own(&at.node.future)) {
            return None;
        }
        let at = tree.futures.get(index)?;
        let waits = at.node.waits_for.as_ref();
        let keeps = waits.and_then(|waits| waits.text("waker_kept"));
        if is_never(at.node) {
            arms.never += 1;
        } else if is_handmade(at) {
            // It keeps one of this task itself.
            if keeps == Some("own") {
                return None;
            }
            arms.handmade.push(index);
        } else if waits.and_then(|waits| waits.text("waker")) == Some("own") {
            arms.registered += 1;
        } else {
            return None;
        }
    }
    (arms.registered > 0).then_some(arms)
}
