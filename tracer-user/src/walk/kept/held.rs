//! Values that others wait for, found in locals.

use std::collections::HashSet;
use std::rc::Rc;

use super::flags;
use super::locals::HeldLocal;
use crate::address::Address;
use crate::memory::{Memory, ReadError};
use crate::rebuild::tree::{Held, NodeState, WaitsFor};
use crate::walk::active::active;
use crate::walk::compile::Futures;
use crate::walk::table::{Edge, Node, NodeId, State, Via};
use crate::walk::walker::{Step, Walk, Walker};

/// Values of held types in one future.
const MAX_HELD: usize = 256;
/// Types that lead to them, inside each other.
const MAX_DEPTH: u32 = 32;
/// Elements of one vector that are looked at.
const MAX_ELEMENTS: u64 = 256;

/// A search in one future.
struct Search<'s, 'd, 'a> {
    table: &'s Futures<'d, 'a>,
    memory: &'s dyn Memory,
    found: Vec<(Rc<Node>, Address)>,
    looked_at: u64,
}

impl Walker<'_, '_, '_> {
    /// What the future at `step` holds itself: in saved locals of its active state, or in its
    /// fields. `seen` are the values that were told already, as another's.
    pub(in crate::walk) fn holds(
        &self,
        walk: &Walk<'_>,
        step: &Step<'_>,
        state: Option<&State>,
        is_body: bool,
    ) -> Vec<Held> {
        let types = self.leaves.held_types();
        if types.is_empty() {
            return Vec::new();
        }
        let table = self.futures.held(types);
        if !is_body {
            let fields = step
                .node
                .fields
                .get_or_init(|| Futures::field_keeps(table, step.node.die));
            return self.read(walk, step, table, fields);
        }
        let alive =
            |state: &&State| matches!(state.state, NodeState::Suspended | NodeState::Unresumed);
        let keeps = state
            .filter(alive)
            .and_then(|state| self.futures.keeps(table, step.node, state));
        keeps.map_or_else(Vec::new, |keeps| self.read(walk, step, table, &keeps.held))
    }

    fn read(
        &self,
        walk: &Walk<'_>,
        step: &Step<'_>,
        table: &Futures<'_, '_>,
        locals: &[HeldLocal],
    ) -> Vec<Held> {
        let mut holds = Vec::new();
        for local in locals {
            let mut search = Search {
                table,
                memory: walk.memory,
                found: Vec::new(),
                looked_at: 0,
            };
            for edge in &local.edges {
                // What cannot be read is not known to be held.
                let _ = search.follow(*edge, step.address, 0);
            }
            for (node, address) in search.found {
                if !walk.held.borrow_mut().insert(address) {
                    continue;
                }
                let Some(what) = self.leaves.held(step.node, &node, address, walk.memory) else {
                    continue;
                };
                let mut doubts = Vec::new();
                if local.is_argument {
                    doubts.push(
                        "it lies where an argument was passed, which is moved at once".to_owned(),
                    );
                }
                if flags::off(&local.flags, step.address, walk.memory) > 0 {
                    doubts.push(
                        "a drop flag that may be its is off: then it was dropped or moved out"
                            .to_owned(),
                    );
                }
                holds.push(Held {
                    local: local.name.clone(),
                    what,
                    doubt: (!doubts.is_empty()).then(|| doubts.join("; ")),
                });
            }
        }
        leave_out_temporaries(&mut holds);
        holds
    }
}

/// `match lock().await { Ok(guard) => .. }` keeps what was matched (`__1`), from which the guard was
/// moved, beside the guard.
fn leave_out_temporaries(holds: &mut Vec<Held>) {
    let is_temporary = |held: &Held| held.local.starts_with("__");
    let named: Vec<WaitsFor> = holds
        .iter()
        .filter(|held| !is_temporary(held))
        .map(|held| held.what.clone())
        .collect();
    holds.retain(|held| !is_temporary(held) || !named.contains(&held.what));
}

impl Search<'_, '_, '_> {
    fn visit(&mut self, id: NodeId, address: Address, depth: u32) -> Result<(), ReadError> {
        self.looked_at += 1;
        if depth > MAX_DEPTH || self.found.len() >= MAX_HELD || self.looked_at > MAX_ELEMENTS * 8 {
            return Ok(());
        }
        let Some(node) = self.table.node(id) else {
            return Ok(());
        };
        if node.future.is_some() {
            self.found.push((node, address));
            return Ok(());
        }
        // A state that none of the type's is: nothing is told of it.
        let Ok(active) = active(self.memory, &node, address) else {
            return Ok(());
        };
        let edges: Vec<Edge> = active.edges().copied().collect();
        for edge in edges {
            self.follow(edge, address, depth + 1)?;
        }
        Ok(())
    }

    fn follow(&mut self, edge: Edge, base: Address, depth: u32) -> Result<(), ReadError> {
        let at = base.add(edge.offset);
        let (first, count, stride) = match edge.via {
            Via::Inline => (at, 1, 0),
            Via::Pointer => (self.memory.pointer(at)?, 1, 0),
            Via::Sequence { length, stride } => {
                let length = self.memory.u64(base.add(length))?;
                (self.memory.pointer(at)?, length, stride)
            }
            Via::Array { count, stride } => (at, count, stride),
            // Nothing else is owned and of a known type.
            Via::Dyn { .. } | Via::TaskList { .. } | Via::Shared { .. } => return Ok(()),
        };
        if first.is_null() {
            return Ok(());
        }
        for index in 0..count.min(MAX_ELEMENTS) {
            self.visit(edge.node, first.add(index.wrapping_mul(stride)), depth)?;
        }
        Ok(())
    }
}

/// Values that were told.
pub(in crate::walk) type Seen = HashSet<Address>;
