//! An idle task that nothing can wake, or that nobody will.
//!
//! - [`nothing_left`]: no waker of it is left. The reference count proves it.
//! - [`ready`]: what it waits for is there, and no wake-up came.
//! - [`lost_arm`]: one of several futures that it waits for has kept no waker.
//! - [`in_group`]: one of the futures of a group with wakers of its own has none left.
//! - [`never_cloned`]: the future that it waits in cloned none in its only poll.
//! - [`unlike_others`]: it waits for much longer than its equals did.
//! - [`wrong_waker`]: what it waits for would wake another task, or none.
//!
//! What is told of a task is the surest of these. Abort handles count as wakers, so that the first
//! can hide a loss, never make one.

mod blame;
mod downstream;
mod in_group;
mod lost_arm;
mod never_cloned;
mod nothing_left;
mod ready;
#[cfg(test)]
mod tests;
mod unlike_others;
mod wrong_waker;

use super::case::Case;
use super::model::Sighting;
use super::preorder::Preorder;
use super::still::{Standing, Still};

/// What one look at a task that stood still needs.
struct Suspect<'c, 'a> {
    case: &'c Case<'a>,
    task: Still<'a>,
    /// Its tree in the last look; empty when it could not be read.
    tree: Preorder<'a>,
    /// The same when it was first seen standing there: the same futures at the same indexes.
    before: Preorder<'a>,
}

/// Idle tasks that nothing can wake, or nobody will.
pub(super) fn find(case: &Case<'_>) -> Vec<Sighting> {
    let standing = Standing::of(case);
    let peers = unlike_others::Peers::of(case);
    let clones = never_cloned::Clones::of(case);
    let mut sightings: Vec<Sighting> = standing
        .tasks
        .into_iter()
        .filter(|task| !task.now.cancelled)
        .filter_map(|task| {
            let suspect = Suspect {
                case,
                task,
                tree: task.now.tree.as_ref().map(Preorder::of).unwrap_or_default(),
                before: task
                    .before
                    .tree
                    .as_ref()
                    .map(Preorder::of)
                    .unwrap_or_default(),
            };
            [
                nothing_left::judge(&suspect),
                in_group::judge(&suspect),
                ready::judge(&suspect),
                wrong_waker::judge(&suspect),
                lost_arm::judge(&suspect),
                never_cloned::judge(&suspect, &clones),
                unlike_others::judge(&suspect, &peers),
            ]
            .into_iter()
            .flatten()
            // Of equally sure ones the first stays.
            .reduce(|best, other| {
                if other.certainty > best.certainty {
                    other
                } else {
                    best
                }
            })
        })
        .collect();
    downstream::tell(case, &mut sightings);
    sightings
}
