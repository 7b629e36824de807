//! The walk: from a future's address to its await tree, reading memory by the walk table.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::active::active;
use super::compile::Futures;
use super::kept::Seen;
use super::table::{Node, NodeId};
use crate::address::{Address, LoadBias};
use crate::memory::Memory;
use crate::rebuild::tree::{AwaitNode, NodeKind, NodeState, WaitsFor};

/// Bounds on one walk, so that no memory content can make it endless.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Futures inside futures. 38 levels were seen in a real service.
    pub depth: u32,
    /// Nodes of one tree.
    pub nodes: u32,
    /// Elements of one sequence that are looked at.
    pub elements: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 192,
            nodes: 20_000,
            elements: 4_096,
        }
    }
}

/// A future on the way from the root to a leaf.
#[derive(Clone, Copy, Debug)]
pub struct Step<'s> {
    /// Its node.
    pub node: &'s Node,
    /// Its address.
    pub address: Address,
    /// The one that awaits it.
    pub parent: Option<&'s Step<'s>>,
}

/// Tells what leaves wait for. A runtime's adapter implements it.
pub trait Leaves {
    /// What the future at `step` waits for, when it is one that is known; asked for every future
    /// that is not an async body. `has_children` tells whether it holds a future that is waited
    /// for.
    fn waits_for(&self, step: &Step<'_>, memory: &dyn Memory, has_children: bool) -> Option<Leaf>;

    /// Types whose values others wait for: guards, permits, ends of channels. Paths without generic
    /// arguments, the same at every call.
    fn held_types(&self) -> &'static [&'static str] {
        &[]
    }

    /// What it means to hold the value of a held type that lies at `address`. `by` is the future that
    /// has it in a local or field. `None` when it is empty, and when what it belongs to tells that
    /// these are the bytes of one that is gone.
    fn held(
        &self,
        by: &Node,
        value: &Node,
        address: Address,
        memory: &dyn Memory,
    ) -> Option<WaitsFor> {
        let _ = (by, value, address, memory);
        None
    }
}

/// What is known of a leaf.
#[derive(Clone, Debug, Default)]
pub struct Leaf {
    /// What it waits for.
    pub waits_for: Option<WaitsFor>,
    /// Its state, when the leaf tells it better than its place in the tree.
    pub state: Option<NodeState>,
    /// What is doubtful.
    pub notes: Vec<String>,
}

/// Reads await trees.
pub struct Walker<'w, 'd, 'a> {
    /// The walk table.
    pub futures: &'w Futures<'d, 'a>,
    /// Where the module that holds the vtables was loaded.
    pub bias: LoadBias,
    /// What leaves wait for.
    pub leaves: &'w dyn Leaves,
    /// Bounds.
    pub limits: Limits,
}

/// One walk in progress.
pub(super) struct Walk<'m> {
    pub(super) memory: &'m dyn Memory,
    /// Nodes that may still be visited.
    pub(super) budget: Cell<u32>,
    /// Values that were told to be held.
    pub(super) held: RefCell<Seen>,
}

/// Where in the tree the walk is.
#[derive(Clone, Copy)]
pub(super) struct Place<'s> {
    /// The future that awaits what is found here.
    pub(super) parent: Option<&'s Step<'s>>,
    pub(super) depth: u32,
    /// What is known of the state of a future here that has none of its own.
    pub(super) state: NodeState,
}

impl Place<'_> {
    pub(super) const fn deeper(self) -> Self {
        Self {
            depth: self.depth + 1,
            ..self
        }
    }
}

impl Walker<'_, '_, '_> {
    /// The await tree of the future of type `root` at `address`.
    #[must_use]
    pub fn tree(&self, root: NodeId, address: Address, memory: &dyn Memory) -> AwaitNode {
        let walk = Walk {
            memory,
            budget: Cell::new(self.limits.nodes),
            held: RefCell::default(),
        };
        let start = Place {
            parent: None,
            depth: 0,
            state: NodeState::Unknown,
        };
        let mut found = Vec::with_capacity(1);
        self.visit(&walk, root, address, start, &mut found);
        if found.len() == 1
            && let Some(only) = found.pop()
        {
            return only;
        }
        let name = self.futures.node(root).map_or_else(
            || Arc::from("?"),
            |node| {
                node.future.as_ref().map_or_else(
                    || self.futures.future_name(node.die),
                    |name| Arc::clone(&name.path),
                )
            },
        );
        AwaitNode {
            kind: if found.is_empty() {
                NodeKind::Leaf
            } else {
                NodeKind::Future
            },
            children: found,
            ..unknown(name, String::new())
        }
    }

    /// Appends the tree of the value at `address` to `out`: one node for a future, any number for
    /// a type that only leads to futures.
    pub(super) fn visit(
        &self,
        walk: &Walk<'_>,
        id: NodeId,
        address: Address,
        place: Place<'_>,
        out: &mut Vec<AwaitNode>,
    ) {
        if let Err(reason) = self.enter(walk, place) {
            // One such mark a place is enough.
            if out.last().is_none_or(|last| &*last.future != MORE) {
                out.push(unknown(MORE.into(), reason));
            }
            return;
        }
        let Some(node) = self.futures.node(id) else {
            let reason = "its type is malformed in the debug information";
            out.push(unknown("?".into(), reason.to_owned()));
            return;
        };
        if is_revisited(place.parent, &node, address) {
            let reason = "it holds itself: not walked further";
            out.push(unknown(shown_name(&node), reason.to_owned()));
            return;
        }
        let active = match active(walk.memory, &node, address) {
            Ok(active) => active,
            Err(reason) => {
                out.push(unknown(shown_name(&node), reason));
                return;
            }
        };
        let Some(future) = &node.future else {
            // Transparent: what it leads to stands in its place.
            for edge in active.edges() {
                self.follow(walk, *edge, address, place, out);
            }
            return;
        };
        let step = Step {
            node: &node,
            address,
            parent: place.parent,
        };
        let state = match active.state.map(|state| state.state) {
            None | Some(NodeState::Unknown) => place.state,
            Some(own) => own,
        };
        let is_body = matches!(future.kind, NodeKind::AsyncFn | NodeKind::AsyncBlock);
        let below = Place {
            parent: Some(&step),
            depth: place.depth + 1,
            // What an async body awaits has been polled by it at least once.
            state: if is_body { NodeState::Suspended } else { state },
        };
        // Before what it awaits: of a value that both lead to it is the owner.
        let holds = self.holds(walk, &step, active.state, is_body);
        let mut children = Vec::with_capacity(active.edges().count());
        for edge in active.edges() {
            self.follow(walk, *edge, address, below, &mut children);
        }
        let mut notes = Vec::new();
        let not_awaited = if is_body {
            self.not_awaited(walk, &step, active.state, &children, place, &mut notes)
        } else {
            Vec::new()
        };
        self.leave_out_idle_streams(&mut children);
        // Trees are kept by the hundred thousand.
        children.shrink_to_fit();
        let leaf = if is_body {
            None
        } else {
            let has_children = !children.is_empty();
            self.leaves.waits_for(&step, walk.memory, has_children)
        };
        let leaf = leaf.unwrap_or_default();
        let kind = if children.is_empty() && !is_body {
            NodeKind::Leaf
        } else {
            future.kind
        };
        let location = active.state.and_then(|state| state.location.clone());
        out.push(AwaitNode {
            future: Arc::clone(&future.path),
            kind,
            state: leaf.state.unwrap_or(state),
            file: location.as_ref().map(|location| Arc::clone(&location.file)),
            line: location.map(|location| location.line),
            waits_for: leaf.waits_for,
            notes: leaf.notes.into_iter().chain(notes).collect(),
            address: Some(address),
            defined: node.defined.clone(),
            holds,
            not_awaited,
            in_doubt: false,
            own_wakers: None,
            children,
        });
    }

    /// Takes one node from the budget, or says which bound is reached.
    fn enter(&self, walk: &Walk<'_>, place: Place<'_>) -> Result<(), String> {
        let Limits { depth, nodes, .. } = self.limits;
        if place.depth > depth {
            return Err(format!("deeper than {depth} levels: not walked further"));
        }
        match walk.budget.get().checked_sub(1) {
            Some(left) => {
                walk.budget.set(left);
                Ok(())
            }
            None => Err(format!("more than {nodes} futures: not walked further")),
        }
    }

    /// `Then`, `Buffered` and their like hold the stream that they draw from beside the futures
    /// that they wait for. A source in which nothing waits (`Iter`) is no branch of the tree.
    fn leave_out_idle_streams(&self, children: &mut Vec<AwaitNode>) {
        let idle: Vec<bool> = children
            .iter()
            .map(|child| self.is_idle_stream(child))
            .collect();
        if idle.iter().all(|idle| *idle) {
            return;
        }
        let mut idle = idle.into_iter();
        children.retain(|_| idle.next() == Some(false));
    }

    fn is_idle_stream(&self, node: &AwaitNode) -> bool {
        node.waits_for.is_none()
            && node.notes.is_empty()
            && self.futures.is_stream(&node.future)
            && node.children.iter().all(|child| self.is_idle_stream(child))
    }
}

/// Stands for what was not walked.
const MORE: &str = "...";

fn is_revisited(mut step: Option<&Step<'_>>, node: &Node, address: Address) -> bool {
    while let Some(current) = step {
        if current.address == address && current.node.die == node.die {
            return true;
        }
        step = current.parent;
    }
    false
}

pub(super) fn shown_name(node: &Node) -> Arc<str> {
    node.future.as_ref().map_or_else(
        || Arc::clone(&node.base_path),
        |name| Arc::clone(&name.path),
    )
}

/// A node of which nothing is known but why.
pub(super) fn unknown(future: Arc<str>, reason: String) -> AwaitNode {
    AwaitNode {
        future,
        kind: NodeKind::Unknown,
        state: NodeState::Unknown,
        file: None,
        line: None,
        waits_for: None,
        notes: Some(reason)
            .filter(|reason| !reason.is_empty())
            .into_iter()
            .collect(),
        children: Vec::new(),
        ..AwaitNode::default()
    }
}
