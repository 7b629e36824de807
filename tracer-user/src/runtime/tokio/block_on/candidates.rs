//! Variables of a stack that hold or lead to a future of a given type.

use std::collections::HashMap;

use gimli::X86_64;

use super::Target;
use super::activations::{Activation, scopes_of};
use crate::address::Address;
use crate::dwarf::{DebugInfo, DieRef, Kind};
use crate::memory::Memory;
use crate::unwind::{FrameView, Place, Registers, Stack};

/// Frames looked at on either side of `block_on`. Between `Runtime::block_on` and the parker there
/// are 15 in a dev build of tokio 1.54, fewer in optimised ones.
const NEIGHBOURS: usize = 16;
/// References followed from a variable: a closure's reference to a `Pin<&mut F>` needs two.
const REFERENCES: usize = 3;
/// At most so many places are tried, and so many types looked at from one variable's: real stacks
/// have a dozen of the first and few hundreds of the second, hostile files any number.
const CANDIDATES: usize = 256;
const TYPES: usize = 4096;
/// Members within members.
const NESTING: usize = 6;

/// How a variable leads to the future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    /// It holds it: it may be a copy from before it was moved.
    Value,
    /// It refers to it: where it is pinned.
    Reference,
}

/// A place where the future may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) address: Address,
    pub(super) via: Via,
    /// The variable and its function.
    pub(super) origin: String,
}

/// All places that variables lead to, and what stood in the way of others.
#[derive(Clone, Debug, Default)]
pub(super) struct Candidates {
    /// Without duplicates of one address and way.
    pub(super) found: Vec<Candidate>,
    missing: Vec<String>,
}

impl Candidates {
    pub(super) fn collect(
        activation: &Activation,
        stack: &Stack,
        target: &Target<'_, '_>,
        memory: &dyn Memory,
    ) -> Self {
        let mut this = Self::default();
        let Some(module) = target.modules.get(target.executable) else {
            return this;
        };
        let mut routes = Routes::new(target.info, activation.future_type);
        let from = activation.frame.saturating_sub(NEIGHBOURS);
        let to = (activation.frame + NEIGHBOURS).min(stack.frames.len());
        for (index, frame) in stack.frames.iter().enumerate().take(to).skip(from) {
            let view = FrameView {
                frame,
                caller: stack.frames.get(index + 1),
                bias: module.bias,
                memory,
            };
            for scope in scopes_of(frame, target).iter() {
                for variable in &scope.scope.variables {
                    for route in routes.from(variable.type_die) {
                        let name = variable.name.unwrap_or("a parameter");
                        let origin = format!("{name} of {}", short(&scope.path));
                        let size = routes.size(variable.type_die);
                        let units = target.scopes.units();
                        match view.locate(units, &scope.scope, variable, size) {
                            Ok(place) => this.follow(&place, &route, origin, memory),
                            Err(error) => this.miss(format!("{origin}: {error}")),
                        }
                    }
                }
            }
        }
        this.slots(activation, stack, target, &mut routes, memory);
        this
    }

    /// Adds the stack slots of `block_on`'s frame and its caller's that lead to the future at some
    /// other point of the function, such as the `self` of a poll that was inlined: slots stay
    /// where they are, and only the stack pointer is needed to find them.
    fn slots(
        &mut self,
        activation: &Activation,
        stack: &Stack,
        target: &Target<'_, '_>,
        routes: &mut Routes<'_, '_>,
        memory: &dyn Memory,
    ) {
        let Some(module) = target.modules.get(target.executable) else {
            return;
        };
        let frames = stack.frames.iter().skip(activation.frame).take(2);
        for frame in frames.filter(|frame| frame.module == target.executable) {
            let mut only_stack_pointer = frame.clone();
            only_stack_pointer.registers = Registers::default();
            only_stack_pointer
                .registers
                .set(X86_64::RSP, frame.registers.get(X86_64::RSP));
            let view = FrameView {
                frame: &only_stack_pointer,
                caller: None,
                bias: module.bias,
                memory,
            };
            let mut leads = |die| !routes.from(die).is_empty();
            let Some(scope) = target.scopes.everywhere(frame.link, &mut leads) else {
                continue;
            };
            for variable in &scope.variables {
                let size = routes.size(variable.type_die);
                let Ok(place) = view.locate(target.scopes.units(), &scope, variable, size) else {
                    continue;
                };
                for route in routes.from(variable.type_die) {
                    let origin = format!(
                        "the stack slot of {} in another part of the function",
                        variable.name.unwrap_or("a parameter")
                    );
                    self.follow(&place, &route, origin, memory);
                }
            }
        }
    }

    fn follow(&mut self, place: &Place, route: &[u64], origin: String, memory: &dyn Memory) {
        let Some((last, references)) = route.split_last() else {
            return;
        };
        let mut place = place.clone();
        for offset in references {
            match place.word(*offset, memory) {
                Some(address) => place = Place::Memory(Address(address)),
                None => return self.miss(format!("{origin}: not readable")),
            }
        }
        let Place::Memory(address) = place else {
            return self.miss(format!("{origin}: in registers"));
        };
        let candidate = Candidate {
            address: address.add(*last),
            via: if references.is_empty() {
                Via::Value
            } else {
                Via::Reference
            },
            origin,
        };
        let known =
            |other: &Candidate| other.address == candidate.address && other.via == candidate.via;
        if self.found.len() < CANDIDATES && !self.found.iter().any(known) {
            self.found.push(candidate);
        }
    }

    fn miss(&mut self, what: String) {
        if !self.missing.contains(&what) {
            self.missing.push(what);
        }
    }

    /// Why no variable led to the future.
    pub(super) fn why_none(&self) -> String {
        match (self.found.len(), self.missing.first()) {
            (0, None) => "no variable of its stack leads to the future".to_owned(),
            (0, Some(first)) => format!("its variables are not to be had ({first})"),
            (found, _) => format!("none of {found} variables leads to a future that waits"),
        }
    }
}

/// The last two parts of a path.
fn short(path: &str) -> &str {
    path.rmatch_indices("::")
        .nth(1)
        .map_or(path, |(at, _)| path.get(at + 2..).unwrap_or(path))
}

/// Ways from types to the future. A route is the offsets at which references are read, and last
/// the offset at which the future is.
struct Routes<'t, 'a> {
    info: &'t DebugInfo<'a>,
    future: DieRef,
    path: String,
    size: u64,
    known: HashMap<DieRef, Vec<Vec<u64>>>,
}

impl<'t, 'a> Routes<'t, 'a> {
    fn new(info: &'t DebugInfo<'a>, future: DieRef) -> Self {
        Self {
            info,
            future,
            path: info.path(future),
            size: info.type_at(future).map_or(0, |future| future.size),
            known: HashMap::new(),
        }
    }

    fn size(&self, die: DieRef) -> u64 {
        self.info.type_at(die).map_or(0, |found| found.size)
    }

    fn from(&mut self, die: DieRef) -> Vec<Vec<u64>> {
        if let Some(known) = self.known.get(&die) {
            return known.clone();
        }
        let mut routes = Vec::new();
        let mut budget = TYPES;
        self.search(die, &mut vec![0], NESTING, &mut budget, &mut routes);
        self.known.insert(die, routes.clone());
        routes
    }

    fn search(
        &self,
        die: DieRef,
        route: &mut Vec<u64>,
        nesting: usize,
        budget: &mut usize,
        routes: &mut Vec<Vec<u64>>,
    ) {
        let Some(left) = budget.checked_sub(1) else {
            return;
        };
        *budget = left;
        let Some(found) = self.info.type_at(die) else {
            return;
        };
        if self.is_future(die, found.name, found.size) {
            routes.push(route.clone());
            return;
        }
        // A type that leads to the future names it among its arguments; others are not entered.
        let Some(nesting) = nesting.checked_sub(1) else {
            return;
        };
        if !found.name.contains(&self.path) {
            return;
        }
        match &found.kind {
            Kind::Structure { members, .. } => {
                for member in members {
                    let Some(last) = route.last_mut() else { return };
                    let before = *last;
                    *last = before.wrapping_add(member.offset);
                    self.search(member.type_die, route, nesting, budget, routes);
                    if let Some(last) = route.last_mut() {
                        *last = before;
                    }
                }
            }
            Kind::Pointer {
                target: Some(target),
            } if route.len() <= REFERENCES => {
                route.push(0);
                self.search(*target, route, nesting, budget, routes);
                route.pop();
            }
            _ => {}
        }
    }

    /// The same type may be described once in each unit.
    fn is_future(&self, die: DieRef, name: &str, size: u64) -> bool {
        die == self.future
            || size == self.size
                && self.path.ends_with(name)
                && !name.is_empty()
                && self.info.path(die) == self.path
    }
}
