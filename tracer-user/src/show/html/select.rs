//! What of a history goes into the page: whole requests first, the slowest before others, then
//! tasks in order, until the limits are reached.
//!
//! Deliberately absent: sums. They are made over everything, in `profile` and `tables`.

use std::ops::Range;

use super::Limits;
use crate::analyse::history::{
    AwaitIndex, Doer, History, PollIndex, UnitIndex, UnitKind, WakeIndex,
};
use crate::analyse::levels::Nesting;
use crate::analyse::requests::graph::Role;
use crate::analyse::requests::{self, Request};

/// What is kept of one kind, in its order.
pub(super) struct Kept {
    /// Whether each is kept.
    marks: Vec<bool>,
    count: usize,
    limit: usize,
}

impl Kept {
    fn new(len: usize, limit: usize) -> Self {
        Self {
            marks: vec![false; len],
            count: 0,
            limit,
        }
    }

    /// Keeps one more, beyond the limit if `must`. Returns whether it is kept.
    fn keep(&mut self, index: u32, must: bool) -> bool {
        let full = self.count >= self.limit && !must;
        match self.marks.get_mut(index as usize) {
            Some(true) => true,
            Some(mark) if !full => {
                *mark = true;
                self.count += 1;
                true
            }
            _ => false,
        }
    }

    fn room(&self) -> usize {
        self.limit.saturating_sub(self.count)
    }

    fn has(&self, index: u32) -> bool {
        self.marks.get(index as usize).is_some_and(|mark| *mark)
    }

    /// The old indexes of what is kept, and the new number of each old one.
    pub(super) fn numbers(&self) -> (Vec<u32>, Vec<u32>) {
        let mut old = Vec::with_capacity(self.count);
        let mut new = vec![u32::MAX; self.marks.len()];
        for (index, _) in self.marks.iter().enumerate().filter(|(_, mark)| **mark) {
            new[index] = old.len() as u32;
            old.push(index as u32);
        }
        (old, new)
    }

    /// How many are not kept.
    pub(super) fn left_out(&self) -> usize {
        self.marks.len() - self.count
    }
}

/// The graph of a request as far as the page has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Graph {
    /// Tasks that were spawned for it, directly or not; its own is not among them.
    pub(super) spawned: Vec<UnitIndex>,
    /// Await instances of other tasks that woke it.
    pub(super) wakers: Vec<AwaitIndex>,
    /// Await instances of it that are not in the page; `None` when the graph is not there at all.
    pub(super) left_out: Option<usize>,
}

/// What goes into the page.
pub(super) struct Selection {
    pub(super) units: Kept,
    pub(super) awaits: Kept,
    pub(super) polls: Kept,
    pub(super) wakes: Kept,
    /// Requests in the list, by their place in the slice, in its order; with their graphs.
    pub(super) requests: Vec<(usize, Graph)>,
}

struct Chooser<'a> {
    history: &'a History,
    nesting: &'a Nesting<'a>,
    kept: Selection,
    /// Steps that walks over graphs may still take: requests can lie inside each other, and their
    /// graphs are walked for each.
    steps: usize,
}

/// Chooses.
pub(super) fn select(
    history: &History,
    nesting: &Nesting<'_>,
    requests: &[Request],
    limits: Limits,
) -> Selection {
    let mut chooser = Chooser::new(history, nesting, limits);
    let mut slowest: Vec<usize> = (0..requests.len()).collect();
    slowest.sort_by_key(|at| std::cmp::Reverse(requests[*at].duration(history.span.end)));
    slowest.truncate(limits.requests);
    let mut graphs: Vec<(usize, Graph)> = Vec::with_capacity(slowest.len());
    for at in slowest {
        graphs.push((at, chooser.request(&requests[at])));
    }
    graphs.sort_by_key(|(at, _)| *at);
    chooser.tasks();
    chooser.referred();
    chooser.kept.requests = graphs;
    chooser.kept
}

impl<'a> Chooser<'a> {
    fn new(history: &'a History, nesting: &'a Nesting<'a>, limits: Limits) -> Self {
        Self {
            history,
            nesting,
            kept: Selection {
                units: Kept::new(history.units.len(), limits.units),
                awaits: Kept::new(history.awaits.len(), limits.awaits),
                polls: Kept::new(history.polls.len(), limits.polls),
                wakes: Kept::new(history.wakes.len(), limits.wakes),
                requests: Vec::new(),
            },
            steps: limits.awaits.saturating_mul(8),
        }
    }

    /// Keeps the graph of a request, as far as there is room.
    fn request(&mut self, request: &Request) -> Graph {
        let mut graph = Graph::default();
        if self.steps == 0 || self.kept.awaits.room() == 0 {
            return graph;
        }
        let (instances, more) = self.graph_of(request, &mut graph);
        let new = instances
            .iter()
            .filter(|index| !self.kept.awaits.has(**index))
            .count();
        // A graph is cut only when it would take most of the page; one that does not fit into what
        // is left is left out whole.
        if new > self.kept.awaits.room() && self.kept.awaits.room() < self.kept.awaits.limit / 2 {
            return Graph::default();
        }
        let mut left_out = more;
        for index in &instances {
            left_out += usize::from(!self.kept.awaits.keep(*index, false));
        }
        graph.left_out = Some(left_out);
        self.ancestors(request.root);
        let until = request.end.unwrap_or(self.history.span.end);
        self.unit(request.task, request.start..until);
        for task in &graph.spawned {
            self.unit(*task, request.start..until);
        }
        for waker in &graph.wakers {
            if let Some(instance) = self.history.awaits.get(waker.0 as usize) {
                self.kept.awaits.keep(waker.0, true);
                self.unit(instance.task, request.start..until);
            }
        }
        graph
    }

    /// The instances of a request's graph, parents first, and how many more there are at least.
    /// Tasks spawned for it and what woke it from outside go into `graph`.
    fn graph_of(&mut self, request: &Request, graph: &mut Graph) -> (Vec<u32>, usize) {
        let known = requests::graph::graph(self.history, self.nesting, request);
        self.steps = self.steps.saturating_sub(known.vertices.len());
        let mut found: Vec<u32> = Vec::new();
        for vertex in &known.vertices {
            match vertex.role {
                Role::Waker => graph.wakers.push(vertex.instance),
                Role::Awaited => found.push(vertex.instance.0),
                Role::Spawned => {
                    found.push(vertex.instance.0);
                    graph.spawned.extend(self.task_of(vertex.instance));
                }
            }
        }
        if known.cut_off {
            // It has more vertices than a graph can have that is written out.
            found.clear();
            graph.spawned.clear();
            for instance in self.nesting.below(request.root).take(self.steps) {
                found.push(instance.0);
                if self.is_root(instance) && instance != request.root {
                    graph.spawned.extend(self.task_of(instance));
                }
            }
            self.steps -= found.len();
        }
        let limit = self.kept.awaits.limit;
        let more = found.len().saturating_sub(limit);
        found.truncate(limit);
        (found, more)
    }

    fn task_of(&self, index: AwaitIndex) -> Option<UnitIndex> {
        Some(self.history.awaits.get(index.0 as usize)?.task)
    }

    fn is_root(&self, index: AwaitIndex) -> bool {
        let instance = self.history.awaits.get(index.0 as usize);
        instance.is_some_and(|instance| instance.parent.is_none())
    }

    /// Keeps what an instance stands in, so that the page can say where it is.
    fn ancestors(&mut self, index: AwaitIndex) {
        let mut next = Some(index);
        while let Some(index) = next {
            let Some(instance) = self.history.awaits.get(index.0 as usize) else {
                break;
            };
            if self.steps == 0 || !self.kept.awaits.keep(index.0, true) {
                break;
            }
            self.steps -= 1;
            next = instance.parent.filter(|parent| parent.0 < index.0);
        }
    }

    /// Keeps a unit with its polls and wake-ups of some time.
    fn unit(&mut self, unit: UnitIndex, time: Range<u64>) {
        let Some(life) = self.history.units.get(unit.0 as usize) else {
            return;
        };
        self.kept.units.keep(unit.0, true);
        let polls = &self.history.polls;
        let begin = |index: &PollIndex| polls.get(index.0 as usize).map_or(0, |poll| poll.begin);
        // The poll before may reach into it.
        let from = life
            .polls
            .partition_point(|index| begin(index) < time.start)
            .saturating_sub(1);
        for index in &life.polls[from..] {
            if begin(index) > time.end || !self.kept.polls.keep(index.0, false) {
                break;
            }
        }
        let wakes = &self.history.wakes;
        let when = |index: &WakeIndex| wakes.get(index.0 as usize).map_or(0, |wake| wake.time);
        let from = life
            .woken
            .partition_point(|index| when(index) < time.start)
            .saturating_sub(1);
        for index in &life.woken[from..] {
            if when(index) > time.end || !self.kept.wakes.keep(index.0, false) {
                break;
            }
        }
    }

    /// Fills what is left with tasks, in order.
    fn tasks(&mut self) {
        let all = 0..u64::MAX;
        for (index, unit) in self.history.units.iter().enumerate() {
            let index = index as u32;
            if !matches!(unit.kind, UnitKind::Task(_)) {
                self.kept.units.keep(index, false);
                continue;
            }
            if !self.kept.units.keep(index, false) {
                continue;
            }
            for instance in &unit.awaits {
                if !self.kept.awaits.keep(instance.0, false) {
                    break;
                }
            }
            if self.kept.polls.room() > 0 && self.kept.wakes.room() > 0 {
                self.unit(UnitIndex(index), all.clone());
            }
        }
    }

    /// Keeps the units that something kept refers to, so that it can be named.
    fn referred(&mut self) {
        let history = self.history;
        let units = &mut self.kept.units;
        let keep = |units: &mut Kept, doer: &Doer| {
            units.keep(doer.unit.0, true);
            if let Some(origin) = doer.origin {
                units.keep(origin.0, true);
            }
        };
        for (poll, kept) in history.polls.iter().zip(&self.kept.polls.marks) {
            if let (Some(thread), true) = (poll.thread, *kept) {
                units.keep(thread.0, true);
            }
        }
        for (wake, kept) in history.wakes.iter().zip(&self.kept.wakes.marks) {
            if *kept {
                units.keep(wake.task.0, true);
                keep(units, &wake.by);
            }
        }
        for (instance, kept) in history.awaits.iter().zip(&self.kept.awaits.marks) {
            if *kept {
                units.keep(instance.task.0, true);
            }
        }
        // Spawners of spawners are not followed: one step says who did it.
        for index in 0..history.units.len() {
            if let (true, UnitKind::Task(task)) =
                (units.has(index as u32), &history.units[index].kind)
            {
                if let Some(spawn) = &task.spawned {
                    keep(units, &spawn.by);
                }
                if let Some(aborted) = task.end.as_ref().and_then(|end| end.aborted.as_ref()) {
                    keep(units, aborted);
                }
            }
        }
    }
}
