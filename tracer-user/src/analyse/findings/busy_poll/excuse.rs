//! Why polls that changed nothing may be in order.

use std::collections::HashSet;
use std::sync::Arc;

use super::idle::Way;
use crate::analyse::findings::place;
use crate::analyse::history::{AwaitIndex, Awaited, History};
use crate::analyse::requests::{crate_of, is_own};

/// The crates that have awaits in their own files: the program's.
pub(super) fn own_crates(history: &History) -> HashSet<String> {
    let mut seen: HashSet<*const Awaited> = HashSet::new();
    let mut own = HashSet::new();
    for row in &history.awaits {
        if seen.insert(Arc::as_ptr(&row.awaited))
            && let Some(by) = &row.awaited.by
            && is_own(by, row.awaited.file.as_deref())
        {
            own.insert(crate_of(by).to_owned());
        }
    }
    own
}

/// Why polls that changed nothing may be in order, and whether they are nothing at all.
pub(super) enum Excuse {
    None,
    Doubt(&'static str),
    Yields,
}

pub(super) fn excuse(
    history: &History,
    leaf: Option<AwaitIndex>,
    way: Way,
    short: bool,
    own: &HashSet<String>,
) -> Excuse {
    let Some(leaf) = leaf else {
        return Excuse::Doubt("where it stands is not known: it may yield on purpose");
    };
    let row = &history[leaf].awaited;
    let mut path = place::ancestors(history, leaf).map(|at| history[at].awaited.future.as_ref());
    if is_yield(&row.future) || row.by.as_deref().is_some_and(is_yield) {
        return Excuse::Yields;
    }
    if path.any(collects) {
        return Excuse::Doubt(
            "a collection of futures wakes its task when it has polled many of them, and what those achieve is not seen",
        );
    }
    if way == Way::Yielded {
        // A budget that is used up is one that was used.
        return Excuse::Yields;
    }
    if !is_alone(history, leaf) {
        return Excuse::Doubt(
            "it waits for several things, and loops inside one of them are not seen",
        );
    }
    let is_own = match row.waits_for.as_deref() {
        None => is_programs(&row.future, own),
        // No budget counts for these, so that what wakes the task is the code around them.
        Some("notify") => row
            .by
            .as_deref()
            .is_some_and(|by| is_poll_fn(by) && is_programs(by, own)),
        Some(_) => false,
    };
    if !is_own {
        return Excuse::Doubt(
            "what it waits for is a library's: that wakes its task too when a budget is used up, to give way to others",
        );
    }
    if !short {
        return Excuse::Doubt("its polls are not short: it may compute in portions");
    }
    Excuse::None
}

fn is_yield(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    path.contains("yield") || path.contains("pendingonce") || path.contains("give_way")
}

fn collects(path: &str) -> bool {
    [
        "FuturesUnordered",
        "FuturesOrdered",
        "JoinAll",
        "SelectAll",
        "StreamMap",
        "BufferUnordered",
        "Buffered",
        "ForEachConcurrent",
    ]
    .iter()
    .any(|name| path.contains(name))
}

/// Whether a leaf is the program's: its own type, or a closure of it in `poll_fn`.
fn is_programs(path: &str, own: &HashSet<String>) -> bool {
    let inside = if is_poll_fn(path) {
        path.split_once('<').map_or(path, |(_, inside)| inside)
    } else {
        path
    };
    own.contains(crate_of(inside))
}

/// A closure as a future.
fn is_poll_fn(path: &str) -> bool {
    path.split('<')
        .next()
        .is_some_and(|name| name.ends_with("::PollFn"))
}

/// Whether the task waits for this leaf only, when it does.
fn is_alone(history: &History, leaf: AwaitIndex) -> bool {
    let polls = &history[history[leaf].task].polls;
    polls
        .iter()
        .map(|poll| &history[*poll].waited_in)
        .find(|leaves| leaves.contains(&leaf))
        .is_some_and(|leaves| leaves.len() == 1)
}
