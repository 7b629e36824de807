//! Who wakes and spawns whom, counted by await and type of task.

use std::collections::HashMap;
use std::sync::Arc;

use super::{MAX_EDGES, Totals};
use crate::analyse::history::{Doer, PollCause, UnitIndex, UnitKind};
use crate::export::source::{Source, type_name};
use crate::export::stacks::Stacks;
use crate::rebuild::event::Origin;

/// An end of an edge.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Node {
    /// Tasks of a type.
    Type(Arc<str>),
    /// An await of such tasks.
    Stack(u32),
    /// A thread, the driver, a timer.
    Outside(Arc<str>),
}

/// What an edge stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum EdgeKind {
    Wake,
    Spawn,
}

/// An edge, and how often it was gone.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) from: Node,
    pub(super) to: Node,
    pub(super) kind: EdgeKind,
    pub(super) count: u64,
}

/// All edges.
#[derive(Debug, Default)]
pub(super) struct Edges(HashMap<(Node, Node, EdgeKind), u64>);

impl Edges {
    /// Wake-ups that caused a poll, and spawns.
    pub(super) fn of(source: &Source<'_>, stacks: &Stacks) -> Self {
        let mut edges = Self::default();
        let stack = |index: u32| stacks.of_instance.get(index as usize).copied().flatten();
        let from = |by: &Doer| {
            by.within
                .and_then(|within| stack(within.0))
                .map_or_else(|| unit(source, by), Node::Stack)
        };
        for poll in &source.history.polls {
            let Some(PollCause::Wake(wake)) = poll.cause else {
                continue;
            };
            let Some(wake) = source.history.wakes.get(wake.0 as usize) else {
                continue;
            };
            // Which of several branches it was for is not known.
            let to = match poll.waited_in.as_slice() {
                [leaf] => stack(leaf.0),
                _ => None,
            };
            let to = to.map_or_else(|| task(source, poll.task), Node::Stack);
            edges.add(from(&wake.by), to, EdgeKind::Wake);
        }
        for (index, _, unit) in source.tasks() {
            if let Some(spawn) = unit.spawned {
                edges.add(from(&spawn.by), task(source, index), EdgeKind::Spawn);
            }
        }
        edges
    }

    fn add(&mut self, from: Node, to: Node, kind: EdgeKind) {
        *self.0.entry((from, to, kind)).or_default() += 1;
    }

    /// The edges that stand for most, between what is drawn: an await that is not is stood for by
    /// the nearest one above it that is, or by its type.
    pub(super) fn most(
        self,
        totals: &mut Totals,
        drawn: impl Fn(&Node) -> bool,
        stacks: &Stacks,
    ) -> Vec<Edge> {
        let mut left_out = 0;
        let mut merged: HashMap<(Node, Node, EdgeKind), u64> = HashMap::new();
        for ((from, to, kind), count) in self.0 {
            match (stand_in(from, &drawn, stacks), stand_in(to, &drawn, stacks)) {
                (Some(from), Some(to)) => *merged.entry((from, to, kind)).or_default() += count,
                _ => left_out += 1,
            }
        }
        let mut edges: Vec<Edge> = merged
            .into_iter()
            .map(|((from, to, kind), count)| Edge {
                from,
                to,
                kind,
                count,
            })
            .collect();
        edges.sort_by(|one, other| {
            let key = |edge: &Edge| (edge.kind, edge.from.clone(), edge.to.clone());
            other
                .count
                .cmp(&one.count)
                .then_with(|| key(one).cmp(&key(other)))
        });
        left_out += edges.len().saturating_sub(MAX_EDGES) as u64;
        edges.truncate(MAX_EDGES);
        totals.edges = edges.len() as u64;
        totals.left_out.2 = left_out;
        edges
    }
}

fn stand_in(node: Node, drawn: &impl Fn(&Node) -> bool, stacks: &Stacks) -> Option<Node> {
    if drawn(&node) {
        return Some(node);
    }
    let Node::Stack(number) = node else {
        return None;
    };
    let kind = Arc::clone(&stacks.all.get(number as usize)?.task);
    stacks
        .up(number)
        .map(Node::Stack)
        .find(|node| drawn(node))
        .or_else(|| Some(Node::Type(kind)).filter(|node| drawn(node)))
}

fn task(source: &Source<'_>, index: UnitIndex) -> Node {
    match source.unit(index).map(|unit| &unit.kind) {
        Some(UnitKind::Task(task)) => Node::Type(type_name(task)),
        _ => Node::Outside("not known".into()),
    }
}

/// What is no task goes by what moved it, if that is known.
fn unit(source: &Source<'_>, by: &Doer) -> Node {
    let origin = by.origin.and_then(|origin| source.unit(origin));
    let unit = origin.or_else(|| source.unit(by.unit));
    match unit.map(|unit| &unit.kind) {
        Some(UnitKind::Task(task)) => Node::Type(type_name(task)),
        Some(UnitKind::Origin(Origin::Timer)) => Node::Outside("timer".into()),
        Some(UnitKind::Origin(Origin::Signal)) => Node::Outside("signal".into()),
        Some(UnitKind::Origin(Origin::Io { .. })) => Node::Outside("I/O".into()),
        Some(UnitKind::Thread {
            name, polls_tasks, ..
        }) => {
            let name = name.as_deref().unwrap_or("without a name");
            let what = if *polls_tasks {
                "runtime on thread"
            } else {
                "thread"
            };
            Node::Outside(format!("{what} {name}").into())
        }
        Some(UnitKind::Unknown) | None => Node::Outside("not known".into()),
    }
}
