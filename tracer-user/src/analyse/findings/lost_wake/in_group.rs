//! One of the futures of a group that polls each with wakers of its own (`FuturesUnordered`, and
//! `join_all`, `buffer_unordered` and others that are built on it) has none left: its group polls it
//! when one of them wakes, and never again.

use super::super::model::{Certainty, Sighting};
use super::super::preorder::Preorder;
use super::super::source::is_never;
use super::Suspect;
use super::blame::{blame, is_handmade, keep_a_clone, looks, sighting};

pub(super) fn judge(suspect: &Suspect<'_, '_>) -> Option<Sighting> {
    if suspect.task.moved() {
        return None;
    }
    let tree = &suspect.tree;
    let lost: Vec<usize> = tree
        .leaves()
        .filter(|&leaf| is_left_alone(tree, leaf) && is_left_alone(&suspect.before, leaf))
        .collect();
    let handmade = lost.iter().find(|&&leaf| is_handmade(&tree.futures[leaf]));
    let &named = handmade.or(lost.first())?;
    let blame = blame(suspect, named);
    let members = groups(tree, named);
    let evidence = vec![
        format!(
            "its group polls each of its {members} futures with wakers of its own, and of {} of them \
             none is left: the only reference to it is its group's list, 1 - 1 = 0 wakers, and it is \
             not in line to be polled",
            lost.len()
        ),
        looks(suspect),
    ];
    let summary = format!(
        "nothing can wake one of the futures awaited at {}: {} returned Pending and no waker of it \
         is left",
        blame.awaited_at, blame.culprit
    );
    let advice = keep_a_clone(&blame);
    Some(sighting(
        suspect,
        blame,
        Certainty::Proved,
        summary,
        evidence,
        advice,
    ))
}

/// Whether a leaf is one that its group never polls again, and should.
fn is_left_alone(tree: &Preorder<'_>, leaf: usize) -> bool {
    let never = |at: usize| tree.futures.get(at).is_some_and(|at| is_never(at.node));
    let group = tree.outwards(leaf).find_map(|at| at.node.own_wakers);
    group == Some(0) && !never(leaf)
}

/// Futures that are alive in the group of a leaf.
fn groups(tree: &Preorder<'_>, leaf: usize) -> usize {
    let mut outwards = tree.outwards(leaf);
    let member = outwards.find(|at| at.node.own_wakers.is_some());
    let group = member.and_then(|member| member.above);
    group.map_or(0, |group| tree.live_children(group).count())
}
