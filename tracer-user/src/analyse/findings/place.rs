//! Where in the program's own source a task stood.
//!
//! A leaf is mostly a library's; the place that says something is the await in the innermost body
//! which the program itself has written. Where a task waits for several things, it is the await
//! that holds them all.

use std::sync::Arc;

use super::model::{Role, Site, Subject};
use crate::analyse::history::{AwaitIndex, Awaited, History, Poll, TaskHistory, UnitIndex};
use crate::analyse::requests::is_own;
use crate::rebuild::tree::{AwaitNode, NodeKind, NodeState};

/// An await, and what is awaited there in the end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// The body in which the await stands.
    pub future: Arc<str>,
    /// Its file.
    pub file: Option<Arc<str>>,
    /// Its line.
    pub line: Option<u32>,
    /// What is awaited there in the end: the leaf, or what holds all leaves.
    pub leaf: Arc<str>,
    /// What kind of thing that is.
    pub waits_for: Option<Arc<str>>,
}

impl Place {
    /// As it stands in sentences, and in the cause of a finding.
    pub(super) fn text(&self) -> String {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => format!("{} at {file}:{line}", self.future),
            _ => self.future.to_string(),
        }
    }

    pub(super) fn site(&self, role: Role) -> Site {
        Site {
            role,
            future: Arc::clone(&self.future),
            file: self.file.clone(),
            line: self.line,
        }
    }
}

/// Where the task stood before this poll; `None` before its first poll, and where that is not known.
pub(super) fn before(history: &History, poll: &Poll) -> Option<Place> {
    let common = common(history, &poll.waited_in)?;
    Some(of_await(history, common))
}

/// The await in the program's own code that led to this one.
pub(super) fn of_await(history: &History, leaf: AwaitIndex) -> Place {
    let awaited = &history[leaf].awaited;
    let own = ancestors(history, leaf).find(|&at| is_users(&history[at].awaited));
    let at = own.map_or(awaited, |own| &history[own].awaited);
    Place {
        future: Arc::clone(at.by.as_ref().unwrap_or(&at.future)),
        file: at.file.clone(),
        line: at.line,
        leaf: Arc::clone(&awaited.future),
        waits_for: awaited.waits_for.clone(),
    }
}

fn is_users(awaited: &Awaited) -> bool {
    let by = awaited.by.as_deref();
    by.is_some_and(|by| is_own(by, awaited.file.as_deref()))
}

/// An instance and those that await it, inner ones first.
pub(super) fn ancestors(
    history: &History,
    from: AwaitIndex,
) -> impl Iterator<Item = AwaitIndex> + '_ {
    // Parents stand before their children, so this ends.
    let above = |at: &AwaitIndex| history[*at].parent.filter(|parent| parent < at);
    std::iter::successors(Some(from), above)
}

/// The innermost instance that is or holds all of these.
fn common(history: &History, leaves: &[AwaitIndex]) -> Option<AwaitIndex> {
    let (first, others) = leaves.split_first()?;
    let mut common = *first;
    for other in others {
        let mut other = *other;
        // What has the higher index is not above what has the lower.
        while common != other {
            let lower = if common > other {
                &mut common
            } else {
                &mut other
            };
            *lower = history[*lower].parent.filter(|parent| parent < lower)?;
        }
    }
    Some(common)
}

/// Where a tree read from memory stands: its innermost own body that holds all that is waited for.
pub(super) fn of_tree(root: &AwaitNode) -> Place {
    let mut at = root;
    let mut own = is_own_node(root).then_some(root);
    loop {
        let mut live = at.children.iter().filter(|child| is_live(child));
        let (Some(only), None) = (live.next(), live.next()) else {
            break;
        };
        at = only;
        if is_own_node(at) {
            own = Some(at);
        }
    }
    let own = own.unwrap_or(root);
    Place {
        future: Arc::clone(&own.future),
        file: own.file.clone(),
        line: own.line,
        leaf: Arc::clone(&at.future),
        waits_for: at.waits_for.as_ref().map(|waits_for| waits_for.kind.into()),
    }
}

fn is_live(node: &AwaitNode) -> bool {
    !matches!(node.state, NodeState::Returned | NodeState::Unresumed)
}

fn is_own_node(node: &AwaitNode) -> bool {
    matches!(node.kind, NodeKind::AsyncFn | NodeKind::AsyncBlock)
        && is_own(&node.future, node.file.as_deref())
}

/// A task as findings name it.
pub(super) fn subject(task: &TaskHistory) -> Subject {
    Subject {
        id: Arc::clone(&task.name),
        future: task.future.clone(),
    }
}

/// A task's future in a sentence.
pub(super) fn future_of(task: &TaskHistory) -> &str {
    task.future
        .as_deref()
        .unwrap_or("a future that is not known")
}

/// As [`subject`], by unit; `None` when that is no task.
pub(super) fn subject_of(history: &History, unit: UnitIndex) -> Option<Subject> {
    history[unit].task().map(subject)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyse::sample::Sample;

    #[test]
    fn the_place_is_the_programs_own_await() {
        let mut sample = Sample::default();
        let task = sample.task("app::serve");
        let root = sample.instance(task, None, "app::serve", 0, None, (0, 9));
        let timeout = sample.instance(task, Some(root), "tokio::Timeout", 23, None, (0, 9));
        let sleep = sample.instance(
            task,
            Some(timeout),
            "tokio::Sleep",
            99,
            Some("sleep"),
            (0, 9),
        );
        let place = of_await(&sample.history, sleep);
        assert_eq!(place.text(), "app::serve at src/main.rs:23");
        assert_eq!(&*place.leaf, "tokio::Sleep");
    }

    #[test]
    fn several_leaves_stand_where_what_holds_them_is_awaited() {
        let mut sample = Sample::default();
        let task = sample.task("app::serve");
        let root = sample.instance(task, None, "app::serve", 0, None, (0, 9));
        let select = sample.instance(task, Some(root), "core::PollFn", 23, None, (0, 9));
        let arm = sample.instance(task, Some(select), "app::arm", 23, None, (0, 9));
        let one = sample.instance(task, Some(arm), "tokio::Recv", 7, Some("channel"), (0, 9));
        let other = sample.instance(
            task,
            Some(select),
            "tokio::Sleep",
            23,
            Some("sleep"),
            (0, 9),
        );
        let poll = sample.poll(task, 9, 10);
        sample.waited(poll, one);
        sample.waited(poll, other);
        let place = before(&sample.history, &sample.history.polls[0]).unwrap();
        assert_eq!(place.text(), "app::serve at src/main.rs:23");
        sample.history.polls[0].waited_in.pop();
        let place = before(&sample.history, &sample.history.polls[0]).unwrap();
        assert_eq!(place.text(), "app::arm at src/main.rs:7");
    }
}
