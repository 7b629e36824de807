//! From thread-locals to the handles of all runtimes that have a thread inside.
//!
//! `tokio::runtime::context::CONTEXT` is set on every worker, blocking-pool thread and thread in
//! `block_on`, idle or not. A runtime without any thread inside (a current-thread runtime between
//! two calls of `block_on`) is not found: none of its tasks can run either.

use std::collections::HashMap;

use crate::address::Address;
use crate::dwarf::{DebugInfo, DieRef, Value, ValueError};
use crate::locate::{TlsSegment, tls_address};
use crate::memory::Memory;

/// The flavour of a scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheduler {
    /// Many workers.
    MultiThread,
    /// One thread in `block_on`.
    CurrentThread,
    /// A `LocalSet`.
    LocalSet,
    /// A runtime found without type information, where nothing tells.
    Unknown,
}

impl Scheduler {
    /// As the JSON contract has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MultiThread => "multi_thread",
            Self::CurrentThread => "current_thread",
            Self::LocalSet => "local_set",
            Self::Unknown => "unknown",
        }
    }
}

/// A runtime's handle (or a `LocalSet`'s shared state): the inside of its `Arc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle {
    /// Which scheduler it is of.
    pub scheduler: Scheduler,
    /// Its address.
    pub address: Address,
    /// Its type.
    pub type_die: DieRef,
}

/// The thread-local `CONTEXT` of this binary: its place in the TLS segment and its type.
#[derive(Clone, Copy, Debug)]
pub(super) struct ContextVariable {
    tls_offset: u64,
    type_die: DieRef,
}

impl ContextVariable {
    /// Finds `tokio::runtime::context::CONTEXT`. rustc describes two storages for a thread-local,
    /// for types with and without a destructor, and drops one; tokio's `Context` has none in some
    /// versions and one in others, so both may be described: `prefer` tells which offset the
    /// symbol table has.
    #[must_use]
    pub(super) fn find_all(info: &DebugInfo<'_>) -> Vec<Self> {
        let mut found: Vec<Self> = info
            .thread_locals()
            .filter(|variable| {
                info.path(variable.die)
                    .starts_with("tokio::runtime::context::CONTEXT::")
            })
            .map(|variable| Self {
                tls_offset: variable.tls_offset,
                type_die: variable.type_die,
            })
            .collect();
        // The storage with a state byte first: tokio's Context has had a destructor since 1.29.
        found.sort_by_key(|variable| {
            let name = info.name(variable.type_die).unwrap_or("");
            (!name.starts_with("Storage"), variable.tls_offset)
        });
        found
    }
}

/// What a thread's context says.
#[derive(Clone, Copy, Debug)]
pub(super) struct ThreadContext {
    /// The thread.
    pub tid: i32,
    /// The runtime it is in.
    pub handle: Handle,
}

/// What a thread's context says that it does. Of one moment only if two readings agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ThreadFacts {
    /// It has entered a runtime: a worker, or in `block_on` (`Context.runtime: EnterRuntime`).
    pub entered: bool,
    /// The id of the task that it polls, of a closure on the blocking pool, or of the blocking task
    /// that a worker is (`Context.current_task_id`).
    pub task_id: Option<u64>,
}

impl ThreadFacts {
    /// Reads what the thread with this thread pointer does. `None` where its context cannot be read,
    /// or has not these fields.
    #[must_use]
    pub(super) fn read(
        info: &DebugInfo<'_>,
        memory: &dyn Memory,
        segment: &TlsSegment,
        variables: &[ContextVariable],
        thread_pointer: Address,
    ) -> Option<Self> {
        // The storage that the linker kept is the one in which a handle was found, on some thread;
        // of one thread without a handle that is not known: the first that reads well.
        variables.iter().find_map(|variable| {
            let address = tls_address(thread_pointer, segment, variable.tls_offset)?;
            let context = Value {
                info,
                memory,
                type_die: variable.type_die,
                address,
            };
            let runtime = context.field("runtime").ok()?;
            let entered = runtime
                .part("<EnterRuntime>", |this, _| this.name == "EnterRuntime")
                .and_then(Value::variant_name)
                .ok()?;
            // `Cell<Option<Id>>`, and an `Id` is never 0.
            let task_id = context
                .field("current_task_id")
                .and_then(Value::word)
                .ok()?;
            Some(Self {
                entered: entered.starts_with("Entered"),
                task_id: (task_id != 0).then_some(task_id),
            })
        })
    }
}

/// Reads the context of each thread. Threads outside any runtime have none.
///
/// # Errors
/// When no thread's context can be read, why that of the last one cannot.
pub(super) fn of_threads<'a>(
    info: &DebugInfo<'a>,
    memory: &dyn Memory,
    segment: &TlsSegment,
    variables: &[ContextVariable],
    threads: &[(i32, Address)],
) -> Result<Vec<ThreadContext>, ValueError> {
    let mut contexts = Vec::new();
    let (mut read, mut refused) = (false, None);
    for (tid, thread_pointer) in threads {
        for variable in variables {
            let Some(address) = tls_address(*thread_pointer, segment, variable.tls_offset) else {
                continue;
            };
            let context = Value {
                info,
                memory,
                type_die: variable.type_die,
                address,
            };
            match current_handle(context) {
                Ok(Some(handle)) => {
                    contexts.push(ThreadContext { tid: *tid, handle });
                    break;
                }
                Ok(None) => read = true,
                Err(error) => refused = Some(error),
            }
        }
    }
    match refused {
        Some(error) if contexts.is_empty() && !read => Err(error),
        _ => Ok(contexts),
    }
}

/// `Context.current.handle: RefCell<Option<scheduler::Handle>>`; `Context.handle` before tokio 1.29.
fn current_handle(context: Value<'_, '_>) -> Result<Option<Handle>, ValueError> {
    let handle = context
        .field("current.handle")
        .or_else(|error| context.field("handle").map_err(|_| error))?;
    let Some(handle) = handle.option()? else {
        return Ok(None);
    };
    let (variant, contents) = handle.variant()?;
    let scheduler = match variant {
        "CurrentThread" => Scheduler::CurrentThread,
        "MultiThread" => Scheduler::MultiThread,
        _ => return Ok(None),
    };
    let Some(inner) = contents.shared()? else {
        return Ok(None);
    };
    Ok(Some(Handle {
        scheduler,
        address: inner.address,
        type_die: inner.type_die,
    }))
}

/// Each handle once, with the threads inside, in order of the first.
#[must_use]
pub(super) fn distinct(contexts: &[ThreadContext]) -> Vec<(Handle, Vec<i32>)> {
    let mut order: Vec<(Handle, Vec<i32>)> = Vec::new();
    let mut places = HashMap::new();
    for context in contexts {
        let place = *places.entry(context.handle.address).or_insert_with(|| {
            order.push((context.handle, Vec::new()));
            order.len() - 1
        });
        if let Some((_, threads)) = order.get_mut(place) {
            threads.push(context.tid);
        }
    }
    order
}
