//! Where a task stands at the end of the trace, and for how long it has.

use std::sync::Arc;

use serde::Serialize;

use crate::analyse::history::{AwaitIndex, AwaitOutcome, Awaited, History, UnitIndex};

/// An await that goes on, with those inside it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpenAwait {
    /// What is awaited, and where.
    #[serde(flatten)]
    pub awaited: Arc<Awaited>,
    /// Nanoseconds since it began.
    pub elapsed_ns: u64,
    /// It is older than that.
    pub at_least: bool,
    /// How many futures it lies in.
    pub depth: u16,
}

/// Depth at which a task's open awaits are told no further.
const MAX_DEPTH: u16 = 512;

/// The awaits of a task that are open at the end of the trace, in preorder: what an await holds
/// follows it, one deeper.
#[must_use]
pub fn open_awaits(history: &History, task: UnitIndex) -> Vec<OpenAwait> {
    let Some(unit) = history.units.get(task.0 as usize) else {
        return Vec::new();
    };
    let is_open = |index: &AwaitIndex| {
        matches!(
            history[*index].outcome,
            AwaitOutcome::Open | AwaitOutcome::Detached
        )
    };
    let mut open: Vec<AwaitIndex> = unit.awaits.iter().copied().filter(is_open).collect();
    // By parent, then in the order in which they were found.
    open.sort_by_key(|index| (history[*index].parent, *index));
    let children = |parent: Option<AwaitIndex>| {
        let from = open.partition_point(|index| history[*index].parent < parent);
        let to = open.partition_point(|index| history[*index].parent <= parent);
        open[from..to].iter().rev()
    };
    let mut found = Vec::with_capacity(open.len());
    let mut next: Vec<(AwaitIndex, u16)> = children(None).map(|index| (*index, 0)).collect();
    while let Some((index, depth)) = next.pop() {
        let row = &history[index];
        found.push(OpenAwait {
            awaited: Arc::clone(&row.awaited),
            elapsed_ns: row.duration(history.span.end),
            at_least: row.at_least,
            depth,
        });
        if depth < MAX_DEPTH {
            next.extend(children(Some(index)).map(|index| (*index, depth + 1)));
        }
    }
    found
}
