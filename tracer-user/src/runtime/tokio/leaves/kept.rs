//! What a future that somebody wrote by hand keeps: a descriptor that it may wait for, and a waker.
//!
//! Such a future (one over a C library, say) tells nobody what it waits for. What lies in it, and
//! behind its references, boxes and `Arc`s, is searched by type: `OwnedFd` (inside every socket and
//! file of std and mio), `Waker`. An integer member that is called like a descriptor is a guess.
//!
//! Where the search cannot follow (a raw pointer to something that may hold a waker, a collection,
//! a `dyn` whose type is not known, what other libraries keep), nothing is concluded from what was
//! not found.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};

use super::waker::{self, Registered};
use crate::address::LoadBias;
use crate::dwarf::{DebugInfo, DieRef, Kind, Type, Value, base_name};

/// Values looked at in one future; hand-written ones have a few dozen.
const MAX_VALUES: usize = 512;
/// Types looked at to know whether one may hold a waker.
const MAX_TYPES: usize = 4096;
/// `Arc`s inside one another that are followed.
const MAX_SHARED: u32 = 2;
/// A descriptor behind more than this many `Arc`s is one of the program's, not of this wait.
const MAX_SHARED_TO_DESCRIPTOR: u32 = 1;

const OWNED: [&str; 2] = [
    "std::os::fd::owned::OwnedFd",
    "std::os::fd::owned::BorrowedFd",
];

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Descriptors in types that are descriptors.
    pub owned: Vec<i32>,
    /// Numbers in members that are called like one.
    pub guessed: Vec<i32>,
    /// Places for a waker.
    pub wakers: Vec<Registered>,
    /// Something that may hold a waker was not searched.
    pub is_blind: bool,
}

/// Searches futures.
pub(super) struct Search<'d, 'a> {
    info: &'d DebugInfo<'a>,
    bias: LoadBias,
    /// Whether a value of a type may lead to a waker.
    may_hold: RefCell<HashMap<DieRef, bool>>,
}

struct At<'v, 'a> {
    value: Value<'v, 'a>,
    shared: u32,
}

impl<'d, 'a> Search<'d, 'a> {
    /// A search in a binary whose vtables were loaded with `bias`.
    pub(super) fn new(info: &'d DebugInfo<'a>, bias: LoadBias) -> Self {
        Self {
            info,
            bias,
            may_hold: RefCell::new(HashMap::new()),
        }
    }

    /// Everything that the future at `start` keeps.
    pub(super) fn of(&self, start: Value<'_, 'a>) -> Kept {
        let mut kept = Kept::default();
        let mut queue = VecDeque::from([At {
            value: start,
            shared: 0,
        }]);
        let mut seen = HashSet::new();
        while let Some(at) = queue.pop_front() {
            if seen.len() > MAX_VALUES {
                kept.is_blind = true;
                break;
            }
            if seen.insert((at.value.address, at.value.type_die)) {
                self.look(&at, &mut queue, &mut kept);
            }
        }
        kept
    }

    fn look<'v>(&self, at: &At<'v, 'a>, queue: &mut VecDeque<At<'v, 'a>>, kept: &mut Kept) {
        let value = at.value;
        let Some(this) = self.info.type_at(value.type_die) else {
            kept.is_blind = true;
            return;
        };
        let mut go = |value: Value<'v, 'a>, further: u32| {
            queue.push_back(At {
                value,
                shared: at.shared + further,
            });
        };
        match &this.kind {
            Kind::Scalar => {}
            Kind::Pointer { .. } if is_followed(this.name) => {
                if let Ok(Some(target)) = value.target() {
                    go(target, 0);
                }
            }
            Kind::Structure { members, variants } => {
                let path = self.info.known_base_path(value.type_die);
                match known(&path) {
                    Known::Nothing => return,
                    Known::Waker => {
                        kept.wakers.extend(waker::present(value));
                        return;
                    }
                    Known::Descriptor => {
                        if at.shared <= MAX_SHARED_TO_DESCRIPTOR {
                            kept.owned.extend(descriptor(value));
                        }
                        return;
                    }
                    Known::Shared if at.shared < MAX_SHARED => {
                        if let Ok(Some(target)) = value.shared() {
                            go(target, 1);
                        }
                        return;
                    }
                    Known::Shared | Known::Closed => {
                        kept.is_blind |= self.may_hold(value.type_die);
                        return;
                    }
                    Known::Optional => {
                        self.optional(value, &mut go, kept);
                        return;
                    }
                    Known::Other => {}
                }
                if this.member("vtable").is_some() && variants.is_none() && is_fat(&this) {
                    match self.dynamic(value, &this) {
                        Some(target) => go(target, 0),
                        None => kept.is_blind = true,
                    }
                    return;
                }
                for member in members {
                    let inner = Value {
                        type_die: member.type_die,
                        address: value.address.add(member.offset),
                        ..value
                    };
                    if at.shared <= MAX_SHARED_TO_DESCRIPTOR && is_called_descriptor(member.name) {
                        kept.guessed.extend(self.number(inner));
                    }
                    go(inner, 0);
                }
                if variants.is_some()
                    && let Ok((_, contents)) = value.variant()
                {
                    go(contents, 0);
                }
            }
            Kind::Pointer { .. } | Kind::Array { .. } | Kind::Union { .. } | Kind::Other => {
                self.last(value, &this, &mut go, kept);
            }
        }
    }

    /// Unions with one meaning (`MaybeUninit`, `ManuallyDrop` inside), arrays, raw pointers.
    fn last<'v>(
        &self,
        value: Value<'v, 'a>,
        this: &Type<'a>,
        go: &mut impl FnMut(Value<'v, 'a>, u32),
        kept: &mut Kept,
    ) {
        match this.kind {
            Kind::Array { element, count } if count <= MAX_VALUES as u64 => {
                let stride = self.info.type_at(element).map_or(0, |inner| inner.size);
                if !self.may_hold(element) {
                    return;
                }
                for index in 0..count {
                    let inner = Value {
                        type_die: element,
                        address: value.address.add(index.wrapping_mul(stride)),
                        ..value
                    };
                    go(inner, 0);
                }
            }
            _ => kept.is_blind |= self.may_hold(value.type_die),
        }
    }

    /// An empty `Option<Waker>` is a place for a waker, and so is that in an `Option` of more.
    fn optional<'v>(
        &self,
        value: Value<'v, 'a>,
        go: &mut impl FnMut(Value<'v, 'a>, u32),
        kept: &mut Kept,
    ) {
        match value.option() {
            Ok(Some(contents)) => go(contents, 0),
            Ok(None) => {
                if self.may_hold(value.type_die) {
                    kept.wakers.push(Registered::None);
                }
            }
            Err(_) => kept.is_blind |= self.may_hold(value.type_die),
        }
    }

    /// The value behind a `dyn` reference or box whose vtable is described.
    fn dynamic<'v>(&self, value: Value<'v, 'a>, this: &Type<'a>) -> Option<Value<'v, 'a>> {
        if !is_followed(this.name) {
            return None;
        }
        let data = this.member("data_ptr").or_else(|| this.member("pointer"))?;
        let vtable = this.member("vtable")?;
        let read = |offset: u64| value.memory.pointer(value.address.add(offset)).ok();
        let (data, vtable) = (read(data.offset)?, read(vtable.offset)?);
        Some(Value {
            type_die: self.info.type_of_vtable(self.bias.to_link(vtable).0)?,
            address: data,
            ..value
        })
    }

    /// A `c_int`.
    fn number(&self, value: Value<'_, 'a>) -> Option<i32> {
        let this = self.info.type_at(value.type_die)?;
        if !matches!(this.kind, Kind::Scalar) || this.name != "i32" {
            return None;
        }
        let word = u32::try_from(value.integer().ok()?).ok()?;
        Some(word.cast_signed()).filter(|fd| *fd >= 0)
    }

    /// Whether a waker may be reached from a type, as far as types tell: through everything, raw
    /// pointers and collections too. What is not described may hold one.
    fn may_hold(&self, die: DieRef) -> bool {
        if let Some(known) = self.may_hold.borrow().get(&die) {
            return *known;
        }
        let mut seen = HashSet::from([die]);
        let mut todo = vec![die];
        let mut found = false;
        while let Some(next) = todo.pop() {
            if seen.len() > MAX_TYPES {
                found = true;
                break;
            }
            match self.may_hold.borrow().get(&next) {
                Some(true) => found = true,
                Some(false) => continue,
                None => {
                    found = self.steps(next, &mut |step| {
                        if seen.insert(step) {
                            todo.push(step);
                        }
                    });
                }
            }
            if found {
                break;
            }
        }
        let mut known = self.may_hold.borrow_mut();
        if found {
            known.insert(die, true);
        } else {
            known.extend(seen.into_iter().map(|die| (die, false)));
        }
        found
    }

    /// Calls `step` for every type one step on; true when the type itself may be or hide a waker.
    fn steps(&self, die: DieRef, step: &mut impl FnMut(DieRef)) -> bool {
        let Some(this) = self.info.type_at(die) else {
            return true;
        };
        match &this.kind {
            Kind::Scalar => {}
            // No target: `*mut c_void`, or a function.
            Kind::Pointer { target } => match target {
                Some(target) => step(*target),
                None => return true,
            },
            Kind::Array { element, .. } => step(*element),
            Kind::Union { members } => members.iter().for_each(|member| step(member.type_die)),
            Kind::Other => return !is_function(this.name),
            Kind::Structure { members, variants } => {
                let path = self.info.known_base_path(die);
                match known(&path) {
                    Known::Nothing | Known::Descriptor => return false,
                    Known::Waker => return true,
                    _ => {}
                }
                if this.name.contains("dyn ") && this.member("vtable").is_some() {
                    return true;
                }
                if &*path == "core::ffi::c_void" || this.is_declaration {
                    return true;
                }
                members.iter().for_each(|member| step(member.type_die));
                let variants = variants.iter().flat_map(|part| &part.variants);
                variants.for_each(|variant| step(variant.member.type_die));
                // A collection's memory is that of bytes; what it holds is its argument.
                if is_of_std(&path) {
                    let arguments = this.arguments.iter();
                    arguments.for_each(|(_, argument)| step(*argument));
                }
            }
        }
        false
    }
}

/// Types that end the search, or turn it.
enum Known {
    /// Holds no waker and no descriptor, whatever its members look like.
    Nothing,
    Waker,
    Descriptor,
    Optional,
    /// `Arc`, `Rc`.
    Shared,
    /// Not looked into: what is inside is not this future's.
    Closed,
    Other,
}

fn known(base_path: &str) -> Known {
    match base_path {
        "core::task::wake::Waker" => Known::Waker,
        "core::option::Option" => Known::Optional,
        "alloc::sync::Arc" | "alloc::rc::Rc" => Known::Shared,
        path if OWNED.contains(&path) => Known::Descriptor,
        "core::marker::PhantomData"
        | "core::fmt::Arguments"
        | "alloc::string::String"
        | "std::thread::Thread"
        | "std::thread::thread::Thread"
        | "core::panic::location::Location" => Known::Nothing,
        path if path.starts_with("tokio::") && !path.ends_with("::AtomicWaker") => Known::Closed,
        path if path.starts_with("futures_") && !path.ends_with("::AtomicWaker") => {
            // Their wrappers around a future or stream of the program's are looked into.
            if path.starts_with("futures_util::") {
                Known::Other
            } else {
                Known::Closed
            }
        }
        _ => Known::Other,
    }
}

fn is_of_std(base_path: &str) -> bool {
    ["alloc::", "std::collections::", "hashbrown::"]
        .iter()
        .any(|krate| base_path.starts_with(krate))
}

fn is_function(name: &str) -> bool {
    name.starts_with("fn(") || name.contains("extern ")
}

fn is_followed(name: &str) -> bool {
    name.starts_with('&') || base_name(name) == "alloc::boxed::Box"
}

fn is_fat(this: &Type<'_>) -> bool {
    this.member("data_ptr").is_some() || this.member("pointer").is_some()
}

/// The number inside an `OwnedFd`.
fn descriptor(value: Value<'_, '_>) -> Option<i32> {
    let raw = value.field("fd").ok()?.integer().ok()?;
    let fd = u32::try_from(raw & u64::from(u32::MAX)).ok()?.cast_signed();
    (fd >= 0).then_some(fd)
}

/// Names that people give to a `RawFd`.
fn is_called_descriptor(name: &str) -> bool {
    matches!(
        name,
        "fd" | "sock" | "socket" | "sockfd" | "raw_fd" | "eventfd" | "descriptor"
    ) || name.ends_with("_fd")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_descriptors_are_guessed() {
        for name in ["fd", "sock", "raw_fd", "event_fd", "descriptor"] {
            assert!(is_called_descriptor(name), "{name}");
        }
        for name in ["id", "sockets", "fds", "offset", "_fdx"] {
            assert!(!is_called_descriptor(name), "{name}");
        }
    }
}
