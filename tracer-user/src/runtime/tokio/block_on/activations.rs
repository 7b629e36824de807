//! Activations of `block_on` on a stack.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::super::roots::unboxed;
use super::Target;
use crate::address::LinkAddress;
use crate::dwarf::{DieRef, Function, Scope, Scopes, Units, base_name};
use crate::unwind::{Frame, Stack, StackEnd};

/// A scope with its function's names.
#[derive(Clone, Debug)]
pub(super) struct NamedScope<'a> {
    pub(super) scope: Scope<'a>,
    pub(super) function: Function<'a>,
    /// The demangled linkage name, without its hash; empty where there is none.
    pub(super) path: String,
}

impl NamedScope<'_> {
    /// The function's name without generic arguments.
    pub(super) fn base(&self) -> &str {
        self.function.name.map_or("", base_name)
    }
}

/// Scopes by address: the threads of a process wait in few places.
pub struct ScopeCache<'u, 'a> {
    scopes: Scopes<'u, 'a>,
    known: RefCell<HashMap<LinkAddress, Rc<[NamedScope<'a>]>>>,
}

impl<'u, 'a> ScopeCache<'u, 'a> {
    /// An empty cache over the functions that `units` describe.
    #[must_use]
    pub fn new(units: &'u Units<'a>) -> Self {
        Self {
            scopes: Scopes::new(units),
            known: RefCell::default(),
        }
    }

    pub(super) fn units(&self) -> &'u Units<'a> {
        self.scopes.units()
    }

    /// See [`Scopes::everywhere`].
    pub(super) fn everywhere(
        &self,
        address: LinkAddress,
        wanted: &mut dyn FnMut(DieRef) -> bool,
    ) -> Option<Scope<'a>> {
        self.scopes.everywhere(address, wanted)
    }

    /// The functions around an address, innermost first.
    pub(super) fn at(&self, address: LinkAddress) -> Rc<[NamedScope<'a>]> {
        if let Some(known) = self.known.borrow().get(&address) {
            return Rc::clone(known);
        }
        let found: Rc<[NamedScope<'a>]> = self
            .scopes
            .at(address)
            .into_iter()
            .map(|scope| {
                let function = self.scopes.function(scope.function);
                let path = function.linkage_name.map_or_else(String::new, |name| {
                    format!("{:#}", rustc_demangle::demangle(name))
                });
                NamedScope {
                    scope,
                    function,
                    path,
                }
            })
            .collect();
        self.known.borrow_mut().insert(address, Rc::clone(&found));
        found
    }
}

/// One `block_on` on a stack.
#[derive(Clone, Debug)]
pub(super) struct Activation {
    /// The type of its future.
    pub(super) future_type: DieRef,
    /// The position of its frame on the stack.
    pub(super) frame: usize,
    pub(super) scheduler: &'static str,
    pub(super) parked: bool,
}

/// The scopes of a frame, if it is one of the executable.
pub(super) fn scopes_of<'a>(frame: &Frame, target: &Target<'_, 'a>) -> Rc<[NamedScope<'a>]> {
    if frame.module == target.executable {
        target.scopes.at(frame.link)
    } else {
        Rc::new([])
    }
}

/// Every `block_on` of the stack, innermost first.
pub(super) fn find(stack: &Stack, target: &Target<'_, '_>) -> Vec<Activation> {
    let mut found: Vec<Activation> = Vec::new();
    let mut parked = false;
    for (index, frame) in stack.frames.iter().enumerate() {
        for scope in scopes_of(frame, target).iter() {
            // `park`, `park_timeout`, `park_internal`, `park_yield` of tokio's parkers.
            parked |= scope.base().starts_with("park") && is_of_tokio(&scope.path);
            if let Some(kind) = kind_of(scope)
                && let Some(&(_, future_type)) = scope
                    .function
                    .arguments
                    .iter()
                    .find(|(name, _)| *name == "F")
            {
                found.push(Activation {
                    // Larger than 16 KiB (2 KiB in debug builds) it is boxed; the user means it.
                    future_type: unboxed(target.info, future_type),
                    frame: index,
                    scheduler: kind,
                    // What is further out waits for this one.
                    parked: std::mem::take(&mut parked),
                });
            }
            if let Some(inner) = found.last_mut()
                && scope.base() == "block_on"
            {
                // A parker says nothing about its caller: a runtime's own `block_on` around does.
                if inner.scheduler == UNKNOWN {
                    inner.scheduler = runtime_of(&scope.path);
                }
                // A second thread in `block_on` of a current-thread runtime polls its future beside
                // a notification, in a `PollFn` of tokio's own. The user's future is this one.
                if is_method(&scope.path, "CurrentThread", "block_on")
                    && let Some(users) = argument_f(scope)
                {
                    inner.future_type = unboxed(target.info, users);
                }
            }
        }
    }
    found
}

/// Whether the stack goes back to where Rust starts a thread, or the C library does: then nothing
/// of interest is missing, wherever it ends.
pub(super) fn is_whole(stack: &Stack, target: &Target<'_, '_>) -> bool {
    let starts_thread = |link| {
        target.scopes.at(link).iter().any(|scope| {
            scope.path.contains("std::rt::lang_start") || scope.base() == "thread_start"
        })
    };
    let last = match &stack.end {
        StackEnd::Outermost => return true,
        StackEnd::NoFrame {
            module, address, ..
        } if *module == target.executable => Some(*address),
        _ => None,
    };
    let executable = stack
        .frames
        .iter()
        .filter(|frame| frame.module == target.executable);
    executable
        .map(|frame| frame.link)
        .chain(last)
        .any(starts_thread)
}

const UNKNOWN: &str = "unknown";

fn is_of_tokio(path: &str) -> bool {
    path.trim_start_matches('<').starts_with("tokio::")
}

/// The scheduler of a function that is one of the two innermost `block_on`s.
fn kind_of(scope: &NamedScope<'_>) -> Option<&'static str> {
    if scope.base() != "block_on" {
        None
    } else if is_method(&scope.path, "CoreGuard", "block_on") {
        Some("current_thread")
    } else if is_method(&scope.path, "CachedParkThread", "block_on") {
        Some(UNKNOWN)
    } else {
        None
    }
}

/// Whether a path is that of tokio's `owner::method`: so in legacy names, in v0 ones
/// `<tokio::..::owner>::method::<F>`.
fn is_method(path: &str, owner: &str, method: &str) -> bool {
    is_of_tokio(path)
        && (path.contains(&format!("::{owner}::{method}"))
            || path.contains(&format!("::{owner}>::{method}")))
}

/// The type of the future that a `block_on` is made for.
fn argument_f(scope: &NamedScope<'_>) -> Option<DieRef> {
    let arguments = &scope.function.arguments;
    let (_, die) = arguments.iter().find(|(name, _)| *name == "F")?;
    Some(*die)
}

fn runtime_of(path: &str) -> &'static str {
    if !is_of_tokio(path) {
        UNKNOWN
    } else if path.contains("::multi_thread::") || path.contains("::thread_pool::") {
        "multi_thread"
    } else if path.contains("::current_thread::") || path.contains("::basic_scheduler::") {
        "current_thread"
    } else {
        UNKNOWN
    }
}
