//! An await tree in preorder, with who is above whom, which futures are alive, and which of them
//! nothing is below: what the task really waits for.

use crate::rebuild::tree::{AwaitNode, NodeKind, NodeState, WaitsFor};

/// Futures of one tree that are looked at; what lies beyond is said to be missing.
const MAX_FUTURES: usize = 20_000;

/// A future of a tree.
#[derive(Clone, Copy, Debug)]
pub(in crate::analyse) struct Placed<'a> {
    /// The future.
    pub node: &'a AwaitNode,
    /// Index of the one that holds it.
    pub above: Option<usize>,
    /// It was polled and has not finished, as far as is known.
    pub alive: bool,
    /// Something alive is below it.
    pub waits_inside: bool,
    /// Index after its last descendant.
    pub end: usize,
}

/// A tree in preorder.
#[derive(Clone, Debug, Default)]
pub(in crate::analyse) struct Preorder<'a> {
    /// Its futures: a future's descendants follow it, up to its `end`.
    pub futures: Vec<Placed<'a>>,
    /// Something was beyond the limit.
    pub cut: bool,
}

impl<'a> Preorder<'a> {
    /// What `root` awaits, and itself. What it keeps without awaiting it is not in there.
    pub(in crate::analyse) fn of(root: &'a AwaitNode) -> Self {
        let mut tree = Self::default();
        // A future, who holds it, and whether that is an async body.
        let mut open = vec![(root, None::<usize>)];
        while let Some((node, above)) = open.pop() {
            if tree.futures.len() >= MAX_FUTURES {
                tree.cut = true;
                break;
            }
            let index = tree.futures.len();
            let holder = above.map(|above| tree.futures[above]);
            let alive = holder.is_none_or(|holder| {
                holder.alive && is_alive(node.state, is_body(holder.node.kind))
            });
            tree.futures.push(Placed {
                node,
                above,
                alive,
                waits_inside: false,
                end: index + 1,
            });
            open.extend(node.children.iter().rev().map(|child| (child, Some(index))));
        }
        // Children stand behind their parents, so that one pass backwards tells the parents.
        for index in (0..tree.futures.len()).rev() {
            let Placed {
                above, alive, end, ..
            } = tree.futures[index];
            if let Some(above) = above {
                let above = &mut tree.futures[above];
                above.waits_inside |= alive;
                above.end = above.end.max(end);
            }
        }
        tree
    }

    /// The futures that are waited for and hold nothing else that is: indexes.
    pub(super) fn leaves(&self) -> impl Iterator<Item = usize> + '_ {
        let futures = self.futures.iter().enumerate();
        futures
            .filter(|(_, future)| future.alive && !future.waits_inside)
            .map(|(index, _)| index)
    }

    /// The future at `index` and those that hold it, outwards.
    pub(in crate::analyse) fn outwards(
        &self,
        index: usize,
    ) -> impl Iterator<Item = &Placed<'a>> + '_ {
        let mut next = Some(index);
        std::iter::from_fn(move || {
            let at = self.futures.get(next?)?;
            next = at.above;
            Some(at)
        })
    }

    /// The children of the future at `index` that are alive: indexes.
    pub(super) fn live_children(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        let end = self.futures.get(index).map_or(0, |future| future.end);
        let mut next = index + 1;
        std::iter::from_fn(move || {
            while next < end {
                let at = next;
                let child = self.futures.get(at)?;
                next = child.end;
                if child.alive {
                    return Some(at);
                }
            }
            None
        })
    }

    /// Whether a part of the tree could not be read, so that something else may be waited for.
    pub(super) fn is_incomplete(&self) -> bool {
        let unread = |future: &Placed<'_>| future.alive && future.node.kind == NodeKind::Unknown;
        self.cut || self.futures.is_empty() || self.futures.iter().any(unread)
    }
}

/// Whether a future of this state is waited for by what holds it. An async body stands at what it
/// awaits, so that it polled this at least once, whatever its own state says; a combinator may hold
/// what it never polled.
fn is_alive(state: NodeState, held_by_body: bool) -> bool {
    match state {
        NodeState::Suspended | NodeState::Unknown => true,
        NodeState::Unresumed => held_by_body,
        NodeState::Returned | NodeState::Panicked => false,
    }
}

/// Whether this is the body of an `async fn` or block.
pub(super) const fn is_body(kind: NodeKind) -> bool {
    matches!(kind, NodeKind::AsyncFn | NodeKind::AsyncBlock)
}

/// Whether two readings show the same futures at the same places in the same states, waiting for
/// the same things. What moves while a task stands still (how long a timer still has, what is in a
/// queue) is not compared.
pub(super) fn is_same(one: &AwaitNode, other: &AwaitNode) -> bool {
    let mut open = vec![(one, other)];
    while let Some((one, other)) = open.pop() {
        let equal = one.address == other.address
            && one.state == other.state
            && one.kind == other.kind
            && one.line == other.line
            && one.children.len() == other.children.len()
            && one.future == other.future
            && waits_for_same(one.waits_for.as_ref(), other.waits_for.as_ref());
        if !equal {
            return false;
        }
        open.extend(one.children.iter().zip(&other.children));
    }
    true
}

/// Details that are the same as long as a task stands still.
pub(in crate::analyse) const SAME: [&str; 5] = ["address", "fd", "deadline_ns", "task", "queued"];

fn waits_for_same(one: Option<&WaitsFor>, other: Option<&WaitsFor>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => {
            one.kind == other.kind
                && SAME
                    .iter()
                    .all(|name| one.details.get(name) == other.details.get(name))
        }
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::hand::{body, combinator, leaf, sleep};
    use super::*;

    #[test]
    fn leaves_are_what_is_waited_for() {
        let tree = body(
            "app::serve",
            10,
            combinator(
                "core::future::poll_fn::PollFn<app::serve::{closure#0}>",
                vec![
                    body("app::one", 11, sleep(1)),
                    AwaitNode {
                        state: NodeState::Unresumed,
                        ..body("app::never_polled", 12, sleep(2))
                    },
                    AwaitNode {
                        state: NodeState::Returned,
                        ..leaf("app::Done")
                    },
                ],
            ),
        );
        let order = Preorder::of(&tree);
        let names: Vec<_> = order
            .leaves()
            .map(|index| &*order.futures[index].node.future)
            .collect();
        assert_eq!(names, ["tokio::time::sleep::Sleep"]);
        let select = 1;
        assert_eq!(order.live_children(select).collect::<Vec<_>>(), [2]);
        let above: Vec<_> = order.outwards(3).map(|at| &*at.node.future).collect();
        assert_eq!(above[1], "app::one");
        assert_eq!(above.last(), Some(&"app::serve"));
    }

    #[test]
    fn a_future_that_holds_only_finished_ones_is_a_leaf_itself() {
        let done = AwaitNode {
            state: NodeState::Returned,
            ..leaf("app::Done")
        };
        let tree = body("app::serve", 10, combinator("app::Machine", vec![done]));
        let order = Preorder::of(&tree);
        assert_eq!(order.leaves().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn what_moves_while_a_task_stands_is_not_compared() {
        let one = body("app::serve", 10, sleep(1));
        let mut later = one.clone();
        let waits = later.children[0].waits_for.take();
        later.children[0].waits_for = waits.map(|waits| waits.with("remaining_ms", 7));
        assert!(is_same(&one, &later));
        later.line = Some(11);
        assert!(!is_same(&one, &later));
    }

    #[test]
    fn what_could_not_be_read_may_be_waited_for() {
        let whole = body("app::serve", 10, sleep(1));
        assert!(!Preorder::of(&whole).is_incomplete());
        let torn = body("app::serve", 10, AwaitNode::default());
        assert!(Preorder::of(&torn).is_incomplete());
    }
}
