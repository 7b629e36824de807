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
    /// The process.
    pub process: ProcessInfo,
    /// Its runtimes.
    pub runtimes: Vec<RuntimeInfo>,
    /// Its tasks.
    pub tasks: Vec<TaskInfo>,
    /// What was seen and what was not.
    pub coverage: Coverage,
    /// What the reader should know, in sentences.
    pub warnings: Vec<String>,
}

/// The version of the JSON contract.
pub const SCHEMA: u32 = 1;

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
