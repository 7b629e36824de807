//! The ways that lead on from a node: boxes, vtables, sequences, lists.

use super::table::{Edge, NodeId, Via};
use super::walker::{Place, Walk, Walker, shown_name, unknown};
use crate::address::Address;
use crate::memory::{Memory, ReadError};
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
            Via::TaskList {
                future,
                next,
                queued,
            } => {
                let mut task = walk.memory.pointer(at)?;
                for _ in 0..self.limits.elements {
                    if task.is_null() {
                        return Ok(());
                    }
                    let before = out.len();
                    self.visit(walk, edge.node, task.add(future), place, out);
                    let wakers = queued.and_then(|queued| wakers_of(walk.memory, task, queued));
                    out.iter_mut()
                        .skip(before)
                        .for_each(|node| node.own_wakers = wakers);
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

/// Wakers of a task of a `FuturesUnordered` that are left: the strong references of its `Arc` less the
/// one of the list. `None` while it is in line to be polled, and where the counts are not before it:
/// `ArcInner { strong, weak, data }` (alloc of Rust 1.65 to 1.95), the weak one being 1 as nobody has
/// a `Weak` of a task (futures-util 0.3).
fn wakers_of(memory: &dyn Memory, task: Address, queued: u64) -> Option<u64> {
    const MANY: u64 = 1 << 32;
    let count = |before: u64| memory.u64(Address(task.0.checked_sub(before)?)).ok();
    let (strong, weak) = (count(16)?, count(8)?);
    let is_queued = memory.u8(task.add(queued)).ok()? != 0;
    ((1..MANY).contains(&strong) && weak == 1 && !is_queued).then(|| strong - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::FakeMemory;

    #[test]
    fn wakers_of_a_task_are_the_references_but_the_lists() {
        let wakers = |strong: u64, weak: u64, queued: u8| {
            let mut memory = FakeMemory::default();
            let counts = [strong.to_ne_bytes(), weak.to_ne_bytes()].concat();
            memory.map(Address(0x1000), counts);
            memory.map(Address(0x1010), [queued]);
            wakers_of(&memory, Address(0x1010), 0)
        };
        assert_eq!(wakers(1, 1, 0), Some(0));
        assert_eq!(wakers(3, 1, 0), Some(2));
        assert_eq!(wakers(1, 1, 1), None, "in line");
        // Something else lies there.
        assert_eq!(wakers(0, 1, 0), None);
        assert_eq!(wakers(0x7f00_0000_1000, 1, 0), None);
        assert_eq!(wakers(1, 7, 0), None);
        assert_eq!(wakers_of(&FakeMemory::default(), Address(8), 0), None);
    }
}
