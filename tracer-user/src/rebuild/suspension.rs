//! Where a task stood between two polls: its futures, in preorder, as the walk found them.
//!
//! A [`Suspension`] is a shape that many tasks and many moments share; what differs between two
//! moments of the same shape are the [`Marks`].

use std::sync::Arc;

use super::tree::{NodeKind, NodeState};
use crate::address::Address;

/// Where a future lies, which is what identifies it while its task lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// Inside the task's own future, at this offset in bytes.
    Inside(u64),
    /// On the heap or elsewhere.
    Outside(Address),
}

/// A future and where it stands. Interned: many suspensions share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FutureState {
    /// Path of the future as a user would write it.
    pub future: Arc<str>,
    /// What kind of future it is.
    pub kind: NodeKind,
    /// Where it stands.
    pub state: NodeState,
    /// Source file of the await it stands at: the user's, where debug information tells it.
    pub file: Option<Arc<str>>,
    /// Line of that await, 1-based.
    pub line: Option<u32>,
    /// What a leaf waits for, as far as its type tells: `sleep`, `lock`, `channel`, `join`, `io`,
    /// ... (the kinds of `dump`'s `waits_for`).
    pub waits_for: Option<Arc<str>>,
}

/// A future of a suspension.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SuspendedFuture {
    /// 0 for the task's future; a child's is its parent's and 1.
    pub depth: u16,
    /// Where it lies.
    pub place: Place,
    /// Its place among the [`Marks`], when it has one.
    pub mark: Option<u8>,
    /// What it is and where it stands.
    pub state: Arc<FutureState>,
}

/// Where a task stood.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Suspension {
    /// Its futures in preorder: a future's children are those after it that are one deeper, up to
    /// the next that is not deeper than it. Empty when nothing is known.
    pub futures: Vec<SuspendedFuture>,
    /// What is missing, with the reason: `None` when every live branch is there.
    pub missing: Option<Arc<str>>,
}

impl Suspension {
    /// A suspension of which nothing is known but why.
    #[must_use]
    pub fn unknown(reason: impl Into<Arc<str>>) -> Self {
        Self {
            futures: Vec::new(),
            missing: Some(reason.into()),
        }
    }

    /// Index of the parent of the future at `index`.
    #[must_use]
    pub fn parent(&self, index: usize) -> Option<usize> {
        let depth = self.futures.get(index)?.depth.checked_sub(1)?;
        self.futures[..index]
            .iter()
            .rposition(|future| future.depth == depth)
    }

    /// Indexes of the futures that hold no other.
    pub fn leaves(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.futures.len()).filter(|&index| {
            self.futures
                .get(index + 1)
                .is_none_or(|next| next.depth <= self.futures[index].depth)
        })
    }
}

/// Fingerprints, of 8 bits each, of what tells two futures of one type at one place apart: the
/// arguments of an async fn, the deadline of a sleep, the task of a join handle. Where a mark
/// differs from the one before, the future is another one. Where it does not, it is most likely
/// the same: two different ones agree by chance once in 256, or always if they were made alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Marks(pub [u8; 16]);

impl Marks {
    /// The mark of a future.
    #[must_use]
    pub fn of(&self, future: &SuspendedFuture) -> Option<u8> {
        self.0.get(usize::from(future.mark?)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn future(depth: u16) -> SuspendedFuture {
        SuspendedFuture {
            depth,
            place: Place::Inside(0),
            mark: None,
            state: Arc::new(FutureState {
                future: "f".into(),
                kind: NodeKind::AsyncFn,
                state: NodeState::Suspended,
                file: None,
                line: None,
                waits_for: None,
            }),
        }
    }

    #[test]
    fn preorder_tells_parents_and_leaves() {
        let suspension = Suspension {
            futures: [0, 1, 2, 2, 1].into_iter().map(future).collect(),
            missing: None,
        };
        let parents: Vec<_> = (0..6).map(|index| suspension.parent(index)).collect();
        assert_eq!(parents, [None, Some(0), Some(1), Some(1), Some(0), None]);
        assert_eq!(suspension.leaves().collect::<Vec<_>>(), [2, 3, 4]);
    }
}
