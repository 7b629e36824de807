//! What `dump` knows of a process at one moment. Its JSON form is the `dump --json` contract,
//! schema 1: fields may be added, never renamed or removed.

use std::sync::Arc;

use serde::Serialize;

use super::tree::AwaitNode;
use crate::address::Address;

/// Every live task of a process.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// Version of the JSON contract.
    pub schema: u32,
    /// When reading began: CLOCK_MONOTONIC, nanoseconds.
    pub time: u64,
    /// The process.
    pub process: ProcessInfo,
    /// Its runtimes.
    pub runtimes: Vec<RuntimeInfo>,
    /// Its tasks.
    pub tasks: Vec<TaskInfo>,
    /// Its threads.
    pub threads: Vec<ThreadInfo>,
    /// CPU time that a hypervisor took from this machine since it started, of all CPUs together:
    /// nanoseconds (`steal` of `/proc/stat`). `None` where the kernel does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stolen: Option<u64>,
    /// What was seen and what was not.
    pub coverage: Coverage,
    /// What the reader should know, in sentences.
    pub warnings: Vec<String>,
}

/// The version of the JSON contract.
pub const SCHEMA: u32 = 1;

impl Snapshot {
    /// One of which nothing is known yet.
    #[must_use]
    pub fn empty(time: u64) -> Self {
        Self {
            schema: SCHEMA,
            time,
            process: ProcessInfo {
                pid: 0,
                exe: String::new(),
                build_id: None,
            },
            runtimes: Vec::new(),
            tasks: Vec::new(),
            threads: Vec::new(),
            stolen: None,
            coverage: Coverage {
                debug_info: DebugInfoLevel::None,
                tasks_listed: 0,
                tasks_counted: 0,
                opaque_nodes: 0,
                torn_tasks: 0,
            },
            warnings: Vec::new(),
        }
    }
}

/// The process that was read.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessInfo {
    /// Process id, as seen from here.
    pub pid: i32,
    /// Its executable.
    pub exe: String,
    /// The executable's GNU build-id in hexadecimal, where it has one.
    pub build_id: Option<String>,
}

/// One runtime of the process.
#[derive(Clone, Debug, Serialize)]
pub struct RuntimeInfo {
    /// `tokio`, ...
    pub runtime: &'static str,
    /// `multi_thread`, `current_thread`, `local_set`.
    pub scheduler: &'static str,
    /// Where its handle (or `LocalSet` context) is.
    pub address: Address,
    /// Tasks found by walking its lists.
    pub tasks_listed: u64,
    /// Tasks by the runtime's own counter; `None` where it keeps none.
    pub tasks_counted: Option<u64>,
}

/// State of a task as its runtime keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Waiting for a wake-up.
    Idle,
    /// Woken, in a run queue.
    Scheduled,
    /// Being polled.
    Running,
    /// Finished, not freed yet.
    Complete,
    /// Not readable.
    Unknown,
}

/// One task.
#[derive(Clone, Debug, Serialize)]
pub struct TaskInfo {
    /// `tokio/17`, or `tokio/block_on/N` for a root without a task header.
    pub id: String,
    /// `tokio`, ...
    pub runtime: &'static str,
    /// `multi_thread`, `current_thread`, `local_set`.
    pub scheduler: &'static str,
    /// Its state.
    pub state: TaskState,
    /// The path of its future.
    pub future: Arc<str>,
    /// Its await tree, where it could be read; otherwise the notes say why not.
    pub tree: Option<AwaitNode>,
    /// What is not known or doubtful, with the reason.
    pub notes: Vec<String>,
    /// The task's `Header`, or the future of a root without one.
    pub address: Address,
    /// References to the task, where the runtime counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub references: Option<u64>,
    /// Wakers of it that are left, at most: the references less those that are accounted for
    /// otherwise (list, join handle, run queue; abort handles are counted as wakers). Read with the
    /// state in one word, so 0 on an idle task holds at that moment: nothing but an abort or its
    /// runtime's end will poll it again. It is healthy where the task is meant to wait for ever: its
    /// leaf is of kind `never`, or a future of the program's own that never means to go on. `None`
    /// while it is polled, when it has finished, and for a root of `block_on`.
    /// See `StateWord::wakers_left` for what holds references, by version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wakers: Option<u64>,
    /// It was aborted, or its runtime shuts down.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cancelled: bool,
    /// The `Header` of the task that awaits this one's join handle; `None` when nobody does, and
    /// when it is awaited through a `JoinSet` or anything else that has wakers of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joined_by: Option<Address>,
}

impl Default for TaskInfo {
    fn default() -> Self {
        Self {
            id: String::new(),
            runtime: "tokio",
            scheduler: "multi_thread",
            state: TaskState::Unknown,
            future: Arc::from("?"),
            tree: None,
            notes: Vec::new(),
            address: Address(0),
            references: None,
            wakers: None,
            cancelled: false,
            joined_by: None,
        }
    }
}

/// A thread of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ThreadInfo {
    /// Thread id.
    pub tid: u32,
    /// Its name.
    pub name: Arc<str>,
    /// State as the kernel names it: `R`, `S`, `D`, ...
    pub state: String,
    /// Whether it is inside a runtime: a worker, or in `block_on`.
    pub in_runtime: bool,
    /// The task that it is polling, as the runtime's own thread-local says: `tokio/17`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polls: Option<String>,
    /// The system call that it is in, by name; `None` when it is in none, or that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syscall: Option<Arc<str>>,
    /// It waits where its runtime parks: for the I/O driver, a timer, or work.
    pub parked: bool,
    /// Times that it gave up the CPU, and that it was taken from it. Equal in two readings: it did
    /// not run in between, or never stopped.
    pub switches: (u64, u64),
    /// Nanoseconds that it was on a CPU.
    pub cpu_time: u64,
    /// Nanoseconds that it could have run and had no CPU; `None` where the kernel does not count
    /// them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_delay: Option<u64>,
    /// It polls a task and has left its runtime for that while (`block_in_place`): another thread
    /// does its work.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub aside: bool,
}

/// How much debug information the binary has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DebugInfoLevel {
    /// Types, lines and variables (`debug = 2`).
    Full,
    /// Symbols, perhaps lines (`debug = 1`, `line-tables-only`, or none of it).
    Symbols,
    /// Stripped.
    None,
}

/// What was seen and what was not.
#[derive(Clone, Debug, Serialize)]
pub struct Coverage {
    /// How much debug information there is.
    pub debug_info: DebugInfoLevel,
    /// Tasks found by walking the runtimes' lists.
    pub tasks_listed: u64,
    /// Tasks by the runtimes' own counters.
    pub tasks_counted: u64,
    /// Nodes of trees that could not be decoded.
    pub opaque_nodes: usize,
    /// Tasks whose memory changed while it was read, in every retry.
    pub torn_tasks: u64,
}
