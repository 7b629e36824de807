//! Await instances: what begins and what ends when a task is told to stand somewhere.

use std::collections::HashSet;
use std::sync::Arc;

use super::again::came_round;
use super::builder::Builder;
use super::fate::{Circumstances, Fate, fates};
use super::moment::Moment;
use super::task::{Evidence, Since, Stood, TaskState};
use super::tree::{Comparison, Node, Standing, Told, body_around, compare, is_body, is_telling};
use super::{Await, AwaitIndex, AwaitOutcome, AwaitWakers, Awaited, UnitHistory, UnitIndex};
use crate::rebuild::suspension::{FutureState, Marks, Place, Suspension};
use crate::rebuild::tree::NodeState;

/// Nodes that one task keeps beside those that are told, at most.
const MAX_KEPT: usize = 256;

/// A look at memory that is so close to the end of the trace is of its end, nanoseconds.
const LAST_LOOK_NS: u64 = 100_000_000;

/// Parents that an instance had before, at most.
const MAX_FORMER: usize = 64;

impl Builder {
    /// The task has stood at this suspension since its last poll ended.
    pub(super) fn stands(
        &mut self,
        task: UnitIndex,
        state: &mut TaskState,
        time: u64,
        suspension: &Arc<Suspension>,
        marks: Marks,
    ) {
        let now = state.clock.at(time);
        state.seen_in_pause = self.is_not_watched(task).then_some(now);
        if suspension.futures.is_empty() {
            self.count_unknown(task, state);
            state.told = Some((Arc::clone(suspension), marks));
            forget(state);
            return;
        }
        if self.has_not_run(task, suspension) {
            // Its spawn was not seen; nothing of it was before this.
            state.spawned();
        }
        let missed = state.take_missed();
        let since = state.since.take();
        let only_poll = since.as_ref().and_then(Since::only_poll);
        let round = match (&since, only_poll) {
            (Some(since), Some(_)) if state.known => came_round(&state.tree, since.evidence),
            _ => None,
        };
        let unchanged = state.known
            && !missed
            && round.is_none()
            && state.told.as_ref().is_some_and(|(told, then)| {
                *then == marks && (Arc::ptr_eq(told, suspension) || told == suspension)
            });
        if unchanged {
            return;
        }
        let first_told = state.told.is_none();
        if let Some(since) = &since {
            let exact = if first_told {
                state.stood.exact
            } else {
                state.known
            };
            state.stood = match only_poll {
                Some((made, since)) if exact => Stood {
                    made,
                    since,
                    exact: true,
                },
                _ => {
                    let since = since.end.unwrap_or(now);
                    Stood {
                        made: since,
                        since,
                        exact: false,
                    }
                }
            };
        }
        let mut comparison = compare(&state.tree.nodes, suspension, marks, missed);
        if let Some(round) = round {
            for told in &mut comparison.told {
                told.same = told
                    .same
                    .filter(|same| !is_below(&state.tree.nodes, *same, round));
            }
        }
        let evidence = since.map_or(Evidence::None, |since| since.evidence);
        let fates = fates(
            &state.tree.nodes,
            &Circumstances {
                told: &comparison.told,
                over: &comparison.over,
                partial: suspension.missing.is_some(),
                exact: since.is_none() || only_poll.is_some() && state.known,
                evidence,
                end: None,
            },
        );
        let bounds = match (since, only_poll) {
            (None, _) => (now, now),
            (Some(_), Some((begin, end))) if state.known => (begin, end),
            (Some(since), _) => (since.first, since.first),
        };
        self.ends(&state.tree.nodes, &fates, bounds);
        self.begins(task, state, &comparison, &fates, bounds.0);
        state.told = Some((Arc::clone(suspension), marks));
        state.known = true;
        state.born = None;
    }

    /// Where the task stands is as it was told last: its poll begins, and nothing else was told.
    pub(super) fn stands_as_before(&mut self, task: UnitIndex, state: &mut TaskState, time: u64) {
        let Some(since) = state.since else {
            return;
        };
        if since.hole {
            if state.told.is_some() {
                self.count_unknown(task, state);
            }
            forget(state);
        } else if let Some((suspension, marks)) = state.told.clone() {
            self.stands(task, state, time, &suspension, marks);
        }
    }

    /// It is not known where a task stands since its last poll: that counts once. Blocking work
    /// awaits nothing, so nothing is missing there.
    fn count_unknown(&mut self, task: UnitIndex, state: &mut TaskState) {
        let is_told = std::mem::replace(&mut state.told_unknown, true);
        let unit = self.history.units.get(task.0 as usize);
        let task = unit.and_then(UnitHistory::task);
        let counts = self.showing && !is_told && !task.is_some_and(|task| task.blocking);
        self.history.missing.suspensions_unknown += u64::from(counts);
    }

    /// The task is over.
    pub(super) fn is_over(&mut self, state: &mut TaskState, time: u64, outcome: AwaitOutcome) {
        let now = state.clock.at(time);
        let since = state.since.take();
        let only_poll = since.as_ref().and_then(Since::only_poll);
        let exact = state.known && (since.is_none() || only_poll.is_some());
        let fates = fates(
            &state.tree.nodes,
            &Circumstances {
                told: &[],
                over: &[],
                partial: false,
                exact,
                evidence: since.map_or(Evidence::None, |since| since.evidence),
                end: Some(outcome),
            },
        );
        let bounds = match (since, only_poll) {
            (Some(_), Some((begin, end))) if state.known => (begin, end),
            (Some(since), _) => (since.first, since.first),
            (None, _) => (now, now),
        };
        self.ends(&state.tree.nodes, &fates, bounds);
        // The task's own future was there until the end, whatever else is known.
        if let Some(node) = state.tree.nodes.first() {
            self.end(node, now, outcome);
        }
        state.tree.nodes.clear();
    }

    /// The trace ends.
    pub(super) fn stays(&mut self, state: &mut TaskState, time: u64) {
        let now = state.clock.at(time);
        let unsure = match (&state.since, &state.open) {
            (Some(since), None) => Some(since.first),
            (Some(since), Some(_)) if since.polls > 1 || since.gap => Some(since.first),
            // A task that was polled whenever that was watched does not stand where it was seen once.
            (None, None) if !state.quiet => state
                .seen_in_pause
                .filter(|seen| time.saturating_sub(seen.time) > LAST_LOOK_NS),
            _ => None,
        };
        for (at, node) in state.tree.nodes.iter().enumerate() {
            let unsure = match node.standing {
                Standing::Here => unsure,
                Standing::Unsure(moment) => Some(moment),
                Standing::Left => continue,
            };
            match unsure.filter(|_| at > 0) {
                Some(moment) => self.end(node, moment, AwaitOutcome::Unknown),
                None => {
                    self.end(node, now, AwaitOutcome::Open);
                }
            }
        }
        state.tree.nodes.clear();
    }

    fn ends(&mut self, nodes: &[Node], fates: &[Fate], (begin, end): (Moment, Moment)) {
        for (node, fate) in nodes.iter().zip(fates) {
            let Fate::Ends(outcome) = fate else {
                continue;
            };
            let moment = match node.standing {
                Standing::Unsure(moment) => moment,
                _ if node.leaf && !node.is_body() => begin,
                _ => end,
            };
            self.end(node, moment, *outcome);
        }
    }

    /// Says when and how an instance ended; for one that goes on, up to when that is known.
    fn end(&mut self, node: &Node, moment: Moment, outcome: AwaitOutcome) {
        let Some(row) = self.row(node.row) else {
            return;
        };
        let length = moment.time.saturating_sub(node.start.time);
        row.polled = moment.polled.saturating_sub(node.start.polled).min(length);
        row.waiting = length - row.polled;
        row.polls = moment.polls.saturating_sub(node.start.polls);
        row.end = (outcome != AwaitOutcome::Open).then_some(node.start.time + length);
        row.outcome = outcome;
    }

    fn begins(
        &mut self,
        task: UnitIndex,
        state: &mut TaskState,
        comparison: &Comparison<'_>,
        fates: &[Fate],
        unsure_since: Moment,
    ) {
        let before = std::mem::take(&mut state.tree.nodes);
        let mut nodes: Vec<Node> = Vec::with_capacity(comparison.told.len());
        let mut moved_to = vec![None; before.len()];
        for (at, told) in comparison.told.iter().enumerate() {
            let node = match told.same {
                Some(same) => {
                    moved_to[same] = Some(at);
                    self.goes_on(task, &before, same, told, &nodes)
                }
                None => self.new_node(task, state, comparison, at, &nodes),
            };
            nodes.push(node);
        }
        let told = nodes.len();
        let back = may_come_back(&before, fates);
        // Memory that another future uses now is nobody's who may come back.
        let places: HashSet<Place> = if back.contains(&true) {
            nodes.iter().map(|node| node.place).collect()
        } else {
            HashSet::new()
        };
        for (at, node) in before.iter().enumerate() {
            let standing = match (fates[at], node.standing) {
                (Fate::Unsure, Standing::Unsure(moment)) => Standing::Unsure(moment),
                (Fate::Unsure, _) => Standing::Unsure(unsure_since),
                (Fate::Ends(_) | Fate::Left, _) if back[at] && !places.contains(&node.place) => {
                    Standing::Left
                }
                _ => continue,
            };
            if nodes.len() - told >= MAX_KEPT {
                if standing != Standing::Left {
                    self.end(node, unsure_since, AwaitOutcome::Unknown);
                    self.history.missing.beyond_limits += 1;
                }
                continue;
            }
            let mut parent = node.parent.and_then(|parent| moved_to[parent]);
            if standing == Standing::Left && parent.is_none() {
                let body = node.parent.and_then(|parent| body_around(&before, parent));
                parent = body.and_then(|body| moved_to[body]);
                if parent.is_none() {
                    continue;
                }
            }
            moved_to[at] = Some(nodes.len());
            nodes.push(Node {
                parent,
                standing,
                ..node.clone()
            });
        }
        state.tree.nodes = nodes;
    }

    /// Whether a task stands before its first poll, and was not there before the trace.
    fn has_not_run(&self, task: UnitIndex, suspension: &Suspension) -> bool {
        let root = suspension.futures.first();
        let unit = self.history.units.get(task.0 as usize);
        root.is_some_and(|root| root.state.state == NodeState::Unresumed)
            && unit
                .and_then(|unit| unit.task())
                .is_some_and(|task| !task.existing && task.spawned.is_none())
    }

    /// A node that is told again.
    fn goes_on(
        &mut self,
        task: UnitIndex,
        before: &[Node],
        same: usize,
        told: &Told<'_>,
        nodes: &[Node],
    ) -> Node {
        let node = &before[same];
        let former = node.parent.and_then(|parent| before[parent].row);
        let parent = told.parent.and_then(|parent| nodes[parent].row);
        let mut number = node.row;
        if number.is_none() && node.standing == Standing::Left {
            number = self.add_await(task, node, parent);
        }
        if let Some(row) = self.row(number) {
            if row.outcome != AwaitOutcome::Open {
                row.outcome = AwaitOutcome::Open;
                row.end = None;
            }
            if former != parent || row.parent != parent {
                if let Some(former) = row.parent
                    && row.former_parents.len() < MAX_FORMER
                {
                    row.former_parents.push(former);
                }
                row.parent = parent;
            }
        }
        Node {
            parent: told.parent,
            mark: told.mark.or(node.mark),
            state: Arc::clone(told.state),
            leaf: told.leaf,
            standing: Standing::Here,
            row: number,
            ..node.clone()
        }
    }

    fn new_node(
        &mut self,
        task: UnitIndex,
        state: &TaskState,
        comparison: &Comparison<'_>,
        at: usize,
        nodes: &[Node],
    ) -> Node {
        let told = &comparison.told[at];
        let stood = &state.stood;
        let mut at_least = !stood.exact;
        let mut start = if told.leaf && !is_body(told.state) {
            stood.since
        } else {
            stood.made
        };
        if told.parent.is_none()
            && let Some(born) = state.born
        {
            start = born;
            at_least = false;
        }
        let parent = told.parent.and_then(|parent| nodes.get(parent));
        if let Some(parent) = parent
            && parent.start.time > start.time
        {
            start = parent.start;
        }
        let mut node = Node {
            parent: told.parent,
            place: told.place,
            mark: told.mark,
            state: Arc::clone(told.state),
            leaf: told.leaf,
            standing: Standing::Here,
            row: None,
            awaited: self.awaited(&comparison.told, at),
            start,
            at_least,
        };
        let parent = parent.and_then(|parent| parent.row);
        node.row = self.add_await(task, &node, parent);
        node
    }

    /// Gives a node a row in the history, if that has room and has begun.
    pub(super) fn add_await(
        &mut self,
        task: UnitIndex,
        node: &Node,
        parent: Option<AwaitIndex>,
    ) -> Option<AwaitIndex> {
        if !self.showing {
            return None;
        }
        if self.history.awaits.len() >= self.limits.awaits {
            self.history.missing.beyond_limits += 1;
            return None;
        }
        let index = AwaitIndex(u32::try_from(self.history.awaits.len()).ok()?);
        self.history.awaits.push(Await {
            task,
            parent,
            former_parents: Vec::new(),
            awaited: Arc::clone(&node.awaited),
            place: node.place,
            start: node.start.time,
            at_least: node.at_least,
            end: None,
            outcome: AwaitOutcome::Open,
            waiting: 0,
            polled: 0,
            polls: 0,
        });
        self.history.wakers.awaits.push(AwaitWakers::default());
        if let Some(unit) = self.history.units.get_mut(task.0 as usize) {
            unit.awaits.push(index);
        }
        Some(index)
    }

    fn awaited(&mut self, told: &[Told<'_>], at: usize) -> Arc<Awaited> {
        let future = &told[at];
        let mut body = future.parent;
        while let Some(above) = body
            && !is_body(told[above].state)
        {
            body = told[above].parent;
        }
        let body: Option<&FutureState> = body.map(|body| told[body].state.as_ref());
        let awaited = Awaited {
            future: Arc::clone(&future.state.future),
            kind: future.state.kind,
            waits_for: future.state.waits_for.clone(),
            by: future
                .parent
                .map(|parent| Arc::clone(&told[parent].state.future)),
            file: body.and_then(|body| body.file.clone()),
            line: body.and_then(|body| body.line),
        };
        self.intern(awaited)
    }

    fn row(&mut self, row: Option<AwaitIndex>) -> Option<&mut Await> {
        self.history.awaits.get_mut(row?.0 as usize)
    }
}

/// Nothing is known of where the task stands now.
fn forget(state: &mut TaskState) {
    state.known = false;
    let now = state.clock.now();
    let since = state.since.get_or_insert(Since {
        first: now,
        end: None,
        polls: 0,
        gap: true,
        hole: false,
        evidence: Evidence::None,
    });
    since.gap = true;
    since.hole = false;
    let first = since.first;
    for node in &mut state.tree.nodes {
        if node.standing == Standing::Here {
            node.standing = Standing::Unsure(first);
        }
    }
}

/// Which of the nodes that are gone can be told from others if they are met again: arms that were
/// dropped, or may have been, and are or hold a sleep or a join handle, as these have a mark. What
/// an async body awaited is over for good.
fn may_come_back(before: &[Node], fates: &[Fate]) -> Vec<bool> {
    let mut telling = vec![false; before.len()];
    for (at, node) in before.iter().enumerate().rev() {
        telling[at] |= node.mark.is_some() && is_telling(node.state.waits_for.as_deref());
        if let Some(parent) = node.parent {
            telling[parent] |= telling[at];
        }
    }
    let mut back = vec![false; before.len()];
    for (at, node) in before.iter().enumerate() {
        back[at] = match fates[at] {
            Fate::Left => true,
            Fate::Ends(AwaitOutcome::Over | AwaitOutcome::Cancelled) => node
                .parent
                .is_some_and(|parent| back[parent] || !before[parent].is_body()),
            _ => false,
        } && telling[at];
    }
    back
}

/// Whether a node is `top` or below it.
fn is_below(nodes: &[Node], at: usize, top: usize) -> bool {
    let mut next = Some(at);
    while let Some(here) = next {
        if here == top {
            return true;
        }
        next = nodes[here].parent.filter(|parent| *parent < here);
    }
    false
}
