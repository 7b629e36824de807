//! Who is to be named for a wake-up that got lost, and how that is told.

use super::super::model::{Certainty, Kind, Role, Sighting, Site};
use super::super::past::{duration, times};
use super::super::preorder::{Placed, Preorder, is_body};
use super::super::source::{
    awaited_in, base, defined_at, is_never, is_users, is_well_known, place, site, subject,
};
use super::Suspect;

/// The future at fault and the await that waits for it.
pub(super) struct Blame {
    /// Path of the future.
    pub culprit: String,
    /// The places: the future's own, where it is known, and the await.
    pub sites: Vec<Site>,
    /// What makes two of them equal.
    pub cause: String,
    /// `src/main.rs:23`, of the await.
    pub awaited_at: String,
}

/// Whether a leaf is written by hand: what it waits for is not known, or guessed from what it keeps.
pub(super) fn is_handmade(at: &Placed<'_>) -> bool {
    let node = at.node;
    let by_hand = node
        .waits_for
        .as_ref()
        .is_none_or(|waits| waits.text("by") == Some("hand_written"));
    by_hand && !is_body(node.kind) && !is_never(node)
}

/// The future to name for the leaf at `index`: itself when it is written by hand, otherwise the
/// nearest one above it that is, as it is what passed the waker on.
pub(super) fn culprit<'t, 'a>(tree: &'t Preorder<'a>, index: usize) -> Option<&'t Placed<'a>> {
    let leaf = tree.futures.get(index)?;
    if is_handmade(leaf) {
        return Some(leaf);
    }
    let above = tree.outwards(index).skip(1);
    let mut candidates = above.filter(|at| !is_body(at.node.kind));
    let handmade = candidates.find(|at| !is_well_known(&at.node.future) && is_users(at.node));
    Some(handmade.unwrap_or(leaf))
}

/// Blames the leaf at `index`.
pub(super) fn blame(suspect: &Suspect<'_, '_>, index: usize) -> Blame {
    let tree = &suspect.tree;
    let named = culprit(tree, index).map(|at| at.node);
    let body = awaited_in(tree, index).map(|at| at.node);
    let mut sites = Vec::new();
    if let Some(node) = named {
        sites.push(defined_at(Role::Culprit, node));
    }
    let awaited = body.map(|body| site(Role::WaitsAt, body));
    let future = named.map_or_else(
        || suspect.task.now.future.to_string(),
        |node| node.future.to_string(),
    );
    let awaited_at = awaited
        .as_ref()
        .map_or_else(|| suspect.task.now.future.to_string(), place);
    sites.extend(awaited);
    Blame {
        cause: format!("{} at {awaited_at}", base(&future)),
        culprit: future,
        sites,
        awaited_at,
    }
}

/// What to do about a future that returned `Pending` and kept no waker.
pub(super) fn keep_a_clone(blame: &Blame) -> String {
    format!(
        "let the poll of {} keep a clone of the waker of its last poll, before it looks whether it \
         is ready, and wake it when it is",
        blame.culprit
    )
}

/// A sighting of a lost wake-up that `blame` is to be named for.
pub(super) fn sighting(
    suspect: &Suspect<'_, '_>,
    blame: Blame,
    certainty: Certainty,
    summary: String,
    mut evidence: Vec<String>,
    advice: String,
) -> Sighting {
    evidence.extend(history(suspect));
    let task = &suspect.task;
    Sighting {
        kind: Kind::LostWake,
        certainty,
        cause: blame.cause,
        summary,
        tasks: vec![subject(task.now)],
        sites: blame.sites,
        evidence,
        began: task.since(),
        ended: task.past.polled_after(task.to),
        advice,
        weight: task.duration(),
    }
}

/// How often it was looked at, and what was seen in between.
pub(super) fn looks(suspect: &Suspect<'_, '_>) -> String {
    let task = &suspect.task;
    if task.looks == 1 {
        return format!(
            "it was looked at once, {} after its last poll: idle, and nothing happened to it in \
             between",
            duration(task.to.saturating_sub(task.from))
        );
    }
    format!(
        "it was looked at {}, {} apart: idle, at the same place each time",
        times(task.looks),
        duration(task.to.saturating_sub(task.from))
    )
}

/// What events tell, if there are any.
fn history(suspect: &Suspect<'_, '_>) -> Vec<String> {
    let task = &suspect.task;
    let mut evidence = Vec::new();
    if let Some(polled) = task.past.last_polled {
        evidence.push(format!(
            "its last poll of {} that were seen ended {} before the last look, {}",
            task.past.polls,
            duration(task.to.saturating_sub(polled)),
            if suspect.case.events_are_missing() {
                "and not all that happened since was seen"
            } else {
                "and it has not been polled since"
            }
        ));
    }
    evidence.extend(task.past.woken(task.to));
    evidence
}
