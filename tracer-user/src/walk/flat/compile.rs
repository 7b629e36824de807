//! Nodes of the walk table -> entries of the integer tables.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tracer_common::walk::{
    EdgeEntry, EdgeKind, NO_STATE, NodeEntry, Root, Selector, StateEntry, link, ones,
};

use super::{Conventions, Meaning, Tables};
use crate::address::{Address, LoadBias};
use crate::rebuild::tree::{NodeKind, NodeState};
use crate::walk::compile::Futures;
use crate::walk::table::{Discriminant, Edge, Node, NodeId, Shape, State, Via};

/// Values between the first and the last discriminant of a node; the most seen is 60 (215 futures,
/// rustc 1.95).
const MAX_SPAN: u64 = 4096;
/// Entries of one table.
const MAX_ENTRIES: usize = 1 << 20;
/// Types without variants inside each other that are passed over at once.
const MAX_SPLICE: u32 = 32;

const SPARSE: &str = "its states have values too far apart for the walk in the kernel";
const TOO_BIG: &str = "its type is too large for the walk in the kernel";
const TOO_MANY: &str = "there are too many types for the walk in the kernel";
const MALFORMED: &str = "its type is malformed in the debug information";
const NO_SUCH_STATE: &str = "its state has none of the values that it may have";

/// Compiles the futures that tasks reach.
pub struct Compiler<'f, 'd, 'a> {
    futures: &'f Futures<'d, 'a>,
    conventions: &'f dyn Conventions,
    indexes: HashMap<NodeId, u32>,
    queue: Vec<NodeId>,
    tables: Tables,
}

impl<'f, 'd, 'a> Compiler<'f, 'd, 'a> {
    /// Nothing is compiled yet.
    #[must_use]
    pub fn new(futures: &'f Futures<'d, 'a>, conventions: &'f dyn Conventions) -> Self {
        Self {
            futures,
            conventions,
            indexes: HashMap::new(),
            queue: Vec::new(),
            tables: Tables::default(),
        }
    }

    /// The entry of a node, which is compiled with everything that it leads to.
    pub fn node(&mut self, id: NodeId) -> u32 {
        let index = self.index(id);
        while let Some(id) = self.queue.pop() {
            self.compile(id);
        }
        index
    }

    /// Adds a kind of task.
    pub fn root(&mut self, vtable: Address, root: Root) {
        self.tables.roots.insert(vtable, root);
    }

    /// Adds every future that a `dyn` pointer may lead to: by the vtables of polling traits in the
    /// debug information of a module that was loaded with `bias`.
    pub fn vtables(&mut self, bias: LoadBias) {
        let info = self.futures.info();
        let mut links: Vec<u64> = info
            .vtables()
            .filter(|vtable| is_polling(vtable.name))
            .map(|vtable| vtable.address)
            .collect();
        links.sort_unstable();
        links.dedup();
        for link in links {
            let Some(die) = info.type_of_vtable(link) else {
                continue;
            };
            let node = self.node(self.futures.root(die));
            let address = bias.to_address(crate::address::LinkAddress(link));
            self.tables.vtables.push((address, node));
        }
    }

    /// The tables.
    #[must_use]
    pub fn finish(mut self) -> Tables {
        link(&self.tables.nodes, &mut self.tables.states);
        self.tables
    }

    fn index(&mut self, id: NodeId) -> u32 {
        if let Some(index) = self.indexes.get(&id) {
            return *index;
        }
        let index = u32::try_from(self.tables.nodes.len()).unwrap_or(NO_STATE);
        self.tables.nodes.push(NodeEntry::default());
        self.indexes.insert(id, index);
        self.queue.push(id);
        index
    }

    fn compile(&mut self, id: NodeId) {
        let Some(&index) = self.indexes.get(&id) else {
            return;
        };
        let Some(node) = self.futures.node(id) else {
            let about = About {
                index,
                future: Some((Arc::from("?"), NodeKind::Unknown)),
                base_path: Arc::from("?"),
                stream: false,
            };
            self.opaque(&about, 0, MALFORMED);
            return;
        };
        let future = node
            .future
            .as_ref()
            .map(|name| (Arc::clone(&name.path), name.kind));
        let about = About {
            index,
            stream: future
                .as_ref()
                .is_some_and(|(path, _)| self.futures.is_stream(path)),
            future,
            base_path: Arc::clone(&node.base_path),
        };
        let Ok(bytes) = u32::try_from(node.size) else {
            self.opaque(&about, 0, TOO_BIG);
            return;
        };
        if self.tables.states.len() > MAX_ENTRIES || self.tables.edges.len() > MAX_ENTRIES {
            self.opaque(&about, bytes, TOO_MANY);
            return;
        }
        match &node.shape {
            Shape::Plain { edges } => self.plain(&about, &node, edges, bytes),
            Shape::Tagged { states, edges, .. } if states.is_empty() => {
                self.plain(&about, &node, edges, bytes);
            }
            Shape::Tagged {
                discriminant,
                edges,
                states,
            } => self.tagged(&about, &node, *discriminant, edges, states, bytes),
        }
    }

    fn opaque(&mut self, about: &About, bytes: u32, reason: &'static str) {
        let states = self.push_state(about, StateEntry::default(), None, Some(reason));
        self.set(about.index, Selector::one(states), bytes);
    }

    fn plain(&mut self, about: &About, node: &Node, edges: &[Edge], bytes: u32) {
        let Some(mut entry) = self.edges(&[edges]) else {
            self.opaque(about, bytes, TOO_BIG);
            return;
        };
        super::marks::of_type(
            self.futures.info(),
            node.die,
            self.conventions.mark_fields(&node.base_path),
        )
        .put(&mut entry);
        let states = self.push_state(about, entry, None, None);
        self.set(about.index, Selector::one(states), bytes);
    }

    fn tagged(
        &mut self,
        about: &About,
        node: &Node,
        discriminant: Discriminant,
        common: &[Edge],
        states: &[State],
        bytes: u32,
    ) {
        let Ok(offset) = u32::try_from(discriminant.offset) else {
            self.opaque(about, bytes, TOO_BIG);
            return;
        };
        let mask = discriminant.mask();
        let by_value: BTreeMap<u64, &State> = states
            .iter()
            .rev()
            .filter_map(|state| Some((state.value? & mask, state)))
            .collect();
        let default = states.iter().find(|state| state.value.is_none());
        // Without a discriminant there is one variant only.
        if discriminant.size == 0 {
            let state = by_value.values().next().copied().or(default);
            let first = state.map(|state| self.state(about, node, common, state));
            match first {
                Some(Some(state)) => self.set(about.index, Selector::one(state), bytes),
                _ => self.opaque(about, bytes, TOO_BIG),
            }
            return;
        }
        let base = by_value.keys().next().copied().unwrap_or(0);
        let last = by_value.keys().next_back().copied().unwrap_or(0);
        let span = last.wrapping_sub(base).saturating_add(1);
        if span > MAX_SPAN || !matches!(discriminant.size, 1 | 2 | 4 | 8) {
            self.opaque(about, bytes, SPARSE);
            return;
        }
        let count = if by_value.is_empty() { 0 } else { span };
        // The entries must follow each other, so their edges are made first.
        let mut made = Vec::new();
        for value in (0..count).map(|step| base.wrapping_add(step)) {
            made.push(match by_value.get(&value) {
                Some(state) => self
                    .entry(node, common, state)
                    .map(|entry| (entry, Some(*state))),
                None => Some((StateEntry::default(), default)),
            });
        }
        let default_entry = default.and_then(|state| self.entry(node, common, state));
        let first = u32::try_from(self.tables.states.len()).unwrap_or(NO_STATE);
        for made in made {
            match made {
                Some((entry, Some(state))) if state.value.is_some() => {
                    self.push_state(about, entry, Some(state), None);
                }
                Some((_, Some(state))) => {
                    let entry = default_entry.unwrap_or_default();
                    self.push_state(about, entry, Some(state), None);
                }
                Some((_, None)) => {
                    self.push_state(about, StateEntry::default(), None, Some(NO_SUCH_STATE));
                }
                None => {
                    self.push_state(about, StateEntry::default(), None, Some(TOO_BIG));
                }
            }
        }
        let default = match (default, default_entry) {
            (Some(state), Some(entry)) => self.push_state(about, entry, Some(state), None),
            (Some(_), None) => self.push_state(about, StateEntry::default(), None, Some(TOO_BIG)),
            (None, _) => NO_STATE,
        };
        let selector = Selector {
            base,
            mask: ones(discriminant.size.into()),
            discriminant: offset,
            states: first,
            count: u32::try_from(count).unwrap_or(0),
            default,
        };
        self.set(about.index, selector, bytes);
    }

    fn state(&mut self, about: &About, node: &Node, common: &[Edge], state: &State) -> Option<u32> {
        let entry = self.entry(node, common, state)?;
        Some(self.push_state(about, entry, Some(state), None))
    }

    fn entry(&mut self, node: &Node, common: &[Edge], state: &State) -> Option<StateEntry> {
        let mut entry = self.edges(&[common, &state.edges])?;
        let is_async_fn = node
            .future
            .as_ref()
            .is_some_and(|future| future.kind == NodeKind::AsyncFn);
        if is_async_fn && state.state == NodeState::Suspended {
            super::marks::of_arguments(self.futures.info(), node.die, state.value).put(&mut entry);
        }
        Some(entry)
    }

    fn push_state(
        &mut self,
        about: &About,
        entry: StateEntry,
        state: Option<&State>,
        unknown: Option<&'static str>,
    ) -> u32 {
        let index = u32::try_from(self.tables.states.len()).unwrap_or(NO_STATE);
        self.tables.states.push(entry);
        self.tables.meanings.push(Meaning {
            node: about.index,
            future: about.future.clone(),
            base_path: Arc::clone(&about.base_path),
            stream: about.stream,
            state: state.map_or(NodeState::Unknown, |state| state.state),
            location: state.and_then(|state| state.location.clone()),
            unknown,
        });
        index
    }

    fn set(&mut self, index: u32, selector: Selector, bytes: u32) {
        if let Some(entry) = self.tables.nodes.get_mut(index as usize) {
            *entry = NodeEntry {
                selector,
                bytes,
                reserved: 0,
            };
        }
    }

    /// Appends edges; `None` when an offset does not fit.
    fn edges(&mut self, lists: &[&[Edge]]) -> Option<StateEntry> {
        let mut made = Vec::new();
        for edge in lists.iter().copied().flatten() {
            self.edge(*edge, 0, 0, &mut made)?;
        }
        let first = u32::try_from(self.tables.edges.len()).ok()?;
        self.tables.edges.extend_from_slice(&made);
        Some(StateEntry::new(first, &made))
    }

    fn edge(&mut self, edge: Edge, base: u64, depth: u32, out: &mut Vec<EdgeEntry>) -> Option<()> {
        let small = |value: u64| u32::try_from(value).ok();
        let offset = base.checked_add(edge.offset)?;
        if edge.via == Via::Inline
            && depth < MAX_SPLICE
            && let Some(node) = self.futures.node(edge.node)
            && node.future.is_none()
            && let Shape::Plain { edges } = &node.shape
        {
            // A type that is no future and has one state: what it leads to stands in its place.
            for inner in edges {
                self.edge(*inner, offset, depth + 1, out)?;
            }
            return Some(());
        }
        let (kind, a, b) = match edge.via {
            Via::Inline => (EdgeKind::Inline, 0, 0),
            Via::Pointer => (EdgeKind::Pointer, 0, 0),
            Via::Shared { data } => (EdgeKind::Pointer, small(data)?, 0),
            Via::Dyn { vtable } => (EdgeKind::Dyn, small(base.checked_add(vtable)?)?, 0),
            Via::Sequence { length, stride } => (
                EdgeKind::Sequence,
                small(base.checked_add(length)?)?,
                small(stride)?,
            ),
            Via::Array { count, stride } => (EdgeKind::Array, small(count)?, small(stride)?),
            Via::TaskList { future, next, .. } => (EdgeKind::List, small(next)?, small(future)?),
        };
        let node = match kind {
            EdgeKind::Dyn => NO_STATE,
            _ => self.index(edge.node),
        };
        out.push(EdgeEntry {
            kind: kind as u32,
            offset: small(offset)?,
            node,
            a,
            b,
            reserved: 0,
        });
        Some(())
    }
}

/// What all states of a node share.
struct About {
    index: u32,
    future: Option<(Arc<str>, NodeKind)>,
    base_path: Arc<str>,
    stream: bool,
}

/// Whether a vtable (`<T as Trait>::{vtable}`) is that of something that is polled.
fn is_polling(name: &str) -> bool {
    name.rsplit_once(" as ")
        .is_some_and(|(_, traits)| traits.contains("Future") || traits.contains("Stream"))
}
