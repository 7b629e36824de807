//! Which saved locals of an await lead to something that is worth a look, by their types.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use super::flags::{self, Variant};
use crate::dwarf::{DieRef, Kind, Member, Type};
use crate::rebuild::tree::{NodeKind, NodeState};
use crate::walk::compile::Futures;
use crate::walk::reach::is_coroutine;
use crate::walk::table::{Edge, Node, Shape, State, Via};

/// Structures inside structures; a type that contains itself is hostile.
const MAX_NESTING: u32 = 64;

/// The members of one variant of a coroutine, and what of them is kept, when somebody asked.
#[derive(Clone, Debug)]
pub(in crate::walk) struct Saved {
    /// The variant's structure.
    pub die: DieRef,
    /// Where it begins in the coroutine.
    pub offset: u64,
    keeps: OnceCell<Rc<Keeps>>,
}

impl Saved {
    /// Nothing is known yet but where the members are described.
    pub(in crate::walk) const fn new(die: DieRef, offset: u64) -> Self {
        Self {
            die,
            offset,
            keeps: OnceCell::new(),
        }
    }
}

/// What the saved locals of one await, or the fields of a hand-written future, may keep.
#[derive(Clone, Debug, Default)]
pub(in crate::walk) struct Keeps {
    /// Those that lead to what others wait for.
    pub held: Vec<HeldLocal>,
    /// Those that lead to futures.
    pub futures: Vec<KeptLocal>,
}

/// A local that leads to what others wait for.
#[derive(Clone, Debug)]
pub(in crate::walk) struct HeldLocal {
    pub name: Arc<str>,
    /// From the start of the body, in the table of held types.
    pub edges: Vec<Edge>,
    /// Offsets of the drop flags that may be its.
    pub flags: Vec<u64>,
    /// It lies where an argument was passed, which an async fn moves into a local of its own.
    pub is_argument: bool,
}

/// A local that leads to futures.
#[derive(Clone, Debug)]
pub(in crate::walk) struct KeptLocal {
    pub name: Arc<str>,
    /// From the start of the body.
    pub edges: Vec<Edge>,
    /// Offsets of the drop flags that may be its.
    pub flags: Vec<u64>,
    /// No other local of this await can own those flags.
    pub is_alone: bool,
    /// As in [`HeldLocal`].
    pub is_argument: bool,
    /// It is a coroutine that lies in the body itself.
    pub is_pinned: bool,
    /// It is a reference: followed only into the body itself, which owns what `pin!` pinned.
    pub is_reference: bool,
}

impl<'a> Futures<'_, 'a> {
    /// What the state of `node` that is active keeps; `None` for what is not a coroutine's.
    pub(in crate::walk) fn keeps(
        &self,
        held: &Self,
        node: &Node,
        state: &State,
    ) -> Option<Rc<Keeps>> {
        let saved = state.saved.as_ref()?;
        let keeps = saved
            .keeps
            .get_or_init(|| Rc::new(self.compile_keeps(held, node, state, saved)));
        Some(Rc::clone(keeps))
    }

    fn compile_keeps(&self, held: &Self, node: &Node, state: &State, saved: &Saved) -> Keeps {
        let mut keeps = Keeps::default();
        let Some(this) = self.info.type_at(saved.die) else {
            return keeps;
        };
        let Shape::Tagged {
            discriminant,
            states,
            ..
        } = &node.shape
        else {
            return keeps;
        };
        let all: Vec<(NodeState, Option<u64>, u64, Rc<Type<'a>>)> = states
            .iter()
            .filter_map(|other| {
                let saved = other.saved.as_ref()?;
                let this = self.info.type_at(saved.die)?;
                Some((other.state, other.value, saved.offset, this))
            })
            .collect();
        let variants = |wanted: NodeState| {
            all.iter().filter(move |(state, ..)| *state == wanted).map(
                |(_, value, offset, this)| {
                    let variant = Variant {
                        this,
                        offset: *offset,
                    };
                    (*value, variant)
                },
            )
        };
        let earlier: Vec<Variant<'_, 'a>> = variants(NodeState::Suspended)
            .filter(|(value, _)| *value < state.value)
            .map(|(_, variant)| variant)
            .collect();
        let active = Variant {
            this: &this,
            offset: saved.offset,
        };
        let owners = active
            .members()
            .filter(|(member, _)| self.may_own_a_flag(member))
            .count();
        let is_fn = node
            .future
            .as_ref()
            .is_some_and(|future| future.kind == NodeKind::AsyncFn);
        for (member, offset) in active.members() {
            if member.name == "__awaitee" {
                continue;
            }
            let leads_to_held = held.reach.reaches(member.type_die);
            let leads_to_future =
                state.state == NodeState::Suspended && self.reach.reaches(member.type_die);
            if !leads_to_held && !leads_to_future {
                continue;
            }
            let path = self.info.path(member.type_die);
            let same = |other: &Member<'a>| {
                other.name == member.name && self.info.path(other.type_die) == path
            };
            // An async fn moves its arguments into locals first (rustc 1.95): where a local of this
            // name and type lies elsewhere, what is here is empty.
            let is_argument = is_fn
                && state.state == NodeState::Suspended
                && variants(NodeState::Unresumed).any(|(_, variant)| {
                    let mut members = variant.members();
                    members.any(|(other, at)| at == offset && same(other))
                });
            let has_local = || {
                variants(NodeState::Suspended).any(|(_, variant)| {
                    let mut members = variant.members();
                    members.any(|(other, at)| at != offset && same(other))
                })
            };
            if is_argument && has_local() {
                continue;
            }
            let local = (member.name, offset);
            let tag = discriminant.offset;
            let flags = flags::of_local(self.info, &active, &earlier, tag, local);
            if leads_to_held {
                let mut edges = Vec::new();
                held.flatten(member.type_die, offset, 0, &mut edges);
                keeps.held.push(HeldLocal {
                    name: member.name.into(),
                    edges,
                    flags: flags.clone(),
                    is_argument,
                });
            }
            if leads_to_future {
                let is_reference = self.is_reference(member.type_die);
                let mut edges = Vec::new();
                if is_reference {
                    self.flatten(member.type_die, offset, 0, &mut edges);
                } else {
                    self.owned_edges(member.type_die, offset, 0, &mut edges);
                }
                if !edges.is_empty() {
                    keeps.futures.push(KeptLocal {
                        name: member.name.into(),
                        edges,
                        flags,
                        is_alone: owners == 1,
                        is_argument,
                        is_pinned: is_reference
                            || self
                                .info
                                .type_at(member.type_die)
                                .is_some_and(|this| is_coroutine(&this)),
                        is_reference,
                    });
                }
            }
        }
        // A reference last: what it leads to may be another local's.
        keeps.futures.sort_by_key(|local| local.is_reference);
        keeps
    }

    /// What the fields of a future that is no async body hold.
    pub(in crate::walk) fn field_keeps(held: &Self, die: DieRef) -> Vec<HeldLocal> {
        let Some(this) = held.info.type_at(die) else {
            return Vec::new();
        };
        if !held.reach.reaches(die) || is_coroutine(&this) {
            return Vec::new();
        }
        let local = |name: &str, edges: Vec<Edge>| HeldLocal {
            name: name.into(),
            edges,
            flags: Vec::new(),
            is_argument: false,
        };
        if this.variants().is_some() || held.reach.is_future(die, &this) {
            let edge = Edge {
                offset: 0,
                node: held.id(die, false),
                via: Via::Inline,
            };
            return vec![local("", vec![edge])];
        }
        let mut locals = Vec::new();
        for member in this.members() {
            let mut edges = Vec::new();
            held.flatten(member.type_die, member.offset, 0, &mut edges);
            if !edges.is_empty() {
                locals.push(local(member.name, edges));
            }
        }
        locals
    }

    /// Whether rustc may keep a drop flag for a local: it owns something. Numbers, references and
    /// raw pointers do not; of a structure that is all that is known.
    fn may_own_a_flag(&self, member: &Member<'a>) -> bool {
        member.name != "__awaitee"
            && self.info.type_at(member.type_die).is_some_and(|this| {
                matches!(this.kind, Kind::Structure { .. })
                    && this.size > 0
                    && !this.name.starts_with(['&', '*'])
                    && !this.name.starts_with("Pin<&")
                    || this.name.starts_with("alloc::boxed::Box<")
            })
    }

    fn is_reference(&self, die: DieRef) -> bool {
        self.info
            .name(die)
            .is_some_and(|name| name.starts_with('&') || name.starts_with("Pin<&"))
    }

    /// As `flatten`, without what is only referred to.
    fn owned_edges(&self, die: DieRef, offset: u64, nesting: u32, edges: &mut Vec<Edge>) {
        if nesting > MAX_NESTING || !self.reach.reaches(die) {
            return;
        }
        let Some(this) = self.info.type_at(die) else {
            return;
        };
        if this.name.starts_with('&') {
            return;
        }
        let is_node = self.reach.is_future(die, &this) || this.variants().is_some();
        match &this.kind {
            Kind::Structure { members, .. }
                if !is_node && self.reach.holds(die, &this).is_none() =>
            {
                for member in members {
                    let at = offset.wrapping_add(member.offset);
                    self.owned_edges(member.type_die, at, nesting + 1, edges);
                }
            }
            _ => self.flatten(die, offset, nesting, edges),
        }
    }
}
