//! Where tasks of a future wait, and whether that is for what comes from outside.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Growth;
use crate::analyse::findings::case::Case;
use crate::analyse::findings::place::{self, Place};
use crate::analyse::history::{AwaitIndex, AwaitOutcome, History, UnitIndex};
use crate::rebuild::tree::AwaitNode;

/// Where tasks of a future wait.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// Those of which it is known.
    pub(super) known: u64,
    /// Those that wait for I/O or time, perhaps beside others.
    pub(super) outside: u64,
    /// The places, the most common first.
    pub(super) places: Vec<(String, u64)>,
    pub(super) common: Option<Place>,
}

/// Places that are told.
const MAX_PLACES: usize = 3;

/// Tasks that are looked at.
const MAX_LOOKED: usize = 20_000;

pub(super) fn waits(case: &Case<'_>, future: &Arc<str>, growth: &Growth) -> Waits {
    let mut waits = Waits::default();
    let mut places: BTreeMap<String, (Place, u64)> = BTreeMap::new();
    let mut add = |place: Place, outside: bool| {
        waits.known += 1;
        waits.outside += u64::from(outside);
        places.entry(place.text()).or_insert((place, 0)).1 += 1;
    };
    let tasks = case.now().map(|moment| &moment.snapshot.tasks);
    let trees = tasks
        .into_iter()
        .flatten()
        .filter(|task| task.future == *future)
        .filter_map(|task| task.tree.as_ref());
    let mut any = false;
    for tree in trees.take(MAX_LOOKED) {
        any = true;
        add(place::of_tree(tree), waits_outside(tree));
    }
    if !any {
        for unit in growth.live.iter().take(MAX_LOOKED) {
            let leaves = open_leaves(case.history, *unit);
            if let Some(leaf) = leaves.first() {
                let outside = leaves
                    .iter()
                    .any(|leaf| is_outside(case.history[*leaf].awaited.waits_for.as_deref()));
                add(place::of_await(case.history, *leaf), outside);
            }
        }
    }
    let mut sorted: Vec<(Place, u64)> = places.into_values().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    waits.common = sorted.first().map(|(place, _)| place.clone());
    let told = sorted.into_iter().take(MAX_PLACES);
    waits.places = told.map(|(place, count)| (place.text(), count)).collect();
    waits
}

/// What ends without the program's doing, or comes from outside.
fn is_outside(waits_for: Option<&str>) -> bool {
    matches!(
        waits_for,
        Some("io" | "sleep" | "interval" | "timeout" | "signal" | "process")
    )
}

fn waits_outside(tree: &AwaitNode) -> bool {
    let mut outside = false;
    tree.visit(&mut |node| {
        outside |= is_outside(node.waits_for.as_ref().map(|waits_for| waits_for.kind));
    });
    outside
}

/// The awaits of a task that are open at the end and hold no other.
fn open_leaves(history: &History, unit: UnitIndex) -> Vec<AwaitIndex> {
    let awaits = history[unit].awaits.iter().copied();
    let open: Vec<AwaitIndex> = awaits
        .filter(|row| history[*row].outcome == AwaitOutcome::Open)
        .collect();
    let is_parent = |at: &AwaitIndex| open.iter().any(|other| history[*other].parent == Some(*at));
    if open.len() > 64 {
        return open.last().copied().into_iter().collect();
    }
    open.iter().copied().filter(|at| !is_parent(at)).collect()
}
