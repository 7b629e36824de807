//! A task is told to stand somewhere: which futures of it are those of before, since when the others
//! have been there, and which have ended.

use std::collections::HashMap;
use std::sync::Arc;

use super::Watcher;
use super::node::{Node, due, is_body, is_same, mark_fleeting, moved_on, parent_of, proved};
use super::task::Task;
use crate::follow::flight::trigger::Trigger;
use crate::rebuild::suspension::{Marks, Place, Suspension};
use crate::rebuild::tree::NodeState;

/// Futures of one task that are followed.
const MAX_NODES: usize = 256;

impl Watcher {
    /// The task has stood at this suspension since its last poll ended.
    pub(super) fn stands(
        &mut self,
        task: &mut Task,
        suspension: &Suspension,
        marks: Marks,
        time: u64,
        found: &mut Vec<Trigger>,
    ) {
        let before = std::mem::take(&mut task.nodes);
        let missed = std::mem::take(&mut task.missed);
        let proved = proved(&before, suspension, marks);
        let (begin, end, polled) = match task.poll {
            Some((begin, Some(end))) => (begin, end, true),
            // An end that was not told is before the next begin.
            Some((begin, None)) => (begin, time, true),
            None => (time, time, false),
        };
        // What is there for the first time began in the last poll, if all before that is known; or in
        // the pause since then, and counts from now.
        let new_is_sure = if task.after_pause {
            !missed && !before.is_empty()
        } else {
            polled && !missed && (!before.is_empty() || !task.existing)
        };
        let mut stayed = vec![false; before.len()];
        let mut places: HashMap<(Place, &str), usize> = HashMap::new();
        for (at, node) in before.iter().enumerate().rev() {
            places.insert((node.place, &*node.state.future), at);
        }
        let mut nodes: Vec<Node> = Vec::with_capacity(suspension.futures.len().min(MAX_NODES));
        // The way from the task's future: index among the nodes, and among those before where it is
        // the same one.
        let mut way: Vec<(usize, Option<usize>)> = Vec::new();
        let mut skip = None;
        for future in suspension.futures.iter().take(MAX_NODES) {
            if skip.is_some_and(|depth| future.depth > depth) {
                continue;
            }
            skip = None;
            if matches!(
                future.state.state,
                NodeState::Returned | NodeState::Panicked
            ) {
                skip = Some(future.depth);
                continue;
            }
            while way
                .last()
                .is_some_and(|(at, _)| nodes[*at].depth >= future.depth)
            {
                way.pop();
            }
            let mark = marks.of(future);
            let parent = way.last().copied();
            let same = match parent {
                None => (!before.is_empty()).then_some(0),
                Some((_, None)) => None,
                Some((now, Some(then))) => {
                    let at = places.get(&(future.place, &*future.state.future)).copied();
                    at.filter(|at| {
                        (proved[*at] || !missed)
                            && is_same(&before, *at, then, mark)
                            && !moved_on(&before[then].state, &nodes[now].state)
                    })
                }
            };
            way.push((nodes.len(), same));
            let state = Arc::clone(&future.state);
            let node = if let Some(at) = same {
                stayed[at] = true;
                Node {
                    depth: future.depth,
                    mark: mark.or(before[at].mark),
                    state,
                    unwatched: if proved[at] { 0 } else { before[at].unwatched },
                    ..before[at].clone()
                }
            } else {
                let is_root = parent.is_none();
                let since = match (is_root, is_body(&state)) {
                    (true, _) => task.first,
                    _ if task.after_pause => time,
                    (false, true) => begin,
                    (false, false) => end,
                };
                let mut limits = self.limits_of(&state.future);
                if is_root {
                    // Its life is no await.
                    limits.wait = u64::MAX;
                }
                Node {
                    depth: future.depth,
                    place: future.place,
                    mark,
                    state,
                    since,
                    unwatched: 0,
                    sure: if is_root { !task.existing } else { new_is_sure },
                    limits,
                    told: (false, false),
                    fleeting: false,
                }
            };
            nodes.push(node);
        }
        mark_fleeting(&mut nodes);
        // A tree with a part missing says nothing of what is not in it.
        if suspension.missing.is_none() {
            for (at, node) in before.iter().enumerate().skip(1).rev() {
                let ended = if is_body(&node.state) { end } else { begin };
                if !stayed[at] && node.due() <= ended {
                    let parent = parent_of(&before, at);
                    node.clone().tell(&task.what, parent, ended, found);
                }
            }
        }
        task.nodes = nodes;
        task.due = due(&task.nodes);
        task.idle = true;
    }
}
