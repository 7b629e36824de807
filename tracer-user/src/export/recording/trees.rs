//! Snapshots of memory in a recording: so that it tells where tasks wait, also those that nothing
//! happened to.

use prost::Message as _;

use super::kinds::{debug_info, debug_info_text, task_state, task_state_number};
use super::names::lasting;
use super::nodes::{self, notes, short};
use super::strings::{self, Strings};
use super::tables::Interner;
use crate::address::Address;
use crate::proto;
use crate::rebuild::snapshot::{
    Coverage, DebugInfoLevel, RuntimeInfo, Snapshot, TaskInfo, ThreadInfo,
};

/// Bytes of tasks in one part, about; a task's tree that is larger than this is left out.
const PART: usize = 256 * 1024;

/// Threads of a snapshot at most: they must fit into one packet beside the rest of it.
const MAX_THREADS: usize = 4096;

/// A part of a snapshot. Parts of one snapshot follow each other.
#[derive(Clone, Debug)]
pub struct SnapshotPart {
    /// When reading began, CLOCK_MONOTONIC in nanoseconds.
    pub time: u64,
    /// Number of the snapshot in the file.
    pub number: u32,
    /// Whether this is its last part.
    pub last: bool,
    /// The runtimes; in the first part only.
    pub runtimes: Vec<RuntimeInfo>,
    /// What was seen and what was not; in the first part only.
    pub coverage: Option<Coverage>,
    /// What the reader should know; in the first part only.
    pub warnings: Vec<String>,
    /// The threads; in the first part only.
    pub threads: Vec<ThreadInfo>,
    /// See [`Snapshot::stolen`]; in the first part only.
    pub stolen: Option<u64>,
    /// Tasks.
    pub tasks: Vec<TaskInfo>,
}

/// The parts of a snapshot one by one: `write` is called for each before the next is made.
pub(super) fn parts<E>(
    snapshot: &Snapshot,
    time: u64,
    number: u32,
    tables: &mut Interner,
    mut write: impl FnMut(proto::Snapshot, &mut Interner) -> Result<(), E>,
) -> Result<(), E> {
    let mut part = proto::Snapshot {
        time,
        number,
        last: false,
        summary: Some(summary(snapshot, &mut tables.strings)),
        tasks: Vec::new(),
    };
    let mut size = part.encoded_len();
    for info in &snapshot.tasks {
        // Encoded after the part before was written: its strings are in the table as it is then.
        let task = task(info, &mut tables.strings);
        size += task.encoded_len();
        part.tasks.push(task);
        if size > PART || tables.is_full() {
            let next = proto::Snapshot {
                time,
                number,
                ..proto::Snapshot::default()
            };
            write(std::mem::replace(&mut part, next), tables)?;
            size = 0;
        }
    }
    part.last = true;
    write(part, tables)
}

fn summary(snapshot: &Snapshot, strings: &mut strings::Interner) -> proto::SnapshotSummary {
    let more = snapshot.threads.len().saturating_sub(MAX_THREADS);
    let threads_left_out =
        (more > 0).then(|| format!("{more} more threads than a recording takes"));
    let coverage = &snapshot.coverage;
    proto::SnapshotSummary {
        runtimes: snapshot
            .runtimes
            .iter()
            .take(1_000)
            .map(|runtime| proto::Runtime {
                runtime: runtime.runtime.to_owned(),
                scheduler: runtime.scheduler.to_owned(),
                address: runtime.address.0,
                tasks_listed: runtime.tasks_listed,
                tasks_counted: runtime.tasks_counted,
            })
            .collect(),
        tasks_listed: coverage.tasks_listed,
        tasks_counted: coverage.tasks_counted,
        opaque_nodes: coverage.opaque_nodes as u64,
        torn_tasks: coverage.torn_tasks,
        warnings: snapshot
            .warnings
            .iter()
            .take(100)
            .map(|warning| short(warning))
            .chain(threads_left_out)
            .collect(),
        debug_info: debug_info_text(coverage.debug_info).to_owned(),
        threads: snapshot
            .threads
            .iter()
            .take(MAX_THREADS)
            .map(|info| thread(info, strings))
            .collect(),
        stolen: snapshot.stolen,
    }
}

fn thread(info: &ThreadInfo, strings: &mut strings::Interner) -> proto::SnapshotThread {
    proto::SnapshotThread {
        tid: info.tid,
        name: strings.id(Some(&info.name)),
        state: info.state.chars().take(8).collect(),
        in_runtime: info.in_runtime,
        polls: info.polls.as_deref().map(short).unwrap_or_default(),
        syscall: strings.id(info.syscall.as_ref()),
        parked: info.parked,
        switches_voluntary: info.switches.0,
        switches_involuntary: info.switches.1,
        cpu_time: info.cpu_time,
        run_delay: info.run_delay,
        aside: info.aside,
    }
}

fn task(info: &TaskInfo, strings: &mut strings::Interner) -> proto::SnapshotTask {
    let written = info
        .tree
        .as_ref()
        .map(|root| nodes::write(root, strings))
        .unwrap_or_default();
    let mut task = proto::SnapshotTask {
        id: short(&info.id),
        runtime: strings.id_of(info.runtime),
        scheduler: strings.id_of(info.scheduler),
        state: task_state_number(info.state),
        future: strings.id(Some(&info.future)),
        address: info.address.0,
        references: info.references,
        notes: notes(&info.notes),
        tree: written.tree,
        wakers: info.wakers,
        cancelled: info.cancelled,
        joined_by: info.joined_by.map(|address| address.0),
        asides: written.asides,
    };
    if task.encoded_len() > PART || written.is_too_large {
        let nodes = task.tree.len();
        task.tree = Vec::new();
        task.asides = Vec::new();
        task.notes.push(format!(
            "its tree of at least {nodes} nodes is too large for a recording"
        ));
    }
    task
}

/// A part as it came from a file.
pub(super) fn part(part: proto::Snapshot, strings: &Strings) -> Result<SnapshotPart, &'static str> {
    let stolen = part.summary.as_ref().and_then(|summary| summary.stolen);
    let (runtimes, coverage, warnings, threads) = match part.summary {
        None => (Vec::new(), None, Vec::new(), Vec::new()),
        Some(summary) => {
            let coverage = Coverage {
                debug_info: debug_info(&summary.debug_info).unwrap_or(DebugInfoLevel::None),
                tasks_listed: summary.tasks_listed,
                tasks_counted: summary.tasks_counted,
                opaque_nodes: usize::try_from(summary.opaque_nodes).unwrap_or(usize::MAX),
                torn_tasks: summary.torn_tasks,
            };
            let runtimes = summary.runtimes.into_iter().map(|runtime| RuntimeInfo {
                runtime: lasting(&runtime.runtime),
                scheduler: lasting(&runtime.scheduler),
                address: Address(runtime.address),
                tasks_listed: runtime.tasks_listed,
                tasks_counted: runtime.tasks_counted,
            });
            let threads = summary.threads.into_iter();
            let threads = threads.map(|thread| thread_info(thread, strings));
            (
                runtimes.collect(),
                Some(coverage),
                summary.warnings,
                threads.collect::<Result<_, _>>()?,
            )
        }
    };
    Ok(SnapshotPart {
        time: part.time,
        number: part.number,
        last: part.last,
        runtimes,
        coverage,
        warnings,
        threads,
        stolen,
        tasks: part
            .tasks
            .into_iter()
            .map(|task| task_info(task, strings))
            .collect::<Result<_, _>>()?,
    })
}

fn task_info(task: proto::SnapshotTask, strings: &Strings) -> Result<TaskInfo, &'static str> {
    Ok(TaskInfo {
        id: task.id,
        runtime: lasting(&strings.text(task.runtime)?),
        scheduler: lasting(&strings.text(task.scheduler)?),
        state: task_state(task.state),
        future: strings.text(task.future)?,
        tree: nodes::read(task.tree, task.asides, strings)?,
        notes: task.notes,
        address: Address(task.address),
        references: task.references,
        wakers: task.wakers,
        cancelled: task.cancelled,
        joined_by: task.joined_by.map(Address),
    })
}

fn thread_info(
    thread: proto::SnapshotThread,
    strings: &Strings,
) -> Result<ThreadInfo, &'static str> {
    Ok(ThreadInfo {
        tid: thread.tid,
        name: strings.text(thread.name)?,
        state: thread.state,
        in_runtime: thread.in_runtime,
        polls: Some(thread.polls).filter(|task| !task.is_empty()),
        syscall: strings.get(thread.syscall.into())?,
        parked: thread.parked,
        switches: (thread.switches_voluntary, thread.switches_involuntary),
        cpu_time: thread.cpu_time,
        run_delay: thread.run_delay,
        aside: thread.aside,
    })
}
