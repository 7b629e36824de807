//! A task that is followed: its futures, its last poll, and how much of its time was watched.

use std::sync::Arc;

use super::node::{Node, due, parent_of};
use crate::follow::flight::trigger::Trigger;
use crate::rebuild::event::Unit;
use crate::rebuild::watching;

#[derive(Debug)]
pub(super) struct Task {
    pub(super) what: Arc<Unit>,
    /// First sight, which is the spawn if that was seen.
    pub(super) first: u64,
    pub(super) existing: bool,
    pub(super) nodes: Vec<Node>,
    /// The last poll: begin and end.
    pub(super) poll: Option<(u64, Option<u64>)>,
    /// It is known to stand there, and no poll has begun since.
    pub(super) idle: bool,
    /// When the first of its futures will be too slow.
    pub(super) due: u64,
    /// It was polled in the stretch that is watched, or was watched last. If it was not, it stands
    /// where it stood before, for all that is seen; pauses count for nothing even so.
    pub(super) polled: bool,
    /// Polls of it may be missing since it was told where it stands.
    pub(super) missed: bool,
    /// The last poll was before a pause: what is there for the first time began in that.
    pub(super) after_pause: bool,
    /// Since when its polls are not watched, to keep a budget.
    pub(super) pause: Option<u64>,
}

impl Task {
    /// This time, or when the pause began that goes on: what is later counts for nothing.
    pub(super) fn watched_until(&self, time: u64) -> u64 {
        self.pause.map_or(time, |pause| time.min(pause))
    }

    /// Tells what has taken too long by `now`.
    pub(super) fn tell_slow(&mut self, now: u64, found: &mut Vec<Trigger>) {
        // The innermost first: what holds it has waited as long.
        let mut awaits = false;
        for at in (0..self.nodes.len()).rev() {
            if self.nodes[at].due() > now {
                continue;
            }
            let parent = parent_of(&self.nodes, at).cloned();
            let node = &mut self.nodes[at];
            node.told.1 |= awaits && node.waited_too_long(now);
            awaits |= node.tell(&self.what, parent.as_ref(), now, found);
        }
        self.due = due(&self.nodes);
    }

    /// A poll ended at this time.
    pub(super) fn renew(&mut self, time: u64) {
        let mut changed = false;
        for node in self.nodes.iter_mut().filter(|node| node.fleeting) {
            node.since = time;
            node.unwatched = 0;
            node.sure = true;
            node.told.1 = false;
            changed = true;
        }
        if changed {
            self.due = due(&self.nodes);
        }
    }
}

/// Whether polls of a unit, if it is a task, are watched.
pub(super) fn is_watched(told: &watching::Watching, unit: &Unit) -> bool {
    let future = match unit {
        Unit::Task(task) => task.future.as_ref(),
        _ => None,
    };
    told.polls && !told.leaves_out(future)
}
