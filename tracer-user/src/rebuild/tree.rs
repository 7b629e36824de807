//! The await tree of one task: the answer to "where does it wait".
//!
//! The JSON form of [`AwaitNode`] is the `NODE` of the command-line contract (schema 1): fields
//! may be added, never renamed or removed.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::details::Details;
use crate::address::Address;

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
    /// Of any kind, where it is known: `ready` (whether a poll would go on), `ready_because` (a
    /// clause that says why, with `ready: true`), `waker` (whom what is waited for will wake: `own`
    /// for the task that waits, `other` for another task of tokio's, then with `waker_of` if it has
    /// an id; `none`).
    ///
    /// All are of the moment of reading, while the program runs: between "it is there" and "its
    /// waiter is woken" lie microseconds in every healthy program. Only two readings in which the
    /// task was not polled in between say that a wake-up was lost. What wakes (a timer, a permit, a
    /// message) takes the waker out, so `ready` with `waker: none` means that the wake-up was given;
    /// `ready` with `own` or `other`, that it was not (yet); not ready with `none` or `other`, that
    /// it will not be given to this task, unless it is not polled as this task but through a
    /// collection that has wakers of its own (`FuturesUnordered`): then `waker` is absent.
    #[serde(flatten)]
    pub details: Details,
}

impl WaitsFor {
    /// A wait of `kind` with no details yet.
    #[must_use]
    pub fn new(kind: &'static str) -> Self {
        Self {
            kind,
            details: Details::new(),
        }
    }

    /// A detail that is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.details.get(name).and_then(Value::as_str)
    }

    /// A detail that is a number and not negative.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.details.get(name).and_then(Value::as_u64)
    }

    /// Whether what is waited for is there, so that a poll would go on: from memory and the kernel's
    /// tables at the moment of reading. `None` when that is not known.
    #[must_use]
    pub fn ready(&self) -> Option<bool> {
        self.details.get("ready").and_then(Value::as_bool)
    }

    /// Adds a detail.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.details.insert(name, value.into());
        self
    }
}

/// What a body keeps in a saved local while it is suspended, and others may wait for: a lock's
/// guard, a semaphore's permit, the sending end of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Name of the local.
    pub local: Arc<str>,
    /// What is held, in the words of what waits for it: `lock`, `semaphore`, `channel`, `oneshot`,
    /// with the same `address` as the leaf that waits has. Of a channel `side` tells which end is
    /// held: who waits to receive waits for the holders of `send`, and who waits for room (`send`)
    /// for the holder of `receive`.
    pub what: WaitsFor,
    /// Why it may not be held any more: a value that was moved out leaves its bytes behind. What is
    /// known not to be held is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
}

/// A place in the source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct SourcePlace {
    /// The file, as the compiler recorded it.
    pub file: Arc<str>,
    /// The line, 1-based.
    pub line: u32,
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
    /// Where the future lies, which is what identifies it while its task lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// Where the `poll` of a future that is no async body is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defined: Option<SourcePlace>,
    /// What it keeps in saved locals that others may wait for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<Held>,
    /// Futures that it keeps in saved locals and does not await here: started and not finished, and
    /// nobody polls them while it stands here. Of one that may be gone already only a note tells,
    /// unless it stands in a queue for a lock.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_awaited: Vec<AwaitNode>,
    /// Of a future that is kept and not awaited: it may be gone, moved out or dropped.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub in_doubt: bool,
    /// Where it is polled with wakers of its own (`FuturesUnordered` of futures-util 0.3, and what is
    /// built on it): how many of them are left. 0 holds at that moment: its group never polls it
    /// again. `None` elsewhere, and while it is in line to be polled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_wakers: Option<u64>,
    /// The futures this one waits for.
    pub children: Vec<AwaitNode>,
}

/// A node of which nothing is known.
impl Default for AwaitNode {
    fn default() -> Self {
        Self {
            future: Arc::from("?"),
            kind: NodeKind::Unknown,
            state: NodeState::Unknown,
            file: None,
            line: None,
            waits_for: None,
            notes: Vec::new(),
            address: None,
            defined: None,
            holds: Vec::new(),
            not_awaited: Vec::new(),
            in_doubt: false,
            own_wakers: None,
            children: Vec::new(),
        }
    }
}

impl AwaitNode {
    /// Calls `visit` for this node and everything it waits for, in preorder.
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
