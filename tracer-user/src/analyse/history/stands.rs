//! Where a task stands, as it is told: what of it is as before, and between which moments the rest
//! began and ended.

use std::sync::Arc;

use super::again::came_round;
use super::builder::Builder;
use super::fate::{Circumstances, fates};
use super::task::{Evidence, Since, Stood, TaskState};
use super::tree::{Node, Standing, compare};
use super::{AwaitOutcome, UnitHistory, UnitIndex};
use crate::rebuild::suspension::{Marks, Suspension};
use crate::rebuild::tree::NodeState;

/// A look at memory that is so close to the end of the trace is of its end, nanoseconds.
const LAST_LOOK_NS: u64 = 100_000_000;

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

    /// Whether a task stands before its first poll, and was not there before the trace.
    fn has_not_run(&self, task: UnitIndex, suspension: &Suspension) -> bool {
        let root = suspension.futures.first();
        let unit = self.history.units.get(task.0 as usize);
        root.is_some_and(|root| root.state.state == NodeState::Unresumed)
            && unit
                .and_then(|unit| unit.task())
                .is_some_and(|task| !task.existing && task.spawned.is_none())
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
