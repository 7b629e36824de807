//! Types of debug information compiled into the walk table, each when it is first needed.

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use super::defined::Polls;
use super::names;
use super::reach::{Holds, Reach, is_coroutine};
use super::table::{Discriminant, Edge, FutureName, Node, NodeId, Shape, State, Via};
use crate::dwarf::{DebugInfo, DieRef, Kind, SourceLine, Type, VariantPart, base_name};
use crate::rebuild::tree::{NodeKind, NodeState};

/// Structures inside structures; a type that contains itself is hostile.
const MAX_NESTING: u32 = 64;
/// Edges of one node; the most seen in a real binary is 3 a state.
const MAX_EDGES: usize = 4096;

/// A node that has been asked for: what to compile, and the result.
struct Slot {
    die: DieRef,
    forced: bool,
    node: Option<Rc<Node>>,
}

/// The futures of a binary, compiled on demand.
pub struct Futures<'d, 'a> {
    pub(super) info: &'d DebugInfo<'a>,
    pub(super) reach: Reach<'d, 'a>,
    nodes: RefCell<Vec<Slot>>,
    ids: RefCell<HashMap<(DieRef, bool), NodeId>>,
    /// By the name of the coroutine's pinned reference: the awaits with the user's lines.
    pub(super) awaits: HashMap<&'a str, Vec<(String, SourceLine)>>,
    /// By the name of the coroutine's pinned reference: its body's entry.
    pub(super) bodies: HashMap<&'a str, DieRef>,
    polls: Polls<'a>,
    /// The same for types that are held.
    held: OnceCell<Box<Self>>,
}

impl<'d, 'a> Futures<'d, 'a> {
    /// Prepares compilation; nothing is compiled yet.
    #[must_use]
    pub fn new(info: &'d DebugInfo<'a>) -> Self {
        let mut awaits: HashMap<&str, Vec<(String, SourceLine)>> = HashMap::new();
        let mut seen = HashSet::new();
        for (unit, awaitee) in info.awaitees() {
            let Some(line) = info.source_line(unit, awaitee.file, awaitee.line) else {
                continue;
            };
            let awaited = info.path(awaitee.type_die);
            if seen.insert((awaitee.receiver, awaited.clone(), line.clone())) {
                awaits
                    .entry(awaitee.receiver)
                    .or_default()
                    .push((awaited, line));
            }
        }
        let bodies = info
            .poll_functions()
            .filter(|function| function.name.starts_with('{'))
            .map(|function| (function.receiver, function.die))
            .collect();
        Self {
            info,
            reach: Reach::new(info),
            nodes: RefCell::new(Vec::new()),
            ids: RefCell::new(HashMap::new()),
            awaits,
            bodies,
            polls: Polls::new(info),
            held: OnceCell::new(),
        }
    }

    /// The table of what leads to values of these types (paths without generic arguments), where
    /// futures are what is looked for elsewhere. Made once: there is one list of them for a binary.
    pub(super) fn held(&self, types: &'static [&'static str]) -> &Self {
        self.held.get_or_init(|| {
            Box::new(Self {
                info: self.info,
                reach: Reach::of_held(self.info, types),
                nodes: RefCell::new(Vec::new()),
                ids: RefCell::new(HashMap::new()),
                awaits: HashMap::new(),
                bodies: HashMap::new(),
                polls: Polls::default(),
                held: OnceCell::new(),
            })
        })
    }

    /// The debug information behind the table.
    #[must_use]
    pub fn info(&self) -> &'d DebugInfo<'a> {
        self.info
    }

    /// The node of a type that is polled as a root or found behind a vtable: shown as a future
    /// even when nothing else says that it is one.
    #[must_use]
    pub fn root(&self, die: DieRef) -> NodeId {
        self.id(die, true)
    }

    /// The compiled node.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<Rc<Node>> {
        let (die, forced) = {
            let nodes = self.nodes.borrow();
            let slot = nodes.get(id.0 as usize)?;
            if let Some(node) = &slot.node {
                return Some(Rc::clone(node));
            }
            (slot.die, slot.forced)
        };
        let node = Rc::new(self.compile(die, forced)?);
        self.nodes.borrow_mut().get_mut(id.0 as usize)?.node = Some(Rc::clone(&node));
        Some(node)
    }

    /// The name of the type's future as a user would write it.
    #[must_use]
    pub fn future_name(&self, die: DieRef) -> Arc<str> {
        self.display_name(die, &self.info.path(die))
    }

    /// Whether a node's name is that of a type that is only ever polled as a stream.
    pub(super) fn is_stream(&self, future: &str) -> bool {
        self.reach.is_stream(base_name(future))
    }

    /// Nodes compiled so far.
    #[must_use]
    pub fn compiled(&self) -> usize {
        self.nodes
            .borrow()
            .iter()
            .filter(|slot| slot.node.is_some())
            .count()
    }

    pub(super) fn id(&self, die: DieRef, forced: bool) -> NodeId {
        let mut nodes = self.nodes.borrow_mut();
        *self
            .ids
            .borrow_mut()
            .entry((die, forced))
            .or_insert_with(|| {
                nodes.push(Slot {
                    die,
                    forced,
                    node: None,
                });
                NodeId(u32::try_from(nodes.len() - 1).unwrap_or(u32::MAX))
            })
    }

    fn compile(&self, die: DieRef, forced: bool) -> Option<Node> {
        let this = self.info.type_at(die)?;
        let path = self.info.path(die);
        let coroutine = is_coroutine(&this) && !self.reach.is_of_held();
        let future = if coroutine {
            Some(FutureName {
                path: self.display_name(die, &path),
                kind: names::coroutine_kind(this.name),
            })
        } else if self.reach.is_future(die, &this) || forced && !is_transparent(&this, &path) {
            Some(FutureName {
                path: self.display_name(die, &path),
                kind: NodeKind::Future,
            })
        } else {
            None
        };
        let shape = match (this.variants(), coroutine) {
            (Some(part), true) => self.coroutine(this.unit, &path, part),
            (Some(part), false) => self.tagged(die, &this, part),
            (None, _) => Shape::Plain {
                edges: self.own_edges(die, &this),
            },
        };
        let defined = (future.is_some() && !coroutine)
            .then(|| self.polls.place(self.info, die))
            .flatten();
        Some(Node {
            future,
            die,
            base_path: self.reach.base_path(die),
            size: this.size,
            defined,
            fields: OnceCell::new(),
            shape,
        })
    }

    /// What leads on from a type that is not an enum.
    fn own_edges(&self, die: DieRef, this: &Type<'a>) -> Vec<Edge> {
        let mut edges = Vec::new();
        match &this.kind {
            Kind::Structure { members, .. } if self.reach.holds(die, this).is_none() => {
                if !self.recognise(die, this, &mut edges) {
                    for member in members {
                        self.flatten(member.type_die, member.offset, 0, &mut edges);
                    }
                }
            }
            _ => self.flatten_shallow(die, this, 0, 0, &mut edges),
        }
        edges
    }

    fn tagged(&self, die: DieRef, this: &Type<'a>, part: &VariantPart<'a>) -> Shape {
        let mut edges = Vec::new();
        for member in this.members() {
            self.flatten(member.type_die, member.offset, 0, &mut edges);
        }
        let mut states: Vec<State> = part
            .variants
            .iter()
            .map(|variant| {
                let mut edges = Vec::new();
                self.flatten(
                    variant.member.type_die,
                    variant.member.offset,
                    0,
                    &mut edges,
                );
                State {
                    value: variant.value,
                    name: variant.member.name.into(),
                    state: NodeState::Unknown,
                    location: None,
                    edges,
                    saved: None,
                }
            })
            .collect();
        // `MaybeDone::Done`, `Map::Complete`: a future whose other variant holds the future and
        // this one does not has finished.
        if self.reach.is_future(die, this) && states.iter().any(|state| !state.edges.is_empty()) {
            for state in states.iter_mut().filter(|state| state.edges.is_empty()) {
                if matches!(
                    &*state.name,
                    "Done" | "Gone" | "Complete" | "Empty" | "Finished"
                ) {
                    state.state = NodeState::Returned;
                }
            }
        }
        Shape::Tagged {
            discriminant: self.discriminant(part),
            edges,
            states,
        }
    }

    pub(super) fn discriminant(&self, part: &VariantPart<'a>) -> Discriminant {
        part.discriminant
            .map_or(Discriminant { offset: 0, size: 0 }, |member| {
                let size = self
                    .info
                    .type_at(member.type_die)
                    .map_or(0, |this| this.size);
                Discriminant {
                    offset: member.offset,
                    size: u8::try_from(size).unwrap_or(0),
                }
            })
    }

    /// Adds the edges that lead from a value of type `die` at `offset`.
    pub(super) fn flatten(&self, die: DieRef, offset: u64, nesting: u32, edges: &mut Vec<Edge>) {
        if nesting > MAX_NESTING || edges.len() > MAX_EDGES || !self.reach.reaches(die) {
            return;
        }
        let Some(this) = self.info.type_at(die) else {
            return;
        };
        if self.reach.is_future(die, &this) || this.variants().is_some() {
            edges.push(Edge {
                offset,
                node: self.id(die, false),
                via: Via::Inline,
            });
            return;
        }
        self.flatten_shallow(die, &this, offset, nesting, edges);
    }

    /// As [`Self::flatten`], for a type that is no future and no enum itself.
    fn flatten_shallow(
        &self,
        die: DieRef,
        this: &Type<'a>,
        offset: u64,
        nesting: u32,
        edges: &mut Vec<Edge>,
    ) {
        match &this.kind {
            Kind::Pointer {
                target: Some(target),
            } if self.reach.follows(this.name) && self.reach.reaches(*target) => {
                edges.push(Edge {
                    offset,
                    node: self.id(*target, false),
                    via: Via::Pointer,
                });
            }
            Kind::Array { element, count } if *count > 0 && self.reach.reaches(*element) => {
                let stride = self
                    .info
                    .type_at(*element)
                    .map_or(0, |element| element.size);
                let via = Via::Array {
                    count: *count,
                    stride,
                };
                edges.push(Edge {
                    offset,
                    node: self.id(*element, false),
                    via,
                });
            }
            Kind::Structure { members, .. } => match self.reach.holds(die, this) {
                Some(Holds::Dyn { data, vtable }) => edges.push(Edge {
                    offset: offset.wrapping_add(data),
                    node: NodeId(u32::MAX),
                    via: Via::Dyn {
                        vtable: offset.wrapping_add(vtable),
                    },
                }),
                Some(
                    Holds::Slice {
                        data,
                        length,
                        element,
                    }
                    | Holds::Vector {
                        data,
                        length,
                        element,
                    },
                ) => {
                    let stride = self.info.type_at(element).map_or(0, |element| element.size);
                    let length = offset.wrapping_add(length);
                    edges.push(Edge {
                        offset: offset.wrapping_add(data),
                        node: self.id(element, false),
                        via: Via::Sequence { length, stride },
                    });
                }
                None => {
                    for member in members {
                        let at = offset.wrapping_add(member.offset);
                        self.flatten(member.type_die, at, nesting + 1, edges);
                    }
                }
            },
            _ => {}
        }
    }

    /// Collections that hold futures behind raw pointers.
    fn recognise(&self, die: DieRef, this: &Type<'a>, edges: &mut Vec<Edge>) -> bool {
        match &*self.reach.base_path(die) {
            "futures_util::stream::futures_unordered::FuturesUnordered" => {
                edges.extend(self.task_list(die));
                true
            }
            // It borrows the set beside the future that it polls.
            "tokio::task::local::RunUntil" => {
                if let Some(future) = this.member("future") {
                    self.flatten(future.type_die, future.offset, 0, edges);
                }
                true
            }
            "futures_util::future::future::shared::Shared" => {
                edges.extend(self.shared(this));
                true
            }
            _ => false,
        }
    }

    /// `FuturesUnordered.head_all` -> `Task.next_all` -> ..., futures-util 0.3.
    fn task_list(&self, die: DieRef) -> Option<Edge> {
        let head = self.info.field(die, "head_all")?;
        let task = self.info.pointee(head.type_die)?;
        let future = self.info.field(task, "future")?;
        let next = self.info.field(task, "next_all")?;
        let via = Via::TaskList {
            future: future.offset,
            next: next.offset,
            queued: self.info.field(task, "queued").map(|flag| flag.offset),
        };
        Some(Edge {
            offset: head.offset,
            node: self.id(future.type_die, false),
            via,
        })
    }

    /// `Shared.inner: Option<Arc<Inner>>`, futures-util 0.3.
    fn shared(&self, this: &Type<'a>) -> Option<Edge> {
        let inner = this.member("inner")?;
        let arc_inner = self.info.pointee(inner.type_die)?;
        let data = self.info.field(arc_inner, "data.future_or_output")?;
        let via = Via::Shared { data: data.offset };
        Some(Edge {
            offset: inner.offset,
            node: self.id(data.type_die, false),
            via,
        })
    }

    /// Methods of impl blocks have no readable path in the debug information (`{impl#3}`); the
    /// body's symbol has.
    fn display_name(&self, die: DieRef, path: &str) -> Arc<str> {
        if path.contains("{impl#")
            && let Some(body) = self.bodies.get(format!("Pin<&mut {path}>").as_str())
            && let Some(name) = self.info.linkage_name(*body)
        {
            let demangled = format!("{:#}", rustc_demangle::demangle(name));
            if let Some(readable) = names::of_body(&demangled, &self.info.base_path(die)) {
                return readable.into();
            }
        }
        names::readable(path).into()
    }
}

/// Wrappers that are walked through even where they are the root: `Pin<Box<F>>` of a future that
/// tokio boxed for its size.
fn is_transparent(this: &Type<'_>, path: &str) -> bool {
    matches!(this.kind, Kind::Pointer { .. })
        || matches!(base_name(path), "core::pin::Pin" | "alloc::boxed::Box")
}
