//! Which types are futures, and which lead to one.
//!
//! A type is a future when something polls it: it has a `Future::poll` (or `Stream::poll_next`)
//! in the debug information, abstract ones included, it is the containing type of an
//! `as Future` vtable, or it is awaited. Generic types count with any arguments, for a poll that
//! was inlined everywhere for one argument list may survive for another.

use std::cell::RefCell;
use std::collections::HashSet;

use crate::dwarf::{DebugInfo, DieRef, Kind, Type};

/// Wrappers that are awaited as what they hold, and are therefore never shown.
const TRANSPARENT: [&str; 4] = [
    "core::pin::Pin",
    "alloc::boxed::Box",
    "core::option::Option",
    "core::mem::manually_drop::ManuallyDrop",
];

/// Types that hold wakers or handles, never a future that their owner polls.
const NEVER: [&str; 5] = [
    "core::task::wake::Context",
    "core::task::wake::Waker",
    "tokio::runtime::task::join::JoinHandle",
    "tokio::runtime::task::abort::AbortHandle",
    "core::marker::PhantomData",
];

/// How a structure of the standard library holds what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// A fat pointer to a `dyn` type whose trait polls.
    Dyn { data: u64, vtable: u64 },
    /// A fat pointer to a slice.
    Slice {
        data: u64,
        length: u64,
        element: DieRef,
    },
    /// A vector.
    Vector {
        data: u64,
        length: u64,
        element: DieRef,
    },
}

/// What is known about types as futures.
pub(super) struct Reach<'d, 'a> {
    info: &'d DebugInfo<'a>,
    bases: HashSet<String>,
    /// Types that are polled as streams and not as futures.
    streams: HashSet<String>,
    /// Not futures are looked for, but values of `bases`, and what owns them.
    is_of_held: bool,
    base_paths: RefCell<foldhash::HashMap<DieRef, std::sync::Arc<str>>>,
    known: RefCell<foldhash::HashMap<DieRef, bool>>,
}

impl<'d, 'a> Reach<'d, 'a> {
    pub(super) fn new(info: &'d DebugInfo<'a>) -> Self {
        let mut bases = HashSet::new();
        let mut streams = HashSet::new();
        for function in info.poll_functions() {
            if let Some(name) = function
                .receiver
                .strip_prefix("Pin<&mut ")
                .and_then(|name| name.strip_suffix('>'))
            {
                let set = if function.name.starts_with("poll_next") {
                    &mut streams
                } else {
                    &mut bases
                };
                set.insert(base_of(name).to_owned());
            }
        }
        for vtable in info.vtables() {
            let future = vtable
                .name
                .strip_suffix(" as core::future::future::Future>::{vtable}")
                .and_then(|name| name.strip_prefix('<'));
            bases.extend(future.map(|name| base_of(name).to_owned()));
        }
        for (_, awaitee) in info.awaitees() {
            bases.insert(info.base_path(awaitee.type_die));
        }
        for wrapper in TRANSPARENT {
            bases.remove(wrapper);
            streams.remove(wrapper);
        }
        streams.retain(|stream| !bases.contains(stream));
        Self {
            info,
            bases,
            streams,
            is_of_held: false,
            base_paths: RefCell::default(),
            known: RefCell::default(),
        }
    }

    /// For values of the types with these paths, and what owns them. An async body is not entered:
    /// what it holds depends on where it stands.
    pub(super) fn of_held(info: &'d DebugInfo<'a>, types: &[&str]) -> Self {
        Self {
            info,
            bases: types.iter().map(|path| (*path).to_owned()).collect(),
            streams: HashSet::new(),
            is_of_held: true,
            base_paths: RefCell::default(),
            known: RefCell::default(),
        }
    }

    pub(super) const fn is_of_held(&self) -> bool {
        self.is_of_held
    }

    /// Whether a pointer of a type with this name is followed.
    pub(super) fn follows(&self, name: &str) -> bool {
        is_followed(name) && !(self.is_of_held && name.starts_with('&'))
    }

    pub(super) fn base_path(&self, die: DieRef) -> std::sync::Arc<str> {
        if let Some(path) = self.base_paths.borrow().get(&die) {
            return std::sync::Arc::clone(path);
        }
        let path: std::sync::Arc<str> = self.info.base_path(die).into();
        self.base_paths
            .borrow_mut()
            .insert(die, std::sync::Arc::clone(&path));
        path
    }

    /// Whether the type is itself polled.
    pub(super) fn is_future(&self, die: DieRef, this: &Type<'a>) -> bool {
        is_coroutine(this) && !self.is_of_held
            || matches!(this.kind, Kind::Structure { .. })
                && !this.name.starts_with(['&', '*', '('])
                && {
                    let path = self.base_path(die);
                    self.bases.contains(&*path) || self.streams.contains(&*path)
                }
    }

    /// Whether the type with this path is polled as a stream and not as a future.
    pub(super) fn is_stream(&self, base_path: &str) -> bool {
        self.streams.contains(base_path)
    }

    /// Whether a walk from the type can come to a future.
    pub(super) fn reaches(&self, die: DieRef) -> bool {
        if let Some(known) = self.known.borrow().get(&die) {
            return *known;
        }
        let mut seen = HashSet::from([die]);
        let mut todo = vec![die];
        let mut found = false;
        while let Some(next) = todo.pop() {
            if let Some(known) = self.known.borrow().get(&next).copied() {
                if known {
                    found = true;
                    break;
                }
                continue;
            }
            let Some(this) = self.info.type_at(next) else {
                continue;
            };
            if self.is_future(next, &this) {
                found = true;
                break;
            }
            let stop = self.steps(next, &this, &mut |step| {
                if seen.insert(step) {
                    todo.push(step);
                }
            });
            if stop {
                found = true;
                break;
            }
        }
        let mut known = self.known.borrow_mut();
        if found {
            known.insert(die, true);
        } else {
            // Everything seen was searched to its end without a future.
            known.extend(seen.into_iter().map(|die| (die, false)));
        }
        found
    }

    /// Calls `step` for every type one step on; true when a future is reached by this step alone
    /// (a `dyn Future`).
    fn steps(&self, die: DieRef, this: &Type<'a>, step: &mut impl FnMut(DieRef)) -> bool {
        match &this.kind {
            Kind::Pointer { target } => {
                if let Some(target) = target
                    && self.follows(this.name)
                {
                    step(*target);
                }
            }
            Kind::Array { element, count } if *count > 0 => step(*element),
            Kind::Structure { members, variants } => {
                if self.is_of_held && is_coroutine(this) || NEVER.contains(&&*self.base_path(die)) {
                    return false;
                }
                match self.holds(die, this) {
                    Some(Holds::Dyn { .. }) => return true,
                    Some(Holds::Slice { element, .. } | Holds::Vector { element, .. }) => {
                        step(element);
                        return false;
                    }
                    None => {}
                }
                members.iter().for_each(|member| step(member.type_die));
                for variant in variants.iter().flat_map(|part| &part.variants) {
                    step(variant.member.type_die);
                }
            }
            _ => {}
        }
        false
    }

    /// Recognises fat pointers and vectors.
    pub(super) fn holds(&self, die: DieRef, this: &Type<'a>) -> Option<Holds> {
        let data = this.member("data_ptr").or_else(|| this.member("pointer"));
        if let (Some(data), Some(vtable)) = (data, this.member("vtable")) {
            let polls = !self.is_of_held && is_followed(this.name) && is_polling_trait(this.name);
            return polls.then_some(Holds::Dyn {
                data: data.offset,
                vtable: vtable.offset,
            });
        }
        if let (Some(data), Some(length)) = (data, this.member("length")) {
            let Kind::Pointer {
                target: Some(element),
            } = self.info.type_at(data.type_die)?.kind
            else {
                return None;
            };
            return self.follows(this.name).then_some(Holds::Slice {
                data: data.offset,
                length: length.offset,
                element,
            });
        }
        if &*self.base_path(die) == "alloc::vec::Vec" {
            let buffer = this.member("buf")?;
            let data = self.info.field_of_type(buffer.type_die, |inner, _| {
                matches!(inner.kind, Kind::Pointer { .. })
            })?;
            return Some(Holds::Vector {
                data: buffer.offset.wrapping_add(data.offset),
                length: this.member("len")?.offset,
                element: this.argument("T")?,
            });
        }
        None
    }
}

/// Whether the type is a coroutine: rustc's discriminant `__state` is the reliable mark.
pub(super) fn is_coroutine(this: &Type<'_>) -> bool {
    this.variants()
        .and_then(|part| part.discriminant)
        .is_some_and(|discriminant| discriminant.name == "__state")
}

/// References and boxes are followed; raw pointers are not, for nobody says what they own.
pub(super) fn is_followed(name: &str) -> bool {
    name.starts_with('&') || name.starts_with("alloc::boxed::Box<") || name.starts_with("Box<")
}

/// Whether the trait of a `dyn` type is one whose objects are polled.
fn is_polling_trait(name: &str) -> bool {
    name.contains("dyn ") && (name.contains("Future") || name.contains("Stream"))
}

/// The path of a type name without generic arguments; `<` of a qualified path is kept.
fn base_of(name: &str) -> &str {
    if name.starts_with(['&', '*', '(', '[']) {
        return name;
    }
    name.split_once('<').map_or(name, |(base, _)| base)
}
