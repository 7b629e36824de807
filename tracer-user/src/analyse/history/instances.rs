//! Await instances: the rows of those that begin, go on and end when a task is told to stand
//! somewhere, and which of those that are gone may come back.

use std::collections::HashSet;
use std::sync::Arc;

use super::builder::Builder;
use super::fate::Fate;
use super::moment::Moment;
use super::task::TaskState;
use super::tree::{Comparison, Node, Standing, Told, body_around, is_body, is_telling};
use super::{Await, AwaitIndex, AwaitOutcome, AwaitWakers, Awaited, UnitIndex};
use crate::rebuild::suspension::{FutureState, Place};

/// Nodes that one task keeps beside those that are told, at most.
const MAX_KEPT: usize = 256;

/// Parents that an instance had before, at most.
const MAX_FORMER: usize = 64;

impl Builder {
    pub(super) fn begins(
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

    pub(super) fn ends(&mut self, nodes: &[Node], fates: &[Fate], (begin, end): (Moment, Moment)) {
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
    pub(super) fn end(&mut self, node: &Node, moment: Moment, outcome: AwaitOutcome) {
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

    fn row(&mut self, row: Option<AwaitIndex>) -> Option<&mut Await> {
        self.history.awaits.get_mut(row?.0 as usize)
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
