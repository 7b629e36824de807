//! A runtime's lists of its tasks.
//!
//! `OwnedTasks` is a number of shards, each a mutex around an intrusive list (one shard for a
//! current-thread runtime; before tokio 1.35 one mutex around one list), with a count beside.
//! The runtime changes the lists while they are read, and a task that is unlinked under us leads
//! astray: every header is validated, and the number listed is compared with the count by the
//! caller, who reads again when they differ.

use std::collections::HashSet;

use crate::address::Address;
use crate::dwarf::{Value, ValueError, base_name};
use crate::memory::Memory;

use super::layout::{StateWord, TaskLayout};

/// More tasks than any process holds: a bound on a list that hostile memory makes endless.
const MAX_TASKS: usize = 20_000_000;
/// tokio's own limit of shards is 65,536.
const MAX_SHARDS: u64 = 65_536;

/// What the lists of one runtime held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// Headers of tasks, in list order.
    pub headers: Vec<Address>,
    /// The runtime's own counter, where it has one.
    pub counted: Option<u64>,
    /// Places where a list led astray: an entry that is not a task, or a list that never ended.
    pub broken: u64,
}

impl Listing {
    /// Whether nothing contradicts that this is every task.
    #[must_use]
    pub(super) fn is_consistent(&self) -> bool {
        self.broken == 0
            && self
                .counted
                .is_none_or(|counted| counted == self.headers.len() as u64)
    }
}

/// Lists the tasks of `owned`, an `OwnedTasks` or `LocalOwnedTasks`.
///
/// # Errors
/// The structure has no list that we know, or its top is not readable.
pub(super) fn list(owned: Value<'_, '_>, layout: &TaskLayout) -> Result<Listing, ValueError> {
    let mut listing = Listing {
        counted: owned.field("count").and_then(Value::word).ok(),
        ..Listing::default()
    };
    let mut seen = HashSet::new();
    let is_list = |name: &str| base_name(name) == "LinkedList";
    let in_shards = owned.field("lists").and_then(Value::elements);
    match in_shards {
        Ok((first, shards, stride)) => {
            for shard in 0..shards.min(MAX_SHARDS) {
                let at = Value {
                    address: first.address.add(shard.wrapping_mul(stride)),
                    ..first
                };
                let head = at
                    .part("LinkedList", |this, _| is_list(this.name))?
                    .field("head")?;
                walk(head, layout, &mut seen, &mut listing);
            }
        }
        Err(_) => {
            let head = owned
                .part("LinkedList", |this, _| is_list(this.name))?
                .field("head")?;
            walk(head, layout, &mut seen, &mut listing);
        }
    }
    Ok(listing)
}

fn walk(
    head: Value<'_, '_>,
    layout: &TaskLayout,
    seen: &mut HashSet<Address>,
    listing: &mut Listing,
) {
    let memory = head.memory;
    let Ok(first) = head.word() else {
        listing.broken += 1;
        return;
    };
    let mut header = Address(first);
    while !header.is_null() {
        let next = if seen.len() < MAX_TASKS && seen.insert(header) {
            next(memory, layout, header)
        } else {
            None
        };
        let Some(next) = next else {
            listing.broken += 1;
            return;
        };
        listing.headers.push(header);
        header = next;
    }
}

/// The next task in the list, when `header` looks like a task at all.
fn next(memory: &dyn Memory, layout: &TaskLayout, header: Address) -> Option<Address> {
    let state = StateWord(memory.u64(header.add(layout.state)).ok()?);
    if !state.is_plausible() {
        return None;
    }
    let vtable = memory.pointer(header.add(layout.vtable)).ok()?;
    let trailer = memory.u64(vtable.add(layout.vtable_trailer_offset)).ok()?;
    if trailer >= 1 << 32 {
        return None;
    }
    memory
        .pointer(header.add(trailer).add(layout.trailer_next))
        .ok()
}

/// The type `OwnedTasks<..>` inside a handle: `shared.owned`.
///
/// # Errors
/// The handle has no such field.
pub(super) fn owned_of_handle<'v, 'a>(handle: Value<'v, 'a>) -> Result<Value<'v, 'a>, ValueError> {
    handle
        .field("shared.owned")
        .or_else(|_| handle.field("owned"))
}
