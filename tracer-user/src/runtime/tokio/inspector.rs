//! The inspector: a process's tasks at this moment.

mod parts;
mod stacks;

use foldhash::{HashSet, HashSetExt as _};
use rayon::prelude::*;
use std::cell::OnceCell;
use std::collections::HashMap;

use crate::address::{Address, LinkAddress, LoadBias};
use crate::dwarf::{DieRef, Value};
use crate::error::{Advice, ExitCode};
use crate::locate::{self, Process};
use crate::memory::Memory;
use crate::object::{Binary, TlsSegment};
use crate::rebuild::snapshot::{Coverage, DebugInfoLevel, RuntimeInfo, TaskInfo, ThreadInfo};
use crate::rebuild::tracker::TaskKey;
use crate::rebuild::tree::AwaitNode;
use crate::walk::{Futures, Limits, Walker};

use super::batch::{Batches, Habits};
use super::claims;
use super::descriptors::{self, Described};
use super::gone::{self, Header};
use super::handles::{self, ContextVariable, Handle, Scheduler};
use super::layout::{StateWord, TaskLayout};
use super::leaves::{LocalSetSeen, TokioLeaves};
use super::lists::{self, Listing};
use super::roots::{RootError, RootType, Roots};
use super::task::TaskReader;
use super::threads;

/// Readings of a runtime's lists before a difference to its counter is accepted.
const LIST_ATTEMPTS: u32 = 4;

/// Why a process's tasks cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InspectorError {
    /// There is no tokio in it, or no debug information about its tasks.
    #[error("no task of tokio is described in the debug information")]
    NoTasks,
    /// tokio's thread-local is not there.
    #[error("tokio's thread-local context is not described in the debug information")]
    NoContext,
}

impl Advice for InspectorError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::NothingToTrace
    }

    fn next_step(&self) -> Option<String> {
        Some(
            "asynctrace probes tells what was found in the binary; for await trees it must be \
             built with\n\n    [profile.release]\n    debug = 2\n\nor its debug file given with \
             --debug-file"
                .to_owned(),
        )
    }
}

/// Everything that is the same for each look at one process.
pub struct Inspector<'d, 'a> {
    pid: i32,
    bias: LoadBias,
    tls: Option<TlsSegment>,
    futures: &'d Futures<'d, 'a>,
    roots: Roots<'d, 'd, 'a>,
    layout: TaskLayout,
    contexts: Vec<ContextVariable>,
    stacks: OnceCell<stacks::Stacks<'d, 'a>>,
    habits: Habits,
}

/// What one look found.
#[derive(Debug, Default)]
pub struct Found {
    /// Runtimes with a thread inside, and local sets.
    pub runtimes: Vec<RuntimeInfo>,
    /// Tasks.
    pub tasks: Vec<TaskInfo>,
    /// Threads of the process.
    pub threads: Vec<ThreadInfo>,
    /// The lists that were read to their end, by the id that the headers of their tasks keep.
    pub owners: HashSet<u64>,
    /// Tasks whose memory never stood still.
    pub torn: u64,
    /// What the reader should know.
    pub warnings: Vec<String>,
}

impl<'d, 'a> Inspector<'d, 'a> {
    /// Prepares reading the process `pid`, whose executable `binary` is loaded with `bias`.
    ///
    /// # Errors
    /// [`InspectorError`] when the debug information does not describe tokio's tasks.
    pub fn new(
        pid: i32,
        binary: &Binary,
        bias: LoadBias,
        futures: &'d Futures<'d, 'a>,
    ) -> Result<Self, InspectorError> {
        let info = futures.info();
        let layout = TaskLayout::find(info).ok_or(InspectorError::NoTasks)?;
        let contexts = ContextVariable::find_all(info);
        if contexts.is_empty() {
            return Err(InspectorError::NoContext);
        }
        Ok(Self {
            pid,
            bias,
            tls: binary.tls_segment(),
            futures,
            roots: Roots::new(futures, bias, layout),
            layout,
            contexts,
            stacks: OnceCell::new(),
            habits: Habits::default(),
        })
    }

    /// Every live task, now.
    #[must_use]
    pub fn tasks(&self, process: &Process, memory: &dyn Memory) -> Found {
        let mut found = Found::default();
        let leaves = self.leaves();
        let reader = self.reader(&leaves);
        let threads: Vec<i32> = process.threads().iter().map(|thread| thread.tid).collect();
        let pointers = self.pointers_of(&threads, memory, &mut found);
        let contexts = self.contexts_of(&pointers, memory, &mut found);
        let mut seen = HashSet::new();
        for (handle, inside) in handles::distinct(&contexts) {
            let value = self.value(handle.type_die, handle.address, memory);
            match lists::owned_of_handle(value) {
                Ok(owned) => self.read_lists(handle, owned, &reader, memory, &mut seen, &mut found),
                Err(error) => found.warnings.push(format!(
                    "a {} runtime at {} with {} threads inside cannot be listed: {error}",
                    handle.scheduler.name(),
                    handle.address,
                    inside.len()
                )),
            }
        }
        self.read_roots(process, &contexts, &leaves, memory, &mut found);
        self.read_local_sets(&leaves, &reader, memory, &mut seen, &mut found);
        let (pid, waited_for) = (self.pid, descriptors::waited_for(&found.tasks));
        let ((), described) = rayon::join(
            || claims::settle(&mut found.tasks),
            || Described::ask(pid, &waited_for),
        );
        described.tell(&mut found.tasks);
        self.look_at_threads(&pointers, &contexts, memory, &mut found);
        found
    }

    /// The tasks at these headers, where there are tasks. `scheduler` is what is known of them from
    /// elsewhere. Together, as the kernel is asked about descriptors once for all of them.
    #[must_use]
    pub fn tasks_at(
        &self,
        headers: &[Address],
        scheduler: Scheduler,
        memory: &dyn Memory,
    ) -> HashMap<Address, TaskInfo> {
        let leaves = self.leaves();
        let reader = self.reader(&leaves);
        let read = headers.iter().filter_map(|header| {
            let read = reader.read(*header, scheduler, memory)?;
            Some(read.info)
        });
        let mut tasks: Vec<TaskInfo> = read.collect();
        let waited_for = descriptors::waited_for(&tasks);
        Described::ask(self.pid, &waited_for).tell(&mut tasks);
        tasks.into_iter().map(|task| (task.address, task)).collect()
    }

    /// Those of these tasks that are over, as far as memory proves it. None of them may be in a list that
    /// was read since it was seen last; `owners` are the lists that were read to their end ([`Found::owners`]).
    #[must_use]
    pub fn gone(
        &self,
        keys: &[TaskKey],
        owners: &HashSet<u64>,
        memory: &dyn Memory,
    ) -> std::collections::HashSet<TaskKey> {
        gone::of(keys, owners, |key| {
            let header = key.address;
            Header {
                state: memory
                    .u64(header.add(self.layout.state))
                    .ok()
                    .map(StateWord),
                id: self.layout.task_id(memory, header).ok().flatten(),
                owner: self
                    .layout
                    .owner
                    .and_then(|owner| memory.u64(header.add(owner)).ok()),
            }
        })
    }

    /// The path of the future that a task with this vtable has.
    #[must_use]
    pub fn future_of_vtable(
        &self,
        vtable: Address,
        memory: &dyn Memory,
    ) -> Option<std::sync::Arc<str>> {
        Some(std::sync::Arc::clone(
            &self.roots.of_vtable(vtable, memory).ok()?.future,
        ))
    }

    pub(super) fn futures(&self) -> &'d Futures<'d, 'a> {
        self.futures
    }

    pub(super) fn bias(&self) -> LoadBias {
        self.bias
    }

    pub(super) fn root_of_vtable(
        &self,
        vtable: Address,
        memory: &dyn Memory,
    ) -> Result<std::rc::Rc<RootType>, RootError> {
        self.roots.of_vtable(vtable, memory)
    }

    /// The poll function that a task's vtable names.
    pub(super) fn poll_of_vtable(
        &self,
        vtable: Address,
        memory: &dyn Memory,
    ) -> Option<LinkAddress> {
        let poll = memory.pointer(vtable.add(self.layout.vtable_poll)).ok()?;
        Some(self.bias.to_link(poll))
    }

    pub(super) fn layout(&self) -> TaskLayout {
        self.layout
    }

    fn leaves(&self) -> TokioLeaves<'d, 'a> {
        TokioLeaves::new(self.futures.info(), self.bias, self.layout, monotonic_now)
    }

    fn reader<'r>(&'r self, leaves: &'r TokioLeaves<'d, 'a>) -> TaskReader<'r, 'd, 'd, 'a> {
        TaskReader {
            roots: &self.roots,
            layout: self.layout,
            walker: Walker {
                futures: self.futures,
                bias: self.bias,
                leaves,
                limits: Limits::default(),
            },
            leaves,
            batches: self.batches(),
        }
    }

    pub(super) fn batches(&self) -> Batches<'_, 'd, 'd, 'a> {
        Batches {
            roots: &self.roots,
            layout: self.layout,
            habits: &self.habits,
        }
    }

    fn value<'v>(&self, type_die: DieRef, address: Address, memory: &'v dyn Memory) -> Value<'v, 'a>
    where
        'd: 'v,
    {
        Value {
            info: self.futures.info(),
            memory,
            type_die,
            address,
        }
    }

    fn segment(&self) -> Option<locate::TlsSegment> {
        let tls = self.tls?;
        Some(locate::TlsSegment {
            memory_size: tls.memory_size,
            align: tls.align,
            address: tls.address,
        })
    }

    fn pointers_of(
        &self,
        threads: &[i32],
        memory: &dyn Memory,
        found: &mut Found,
    ) -> Vec<(i32, Address)> {
        let mut pointers = Vec::new();
        for (tid, pointer) in locate::thread_pointers(self.pid, memory, threads) {
            match pointer {
                Ok(pointer) => pointers.push((tid, pointer)),
                Err(error) => found.warnings.push(format!(
                    "thread {tid}: its thread-locals were not found, so a runtime that only it is \
                     in is missing: {error}"
                )),
            }
        }
        pointers
    }

    fn contexts_of(
        &self,
        pointers: &[(i32, Address)],
        memory: &dyn Memory,
        found: &mut Found,
    ) -> Vec<handles::ThreadContext> {
        let Some(segment) = self.segment() else {
            found
                .warnings
                .push("the executable has no thread-local segment".to_owned());
            return Vec::new();
        };
        let info = self.futures.info();
        handles::of_threads(info, memory, &segment, &self.contexts, pointers).unwrap_or_else(
            |error| {
                found.warnings.push(format!(
                "tasks are missing: no runtime was found, as what its threads keep of it is not as \
                 in tokio 1.22 and later ({error}); `record` and `attach` see tasks that are polled"
            ));
                Vec::new()
            },
        )
    }

    fn look_at_threads(
        &self,
        pointers: &[(i32, Address)],
        contexts: &[handles::ThreadContext],
        memory: &dyn Memory,
        found: &mut Found,
    ) {
        let locals = self.segment().map(|segment| threads::ThreadLocals {
            info: self.futures.info(),
            segment,
            variables: &self.contexts,
            pointers,
        });
        let inside = contexts.iter().map(|context| context.tid).collect();
        found.threads = threads::look(self.pid, locals.as_ref(), &found.tasks, &inside, memory);
    }

    /// Lists a runtime's tasks, again when the lists changed meanwhile, and reads each.
    fn read_lists(
        &self,
        handle: Handle,
        owned: Value<'_, 'a>,
        reader: &TaskReader<'_, 'd, 'd, 'a>,
        memory: &dyn Memory,
        seen: &mut HashSet<Address>,
        found: &mut Found,
    ) {
        let mut best: Option<Listing> = None;
        for _ in 0..LIST_ATTEMPTS {
            let listing = match lists::list(owned, &self.layout) {
                Ok(listing) => listing,
                Err(error) => {
                    found.warnings.push(format!(
                        "the tasks of the {} runtime at {} cannot be listed: {error}",
                        handle.scheduler.name(),
                        handle.address
                    ));
                    return;
                }
            };
            let done = listing.is_consistent();
            if done
                || best
                    .as_ref()
                    .is_none_or(|best| best.headers.len() < listing.headers.len())
            {
                best = Some(listing);
            }
            if done {
                break;
            }
        }
        let Some(listing) = best else { return };
        if listing.cut {
            found.warnings.push(format!(
                "the {} runtime at {} has more than {} tasks: the rest is not listed",
                handle.scheduler.name(),
                handle.address,
                lists::MAX_TASKS
            ));
        } else if !listing.is_consistent() {
            found.warnings.push(format!(
                "the {} runtime at {} counts {} tasks, {} were listed: tasks came and went while \
                 they were read",
                handle.scheduler.name(),
                handle.address,
                listing.counted.unwrap_or(0),
                listing.headers.len()
            ));
        }
        if listing.is_consistent() && !listing.cut {
            found.owners.extend(lists::owner_id(owned));
        }
        found.runtimes.push(RuntimeInfo {
            runtime: "tokio",
            scheduler: handle.scheduler.name(),
            address: handle.address,
            tasks_listed: listing.headers.len() as u64,
            tasks_counted: listing.counted,
        });
        let mut headers = listing.headers;
        headers.retain(|header| seen.insert(*header));
        found.tasks.reserve(headers.len());
        self.read_parts(&headers, handle.scheduler, reader, memory, &mut |read| {
            found.torn += u64::from(read.torn);
            found.tasks.push(read.info);
        });
    }

    /// Local sets are met in the trees of other tasks, and may hold further local sets.
    fn read_local_sets(
        &self,
        leaves: &TokioLeaves<'d, 'a>,
        reader: &TaskReader<'_, 'd, 'd, 'a>,
        memory: &dyn Memory,
        seen: &mut HashSet<Address>,
        found: &mut Found,
    ) {
        let mut known: HashSet<LocalSetSeen> = HashSet::new();
        loop {
            let fresh: Vec<LocalSetSeen> = leaves
                .take_local_sets()
                .into_iter()
                .filter(|set| known.insert(*set))
                .collect();
            if fresh.is_empty() {
                return;
            }
            for set in fresh {
                let value = self.value(set.type_die, set.address, memory);
                let owned = value
                    .field("context")
                    .and_then(Value::shared)
                    .and_then(|context| match context {
                        Some(context) => context.field("shared")?.shared(),
                        None => Ok(None),
                    })
                    .and_then(|shared| match shared {
                        Some(shared) => shared.field("local_state.owned").map(Some),
                        None => Ok(None),
                    });
                let handle = Handle {
                    scheduler: Scheduler::LocalSet,
                    address: set.address,
                    type_die: set.type_die,
                };
                match owned {
                    Ok(Some(owned)) => {
                        self.read_lists(handle, owned, reader, memory, seen, found);
                    }
                    Ok(None) => {}
                    Err(error) => found.warnings.push(format!(
                        "the tasks of the LocalSet at {} cannot be listed: {error}",
                        set.address
                    )),
                }
            }
        }
    }
}

/// What was seen and what was not.
#[must_use]
pub fn coverage(found: &Found, debug_info: DebugInfoLevel) -> Coverage {
    Coverage {
        debug_info,
        tasks_listed: found
            .runtimes
            .iter()
            .map(|runtime| runtime.tasks_listed)
            .sum(),
        tasks_counted: found
            .runtimes
            .iter()
            .map(|runtime| runtime.tasks_counted.unwrap_or(runtime.tasks_listed))
            .sum(),
        // Of a hundred thousand trees, some of which are out of reach of the CPU's caches.
        opaque_nodes: found
            .tasks
            .par_iter()
            .with_min_len(4096)
            .filter_map(|task| task.tree.as_ref())
            .map(AwaitNode::opaque_nodes)
            .sum(),
        torn_tasks: found.torn,
    }
}

/// `CLOCK_MONOTONIC` in nanoseconds: what `std::time::Instant` is on Linux.
fn monotonic_now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec)
        .unwrap_or(0)
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}
