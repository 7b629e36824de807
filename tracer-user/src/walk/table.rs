//! The walk table: what a future looks like in memory, reduced to offsets and integers.

use std::cell::OnceCell;
use std::sync::Arc;

use super::kept::{HeldLocal, Saved};
use crate::dwarf::{DieRef, SourceLine};
use crate::rebuild::tree::{NodeKind, NodeState, SourcePlace};

/// Index of a node in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// A type that is, holds or leads to a future.
#[derive(Clone, Debug)]
pub struct Node {
    /// What the user is shown; `None` for a type that is not a future itself and only leads to
    /// one (a tuple, an `Option`, a vector's element).
    pub future: Option<FutureName>,
    /// The type's entry.
    pub die: DieRef,
    /// Path without generic arguments, for recognising leaves.
    pub base_path: Arc<str>,
    /// Size in bytes.
    pub size: u64,
    /// Where its `poll` is written, of a future that is no async body.
    pub defined: Option<SourcePlace>,
    /// Fields that hold what others wait for, of a future that is no async body; found when first
    /// asked for.
    pub(super) fields: OnceCell<Vec<HeldLocal>>,
    /// Where to go on.
    pub shape: Shape,
}

/// How a future is named.
#[derive(Clone, Debug)]
pub struct FutureName {
    /// Path as a user would write it.
    pub path: Arc<str>,
    /// What kind of future it is. [`NodeKind::Leaf`] is decided while walking.
    pub kind: NodeKind,
}

/// Where the future that a node waits for stands.
#[derive(Clone, Debug)]
pub enum Shape {
    /// No variants: the same edges always.
    Plain {
        /// Where to go on.
        edges: Vec<Edge>,
    },
    /// Variants told apart by a discriminant.
    Tagged {
        /// Where the discriminant is.
        discriminant: Discriminant,
        /// Edges of members beside the variants.
        edges: Vec<Edge>,
        /// The variants.
        states: Vec<State>,
    },
}

/// A discriminant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discriminant {
    /// Offset in bytes.
    pub offset: u64,
    /// Size in bytes: 1, 2, 4 or 8.
    pub size: u8,
}

impl Discriminant {
    /// Values are compared masked to the discriminant's width.
    #[must_use]
    pub const fn mask(self) -> u64 {
        if self.size >= 8 {
            u64::MAX
        } else {
            (1 << (self.size as u64 * 8)) - 1
        }
    }
}

/// One variant.
#[derive(Clone, Debug)]
pub struct State {
    /// Its discriminant; `None` for the default of a niche encoding.
    pub value: Option<u64>,
    /// The variant's name: `Suspend0`, `Done`, ...
    pub name: Arc<str>,
    /// What it says about the future.
    pub state: NodeState,
    /// The await it stands for.
    pub location: Option<SourceLine>,
    /// Where to go on.
    pub edges: Vec<Edge>,
    /// What a coroutine keeps there.
    pub(super) saved: Option<Saved>,
}

/// A way from a node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Offset of what [`Edge::via`] speaks of, in bytes from the start of the node.
    pub offset: u64,
    /// The node at the other end; for [`Via::Dyn`] it is found at run time.
    pub node: NodeId,
    /// How to get there.
    pub via: Via,
}

/// How an edge leads to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// It lies there.
    Inline,
    /// A thin pointer lies there: a box or a reference.
    Pointer,
    /// A fat pointer to a `dyn` type: data at the offset, vtable at `vtable`.
    Dyn {
        /// Offset of the vtable pointer from the start of the node.
        vtable: u64,
    },
    /// A pointer at the offset and a length at `length`, for slices and vectors.
    Sequence {
        /// Offset of the length from the start of the node.
        length: u64,
        /// Size of an element.
        stride: u64,
    },
    /// So many elements lie there.
    Array {
        /// Their number.
        count: u64,
        /// Size of an element.
        stride: u64,
    },
    /// An intrusive list of tasks in a `futures::stream::FuturesUnordered`: a pointer to the
    /// first lies there.
    TaskList {
        /// From the start of a task to its future.
        future: u64,
        /// From the start of a task to the pointer to the next.
        next: u64,
        /// From the start of a task to the flag that it is in line to be polled.
        queued: Option<u64>,
    },
    /// An `Arc` lies there; the node stands at `data` behind its pointer.
    Shared {
        /// From the `Arc`'s pointer to the node.
        data: u64,
    },
}
