//! What tokio's leaf futures wait for. Recognised by type path; every offset by field name.

mod channels;
mod hand_written;
mod held;
mod io;
mod join;
mod kept;
mod sync;
mod time;
mod waker;

use std::cell::RefCell;

use crate::address::{Address, LoadBias};
use crate::dwarf::{DebugInfo, DieRef, Finder, Value, ValueError};
use crate::memory::Memory;
use crate::rebuild::tree::WaitsFor;
use crate::walk::{Leaf, Leaves, Node, Step, is_poll_fn};

use self::waker::Waiting;
use super::layout::TaskLayout;

/// Types that own a registration with the I/O driver.
const IO_RESOURCES: &[&str] = &[
    "tokio::io::poll_evented::PollEvented",
    "tokio::io::async_fd::AsyncFd",
];

/// A `LocalSet` seen on a walk: its tasks are in no runtime's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::runtime::tokio) struct LocalSetSeen {
    /// Its type.
    pub type_die: DieRef,
    /// Its address.
    pub address: Address,
}

/// Reads tokio's leaves.
pub(in crate::runtime::tokio) struct TokioLeaves<'d, 'a> {
    info: &'d DebugInfo<'a>,
    bias: LoadBias,
    layout: TaskLayout,
    resources: Finder<'d, 'a>,
    channels: Finder<'d, 'a>,
    senders: Finder<'d, 'a>,
    watches: Finder<'d, 'a>,
    kept: kept::Search<'d, 'a>,
    /// `CLOCK_MONOTONIC` in nanoseconds, that deadlines are told against. Asked at each leaf: the
    /// first walk compiles what it meets, which takes longer than many a deadline.
    now: fn() -> u64,
    local_sets: RefCell<Vec<LocalSetSeen>>,
}

impl<'d, 'a> TokioLeaves<'d, 'a> {
    /// Prepares reading; `now` tells `CLOCK_MONOTONIC` in nanoseconds.
    #[must_use]
    pub(in crate::runtime::tokio) fn new(
        info: &'d DebugInfo<'a>,
        bias: LoadBias,
        layout: TaskLayout,
        now: fn() -> u64,
    ) -> Self {
        Self {
            info,
            bias,
            layout,
            resources: Finder::new(info, bias, IO_RESOURCES),
            channels: Finder::new(info, bias, &["tokio::sync::mpsc::chan::Rx"]),
            senders: Finder::new(info, bias, &["tokio::sync::mpsc::chan::Tx"]),
            watches: Finder::new(info, bias, &["tokio::sync::watch::Shared"]),
            kept: kept::Search::new(info, bias),
            now,
            local_sets: RefCell::new(Vec::new()),
        }
    }

    /// The `LocalSet`s seen since the last call.
    pub(in crate::runtime::tokio) fn take_local_sets(&self) -> Vec<LocalSetSeen> {
        self.local_sets.take()
    }

    /// Adds what another reader saw.
    pub(in crate::runtime::tokio) fn add_local_sets(&self, seen: Vec<LocalSetSeen>) {
        self.local_sets.borrow_mut().extend(seen);
    }

    fn value<'v>(&self, step: &Step<'_>, memory: &'v dyn Memory) -> Value<'v, 'a>
    where
        'd: 'v,
    {
        Value {
            info: self.info,
            memory,
            type_die: step.node.die,
            address: step.address,
        }
    }

    /// The same reader for the leaves of one task, whose `Header` is at `task`.
    pub(in crate::runtime::tokio) fn of_task(&self, task: Address) -> TaskLeaves<'_, 'd, 'a> {
        TaskLeaves {
            leaves: self,
            task: Some(task),
        }
    }

    /// The leaf's own reading, by its path.
    fn known(
        &self,
        step: &Step<'_>,
        value: Value<'_, 'a>,
        waiting: &Waiting<'_, '_>,
    ) -> Option<Result<Leaf, ValueError>> {
        Some(match &*step.node.base_path {
            "tokio::time::sleep::Sleep" => time::sleep(value, waiting, (self.now)()),
            "tokio::sync::batch_semaphore::Acquire" => {
                sync::acquire(step, value, waiting).map(|leaf| self.of_channel(step, value, leaf))
            }
            "tokio::sync::notify::Notified" | "tokio::sync::notify::OwnedNotified" => {
                sync::notified(step, value, waiting).map(|leaf| self.of_watch(step, value, leaf))
            }
            "tokio::sync::oneshot::Receiver" => channels::oneshot(value, waiting),
            "tokio::sync::broadcast::Recv" => channels::broadcast(value, waiting),
            "tokio::runtime::task::join::JoinHandle" => join::handle(value, waiting),
            "tokio::runtime::io::scheduled_io::Readiness" => {
                io::readiness(step, value, &self.resources, waiting)
            }
            "futures_channel::oneshot::Receiver" => channels::futures_oneshot(value, waiting),
            "tokio::task::yield_now::yield_now::{async_fn#0}::YieldNow"
            | "tokio::task::yield_now::YieldNow" => Ok(sync::plain("yield")),
            "core::future::pending::Pending" | "futures_util::future::pending::Pending" => {
                Ok(sync::plain("never"))
            }
            path if is_poll_fn(path) => {
                return channels::poll_fn(step, value, &self.channels, waiting)
                    .or_else(|| join::join_set(step, value, waiting));
            }
            _ => return None,
        })
    }

    /// A wait for room in a channel is told with the channel's address, as its other end is.
    fn of_channel(&self, step: &Step<'_>, value: Value<'_, 'a>, leaf: Leaf) -> Leaf {
        channels::sends(leaf, || {
            let body = enclosing(step, |path| path.starts_with("tokio::sync::mpsc::"))?;
            let semaphore = value.field("semaphore").ok()?.target().ok()??;
            let body = self.value(body, value.memory);
            channels::channel_of_semaphore(body, semaphore, &self.senders)
        })
    }

    /// A wait on a watch channel is told with the channel's address, as its other end is.
    fn of_watch(&self, step: &Step<'_>, value: Value<'_, 'a>, leaf: Leaf) -> Leaf {
        channels::watches(leaf, || {
            let body = enclosing(step, |path| path.starts_with("tokio::sync::watch::"))?;
            let is_sender = body.node.base_path.contains("::closed::");
            let body = self.value(body, value.memory);
            let shared = self.watches.find(body, |_| true)?;
            Some((shared.address, is_sender))
        })
    }

    fn holding(
        &self,
        by: &Node,
        value: &Node,
        address: Address,
        memory: &dyn Memory,
    ) -> Option<WaitsFor> {
        let found = Value {
            info: self.info,
            memory,
            type_die: value.die,
            address,
        };
        held::holding(&by.base_path, &value.base_path, found).ok()?
    }

    fn note_local_set(&self, step: &Step<'_>, memory: &dyn Memory) {
        let path = &*step.node.base_path;
        let value = self.value(step, memory);
        let set = match path {
            "tokio::task::local::LocalSet" => Some(value),
            "tokio::task::local::RunUntil" => value
                .field("local_set")
                .and_then(Value::target)
                .ok()
                .flatten(),
            _ => None,
        };
        if let Some(set) = set {
            self.local_sets.borrow_mut().push(LocalSetSeen {
                type_die: set.type_die,
                address: set.address,
            });
        }
    }
}

/// Reads the leaves of one task: they tell whether it is this task that they will wake.
pub(in crate::runtime::tokio) struct TaskLeaves<'l, 'd, 'a> {
    leaves: &'l TokioLeaves<'d, 'a>,
    task: Option<Address>,
}

impl Leaves for TaskLeaves<'_, '_, '_> {
    fn waits_for(&self, step: &Step<'_>, memory: &dyn Memory, has_children: bool) -> Option<Leaf> {
        let leaves = self.leaves;
        leaves.note_local_set(step, memory);
        if has_children {
            return None;
        }
        let value = leaves.value(step, memory);
        let waiting = Waiting {
            task: self.task,
            info: leaves.info,
            bias: leaves.bias,
            layout: leaves.layout,
        };
        match leaves.known(step, value, &waiting) {
            Some(Ok(leaf)) => Some(leaf),
            Some(Err(error)) => Some(Leaf {
                notes: vec![error.to_string()],
                ..Leaf::default()
            }),
            // Any other leaf that holds an I/O resource waits for that.
            None => io::holder(step, value, &leaves.resources, &waiting)
                .or_else(|| hand_written::describe(step, value, &leaves.kept, &waiting)),
        }
    }

    fn held_types(&self) -> &'static [&'static str] {
        held::TYPES
    }

    fn held(
        &self,
        by: &Node,
        value: &Node,
        address: Address,
        memory: &dyn Memory,
    ) -> Option<WaitsFor> {
        self.leaves.holding(by, value, address, memory)
    }
}

/// The leaves of a root of `block_on`, which has no `Header`.
impl Leaves for TokioLeaves<'_, '_> {
    fn waits_for(&self, step: &Step<'_>, memory: &dyn Memory, has_children: bool) -> Option<Leaf> {
        let root = TaskLeaves {
            leaves: self,
            task: None,
        };
        root.waits_for(step, memory, has_children)
    }

    fn held_types(&self) -> &'static [&'static str] {
        held::TYPES
    }

    fn held(
        &self,
        by: &Node,
        value: &Node,
        address: Address,
        memory: &dyn Memory,
    ) -> Option<WaitsFor> {
        self.holding(by, value, address, memory)
    }
}

/// The nearest async body above a leaf whose path `accept` takes.
fn enclosing<'s>(step: &'s Step<'s>, accept: impl Fn(&str) -> bool) -> Option<&'s Step<'s>> {
    let mut current = step.parent;
    while let Some(at) = current {
        if accept(&at.node.base_path) {
            return Some(at);
        }
        current = at.parent;
    }
    None
}

/// Whether a node is an async body of tokio's own.
fn is_tokio_body(node: &Node) -> bool {
    node.base_path.starts_with("tokio::") && node.base_path.contains("{async_")
}
