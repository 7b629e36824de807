//! Snapshots of memory in a recording: so that it tells where tasks wait, also those that nothing
//! happened to.
//!
//! A tree is written in preorder with depths instead of nested messages: protobuf readers limit
//! nesting to about 100, and await trees can be deeper.

use std::sync::Arc;

use prost::Message as _;

use super::kinds::{
    debug_info, debug_info_text, node_kind, node_kind_number, node_state, node_state_number,
    task_state, task_state_number,
};
use super::names::lasting;
use super::strings::{self, Strings};
use super::tables::Interner;
use crate::address::Address;
use crate::proto;
use crate::rebuild::snapshot::{Coverage, DebugInfoLevel, RuntimeInfo, Snapshot, TaskInfo};
use crate::rebuild::tree::{AwaitNode, WaitsFor};

/// Bytes of tasks in one part, about; a task's tree that is larger than this is left out.
const PART: usize = 256 * 1024;

/// Depth of a tree at most, both ways.
const MAX_DEPTH: usize = 512;

/// Bytes of the names in a tree at most: they must fit into the table of strings.
const MAX_NAMES: usize = 8 * 1024 * 1024;

/// Bytes of a note, a warning or a detail at most.
const MAX_TEXT: usize = 1024;

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
        summary: Some(summary(snapshot)),
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

fn short(text: &str) -> String {
    text.chars().take(MAX_TEXT / 4).collect()
}

fn notes(notes: &[String]) -> Vec<String> {
    notes.iter().take(16).map(|note| short(note)).collect()
}

fn summary(snapshot: &Snapshot) -> proto::SnapshotSummary {
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
            .collect(),
        debug_info: debug_info_text(coverage.debug_info).to_owned(),
    }
}

fn task(info: &TaskInfo, strings: &mut strings::Interner) -> proto::SnapshotTask {
    let mut tree = Vec::new();
    let mut room = MAX_NAMES;
    if let Some(root) = &info.tree {
        nodes(root, 0, strings, &mut tree, &mut room);
    }
    let mut task = proto::SnapshotTask {
        id: short(&info.id),
        runtime: strings.id_of(info.runtime),
        scheduler: strings.id_of(info.scheduler),
        state: task_state_number(info.state),
        future: strings.id(Some(&info.future)),
        address: info.address.0,
        references: info.references,
        notes: notes(&info.notes),
        tree,
    };
    if task.encoded_len() > PART || room == 0 {
        let nodes = task.tree.len();
        task.tree = Vec::new();
        task.notes.push(format!(
            "its tree of at least {nodes} nodes is too large for a recording"
        ));
    }
    task
}

fn nodes(
    node: &AwaitNode,
    depth: usize,
    strings: &mut strings::Interner,
    into: &mut Vec<proto::Node>,
    room: &mut usize,
) {
    let names = node.future.len() + node.file.as_ref().map_or(0, |file| file.len());
    *room = room.saturating_sub(names);
    if *room == 0 {
        return;
    }
    let mut told = notes(&node.notes);
    let deeper = depth + 1 < MAX_DEPTH;
    if !deeper && !node.children.is_empty() {
        told.push("what it waits for is nested too deep for a recording".to_owned());
    }
    into.push(proto::Node {
        depth: depth as u32,
        future: strings.id(Some(&node.future)),
        file: strings.id(node.file.as_ref()),
        line: node.line.unwrap_or(0),
        kind: node_kind_number(node.kind),
        state: node_state_number(node.state),
        waits_for: node.waits_for.as_ref().map(|wait| proto::Wait {
            kind: strings.id_of(wait.kind),
            details: wait
                .details
                .iter()
                .take(32)
                .map(|(name, value)| (name, value.to_string()))
                .filter(|(name, json)| name.len() <= MAX_TEXT && json.len() <= MAX_TEXT)
                .map(|(name, json)| proto::Detail {
                    name: strings.id_of(name),
                    json,
                })
                .collect(),
        }),
        notes: told,
    });
    if deeper {
        for child in &node.children {
            nodes(child, depth + 1, strings, into, room);
        }
    }
}

/// A part as it came from a file.
pub(super) fn part(part: proto::Snapshot, strings: &Strings) -> Result<SnapshotPart, &'static str> {
    let (runtimes, coverage, warnings) = match part.summary {
        None => (Vec::new(), None, Vec::new()),
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
            (runtimes.collect(), Some(coverage), summary.warnings)
        }
    };
    Ok(SnapshotPart {
        time: part.time,
        number: part.number,
        last: part.last,
        runtimes,
        coverage,
        warnings,
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
        tree: tree(task.tree, strings)?,
        notes: task.notes,
        address: Address(task.address),
        references: task.references,
        ..TaskInfo::default()
    })
}

/// Puts the nodes of a preorder back together.
fn tree(nodes: Vec<proto::Node>, strings: &Strings) -> Result<Option<AwaitNode>, &'static str> {
    // The path from the root to the last node.
    let mut path: Vec<AwaitNode> = Vec::new();
    for node in nodes {
        let depth = node.depth as usize;
        if depth > path.len() || depth >= MAX_DEPTH || (depth == 0 && !path.is_empty()) {
            return Err("an await tree is not a tree");
        }
        fold(&mut path, depth);
        path.push(await_node(node, strings)?);
    }
    fold(&mut path, 1);
    Ok(path.pop())
}

/// Hands nodes from the end of the path to their parents until the path is this long.
fn fold(path: &mut Vec<AwaitNode>, length: usize) {
    while path.len() > length
        && let Some(child) = path.pop()
        && let Some(parent) = path.last_mut()
    {
        parent.children.push(child);
    }
}

fn await_node(node: proto::Node, strings: &Strings) -> Result<AwaitNode, &'static str> {
    let waits_for = match node.waits_for {
        None => None,
        Some(wait) => {
            let mut waits_for = WaitsFor::new(lasting(&strings.text(wait.kind)?));
            for detail in wait.details {
                let name = strings.text(detail.name)?;
                let value: serde_json::Value = serde_json::from_str(&detail.json)
                    .map_err(|_| "a detail of a wait is not JSON")?;
                waits_for.details.insert(name.as_ref().to_owned(), value);
            }
            Some(waits_for)
        }
    };
    Ok(AwaitNode {
        future: Arc::clone(&strings.text(node.future)?),
        kind: node_kind(node.kind),
        state: node_state(node.state),
        file: strings.get(node.file.into())?,
        line: (node.line > 0).then_some(node.line),
        waits_for,
        notes: node.notes,
        children: Vec::new(),
        ..AwaitNode::default()
    })
}
