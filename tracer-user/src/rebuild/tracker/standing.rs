//! Since when each future of a suspended task has been there.

use std::sync::Arc;

use super::task::Task;
use crate::rebuild::suspension::{Marks, SuspendedFuture, Suspension};

/// A future of a suspended task, and since when it has been there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its path.
    pub future: Arc<str>,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub since: u64,
    /// It may have been there for longer.
    pub at_least: bool,
}

/// Since when, and whether that is a lower bound of its age.
pub(super) type Since = (u64, bool);

impl Task {
    /// The futures it waits in, in preorder, with since when: as the last poll's begin told, or
    /// memory after it. Empty when that is not known.
    #[must_use]
    pub fn standing(&self) -> Vec<Standing> {
        let Some((suspension, _)) = &self.suspended else {
            return Vec::new();
        };
        let futures = suspension.futures.iter().enumerate();
        futures
            .zip(&self.since)
            .map(|((index, future), (since, at_least))| {
                let is_leaf = suspension
                    .futures
                    .get(index + 1)
                    .is_none_or(|next| next.depth <= future.depth);
                // A leaf that nothing tells from the next one at its place may be another one since
                // the last poll: it has been there since then, or for longer.
                let renewed = is_leaf && future.mark.is_none() && self.last_polled > *since;
                Standing {
                    future: Arc::clone(&future.state.future),
                    since: if renewed { self.last_polled } else { *since },
                    at_least: *at_least || renewed,
                }
            })
            .collect()
    }

    /// Since when the futures of this suspension have been there, given the one before.
    pub(super) fn since_of(&self, suspension: &Suspension, marks: Marks) -> Vec<Since> {
        let new = match self.last_polled {
            0 => (self.first_seen, self.existing),
            polled => (polled, false),
        };
        let known = |future: &SuspendedFuture| {
            let (before, before_marks) = self.suspended.as_ref()?;
            let at = before.futures.iter().position(|other| {
                other.place == future.place
                    && other.state.future == future.state.future
                    && before_marks.of(other) == marks.of(future)
            })?;
            self.since.get(at).copied()
        };
        suspension
            .futures
            .iter()
            .map(|future| known(future).unwrap_or(new))
            .collect()
    }
}
