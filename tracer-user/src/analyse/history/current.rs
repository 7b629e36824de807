//! What is being polled at the end of a trace.

use super::{AwaitIndex, AwaitOutcome, History, PollIndex, UnitIndex};
use crate::rebuild::tree::NodeKind;

/// A task that is being polled when the trace ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current {
    /// The poll.
    pub poll: PollIndex,
    /// When it began, CLOCK_MONOTONIC in nanoseconds.
    pub since: u64,
    /// The innermost async body that is known to run: the one that awaits the leaf which the task
    /// waited in last, where there was one leaf only. It may have returned since, to one above it.
    pub within: Option<AwaitIndex>,
}

impl History {
    /// What a task is doing, when it is being polled at the end of the trace.
    #[must_use]
    pub fn current(&self, task: UnitIndex) -> Option<Current> {
        let unit = self.units.get(task.0 as usize)?;
        let poll = *unit.polls.last()?;
        let row = &self[poll];
        if row.end.is_some() || unit.task().is_some_and(|task| task.end.is_some()) {
            return None;
        }
        let within = match row.waited_in[..] {
            [leaf] => self.innermost_body(leaf),
            _ => None,
        };
        Some(Current {
            poll,
            since: row.begin,
            within,
        })
    }

    /// The innermost async body that an instance is or lies in, if that is open.
    fn innermost_body(&self, leaf: AwaitIndex) -> Option<AwaitIndex> {
        let mut next = Some(leaf);
        // No chain is longer than all instances.
        for _ in 0..self.awaits.len() {
            let row = &self[next?];
            let body = matches!(row.awaited.kind, NodeKind::AsyncFn | NodeKind::AsyncBlock);
            if body && row.outcome == AwaitOutcome::Open {
                return next;
            }
            next = row.parent;
        }
        None
    }
}
