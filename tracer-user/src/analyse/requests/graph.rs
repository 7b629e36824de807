//! The graph of one request: each async expression that was part of it a vertex, with what made it
//! and what ended it as edges, across tasks.
//!
//! A vertex is an await instance at or below the request's root, in its own task or in one that was
//! spawned there (and so on), or one of another task that handed something over: that woke a leaf
//! of the request. Edges go from what came first: from a parent to what it awaits, from the
//! instance that spawned a task to that task, from a task that was joined to the join, from what
//! made a wake-up to the leaf whose wait it ended.

use std::collections::HashMap;

use serde::Serialize;

use super::Request;
use crate::analyse::history::{AwaitIndex, History, PollCause, PollIndex, UnitKind, WakeIndex};
use crate::analyse::levels::Nesting;

/// Vertices of a graph at most.
pub const VERTICES: usize = 20_000;

/// The graph of a request.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Parents before children, and children in order of start.
    pub vertices: Vec<Vertex>,
    /// Edges; both ends are indexes into `vertices`.
    pub edges: Vec<Edge>,
    /// There are more than [`VERTICES`]: some are left out.
    pub cut_off: bool,
}

/// An async expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vertex {
    /// The await instance.
    pub instance: AwaitIndex,
    /// What it is to the request.
    pub role: Role,
    /// The vertex that it is drawn below.
    pub parent: Option<u32>,
    /// How deep it is drawn.
    pub depth: u32,
    /// The wake-up that caused the poll that ended it, for a leaf.
    pub ended_by: Option<WakeIndex>,
    /// The polls in which it went on, as the innermost.
    pub polls: Vec<PollIndex>,
}

/// What an async expression is to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A part of it, awaited by it.
    Awaited,
    /// A task that it spawned.
    Spawned,
    /// Another task's: it woke the request.
    Waker,
}

/// One came from the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Edge {
    /// What came first.
    pub from: u32,
    /// What came of it.
    pub to: u32,
    /// How.
    pub kind: EdgeKind,
}

/// How one came from the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeKind {
    /// `from` awaits `to`.
    Awaits,
    /// `from` spawned the task that `to` is.
    Spawned,
    /// `from` is the task that `to` waited for.
    Joined,
    /// `from` woke the task while it waited in `to`.
    Woke,
}

/// The graph of a request.
#[must_use]
pub fn graph(history: &History, nesting: &Nesting<'_>, request: &Request) -> Graph {
    let mut maker = Maker {
        history,
        nesting,
        graph: Graph::default(),
        place: HashMap::new(),
    };
    maker.own(request);
    maker.wakes();
    maker.graph.edges.sort_unstable();
    maker.graph.edges.dedup();
    in_order(history, maker.graph)
}

struct Maker<'h, 'n> {
    history: &'h History,
    nesting: &'n Nesting<'h>,
    graph: Graph,
    place: HashMap<AwaitIndex, u32>,
}

impl Maker<'_, '_> {
    /// Adds an instance below a vertex; `None` when there is no room or it is there already.
    fn add(&mut self, instance: AwaitIndex, role: Role, parent: Option<u32>) -> Option<u32> {
        self.history.awaits.get(instance.0 as usize)?;
        if self.place.contains_key(&instance) {
            return None;
        }
        if self.graph.vertices.len() >= VERTICES {
            self.graph.cut_off = true;
            return None;
        }
        let index = u32::try_from(self.graph.vertices.len()).ok()?;
        let depth = parent
            .and_then(|parent| self.graph.vertices.get(parent as usize))
            .map_or(0, |parent| parent.depth + 1);
        self.graph.vertices.push(Vertex {
            instance,
            role,
            parent,
            depth,
            ended_by: None,
            polls: Vec::new(),
        });
        self.place.insert(instance, index);
        Some(index)
    }

    fn edge(&mut self, from: u32, to: u32, kind: EdgeKind) {
        if from != to {
            self.graph.edges.push(Edge { from, to, kind });
        }
    }

    /// The request's own instances and those of the tasks it spawned.
    fn own(&mut self, request: &Request) {
        let end = request.end.unwrap_or(self.history.span.end);
        let mut open: Vec<u32> = self
            .add(request.root, Role::Awaited, None)
            .into_iter()
            .collect();
        while let Some(at) = open.pop() {
            let Some(vertex) = self.graph.vertices.get_mut(at as usize) else {
                continue;
            };
            let instance = vertex.instance;
            vertex.polls = polls(self.history, self.nesting, instance);
            for child in self.nesting.children(instance) {
                if let Some(child) = self.add(child, Role::Awaited, Some(at)) {
                    self.edge(at, child, EdgeKind::Awaits);
                    open.push(child);
                }
            }
            for task in self.nesting.spawned(instance) {
                let root = self.nesting.root_of(task);
                let during = root.is_some_and(|root| {
                    let root = self.history.awaits.get(root.0 as usize);
                    root.is_some_and(|root| root.start <= end)
                });
                if let Some(root) = root.filter(|_| during)
                    && let Some(child) = self.add(root, Role::Spawned, Some(at))
                {
                    self.edge(at, child, EdgeKind::Spawned);
                    open.push(child);
                }
            }
        }
    }

    /// What ended the waits of the leaves.
    fn wakes(&mut self) {
        for at in 0..self.graph.vertices.len() {
            let instance = self.graph.vertices[at].instance;
            if self.nesting.children(instance).next().is_some() {
                continue;
            }
            let Some(index) = self.ending(instance) else {
                continue;
            };
            self.graph.vertices[at].ended_by = Some(index);
            let Ok(leaf) = u32::try_from(at) else {
                continue;
            };
            self.waker(leaf, instance, index);
        }
    }

    /// The wake-up that caused the poll that ended a leaf.
    fn ending(&self, leaf: AwaitIndex) -> Option<WakeIndex> {
        let leaf = self.history.awaits.get(leaf.0 as usize)?;
        let end = leaf.end?;
        let polls = &self.history.units.get(leaf.task.0 as usize)?.polls;
        let begin = |poll: &PollIndex| {
            let poll = self.history.polls.get(poll.0 as usize);
            poll.map_or(0, |poll| poll.begin)
        };
        let at = polls.partition_point(|poll| begin(poll) < end);
        let poll = self.history.polls.get(polls.get(at)?.0 as usize)?;
        match poll.cause? {
            PollCause::Wake(wake) if poll.begin == end => Some(wake),
            _ => None,
        }
    }

    /// Draws what made a wake-up, when it was a task.
    fn waker(&mut self, leaf: u32, instance: AwaitIndex, wake: WakeIndex) {
        let Some(wake) = self.history.wakes.get(wake.0 as usize) else {
            return;
        };
        let by = wake.by;
        let Some(unit) = self.history.units.get(by.unit.0 as usize) else {
            return;
        };
        let UnitKind::Task(task) = &unit.kind else {
            return;
        };
        if by.poll.is_none() {
            return;
        }
        let root = self.nesting.root_of(by.unit);
        let Some(within) = by.within.or(root) else {
            return;
        };
        let leaf_of = self.history.awaits.get(instance.0 as usize);
        let joins = leaf_of.is_some_and(|leaf| leaf.awaited.waits_for.as_deref() == Some("join"));
        // The end of a task is told at the end of its last poll, its wake-up comes a little before.
        let ended = task.end.is_some() && unit.polls.last().copied() == by.poll;
        if joins
            && ended
            && let Some(root) = root
        {
            let from = self
                .place
                .get(&root)
                .copied()
                .or_else(|| self.add(root, Role::Waker, Some(leaf)));
            if let Some(from) = from {
                self.edge(from, leaf, EdgeKind::Joined);
            }
            return;
        }
        let from = self
            .place
            .get(&within)
            .copied()
            .or_else(|| self.add(within, Role::Waker, Some(leaf)));
        if let Some(from) = from {
            self.edge(from, leaf, EdgeKind::Woke);
        }
    }
}

/// The polls in which an instance went on, as the innermost, after the one that made it.
fn polls(history: &History, nesting: &Nesting<'_>, index: AwaitIndex) -> Vec<PollIndex> {
    let mut polls: Vec<PollIndex> = nesting.polls(index).collect();
    let made_in = history.awaits.get(index.0 as usize).and_then(|instance| {
        let unit = history.units.get(instance.task.0 as usize)?;
        let begin = |poll: &PollIndex| {
            let poll = history.polls.get(poll.0 as usize);
            poll.map_or(0, |poll| poll.begin)
        };
        let at = unit
            .polls
            .partition_point(|poll| begin(poll) < instance.start);
        let poll = unit.polls.get(at).copied()?;
        (begin(&poll) == instance.start).then_some(poll)
    });
    if let Some(poll) = made_in
        && polls.first() != Some(&poll)
        && nesting.children(index).next().is_some()
    {
        polls.insert(0, poll);
    }
    polls
}

/// The same graph with its vertices in preorder, children in order of start.
fn in_order(history: &History, graph: Graph) -> Graph {
    let start = |vertex: &Vertex| {
        let instance = history.awaits.get(vertex.instance.0 as usize);
        (
            instance.map_or(0, |instance| instance.start),
            vertex.instance,
        )
    };
    let mut children: Vec<Vec<u32>> = vec![Vec::new(); graph.vertices.len()];
    let mut stack = Vec::new();
    for (index, vertex) in (0..).zip(&graph.vertices) {
        match vertex.parent {
            Some(parent) => children[parent as usize].push(index),
            None => stack.push(index),
        }
    }
    let mut order = Vec::with_capacity(graph.vertices.len());
    while let Some(at) = stack.pop() {
        order.push(at);
        let below = &mut children[at as usize];
        below.sort_by_key(|&child| start(&graph.vertices[child as usize]));
        stack.extend(below.iter().rev());
    }
    let mut place = vec![0; graph.vertices.len()];
    for (new, &old) in (0..).zip(&order) {
        place[old as usize] = new;
    }
    let mut edges: Vec<Edge> = graph
        .edges
        .into_iter()
        .map(|edge| Edge {
            from: place[edge.from as usize],
            to: place[edge.to as usize],
            kind: edge.kind,
        })
        .collect();
    edges.sort_unstable();
    Graph {
        vertices: order
            .iter()
            .map(|&old| {
                let vertex = graph.vertices[old as usize].clone();
                Vertex {
                    parent: vertex.parent.map(|parent| place[parent as usize]),
                    ..vertex
                }
            })
            .collect(),
        edges,
        cut_off: graph.cut_off,
    }
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
