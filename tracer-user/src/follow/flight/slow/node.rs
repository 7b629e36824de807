//! A future where a task stands, since when, and when that will have been too long.

use std::sync::Arc;
use std::time::Duration;

use super::super::trigger::{Cause, Trigger};
use super::SETTLE;
use crate::analyse::task_name;
use crate::rebuild::event::Unit;
use crate::rebuild::suspension::{FutureState, Marks, Place, Suspension};
use crate::rebuild::tree::NodeKind;
use crate::show::escape::escape;
use crate::show::live::format;

/// What goes on over pauses and is not proved to be the same has to be watched for so many times what
/// is still fine. What takes half of that again and again, and ends in the pauses only, would be seen
/// so long without an end in one of 400 cases: exp(-2 * 3).
const UNPROVED: u64 = 3;

/// Nanoseconds that are still fine, as a request and as an await.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) request: u64,
    pub(super) wait: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) depth: u16,
    pub(super) place: Place,
    pub(super) mark: Option<u8>,
    pub(super) state: Arc<FutureState>,
    pub(super) since: u64,
    /// Time since then that was not watched, in which it may have become another that looks the
    /// same, polled or not in the windows around: it counts for nothing until a deadline says that
    /// it is the one.
    pub(super) unwatched: u64,
    /// Its beginning was seen.
    pub(super) sure: bool,
    pub(super) limits: Limits,
    /// It was told as a request, as an await.
    pub(super) told: (bool, bool),
    /// Nothing tells it from the next one at its place: after a poll it may be that.
    pub(super) fleeting: bool,
}

impl Node {
    /// When it will have taken too long.
    pub(super) fn due(&self) -> u64 {
        let request = if self.told.0 {
            u64::MAX
        } else {
            self.limits.request
        };
        let wait = if self.told.1 {
            u64::MAX
        } else {
            self.limits.wait
        };
        if self.sure {
            self.too_long(request.min(wait))
        } else {
            u64::MAX
        }
    }

    /// When it will have taken longer than this.
    fn too_long(&self, limit: u64) -> u64 {
        let times = if self.unwatched > 0 { UNPROVED } else { 1 };
        self.counts_from()
            .saturating_add(limit.saturating_mul(times))
    }

    fn counts_from(&self) -> u64 {
        self.since.saturating_add(self.unwatched)
    }

    pub(super) fn waited_too_long(&self, now: u64) -> bool {
        self.sure && self.too_long(self.limits.wait) <= now
    }

    /// Tells it as what it is too long; `true` when that is an await.
    pub(super) fn tell(
        &mut self,
        unit: &Unit,
        parent: Option<&Self>,
        now: u64,
        found: &mut Vec<Trigger>,
    ) -> bool {
        let task = name(unit);
        let future = &self.state.future;
        let span = |nanoseconds| format::duration(Duration::from_nanos(nanoseconds));
        let mut took = span(now.saturating_sub(self.counts_from()));
        if self.unwatched > 0 {
            took += " of what was watched";
        }
        if !self.told.0 && self.too_long(self.limits.request) <= now {
            let limit = span(self.limits.request);
            let why = format!("request {future} of {task} took {took}, more than {limit}");
            found.push(trigger(Cause::Request, &why, now));
            self.told.0 = true;
        }
        if self.told.1 || !self.waited_too_long(now) {
            return false;
        }
        let by = parent.map(|parent| &*parent.state);
        let place = by.and_then(|by| Some(format!(" at {}:{}", by.file.as_ref()?, by.line?)));
        let place = place.unwrap_or_default();
        let limit = span(self.limits.wait);
        let why = format!("await of {future}{place} in {task} took {took}, more than {limit}");
        found.push(trigger(Cause::Await, &why, now));
        self.told.1 = true;
        true
    }
}

pub(super) fn trigger(cause: Cause, why: &str, time: u64) -> Trigger {
    Trigger {
        cause,
        why: escape(why).to_string(),
        at: time.saturating_add(SETTLE),
    }
}

pub(super) fn name(unit: &Unit) -> String {
    match unit {
        Unit::Task(task) => {
            let name = task_name(&task.runtime, task.task_id, task.address);
            match &task.future {
                Some(future) => format!("{name} ({future})"),
                None => name,
            }
        }
        _ => "a thread".to_owned(),
    }
}

pub(super) fn due(nodes: &[Node]) -> u64 {
    nodes.iter().map(Node::due).min().unwrap_or(u64::MAX)
}

pub(super) fn is_body(state: &FutureState) -> bool {
    matches!(state.kind, NodeKind::AsyncFn | NodeKind::AsyncBlock)
}

pub(super) fn parent_of(nodes: &[Node], at: usize) -> Option<&Node> {
    let depth = nodes.get(at)?.depth;
    nodes[..at].iter().rfind(|up| up.depth < depth)
}

/// Whether a future at the same place with the same path is the one that was there before.
pub(super) fn is_same(before: &[Node], at: usize, parent: usize, mark: Option<u8>) -> bool {
    let node = &before[at];
    let then = before[..at].iter().rposition(|up| up.depth < node.depth);
    let differs = matches!((node.mark, mark), (Some(then), Some(now)) if then != now);
    then == Some(parent) && !differs
}

/// Whether an async body stands at another await: what it awaits there is another future.
pub(super) fn moved_on(then: &FutureState, now: &FutureState) -> bool {
    is_body(then)
        && then.line.is_some()
        && now.line.is_some()
        && (then.line != now.line || then.file != now.file)
}

/// Leaves without a mark, and the runtime's own futures around them: they await one thing once, and
/// the next one looks the same.
pub(super) fn mark_fleeting(nodes: &mut [Node]) {
    for at in (1..nodes.len()).rev() {
        let next = nodes.get(at + 1);
        let child = next.filter(|next| next.depth > nodes[at].depth);
        let of_runtime = {
            let path = &nodes[at].state.future;
            path.starts_with("tokio::") || path.starts_with("core::future::")
        };
        nodes[at].fleeting = match child {
            None => nodes[at].mark.is_none() && !is_body(&nodes[at].state),
            Some(child) => of_runtime && child.fleeting,
        };
    }
}

/// Which of the nodes are there again for certain, though events in between are missing: those that
/// hold a sleep until the same moment. The task's own future always is.
pub(super) fn proved(before: &[Node], now: &Suspension, marks: Marks) -> Vec<bool> {
    let mut proved = vec![false; before.len()];
    for at in (0..before.len()).rev() {
        let node = &before[at];
        let is_sleep = node.mark.is_some() && node.state.waits_for.as_deref() == Some("sleep");
        proved[at] |= is_sleep
            && now.futures.iter().any(|future| {
                future.place == node.place
                    && future.state.future == node.state.future
                    && marks.of(future) == node.mark
            });
        if proved[at]
            && let Some(parent) = before[..at].iter().rposition(|up| up.depth < node.depth)
        {
            proved[parent] = true;
        }
    }
    if let Some(root) = proved.first_mut() {
        *root = true;
    }
    proved
}
