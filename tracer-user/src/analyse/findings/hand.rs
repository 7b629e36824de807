//! Cases made by hand, for tests.
//!
//! ```text
//! let lost = task(1, body("app::f", 3, leaf("app::Lost"))).with_wakers(0);
//! let hand = Hand::new().look(1_000, vec![lost.clone()]).look(2_000, vec![lost]);
//! let sightings = lost_wake::find(&hand.case());
//! ```

use std::sync::Arc;

use super::case::{Case, Moment, Thresholds};
use crate::address::Address;
use crate::analyse::history::History;
use crate::rebuild::snapshot::{
    Coverage, DebugInfoLevel, ProcessInfo, SCHEMA, Snapshot, TaskInfo, TaskState, ThreadInfo,
};
use crate::rebuild::tree::{AwaitNode, Held, NodeKind, NodeState, SourcePlace, WaitsFor};

/// A second, in nanoseconds.
pub(super) const SECOND: u64 = 1_000_000_000;

/// A case under construction: no threads, no history unless they are given.
#[derive(Clone, Debug, Default)]
pub(super) struct Hand {
    pub(super) history: History,
    pub(super) moments: Vec<Moment>,
    pub(super) threads: Vec<ThreadInfo>,
}

impl Hand {
    /// Nothing yet but a worker that is parked.
    pub(super) fn new() -> Self {
        Self {
            threads: vec![parked()],
            ..Self::default()
        }
    }

    /// With these threads in all looks that follow.
    pub(super) fn threads(mut self, threads: Vec<ThreadInfo>) -> Self {
        self.threads = threads;
        self
    }

    /// A look at these tasks.
    pub(super) fn look(mut self, time: u64, tasks: Vec<TaskInfo>) -> Self {
        let snapshot = Snapshot {
            schema: SCHEMA,
            time,
            process: ProcessInfo {
                pid: 1,
                exe: "/srv/app".to_owned(),
                build_id: None,
            },
            runtimes: Vec::new(),
            tasks,
            threads: self.threads.clone(),
            stolen: None,
            coverage: Coverage {
                debug_info: DebugInfoLevel::Full,
                tasks_listed: 0,
                tasks_counted: 0,
                opaque_nodes: 0,
                torn_tasks: 0,
            },
            warnings: Vec::new(),
        };
        self.moments.push(Moment {
            time,
            snapshot: Arc::new(snapshot),
        });
        self
    }

    /// The same tasks in two looks, a second apart.
    pub(super) fn twice(tasks: Vec<TaskInfo>) -> Self {
        Self::new()
            .look(10 * SECOND, tasks.clone())
            .look(11 * SECOND, tasks)
    }

    /// With what events told.
    pub(super) fn with(mut self, history: History) -> Self {
        self.history = history;
        self
    }

    pub(super) fn case(&self) -> Case<'_> {
        Case {
            history: &self.history,
            moments: &self.moments,
            thresholds: Thresholds::default(),
        }
    }
}

/// A worker that waits for work.
pub(super) fn parked() -> ThreadInfo {
    ThreadInfo {
        tid: 1,
        name: "worker".into(),
        state: "S".to_owned(),
        in_runtime: true,
        parked: true,
        ..ThreadInfo::default()
    }
}

/// A worker in the middle of a poll.
pub(super) fn busy() -> ThreadInfo {
    ThreadInfo {
        polls: Some("tokio/99".to_owned()),
        parked: false,
        ..parked()
    }
}

/// An idle task; its address is as in `history::sample`. Addresses of its futures are made up.
pub(super) fn task(id: u64, mut tree: AwaitNode) -> TaskInfo {
    place(&mut tree, 0x1000 * id + 56);
    TaskInfo {
        id: format!("tokio/{id}"),
        state: TaskState::Idle,
        future: Arc::clone(&tree.future),
        tree: Some(tree),
        address: Address(0x1000 * id),
        wakers: Some(1),
        references: Some(3),
        ..TaskInfo::default()
    }
}

/// Gives each future without an address one.
fn place(node: &mut AwaitNode, at: u64) -> u64 {
    node.address.get_or_insert(Address(at));
    let mut next = at + 8;
    for child in node.children.iter_mut().chain(&mut node.not_awaited) {
        next = place(child, next);
    }
    next
}

/// Changes of a task, in the order of a sentence.
pub(super) trait With: Sized {
    /// With so many wakers left.
    fn with_wakers(self, wakers: u64) -> Self;
}

impl With for TaskInfo {
    fn with_wakers(mut self, wakers: u64) -> Self {
        self.wakers = Some(wakers);
        self.references = Some(wakers + 2);
        self
    }
}

/// An async function that stands at a line of `src/main.rs`.
pub(super) fn body(path: &str, line: u32, awaits: AwaitNode) -> AwaitNode {
    AwaitNode {
        future: path.into(),
        kind: NodeKind::AsyncFn,
        state: NodeState::Suspended,
        file: Some("src/main.rs".into()),
        line: Some(line),
        children: vec![awaits],
        ..AwaitNode::default()
    }
}

/// A future that holds others.
pub(super) fn combinator(path: &str, children: Vec<AwaitNode>) -> AwaitNode {
    AwaitNode {
        future: path.into(),
        kind: NodeKind::Future,
        state: NodeState::Suspended,
        children,
        ..AwaitNode::default()
    }
}

/// `select!` in `app::f`.
pub(super) fn select(children: Vec<AwaitNode>) -> AwaitNode {
    combinator(
        "core::future::poll_fn::PollFn<app::f::{closure#0}>",
        children,
    )
}

/// `join!` in `app::f`.
pub(super) fn join(children: Vec<AwaitNode>) -> AwaitNode {
    let arms = children.into_iter().map(|child| {
        combinator(
            &format!("tokio::future::maybe_done::MaybeDone<{}>", child.future),
            vec![child],
        )
    });
    select(arms.collect())
}

/// A hand-written future that is defined in `src/hand.rs`.
pub(super) fn leaf(path: &str) -> AwaitNode {
    AwaitNode {
        future: path.into(),
        kind: NodeKind::Leaf,
        state: NodeState::Unknown,
        defined: path.starts_with("app::").then(|| SourcePlace {
            file: "src/hand.rs".into(),
            line: 7,
        }),
        ..AwaitNode::default()
    }
}

/// A leaf that waits for something of this kind.
pub(super) fn waits(path: &str, kind: &'static str) -> AwaitNode {
    AwaitNode {
        future: path.into(),
        kind: NodeKind::Leaf,
        state: NodeState::Suspended,
        waits_for: Some(WaitsFor::new(kind)),
        ..AwaitNode::default()
    }
}

/// A leaf with a detail more.
pub(super) fn detail(
    mut node: AwaitNode,
    name: &'static str,
    value: impl Into<serde_json::Value>,
) -> AwaitNode {
    node.waits_for = node.waits_for.map(|waits| waits.with(name, value));
    node
}

/// A sleep until this time.
pub(super) fn sleep(deadline: u64) -> AwaitNode {
    let sleep = waits("tokio::time::sleep::Sleep", "sleep");
    detail(sleep, "deadline_ns", deadline)
}

/// Waiting in the queue of the mutex at this address.
pub(super) fn acquire(address: u64) -> AwaitNode {
    AwaitNode {
        waits_for: Some(lock(address).with("queued", true)),
        ..waits("tokio::sync::batch_semaphore::Acquire", "lock")
    }
}

/// The mutex at this address, locked.
pub(super) fn lock(address: u64) -> WaitsFor {
    WaitsFor::new("lock")
        .with("lock", "mutex")
        .with("address", Address(address).to_string())
        .with("permits", 1)
        .with("permits_available", 0)
}

/// A body that holds this in a local.
pub(super) fn holding(mut node: AwaitNode, what: WaitsFor) -> AwaitNode {
    node.holds.push(Held {
        local: "guard".into(),
        what,
        doubt: None,
    });
    node
}

/// A body that keeps a future that it does not await.
pub(super) fn keeping(mut node: AwaitNode, kept: AwaitNode) -> AwaitNode {
    node.not_awaited.push(kept);
    node
}
