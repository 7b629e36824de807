//! Whom a registered waker wakes.
//!
//! A waker of tokio's tasks has the task's `Header` as its data (`runtime/task/waker.rs`, tokio 1.0 to
//! 1.54.1), so it is told by what lies there, and needs no symbol: the `Header` of the task that
//! waits, or of another one. A waker with any other data (of a `FuturesUnordered`, a `JoinSet`, a
//! thread in `block_on`, a hand-written executor) leads to its task by ways that are not known here;
//! nothing is said of it then.

use crate::address::{Address, LoadBias};
use crate::dwarf::{DebugInfo, Value, ValueError};
use crate::memory::Memory;
use crate::rebuild::tree::WaitsFor;
use crate::runtime::tokio::layout::TaskLayout;

/// A place where a primitive keeps the waker of who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Registered {
    /// It is empty.
    None,
    /// It holds a waker with this data.
    Waker(Address),
}

/// The contents of an `Option<Waker>` somewhere in `place`.
///
/// # Errors
/// There is none in it, or it cannot be read.
pub(super) fn optional(place: Value<'_, '_>) -> Result<Registered, ValueError> {
    place
        .option()?
        .map_or(Ok(Registered::None), |waker| present(waker))
}

/// A `Waker` that is known to be there.
///
/// # Errors
/// As [`optional`].
pub(super) fn present(place: Value<'_, '_>) -> Result<Registered, ValueError> {
    let waker = place.part_called("core::task::wake::Waker")?;
    // `Waker { waker: RawWaker { data, vtable } }`.
    let data = Address(waker.field("data")?.word()?);
    Ok(Registered::Waker(data))
}

/// An `AtomicWaker`, tokio's or futures': `None` while somebody takes or changes the waker in it
/// (its `state` is 0 only when nobody does, in both).
pub(super) fn atomic(place: Value<'_, '_>) -> Option<Registered> {
    let state = || place.field("state").and_then(Value::word).ok();
    let before = state()?;
    let registered = optional(place.field("waker").ok()?).ok()?;
    (before == 0 && state()? == 0).then_some(registered)
}

/// The task whose leaves are read, and what is needed to recognise others.
#[derive(Clone, Copy)]
pub(super) struct Waiting<'w, 'a> {
    /// Its `Header`; `None` for a root of `block_on`.
    pub task: Option<Address>,
    /// Debug information.
    pub info: &'w DebugInfo<'a>,
    /// Where the executable was loaded.
    pub bias: LoadBias,
    /// Where things lie in a task.
    pub layout: TaskLayout,
}

impl Waiting<'_, '_> {
    /// Adds the detail `waker` (and `waker_of`) where it is known.
    #[must_use]
    pub(super) fn told(
        &self,
        waits_for: WaitsFor,
        registered: Option<Registered>,
        memory: &dyn Memory,
    ) -> WaitsFor {
        match registered {
            None => waits_for,
            Some(Registered::None) => waits_for.with("waker", "none"),
            Some(Registered::Waker(data)) if Some(data) == self.task => {
                waits_for.with("waker", "own")
            }
            // Without a `Header` of its own a root has a waker that is no task's, and one that is
            // a task's was left by somebody else.
            Some(Registered::Waker(data))
                if self.layout.is_task(self.info, self.bias, memory, data) =>
            {
                let other = waits_for.with("waker", "other");
                match self.layout.task_id(memory, data) {
                    Ok(Some(id)) => other.with("waker_of", format!("tokio/{id}")),
                    _ => other,
                }
            }
            Some(Registered::Waker(_)) => waits_for,
        }
    }
}

/// Adds the details `ready` and `ready_because`: `because` says why it is ready, `None` within says
/// that it is not, `None` outside that it is not known.
#[must_use]
pub(super) fn ready(waits_for: WaitsFor, because: Option<Option<String>>) -> WaitsFor {
    match because {
        None => waits_for,
        Some(None) => waits_for.with("ready", false),
        Some(Some(because)) => waits_for.with("ready", true).with("ready_because", because),
    }
}
