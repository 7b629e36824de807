//! The graph of a request as an indented tree, or its tasks as a list.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io::{self, Write};

use super::AwaitedPlace;
use super::one::{One, PollView, TaskView, VertexView};
use super::text::{FAINT, heading, table};
use super::words;
use crate::analyse::history::AwaitOutcome;
use crate::analyse::levels::Level;
use crate::analyse::requests::graph::{EdgeKind, Role};
use crate::show::escape::escape;

/// Vertices that are shown at most.
const SHOWN: usize = 400;

/// Of more than this many alike side by side the first are shown.
const ALIKE: usize = 5;

/// Writes what is inside a request, as far as it was opened.
pub(super) fn write(one: &One, out: &mut dyn Write) -> io::Result<()> {
    match one.level {
        Level::Requests => Ok(()),
        Level::Tasks => tasks(&one.tasks, out),
        Level::Awaits | Level::Polls => awaits(one, out),
    }
}

fn at(start: i64) -> String {
    let length = words::length(start.unsigned_abs());
    if start < 0 {
        format!("-{length}")
    } else {
        format!("+{length}")
    }
}

fn tasks(tasks: &[TaskView], out: &mut dyn Write) -> io::Result<()> {
    heading(out, "Tasks")?;
    let rows = tasks.iter().take(SHOWN).map(|task| {
        let name = task.name.as_deref().unwrap_or("?");
        vec![
            at(task.start_ns),
            words::length(task.duration_ns),
            words::outcome(task.outcome).to_owned(),
            escape(name).into_owned(),
            task.future
                .as_ref()
                .map_or_else(String::new, |future| words::path(future)),
        ]
    });
    let headings = ["at", "length", "outcome", "task", "future"];
    writeln!(out, "{}", table(&headings, 2, rows.collect()))?;
    more(tasks.len(), out)
}

fn more(all: usize, out: &mut dyn Write) -> io::Result<()> {
    if all > SHOWN {
        writeln!(
            out,
            "  {FAINT}and {} more (--json lists them){FAINT:#}",
            all - SHOWN
        )?;
    }
    Ok(())
}

fn awaits(one: &One, out: &mut dyn Write) -> io::Result<()> {
    heading(out, "What it awaited, in order of start")?;
    let folds = folds(&one.vertices);
    let wakers = wakers(one);
    let mut branches = Branches::new(&one.vertices, &folds);
    let mut rows = Vec::new();
    for (index, vertex) in one.vertices.iter().enumerate() {
        if folds.hidden.contains(&index) {
            continue;
        }
        let branch = branches.of(index);
        rows.push(vec![
            at(vertex.start_ns),
            format!(
                "{}{}",
                if vertex.at_least { ">=" } else { "" },
                words::length(vertex.duration_ns)
            ),
            words::length(vertex.waiting_ns),
            words::length(vertex.polled_ns),
            format!("{branch}{}", words_of(vertex, wakers.get(&index))),
        ]);
        let below = branches.below(index);
        rows.extend(vertex.went_on.iter().map(|poll| poll_row(poll, &below)));
        if let Some((count, longest, sum)) = folds.after.get(&index) {
            rows.push(vec![
                String::new(),
                words::length(*sum),
                String::new(),
                String::new(),
                format!(
                    "{}  {count} more of these, the longest {}",
                    branches.beside(index),
                    words::length(*longest)
                ),
            ]);
        }
    }
    let all = rows.len();
    rows.truncate(SHOWN);
    let headings = ["at", "length", "waiting", "polled", ""];
    writeln!(out, "{}", table(&headings, 4, rows))?;
    more(all, out)
}

fn poll_row(poll: &PollView, below: &str) -> Vec<String> {
    let length = poll.duration_ns.map_or_else(
        || "?".to_owned(),
        |length| {
            let bound = if poll.exact { "" } else { "<=" };
            format!("{bound}{}", words::length(length))
        },
    );
    let mut text = format!("{below}· polled");
    if poll.off_cpu_ns > 0 {
        // Writing to a `String` cannot fail.
        let _ = write!(text, ", {} off the CPU", words::length(poll.off_cpu_ns));
    }
    if let Some(cause) = &poll.cause {
        let _ = write!(text, ", because of {}", cause.words());
    }
    vec![
        at(poll.start_ns),
        length.clone(),
        String::new(),
        length,
        text,
    ]
}

/// An async expression in words: what, where, why it ended.
fn words_of(vertex: &VertexView, woken_by: Option<&Vec<String>>) -> String {
    let mut text = words::awaited(&vertex.awaited);
    let task = vertex.task.as_deref().unwrap_or("?");
    match vertex.role {
        Role::Awaited => {}
        Role::Spawned => {
            let _ = write!(text, "  (spawned: {})", escape(task));
        }
        Role::Waker => {
            let _ = write!(text, "  (woke it: {})", escape(task));
        }
    }
    if let Some(kind) = &vertex.awaited.waits_for {
        let _ = write!(text, "  {}", escape(kind));
    }
    match (vertex.outcome, vertex.role) {
        (AwaitOutcome::Ready, _) | (AwaitOutcome::Open, Role::Waker) => {}
        (outcome, _) => {
            let _ = write!(text, "  {}", words::outcome(outcome));
        }
    }
    match (woken_by, &vertex.cause) {
        (Some(by), _) => {
            let _ = write!(text, "  <- {}", by.join(", "));
        }
        (None, Some(cause)) => {
            let _ = write!(text, "  <- {}", cause.words());
        }
        (None, None) => {}
    }
    text
}

/// For each leaf that a task of the graph woke: by which task.
fn wakers(one: &One) -> HashMap<usize, Vec<String>> {
    let mut wakers: HashMap<usize, Vec<String>> = HashMap::new();
    for edge in &one.edges {
        let verb = match edge.kind {
            EdgeKind::Joined => "joined",
            EdgeKind::Woke => "woken by",
            EdgeKind::Awaits | EdgeKind::Spawned => continue,
        };
        let task = one.vertices.get(edge.from as usize).map(|from| {
            let task = from.task.as_deref().unwrap_or("?");
            format!("{verb} {}", escape(task))
        });
        wakers.entry(edge.to as usize).or_default().extend(task);
    }
    wakers
}

/// Leaves alike side by side, of which only the first are shown.
#[derive(Default)]
struct Folds {
    hidden: HashSet<usize>,
    /// After which vertex a fold is told: how many, the longest, all together.
    after: HashMap<usize, (usize, u64, u64)>,
}

fn folds(vertices: &[VertexView]) -> Folds {
    let holds: HashSet<u32> = vertices.iter().filter_map(|vertex| vertex.parent).collect();
    let mut groups: HashMap<(Option<u32>, &AwaitedPlace), Vec<usize>> = HashMap::new();
    for (index, vertex) in (0_u32..).zip(vertices) {
        if vertex.role == Role::Awaited && !holds.contains(&index) {
            groups
                .entry((vertex.parent, &vertex.awaited))
                .or_default()
                .push(index as usize);
        }
    }
    let mut folds = Folds::default();
    for members in groups.into_values().filter(|members| members.len() > ALIKE) {
        let (shown, hidden) = members.split_at(ALIKE - 2);
        let lengths = hidden.iter().map(|&index| vertices[index].duration_ns);
        let longest = lengths.clone().max().unwrap_or(0);
        if let Some(last) = shown.last() {
            let told = (hidden.len(), longest, lengths.fold(0, u64::saturating_add));
            folds.after.insert(*last, told);
        }
        folds.hidden.extend(hidden);
    }
    folds
}

/// The lines of the tree.
struct Branches<'v> {
    vertices: &'v [VertexView],
    last: HashSet<usize>,
    /// For each depth on the way to the present vertex whether more siblings follow.
    open: Vec<bool>,
}

impl<'v> Branches<'v> {
    fn new(vertices: &'v [VertexView], folds: &Folds) -> Self {
        let mut seen = HashSet::new();
        let mut last = HashSet::new();
        for (index, vertex) in vertices.iter().enumerate().rev() {
            if !folds.hidden.contains(&index) && seen.insert(vertex.parent) {
                last.insert(index);
            }
        }
        Self {
            vertices,
            last,
            open: Vec::new(),
        }
    }

    fn depth(&self, index: usize) -> usize {
        // A recording may nest deeper than a line is long.
        self.vertices
            .get(index)
            .map_or(0, |vertex| vertex.depth.min(60) as usize)
    }

    /// What stands before a vertex. To be asked in order.
    fn of(&mut self, index: usize) -> String {
        let depth = self.depth(index);
        self.open.truncate(depth);
        self.open.resize(depth, false);
        let mut text = self.stems(depth);
        let last = self.last.contains(&index);
        if depth > 0 {
            text.push_str(if last { "└─ " } else { "├─ " });
        }
        self.open.push(!last);
        text
    }

    /// The lines of the levels above `depth`; the root has none of its own.
    fn stems(&self, depth: usize) -> String {
        self.open
            .iter()
            .take(depth)
            .skip(1)
            .map(|open| if *open { "│  " } else { "   " })
            .collect()
    }

    /// What stands before what belongs to the vertex that was asked for last.
    fn below(&self, index: usize) -> String {
        self.stems(self.depth(index) + 1)
    }

    /// What stands before what follows beside the vertex that was asked for last.
    fn beside(&self, index: usize) -> String {
        self.stems(self.depth(index))
    }
}
