//! One request: its graph and its critical path.

use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;

use super::path::{self, PathView};
use super::text::{FAINT, STRONG, WARNING};
use super::words::{self, Cause};
use super::{AwaitedPlace, Material, Row, SCHEMA, tree};
use crate::analyse::history::AwaitOutcome;
use crate::analyse::levels::{Level, Node};
use crate::analyse::requests::Request;
use crate::analyse::requests::graph::{self, Edge, Role, VERTICES};
use crate::show::report::calendar;

/// A request with everything in it, as far as it was opened.
#[derive(Clone, Debug, Serialize)]
pub struct One {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The request.
    pub request: Row,
    /// How far it is opened.
    pub level: Level,
    /// The tasks that worked for it; empty at level `requests`.
    pub tasks: Vec<TaskView>,
    /// Its async expressions: parents before children, children in order of start. Empty at levels
    /// `requests` and `tasks`.
    pub vertices: Vec<VertexView>,
    /// Edges; both ends are indexes into `vertices`.
    pub edges: Vec<Edge>,
    /// There are more vertices than are listed.
    pub cut_off: bool,
    /// The critical path.
    pub critical_path: PathView,
}

/// A task, or the part of it that is inside a request.
#[derive(Clone, Debug, Serialize)]
pub struct TaskView {
    /// Its name.
    pub name: Option<Arc<str>>,
    /// Path of its future.
    pub future: Option<Arc<str>>,
    /// Nanoseconds from the start of the request; negative when it began before.
    pub start_ns: i64,
    /// Nanoseconds.
    pub duration_ns: u64,
    /// How it ended.
    pub outcome: AwaitOutcome,
}

/// An async expression.
#[derive(Clone, Debug, Serialize)]
pub struct VertexView {
    /// What is awaited, and where.
    #[serde(flatten)]
    pub awaited: AwaitedPlace,
    /// Its task.
    pub task: Option<Arc<str>>,
    /// What it is to the request.
    pub role: Role,
    /// The vertex that it is drawn below.
    pub parent: Option<u32>,
    /// How deep it is drawn.
    pub depth: u32,
    /// Nanoseconds from the start of the request; negative when it began before.
    pub start_ns: i64,
    /// Nanoseconds that it took, or has taken so far.
    pub duration_ns: u64,
    /// Nanoseconds of it outside polls.
    pub waiting_ns: u64,
    /// Nanoseconds of it inside polls of its task.
    pub polled_ns: u64,
    /// Polls of its task between its start and its end.
    pub polls: u32,
    /// It is older than `start_ns` says.
    pub at_least: bool,
    /// How it ended.
    pub outcome: AwaitOutcome,
    /// What ended it, for a leaf.
    pub cause: Option<Cause>,
    /// The polls in which it went on, at level `polls`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub went_on: Vec<PollView>,
}

/// A poll.
#[derive(Clone, Debug, Serialize)]
pub struct PollView {
    /// Nanoseconds from the start of the request; negative when it began before.
    pub start_ns: i64,
    /// Nanoseconds, at most; `None` when the end is not known.
    pub duration_ns: Option<u64>,
    /// Whether the duration is exact; otherwise it is an upper bound.
    pub exact: bool,
    /// Nanoseconds of it off the CPU.
    pub off_cpu_ns: u64,
    /// What caused it.
    pub cause: Option<Cause>,
}

/// The difference of two times, of which the second may be the later.
fn since(start: u64, time: u64) -> i64 {
    let difference = i128::from(time) - i128::from(start);
    i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
}

impl Material<'_> {
    /// A request, opened down to `level`.
    #[must_use]
    pub fn one(&self, request: &Request, level: Level) -> One {
        let mut one = One {
            schema: SCHEMA,
            request: self.row(request),
            level,
            tasks: Vec::new(),
            vertices: Vec::new(),
            edges: Vec::new(),
            cut_off: false,
            critical_path: self.path(request),
        };
        if level >= Level::Tasks {
            one.tasks = self.tasks(request);
        }
        if level >= Level::Awaits {
            let graph = graph::graph(self.history, &self.nesting, request);
            one.cut_off = graph.cut_off;
            one.edges = graph.edges;
            one.vertices = graph
                .vertices
                .iter()
                .filter_map(|vertex| self.vertex(request, vertex, level))
                .collect();
        }
        one
    }

    fn tasks(&self, request: &Request) -> Vec<TaskView> {
        let index = request.id.saturating_sub(1) as usize;
        let tasks = self
            .nesting
            .inside(&self.requests.list, Node::Request(index));
        tasks
            .into_iter()
            .filter_map(|node| {
                let Node::Task { unit, root } = node else {
                    return None;
                };
                let task = words::task(self.history, unit);
                let root = self.history.awaits.get(root?.0 as usize)?;
                Some(TaskView {
                    name: task.map(|task| Arc::clone(&task.name)),
                    future: task.and_then(|task| task.future.clone()),
                    start_ns: since(request.start, root.start),
                    duration_ns: root.duration(self.history.span.end),
                    outcome: root.outcome,
                })
            })
            .collect()
    }

    fn vertex(
        &self,
        request: &Request,
        vertex: &graph::Vertex,
        level: Level,
    ) -> Option<VertexView> {
        let history = self.history;
        let instance = history.awaits.get(vertex.instance.0 as usize)?;
        let polls = vertex.polls.iter().filter(|_| level >= Level::Polls);
        let polls = polls.filter_map(|&poll| self.poll(request, poll));
        Some(VertexView {
            awaited: AwaitedPlace::from(&*instance.awaited),
            task: words::task(history, instance.task).map(|task| Arc::clone(&task.name)),
            role: vertex.role,
            parent: vertex.parent,
            depth: vertex.depth,
            start_ns: since(request.start, instance.start),
            duration_ns: instance.duration(history.span.end),
            waiting_ns: instance.waiting,
            polled_ns: instance.polled,
            polls: instance.polls,
            at_least: instance.at_least,
            outcome: instance.outcome,
            cause: vertex.ended_by.map(|wake| words::cause(history, wake)),
            went_on: polls.collect(),
        })
    }

    fn poll(
        &self,
        request: &Request,
        poll: crate::analyse::history::PollIndex,
    ) -> Option<PollView> {
        use crate::analyse::history::PollCause;
        let poll = self.history.polls.get(poll.0 as usize)?;
        Some(PollView {
            start_ns: since(request.start, poll.begin),
            duration_ns: poll.length().filter(|_| poll.begin_known),
            exact: poll.seen.is_exact(),
            off_cpu_ns: poll.blocked.saturating_add(poll.preempted),
            cause: match poll.cause {
                Some(PollCause::Wake(wake)) => Some(words::cause(self.history, wake)),
                _ => None,
            },
        })
    }
}

/// Writes a request for a person.
///
/// # Errors
/// What `out` returns.
pub fn write(material: &Material<'_>, one: &One, out: &mut dyn Write) -> io::Result<()> {
    let request = &one.request;
    let task = request.task.as_ref().map_or_else(String::new, |task| {
        let future = request.task_future.as_ref();
        let future = future.map_or_else(String::new, |future| format!(" {}", words::path(future)));
        format!(", in {}{future}", crate::show::escape::escape(task))
    });
    writeln!(
        out,
        "{STRONG}request {}{STRONG:#}  {}  {STRONG}{}{}{STRONG:#}, {}{task}",
        request.id,
        words::path(&request.what),
        if request.at_least { ">=" } else { "" },
        words::length(request.duration_ns),
        words::outcome(request.outcome),
    )?;
    write!(out, "began at +{}", words::length(request.start_ns))?;
    if let Some(time) = request.start_unix_ns {
        write!(out, ", {}", calendar::utc_millis(time))?;
    }
    let kind = material
        .request(request.id)
        .and_then(|it| material.kind_of(it));
    if let Some((kind, median)) = kind.and_then(|kind| Some((kind, kind.p50_ns?))) {
        write!(
            out,
            "; half of {} took at most {}",
            kind.whole,
            words::length(median)
        )?;
    }
    writeln!(out)?;
    if let Some(because) = material
        .request(request.id)
        .and_then(|it| material.because(it))
    {
        writeln!(
            out,
            "{WARNING}slow because of {}: such a request spends {} there, others {}{WARNING:#}",
            words::awaited(&because.awaited),
            words::length(because.median_ns),
            words::length(because.others_median_ns)
        )?;
    }
    tree::write(one, out)?;
    if one.cut_off {
        writeln!(
            out,
            "  {FAINT}there are more than {VERTICES}: the rest is left out{FAINT:#}"
        )?;
    }
    path::write(&one.critical_path, out)
}
