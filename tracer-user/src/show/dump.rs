//! The text form of a snapshot: a header, then await trees, equal ones as one entry.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use anstyle::{AnsiColor, Style};
use rayon::prelude::*;

use super::alike::{AlikeTask, AlikeTree};
use super::escape::escape;
use super::live::format;
use super::waits;
use crate::export::recording::cut;
use crate::rebuild::snapshot::{DebugInfoLevel, Snapshot, TaskInfo, TaskState};
use crate::rebuild::tree::{AwaitNode, NodeKind, NodeState};
use crate::walk::without_arguments;

const STRONG: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const WAITS: Style = AnsiColor::Cyan.on_default();
const PLACE: Style = AnsiColor::Green.on_default();
const HOLDS: Style = AnsiColor::Magenta.on_default();
const WARNING: Style = AnsiColor::Yellow.on_default();

/// Threads that are shown in a poll.
const POLLING: usize = 64;
/// Task ids that are named for a group of equal tasks.
const NAMED: usize = 4;
/// A name longer than this is shown without its generic arguments.
const LONG_NAME: usize = 72;

/// Writes the snapshot for a person.
///
/// # Errors
/// What `out` returns.
pub fn write(snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
    header(snapshot, out)?;
    for group in groups(&snapshot.tasks) {
        writeln!(out)?;
        entry(&group, out)?;
    }
    Ok(())
}

fn header(snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
    let process = &snapshot.process;
    write!(
        out,
        "{STRONG}process {}{STRONG:#}  {}",
        process.pid,
        escape(&process.exe)
    )?;
    if let Some(build_id) = &process.build_id {
        let short: String = build_id.chars().take(12).collect();
        write!(out, "  {FAINT}build-id {}{FAINT:#}", escape(&short))?;
    }
    writeln!(out)?;
    for runtime in &snapshot.runtimes {
        let count = |count: u64| format!("{count} task{}", if count == 1 { "" } else { "s" });
        write!(
            out,
            "{} {} at {}: {}",
            runtime.runtime,
            runtime.scheduler.replace('_', "-"),
            runtime.address,
            count(runtime.tasks_listed)
        )?;
        match runtime.tasks_counted {
            Some(counted) if counted != runtime.tasks_listed => {
                writeln!(out, " {WARNING}(its own counter says {counted}){WARNING:#}")?;
            }
            Some(_) => writeln!(out, " {FAINT}(as its own counter says){FAINT:#}")?,
            None => writeln!(out, " {FAINT}(it keeps no counter){FAINT:#}")?,
        }
    }
    let mut states: HashMap<TaskState, usize> = HashMap::new();
    for task in &snapshot.tasks {
        *states.entry(task.state).or_default() += 1;
    }
    let mut states: Vec<(TaskState, usize)> = states.into_iter().collect();
    states.sort_unstable();
    let states: Vec<String> = states
        .iter()
        .map(|(state, count)| format!("{count} {}", format::state(*state)))
        .collect();
    let total = snapshot.tasks.len();
    let tasks = if total == 1 { "task" } else { "tasks" };
    writeln!(
        out,
        "{STRONG}{total} {tasks}{STRONG:#}: {}",
        states.join(", ")
    )?;
    threads(snapshot, out)?;
    let level = match snapshot.coverage.debug_info {
        DebugInfoLevel::Full => None,
        DebugInfoLevel::Symbols => Some("the binary has symbols but no types: no await trees"),
        DebugInfoLevel::None => Some("the binary is stripped: no names and no await trees"),
    };
    for warning in level
        .into_iter()
        .chain(snapshot.warnings.iter().map(String::as_str))
    {
        writeln!(out, "{WARNING}note: {}{WARNING:#}", escape(warning))?;
    }
    Ok(())
}

/// The threads that poll, with what each is doing there.
fn threads(snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
    let polling = || {
        let threads = snapshot.threads.iter();
        threads.filter_map(|thread| Some((thread, thread.polls.as_deref()?)))
    };
    for (thread, task) in polling().take(POLLING) {
        let name = escape(&thread.name);
        write!(out, "thread {} {name} polls {task}", thread.tid)?;
        match (&thread.syscall, thread.state.as_str()) {
            (Some(call), _) => writeln!(out, ", in {}", escape(call))?,
            (None, "R") => writeln!(out, ", running")?,
            (None, state) => writeln!(out, ", {FAINT}state {}{FAINT:#}", escape(state))?,
        }
    }
    let more = polling().skip(POLLING).count();
    if more > 0 {
        writeln!(out, "{FAINT}and {more} more threads that poll{FAINT:#}")?;
    }
    Ok(())
}

/// Tasks that differ only in values.
struct Group<'s> {
    tasks: Vec<&'s TaskInfo>,
}

/// Fewer tasks are not worth another thread.
const TASKS_A_THREAD: usize = 8192;

/// Equal tasks together, the largest group first, then by name.
fn groups(tasks: &[TaskInfo]) -> Vec<Group<'_>> {
    let parts: Vec<Vec<Group<'_>>> = tasks
        .par_chunks(TASKS_A_THREAD)
        .map(|part| together(part.iter().map(|task| Group { tasks: vec![task] })))
        .collect();
    let mut order = together(parts.into_iter().flatten());
    order.sort_by(|a, b| {
        let name = |group: &Group<'_>| group.tasks.first().map(|task| Arc::clone(&task.future));
        b.tasks
            .len()
            .cmp(&a.tasks.len())
            .then_with(|| name(a).cmp(&name(b)))
    });
    order
}

/// Groups of equal tasks made one, in the order of their first tasks.
fn together<'s>(parts: impl Iterator<Item = Group<'s>>) -> Vec<Group<'s>> {
    let mut order: Vec<Group<'s>> = Vec::new();
    let mut places: foldhash::HashMap<AlikeTask<'s>, usize> = foldhash::HashMap::default();
    for part in parts {
        let Some(first) = part.tasks.first() else {
            continue;
        };
        let place = *places.entry(AlikeTask(first)).or_insert(order.len());
        match order.get_mut(place) {
            Some(group) => group.tasks.extend(part.tasks),
            None => order.push(part),
        }
    }
    order
}

fn entry(group: &Group<'_>, out: &mut dyn Write) -> io::Result<()> {
    let Some(example) = group.tasks.first() else {
        return Ok(());
    };
    let ids: Vec<&str> = group
        .tasks
        .iter()
        .take(NAMED)
        .map(|task| task.id.as_str())
        .collect();
    let state = format::state(example.state);
    if group.tasks.len() == 1 {
        write!(out, "{STRONG}{}{STRONG:#}", escape(&example.id))?;
        writeln!(out, "  {state}  {}", escape(&shown_name(&example.future)))?;
    } else {
        write!(out, "{STRONG}{} tasks{STRONG:#}", group.tasks.len())?;
        writeln!(out, "  {state}  {}", escape(&shown_name(&example.future)))?;
        let more = group.tasks.len().saturating_sub(ids.len());
        let more = if more == 0 {
            String::new()
        } else {
            format!(" and {more} more")
        };
        writeln!(
            out,
            "  {FAINT}{}{more}; as an example {}:{FAINT:#}",
            ids.join(", "),
            example.id
        )?;
    }
    for note in &example.notes {
        writeln!(out, "  {FAINT}note: {}{FAINT:#}", escape(note))?;
    }
    match &example.tree {
        Some(tree) => node(tree, "  ", "", out),
        None => Ok(()),
    }
}

/// One node and what is below it. `lead` stands before its children's branches, `branch` before
/// itself.
fn node(node: &AwaitNode, lead: &str, branch: &str, out: &mut dyn Write) -> io::Result<()> {
    // A wrapper with nothing to say is left out, here only: JSON has every node.
    if is_plain_wrapper(node)
        && let [only] = node.children.as_slice()
    {
        return self::node(only, lead, branch, out);
    }
    let stem = lead.strip_suffix(match branch {
        "├─ " => "│  ",
        "└─ " => "   ",
        _ => "",
    });
    write!(
        out,
        "{}{branch}{}",
        stem.unwrap_or(lead),
        escape(&shown_name(&node.future))
    )?;
    if let (Some(file), Some(line)) = (&node.file, node.line) {
        write!(
            out,
            "  {PLACE}{}:{line}{PLACE:#}",
            escape(format::short_path(file))
        )?;
    }
    if let Some(waits_for) = &node.waits_for {
        write!(
            out,
            "  {WAITS}{}{WAITS:#}",
            escape(&waits::describe(waits_for))
        )?;
    }
    let state = match node.state {
        NodeState::Unresumed => Some("not polled yet"),
        NodeState::Returned => Some("finished"),
        NodeState::Panicked => Some("panicked"),
        NodeState::Suspended | NodeState::Unknown => None,
    };
    if let Some(state) = state {
        write!(out, "  {FAINT}({state}){FAINT:#}")?;
    }
    if node.kind == NodeKind::Unknown {
        write!(out, "  {WARNING}?{WARNING:#}")?;
    }
    writeln!(out)?;
    for note in &node.notes {
        writeln!(out, "{lead}{FAINT}note: {}{FAINT:#}", escape(note))?;
    }
    for held in &node.holds {
        write!(
            out,
            "{lead}{HOLDS}holds {}{HOLDS:#}",
            escape(&waits::describe_held(&held.what))
        )?;
        if !held.local.is_empty() {
            write!(out, "  {FAINT}in {}{FAINT:#}", escape(&held.local))?;
        }
        if let Some(doubt) = &held.doubt {
            write!(out, "  {FAINT}(perhaps: {}){FAINT:#}", escape(doubt))?;
        }
        writeln!(out)?;
    }
    if !node.not_awaited.is_empty() {
        let (branch, below) = if node.children.is_empty() {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        writeln!(out, "{lead}{branch}{HOLDS}kept, not awaited here:{HOLDS:#}")?;
        let lead = format!("{lead}{below}");
        branches(&node.not_awaited, &lead, out)?;
    }
    branches(&node.children, lead, out)
}

/// Nodes below another, equal neighbours as one.
fn branches(nodes: &[AwaitNode], lead: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut runs = equal_runs(nodes).into_iter().peekable();
    while let Some((child, count)) = runs.next() {
        let is_last = runs.peek().is_none();
        let (branch, below) = if is_last {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        if count > 1 {
            writeln!(
                out,
                "{lead}{branch}{FAINT}{count} times, as an example:{FAINT:#}"
            )?;
            node(child, &format!("{lead}{below}   "), "└─ ", out)?;
        } else {
            node(child, &format!("{lead}{below}"), branch, out)?;
        }
    }
    Ok(())
}

/// Fewer equal neighbours than this are shown one by one.
const MANY: usize = 4;

/// The children, a run of many equal neighbours as its first with their number.
fn equal_runs(children: &[AwaitNode]) -> Vec<(&AwaitNode, usize)> {
    let mut out = Vec::new();
    let mut rest = children.iter().peekable();
    while let Some(first) = rest.next() {
        let mut run = vec![first];
        while let Some(child) = rest.next_if(|other| AlikeTree(other) == AlikeTree(first)) {
            run.push(child);
        }
        if run.len() >= MANY {
            out.push((first, run.len()));
        } else {
            out.extend(run.into_iter().map(|child| (child, 1)));
        }
    }
    out
}

fn is_plain_wrapper(node: &AwaitNode) -> bool {
    const WRAPPERS: [&str; 4] = [
        "::MaybeDone",
        "::TryMaybeDone",
        "::OrderWrapper",
        "::into_future::IntoFuture",
    ];
    let base = node.future.split('<').next().unwrap_or("");
    WRAPPERS.iter().any(|wrapper| base.ends_with(wrapper))
        && node.waits_for.is_none()
        && node.notes.is_empty()
        && node.holds.is_empty()
}

/// A long name without its generic arguments, which repeat the tree below; the `<T as Trait>` that
/// starts a path stays.
fn shown_name(name: &str) -> String {
    if name.chars().count() <= LONG_NAME {
        return name.to_owned();
    }
    cut(&without_arguments(name)).into_owned()
}

#[cfg(test)]
#[path = "dump_tests.rs"]
mod tests;
