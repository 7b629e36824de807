//! The ways that lead on from a node: boxes, vtables, sequences, lists.

use super::table::{Edge, NodeId, Via};
use super::walker::{Place, Walk, Walker, shown_name, unknown};
use crate::address::Address;
use crate::memory::ReadError;
use crate::rebuild::tree::AwaitNode;

/// So many values of one type in a row.
#[derive(Clone, Copy)]
struct Sequence {
    node: NodeId,
    first: Address,
    count: u64,
    stride: u64,
}

impl Walker<'_, '_, '_> {
    /// Follows one edge of the value at `base`; what cannot be read stands in the tree as unknown.
    pub(super) fn follow(
        &self,
        walk: &Walk<'_>,
        edge: Edge,
        base: Address,
        place: Place<'_>,
        out: &mut Vec<AwaitNode>,
    ) {
        if let Err(error) = self.try_follow(walk, edge, base, place, out) {
            let node = self.futures.node(edge.node);
            let name = node.map_or_else(|| "?".into(), |node| shown_name(&node));
            out.push(unknown(name, error.to_string()));
        }
    }

    fn try_follow(
        &self,
        walk: &Walk<'_>,
        edge: Edge,
        base: Address,
        place: Place<'_>,
        out: &mut Vec<AwaitNode>,
    ) -> Result<(), ReadError> {
        let at = base.add(edge.offset);
        match edge.via {
            Via::Inline => self.visit(walk, edge.node, at, place, out),
            Via::Pointer => {
                let target = walk.memory.pointer(at)?;
                if !target.is_null() {
                    self.visit(walk, edge.node, target, place.deeper(), out);
                }
            }
            Via::Dyn { vtable } => {
                let data = walk.memory.pointer(at)?;
                let vtable = walk.memory.pointer(base.add(vtable))?;
                if !data.is_null() {
                    self.visit_dyn(walk, data, vtable, place.deeper(), out);
                }
            }
            Via::Sequence { length, stride } => {
                let sequence = Sequence {
                    node: edge.node,
                    first: walk.memory.pointer(at)?,
                    count: walk.memory.u64(base.add(length))?,
                    stride,
                };
                self.elements(walk, sequence, place, out);
            }
            Via::Array { count, stride } => {
                let sequence = Sequence {
                    node: edge.node,
                    first: at,
                    count,
                    stride,
                };
                self.elements(walk, sequence, place, out);
            }
            Via::TaskList { future, next } => {
                let mut task = walk.memory.pointer(at)?;
                for _ in 0..self.limits.elements {
                    if task.is_null() {
                        return Ok(());
                    }
                    self.visit(walk, edge.node, task.add(future), place, out);
                    task = walk.memory.pointer(task.add(next))?;
                }
                let limit = self.limits.elements;
                out.push(unknown(
                    "...".into(),
                    format!("more than {limit} futures in this set"),
                ));
            }
            Via::Shared { data } => {
                let inner = walk.memory.pointer(at)?;
                if !inner.is_null() {
                    self.visit(walk, edge.node, inner.add(data), place.deeper(), out);
                }
            }
        }
        Ok(())
    }

    fn elements(
        &self,
        walk: &Walk<'_>,
        sequence: Sequence,
        place: Place<'_>,
        out: &mut Vec<AwaitNode>,
    ) {
        let Sequence {
            node,
            first,
            count,
            stride,
        } = sequence;
        for index in 0..count.min(self.limits.elements) {
            let at = first.add(index.wrapping_mul(stride));
            self.visit(walk, node, at, place, out);
            if walk.budget.get() == 0 {
                break;
            }
        }
        if let Some(rest) = count
            .checked_sub(self.limits.elements)
            .filter(|rest| *rest > 0)
        {
            out.push(unknown(
                "...".into(),
                format!("{rest} more elements were not looked at"),
            ));
        }
    }

    fn visit_dyn(
        &self,
        walk: &Walk<'_>,
        data: Address,
        vtable: Address,
        place: Place<'_>,
        out: &mut Vec<AwaitNode>,
    ) {
        let info = self.futures.info();
        let link = self.bias.to_link(vtable);
        let Some(die) = info.type_of_vtable(link.0) else {
            out.push(unknown(
                "dyn Future".into(),
                format!("no debug information for its vtable at {vtable} (link address {link})"),
            ));
            return;
        };
        // Slot 1 of every vtable is the size of the type: a cheap proof that it is this type's.
        let expected = info.type_at(die).map_or(0, |this| this.size);
        let doubt = match walk.memory.u64(vtable.add(8)) {
            Ok(size) if size == expected => None,
            Ok(size) => Some(format!(
                "its vtable gives a size of {size}, its type {expected}"
            )),
            Err(error) => Some(error.to_string()),
        };
        match doubt {
            None => self.visit(walk, self.futures.root(die), data, place, out),
            Some(doubt) => out.push(unknown(self.futures.future_name(die), doubt)),
        }
    }
}
