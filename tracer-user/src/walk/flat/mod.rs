//! The walk table as integers in a row: what the BPF program walks by, and the way back from what
//! it tells to futures with names.
//!
//! In: the walk table (`walk::table`), compiled as far as the tasks of a binary reach. Out:
//! [`Tables`], which know nothing of debug information and go from thread to thread.

mod compile;
mod decode;
mod live;
mod marks;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use tracer_common::walk::{EdgeEntry, NodeEntry, Root, StateEntry};

pub use compile::Compiler;
pub use decode::Decoder;
pub use live::{LiveWalk, Told};

use crate::address::Address;
use crate::dwarf::SourceLine;
use crate::rebuild::tree::{NodeKind, NodeState};

/// What of a runtime the tables need.
pub trait Conventions {
    /// Fields of a leaf, by its type's path, whose bytes tell one instance from the next.
    fn mark_fields(&self, base_path: &str) -> &'static [&'static str];
    /// What a leaf waits for, as far as types tell: `path` is its type's path, `above` those of the
    /// futures that hold it, the nearest first.
    fn waits_for(&self, path: &str, above: &mut dyn Iterator<Item = &str>) -> Option<&'static str>;
}

/// The tables of one binary.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Nodes.
    pub nodes: Vec<NodeEntry>,
    /// States of the nodes.
    pub states: Vec<StateEntry>,
    /// Edges of the states.
    pub edges: Vec<EdgeEntry>,
    /// Vtables of futures behind pointers, by run-time address, with their nodes.
    pub vtables: Vec<(Address, u32)>,
    /// Where the future of a task lies, by the run-time address of the task's vtable.
    pub roots: HashMap<Address, Root>,
    /// What each state means.
    meanings: Vec<Meaning>,
}

/// What a state means.
#[derive(Clone, Debug)]
struct Meaning {
    /// Its node.
    node: u32,
    /// The future; `None` for a type that only leads to one.
    future: Option<(Arc<str>, NodeKind)>,
    /// The type's path, without generic arguments.
    base_path: Arc<str>,
    /// It is only ever polled as a stream.
    stream: bool,
    state: NodeState,
    location: Option<SourceLine>,
    /// Why nothing more can be said.
    unknown: Option<&'static str>,
}
