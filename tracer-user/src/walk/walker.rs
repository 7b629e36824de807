//! The walk: from a future's address to its await tree, reading memory by the walk table.

use std::cell::Cell;
use std::sync::Arc;

use super::compile::Futures;
use super::table::{Discriminant, Edge, Node, NodeId, Shape, State, Via};
use crate::address::{Address, LoadBias};
use crate::memory::{Memory, ReadError};
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

struct Walk<'m> {
    memory: &'m dyn Memory,
    budget: Cell<u32>,
}

impl Walker<'_, '_, '_> {
    /// The await tree of the future of type `root` at `address`.
    #[must_use]
    pub fn tree(&self, root: NodeId, address: Address, memory: &dyn Memory) -> AwaitNode {
        let walk = Walk {
            memory,
            budget: Cell::new(self.limits.nodes),
        };
        let mut found = Vec::new();
        self.visit(
            &walk,
            root,
            address,
            None,
            0,
            NodeState::Unknown,
            &mut found,
        );
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
            ..unknown_node(name, None)
        }
    }

    /// Appends the tree of the value at `address` to `out`: one node for a future, any number for
    /// a type that only leads to futures.
    #[expect(
        clippy::too_many_arguments,
        reason = "the state of one recursive descent"
    )]
    fn visit(
        &self,
        walk: &Walk<'_>,
        id: NodeId,
        address: Address,
        parent: Option<&Step<'_>>,
        depth: u32,
        inherited: NodeState,
        out: &mut Vec<AwaitNode>,
    ) {
        if depth > self.limits.depth {
            out.push(unknown_node(
                "...".into(),
                Some(format!(
                    "deeper than {} levels: not walked further",
                    self.limits.depth
                )),
            ));
            return;
        }
        let Some(left) = walk.budget.get().checked_sub(1) else {
            if out.last().is_none_or(|last| &*last.future != "...") {
                out.push(unknown_node(
                    "...".into(),
                    Some(format!(
                        "more than {} futures: not walked further",
                        self.limits.nodes
                    )),
                ));
            }
            return;
        };
        walk.budget.set(left);
        let Some(node) = self.futures.node(id) else {
            out.push(unknown_node(
                "?".into(),
                Some("its type is malformed in the debug information".into()),
            ));
            return;
        };
        if is_revisited(parent, &node, address) {
            out.push(unknown_node(
                shown_name(&node),
                Some("it holds itself: not walked further".into()),
            ));
            return;
        }
        let active = match active(walk.memory, &node, address) {
            Ok(active) => active,
            Err(reason) => {
                out.push(unknown_node(shown_name(&node), Some(reason)));
                return;
            }
        };
        let Some(future) = &node.future else {
            // Transparent: what it leads to stands in its place.
            for edge in active.edges() {
                self.follow(walk, *edge, address, parent, depth, inherited, out);
            }
            return;
        };
        let step = Step {
            node: &node,
            address,
            parent,
        };
        let own = active.state.map_or(NodeState::Unknown, |state| state.state);
        let state = if own == NodeState::Unknown {
            inherited
        } else {
            own
        };
        // What an async body awaits has been polled by it at least once.
        let below = if is_body(future.kind) {
            NodeState::Suspended
        } else {
            state
        };
        let mut children = Vec::new();
        for edge in active.edges() {
            self.follow(
                walk,
                *edge,
                address,
                Some(&step),
                depth + 1,
                below,
                &mut children,
            );
        }
        self.leave_out_idle_streams(&mut children);
        let leaf = if is_body(future.kind) {
            Leaf::default()
        } else {
            let waits = !children.is_empty();
            self.leaves
                .waits_for(&step, walk.memory, waits)
                .unwrap_or_default()
        };
        let kind = if children.is_empty() && !is_body(future.kind) {
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
            notes: leaf.notes,
            children,
        });
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

    #[expect(
        clippy::too_many_arguments,
        reason = "the state of one recursive descent"
    )]
    fn follow(
        &self,
        walk: &Walk<'_>,
        edge: Edge,
        base: Address,
        parent: Option<&Step<'_>>,
        depth: u32,
        state: NodeState,
        out: &mut Vec<AwaitNode>,
    ) {
        if let Err(error) = self.try_follow(walk, edge, base, parent, depth, state, out) {
            let name = self
                .futures
                .node(edge.node)
                .map_or_else(|| "?".into(), |node| shown_name(&node));
            out.push(unknown_node(name, Some(error.to_string())));
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the state of one recursive descent"
    )]
    fn try_follow(
        &self,
        walk: &Walk<'_>,
        edge: Edge,
        base: Address,
        parent: Option<&Step<'_>>,
        depth: u32,
        state: NodeState,
        out: &mut Vec<AwaitNode>,
    ) -> Result<(), ReadError> {
        let at = base.add(edge.offset);
        match edge.via {
            Via::Inline => self.visit(walk, edge.node, at, parent, depth, state, out),
            Via::Pointer => {
                let target = walk.memory.pointer(at)?;
                if !target.is_null() {
                    self.visit(walk, edge.node, target, parent, depth + 1, state, out);
                }
            }
            Via::Dyn { vtable } => {
                let data = walk.memory.pointer(at)?;
                let vtable = walk.memory.pointer(base.add(vtable))?;
                if !data.is_null() {
                    self.visit_dyn(walk, data, vtable, parent, depth + 1, state, out);
                }
            }
            Via::Sequence { length, stride } => {
                let first = walk.memory.pointer(at)?;
                let count = walk.memory.u64(base.add(length))?;
                self.elements(
                    walk, edge.node, first, count, stride, parent, depth, state, out,
                );
            }
            Via::Array { count, stride } => {
                self.elements(
                    walk, edge.node, at, count, stride, parent, depth, state, out,
                );
            }
            Via::TaskList { future, next } => {
                let mut task = walk.memory.pointer(at)?;
                let mut left = self.limits.elements;
                while !task.is_null() {
                    let Some(remaining) = left.checked_sub(1) else {
                        out.push(unknown_node(
                            "...".into(),
                            Some(format!(
                                "more than {} futures in this set",
                                self.limits.elements
                            )),
                        ));
                        break;
                    };
                    left = remaining;
                    self.visit(walk, edge.node, task.add(future), parent, depth, state, out);
                    task = walk.memory.pointer(task.add(next))?;
                }
            }
            Via::Shared { data } => {
                let inner = walk.memory.pointer(at)?;
                if !inner.is_null() {
                    self.visit(
                        walk,
                        edge.node,
                        inner.add(data),
                        parent,
                        depth + 1,
                        state,
                        out,
                    );
                }
            }
        }
        Ok(())
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the state of one recursive descent"
    )]
    fn elements(
        &self,
        walk: &Walk<'_>,
        node: NodeId,
        first: Address,
        count: u64,
        stride: u64,
        parent: Option<&Step<'_>>,
        depth: u32,
        state: NodeState,
        out: &mut Vec<AwaitNode>,
    ) {
        for index in 0..count.min(self.limits.elements) {
            let at = first.add(index.wrapping_mul(stride));
            self.visit(walk, node, at, parent, depth, state, out);
            if walk.budget.get() == 0 {
                break;
            }
        }
        if count > self.limits.elements {
            let rest = count - self.limits.elements;
            out.push(unknown_node(
                "...".into(),
                Some(format!("{rest} more elements were not looked at")),
            ));
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the state of one recursive descent"
    )]
    fn visit_dyn(
        &self,
        walk: &Walk<'_>,
        data: Address,
        vtable: Address,
        parent: Option<&Step<'_>>,
        depth: u32,
        state: NodeState,
        out: &mut Vec<AwaitNode>,
    ) {
        let link = self.bias.to_link(vtable);
        let Some(die) = self.futures.info().type_of_vtable(link.0) else {
            out.push(unknown_node(
                "dyn Future".into(),
                Some(format!(
                    "no debug information for its vtable at {vtable} (link address {link})"
                )),
            ));
            return;
        };
        // Slot 1 of every vtable is the size of the type: a cheap proof that it is this type's.
        let expected = self.futures.info().type_at(die).map(|this| this.size);
        match walk.memory.u64(vtable.add(8)) {
            Ok(size) if Some(size) == expected => {}
            Ok(size) => {
                out.push(unknown_node(
                    self.futures.future_name(die),
                    Some(format!(
                        "its vtable gives a size of {size}, its type {}",
                        expected.unwrap_or(0)
                    )),
                ));
                return;
            }
            Err(error) => {
                out.push(unknown_node(
                    self.futures.future_name(die),
                    Some(error.to_string()),
                ));
                return;
            }
        }
        self.visit(
            walk,
            self.futures.root(die),
            data,
            parent,
            depth,
            state,
            out,
        );
    }
}

/// The active variant of a node and the edges that lead on.
struct Active<'n> {
    common: &'n [Edge],
    state: Option<&'n State>,
}

impl Active<'_> {
    fn edges(&self) -> impl Iterator<Item = &Edge> {
        self.common
            .iter()
            .chain(self.state.into_iter().flat_map(|state| &state.edges))
    }
}

fn active<'n>(memory: &dyn Memory, node: &'n Node, address: Address) -> Result<Active<'n>, String> {
    match &node.shape {
        Shape::Plain { edges } => Ok(Active {
            common: edges,
            state: None,
        }),
        Shape::Tagged {
            discriminant,
            edges,
            states,
        } => {
            let value = read_discriminant(memory, *discriminant, address)
                .map_err(|error| format!("its state is not readable: {error}"))?;
            let mask = discriminant.mask();
            let state = states
                .iter()
                .find(|state| state.value.is_some_and(|known| known & mask == value))
                .or_else(|| states.iter().find(|state| state.value.is_none()));
            match state {
                Some(state) => Ok(Active {
                    common: edges,
                    state: Some(state),
                }),
                None if states.is_empty() => Ok(Active {
                    common: edges,
                    state: None,
                }),
                None => Err(format!(
                    "its state reads {value}, which is none of its {} states",
                    states.len()
                )),
            }
        }
    }
}

fn read_discriminant(
    memory: &dyn Memory,
    discriminant: Discriminant,
    address: Address,
) -> Result<u64, ReadError> {
    let at = address.add(discriminant.offset);
    let mut bytes = [0; 8];
    let size = usize::from(discriminant.size.min(8));
    if let Some(into) = bytes.get_mut(..size) {
        memory.read(at, into)?;
    }
    Ok(u64::from_le_bytes(bytes))
}

fn is_body(kind: NodeKind) -> bool {
    matches!(kind, NodeKind::AsyncFn | NodeKind::AsyncBlock)
}

fn is_revisited(mut step: Option<&Step<'_>>, node: &Node, address: Address) -> bool {
    while let Some(current) = step {
        if current.address == address && current.node.die == node.die {
            return true;
        }
        step = current.parent;
    }
    false
}

fn shown_name(node: &Node) -> Arc<str> {
    node.future.as_ref().map_or_else(
        || Arc::clone(&node.base_path),
        |name| Arc::clone(&name.path),
    )
}

fn unknown_node(future: Arc<str>, reason: Option<String>) -> AwaitNode {
    AwaitNode {
        future,
        kind: NodeKind::Unknown,
        state: NodeState::Unknown,
        file: None,
        line: None,
        waits_for: None,
        notes: reason.into_iter().collect(),
        children: Vec::new(),
    }
}
