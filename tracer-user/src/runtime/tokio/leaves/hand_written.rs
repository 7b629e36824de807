//! Leaf futures of the program's own: what they may wait for, by what they keep.

use super::kept::{Kept, Search};
use super::sync::leaf;
use super::waker::{Registered, Waiting};
use crate::dwarf::Value;
use crate::rebuild::tree::WaitsFor;
use crate::walk::{Leaf, Step, is_poll_fn};

/// Crates whose leaves are known, or wait for nothing of their own.
const KNOWN_CRATES: [&str; 5] = ["core::", "std::", "alloc::", "tokio::", "futures_"];

/// Describes a leaf that nothing else explains: kind `io` when it keeps one descriptor, `hand_written`
/// when all that can be said is whether it keeps a waker. `None` when nothing can.
///
/// `waker_kept` is `own` when a waker of the task lies in it, `other` when the only place for one holds
/// another task's, `none` when there is no waker and everything was searched.
pub(super) fn describe<'a>(
    step: &Step<'_>,
    value: Value<'_, 'a>,
    search: &Search<'_, 'a>,
    waiting: &Waiting<'_, '_>,
) -> Option<Leaf> {
    let path = &step.node.base_path;
    let polls_closure = is_poll_fn(path);
    let in_library = |path: &str| KNOWN_CRATES.iter().any(|known| path.starts_with(known));
    let written_here = if polls_closure {
        step.parent
            .is_some_and(|parent| !in_library(&parent.node.base_path))
    } else {
        !in_library(path)
    };
    if !written_here {
        return None;
    }
    let kept = search.of(value);
    let waker = waker_kept(&kept, waiting, value);
    let mut waits_for = match (single(&kept.owned), single(&kept.guessed)) {
        (Some(fd), _) => WaitsFor::new("io").with("fd", fd),
        (None, Some(fd)) if kept.owned.is_empty() => {
            WaitsFor::new("io").with("fd", fd).with("guessed", true)
        }
        _ if waker.is_some() => WaitsFor::new("hand_written"),
        _ => return None,
    };
    waits_for = waits_for.with("by", "hand_written");
    if let Some(waker) = waker {
        waits_for = waits_for.with("waker_kept", waker);
    }
    Some(leaf(waits_for))
}

/// The one number in the list, however often it is there.
fn single(numbers: &[i32]) -> Option<i32> {
    let first = numbers.first()?;
    numbers.iter().all(|other| other == first).then_some(*first)
}

fn waker_kept(
    kept: &Kept,
    waiting: &Waiting<'_, '_>,
    value: Value<'_, '_>,
) -> Option<&'static str> {
    let task = waiting.task?;
    let is_own = |place: &Registered| *place == Registered::Waker(task);
    if kept.wakers.iter().any(is_own) {
        return Some("own");
    }
    if kept.is_blind {
        return None;
    }
    match kept.wakers.as_slice() {
        wakers if wakers.iter().all(|place| *place == Registered::None) => Some("none"),
        [Registered::Waker(data)] => {
            let is_task = waiting
                .layout
                .is_task(waiting.info, waiting.bias, value.memory, *data);
            is_task.then_some("other")
        }
        _ => None,
    }
}
