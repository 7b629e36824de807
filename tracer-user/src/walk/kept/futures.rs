//! Futures that are kept in locals, were started and are not awaited here.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use super::flags;
use super::locals::KeptLocal;
use crate::address::Address;
use crate::rebuild::tree::{AwaitNode, NodeKind, NodeState};
use crate::walk::table::{Edge, State, Via};
use crate::walk::walker::{Place, Step, Walk, Walker};

/// Nodes of the trees that one await keeps and does not await.
const MAX_NODES: u32 = 2_048;

impl Walker<'_, '_, '_> {
    /// The trees of the futures that the body at `step` keeps and that are not in `awaited`, the
    /// trees of those that it awaits. Where it cannot be told whether one is still there, `notes` gets
    /// a sentence instead, unless it stands in a queue: whether it was given what it waits for is told
    /// by all who want it.
    pub(in crate::walk) fn not_awaited(
        &self,
        walk: &Walk<'_>,
        step: &Step<'_>,
        state: Option<&State>,
        awaited: &[AwaitNode],
        place: Place<'_>,
        notes: &mut Vec<String>,
    ) -> Vec<AwaitNode> {
        let held = self.futures.held(self.leaves.held_types());
        let keeps = state
            .filter(|state| state.state == NodeState::Suspended)
            .and_then(|state| self.futures.keeps(held, step.node, state));
        let Some(keeps) = keeps.filter(|keeps| !keeps.futures.is_empty()) else {
            return Vec::new();
        };
        let mut known = HashSet::new();
        awaited.iter().for_each(|node| addresses(node, &mut known));
        let budget = walk.budget.get().min(MAX_NODES);
        let inner = Walk {
            memory: walk.memory,
            budget: Cell::new(budget),
            held: RefCell::new(std::mem::take(&mut *walk.held.borrow_mut())),
        };
        let below = Place {
            parent: Some(step),
            depth: place.depth + 1,
            // Whether it was ever polled is for the future itself to tell.
            state: NodeState::Unknown,
        };
        let mut trees = Vec::new();
        let mut doubted: Vec<(&str, AwaitNode)> = Vec::new();
        for local in &keeps.futures {
            // A coroutine that was polled is pinned: where it lies, it stays until its place ends.
            let off = if local.is_pinned {
                0
            } else {
                flags::off(&local.flags, step.address, walk.memory)
            };
            if off > 0 && off == local.flags.len() && local.is_alone {
                continue;
            }
            let mut found = Vec::new();
            for edge in &local.edges {
                if self.is_worth_it(walk, step, local, *edge, &known) {
                    self.follow(&inner, *edge, step.address, below, &mut found);
                }
            }
            found.retain(|tree| is_started(tree) && !is_among(tree, &known));
            for tree in found {
                if off > 0 || local.is_argument {
                    doubted.push((&local.name, tree));
                } else {
                    addresses(&tree, &mut known);
                    trees.push(tree);
                }
            }
        }
        // What another local leads to as well, the reference that `pin!` gave among them, is there.
        for (local, tree) in doubted {
            if is_among(&tree, &known) {
                continue;
            }
            addresses(&tree, &mut known);
            if stands_in_queue(&tree) {
                let mut tree = tree;
                tree.in_doubt = true;
                tree.notes.push(format!(
                    "it may be gone: {local} may have been moved out or dropped"
                ));
                trees.push(tree);
            } else {
                notes.push(format!(
                    "{local} has the bytes of {}, which was started: it was moved out or dropped, or \
                     it is kept and not awaited",
                    tree.future
                ));
            }
        }
        walk.budget
            .set(walk.budget.get() - (budget - inner.budget.get()));
        *walk.held.borrow_mut() = inner.held.into_inner();
        trees
    }

    /// Whether what an edge leads to is this body's and not one that is awaited.
    fn is_worth_it(
        &self,
        walk: &Walk<'_>,
        step: &Step<'_>,
        local: &KeptLocal,
        edge: Edge,
        known: &HashSet<Address>,
    ) -> bool {
        let at = step.address.add(edge.offset);
        let target = match edge.via {
            Via::Inline => Some(at),
            Via::Pointer | Via::Dyn { .. } => walk.memory.pointer(at).ok(),
            _ => None,
        };
        let is_own = |target: Address| target.0.wrapping_sub(step.address.0) < step.node.size;
        match target {
            Some(target) if local.is_reference => is_own(target) && !known.contains(&target),
            Some(target) => !known.contains(&target),
            None => !local.is_reference,
        }
    }
}

fn addresses(node: &AwaitNode, into: &mut HashSet<Address>) {
    node.visit(&mut |node| into.extend(node.address));
}

/// Whether any part of the tree that was started is one of these.
fn is_among(tree: &AwaitNode, known: &HashSet<Address>) -> bool {
    let mut is = false;
    tree.visit(&mut |node| is |= node.address.is_some_and(|at| known.contains(&at)));
    is
}

/// Whether a future has been polled, and not to its end. An async body tells by its state; what is
/// written by hand by what it waits for: a place in a queue, a registered waker.
fn is_started(node: &AwaitNode) -> bool {
    match node.state {
        NodeState::Unresumed | NodeState::Returned | NodeState::Panicked => false,
        NodeState::Suspended if is_body(node) => true,
        _ => is_queued(node) || node.children.iter().any(is_started) || is_registered(node),
    }
}

fn is_body(node: &AwaitNode) -> bool {
    matches!(node.kind, NodeKind::AsyncFn | NodeKind::AsyncBlock)
}

/// A leaf that stands in a queue where it is in others' way.
fn is_queued(node: &AwaitNode) -> bool {
    let waits_for = node.waits_for.as_ref();
    let is_notified = || waits_for.is_some_and(|wait| wait.kind == "notify");
    is_queued_for_permits(node) || is_notified() && is_woken_by_someone(node)
}

/// A leaf that stands in the queue of a semaphore: a lock's, or of room in a channel.
fn is_queued_for_permits(node: &AwaitNode) -> bool {
    let queued = node
        .waits_for
        .as_ref()
        .and_then(|wait| wait.details.get("queued"));
    queued.and_then(serde_json::Value::as_bool) == Some(true)
}

/// Whether any leaf of a tree does.
fn stands_in_queue(node: &AwaitNode) -> bool {
    is_queued_for_permits(node) || node.children.iter().any(stands_in_queue)
}

/// A future that is written by hand and holds a leaf that has a waker. A leaf alone that is kept
/// (a sleep, a join handle) is in nobody's way.
fn is_registered(node: &AwaitNode) -> bool {
    node.waits_for.is_none() && node.children.iter().any(is_woken_below)
}

fn is_woken_below(node: &AwaitNode) -> bool {
    is_woken_by_someone(node) || node.children.iter().any(is_woken_below)
}

fn is_woken_by_someone(node: &AwaitNode) -> bool {
    let waker = node.waits_for.as_ref().and_then(|wait| wait.text("waker"));
    matches!(waker, Some("own" | "other"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rebuild::tree::WaitsFor;

    fn node(kind: NodeKind, state: NodeState, children: Vec<AwaitNode>) -> AwaitNode {
        AwaitNode {
            kind,
            state,
            children,
            ..AwaitNode::default()
        }
    }

    fn leaf(waits_for: WaitsFor) -> AwaitNode {
        AwaitNode {
            waits_for: Some(waits_for),
            ..node(NodeKind::Leaf, NodeState::Unknown, Vec::new())
        }
    }

    #[test]
    fn an_async_body_tells_by_its_state_whether_it_was_started() {
        let body = |state| node(NodeKind::AsyncFn, state, Vec::new());
        for (state, started) in [
            (NodeState::Suspended, true),
            (NodeState::Unresumed, false),
            (NodeState::Returned, false),
            (NodeState::Panicked, false),
            (NodeState::Unknown, false),
        ] {
            assert_eq!(is_started(&body(state)), started, "{state:?}");
            // A wrapper is started when what it holds is.
            let wrapper = node(NodeKind::Future, NodeState::Unknown, vec![body(state)]);
            assert_eq!(is_started(&wrapper), started, "{state:?} inside");
        }
        let inside = vec![body(NodeState::Suspended)];
        assert!(!is_started(&node(
            NodeKind::Future,
            NodeState::Returned,
            inside
        )));
    }

    #[test]
    fn a_leaf_that_is_kept_counts_where_it_is_in_others_way() {
        let lock = |queued: bool| leaf(WaitsFor::new("lock").with("queued", queued));
        assert!(is_started(&lock(true)));
        assert!(!is_started(&lock(false)));
        let sleep = || leaf(WaitsFor::new("sleep").with("waker", "own"));
        assert!(!is_started(&sleep()), "a sleep alone is in nobody's way");
        let handmade = |leaf| node(NodeKind::Future, NodeState::Unknown, vec![leaf]);
        assert!(is_started(&handmade(sleep())));
        assert!(!is_started(&handmade(leaf(WaitsFor::new("sleep")))));
    }
}
