//! The await tree of one task: the answer to "where does it wait".
//!
//! The JSON form of [`AwaitNode`] is the `NODE` of the command-line contract (schema 1): fields
//! may be added, never renamed or removed.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

/// What kind of future a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// The body of an `async fn`.
    AsyncFn,
    /// An `async` block or closure.
    AsyncBlock,
    /// A future that holds others.
    Future,
    /// A future that holds no other: what is really waited for.
    Leaf,
    /// Something that could not be decoded; its notes say why.
    Unknown,
}

/// Where a future stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Polled at least once and waiting, as far as its state tells.
    Suspended,
    /// Not polled yet.
    Unresumed,
    /// Finished.
    Returned,
    /// Panicked while polled.
    Panicked,
    /// It has no state of its own that tells.
    Unknown,
}

/// What a leaf waits for. In JSON an object with a `kind` and the kind's own fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WaitsFor {
    /// `sleep`, `lock`, `semaphore`, `channel`, `oneshot`, `notify`, `join`, `io`, ...
    pub kind: &'static str,
    /// Further fields of the kind: deadlines in nanoseconds, addresses as hexadecimal strings.
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

impl WaitsFor {
    /// A wait of `kind` with no details yet.
    #[must_use]
    pub fn new(kind: &'static str) -> Self {
        Self {
            kind,
            details: Map::new(),
        }
    }

    /// Adds a detail.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }
}

/// One future of a task with what it awaits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AwaitNode {
    /// The future's path as a user would write it, for example `app::serve::{async_block#0}`.
    pub future: Arc<str>,
    /// What kind of future it is.
    pub kind: NodeKind,
    /// Where it stands.
    pub state: NodeState,
    /// Source file of the await it stands at, as the compiler recorded it; the user's file, not
    /// the inside of a macro, wherever DWARF tells it.
    pub file: Option<Arc<str>>,
    /// Line of that await, 1-based.
    pub line: Option<u32>,
    /// What a leaf waits for.
    pub waits_for: Option<WaitsFor>,
    /// What is not known or doubtful about this node, with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The futures this one waits for.
    pub children: Vec<AwaitNode>,
}

impl AwaitNode {
    /// Calls `visit` for this node and everything below it, in preorder.
    pub fn visit<'a>(&'a self, visit: &mut impl FnMut(&'a Self)) {
        visit(self);
        for child in &self.children {
            child.visit(visit);
        }
    }

    /// Number of nodes that could not be decoded.
    #[must_use]
    pub fn opaque_nodes(&self) -> usize {
        let mut count = 0;
        self.visit(&mut |node| count += usize::from(node.kind == NodeKind::Unknown));
        count
    }
}
