//! Patterns: a hierarchy without spans. Requests hold tasks, tasks hold awaits, awaits hold polls;
//! each is a sub-graph that can be opened and closed, whole or at one of these [`Level`]s.
//!
//! In: a [`History`] and [`Request`]s. Out: what is directly inside a [`Node`], in order of start.
//! Pure; nothing is copied: a closed node costs nothing.

use std::str::FromStr;

use serde::Serialize;

use super::history::{AwaitIndex, History, Poll, PollIndex, UnitIndex, UnitKind};
use super::requests::Request;

/// How far a hierarchy is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Requests only.
    Requests,
    /// And the tasks that worked for them.
    Tasks,
    /// And what those awaited.
    Awaits,
    /// And the polls.
    Polls,
}

impl Level {
    /// All of them, the outermost first.
    pub const ALL: [Self; 4] = [Self::Requests, Self::Tasks, Self::Awaits, Self::Polls];

    /// `requests`, `tasks`, `awaits`, `polls`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tasks => "tasks",
            Self::Awaits => "awaits",
            Self::Polls => "polls",
        }
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|level| level.word() == text)
            .ok_or_else(|| "expected requests, tasks, awaits or polls".to_owned())
    }
}

/// A sub-graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Node {
    /// A request: its index in the list that the nesting was made with.
    Request(usize),
    /// The part of a task that is inside a request, or a task as a whole.
    Task {
        /// The task.
        unit: UnitIndex,
        /// The instance that the part begins with; `None` for the whole task.
        root: Option<AwaitIndex>,
    },
    /// An await instance.
    Await(AwaitIndex),
    /// A poll.
    Poll(PollIndex),
}

impl Node {
    /// Its level.
    #[must_use]
    pub const fn level(self) -> Level {
        match self {
            Self::Request(_) => Level::Requests,
            Self::Task { .. } => Level::Tasks,
            Self::Await(_) => Level::Awaits,
            Self::Poll(_) => Level::Polls,
        }
    }
}

/// What is inside what.
#[derive(Debug)]
pub struct Nesting<'h> {
    history: &'h History,
    children: Groups,
    spawned: Groups,
    polls: Groups,
    /// For each unit the instance that it is.
    roots: Vec<Option<AwaitIndex>>,
}

impl<'h> Nesting<'h> {
    /// The nesting of a history. Linear in time and memory.
    #[must_use]
    pub fn new(history: &'h History) -> Self {
        let awaits = history.awaits.len();
        let index = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
        let children = Groups::new(
            awaits,
            history.awaits.iter().enumerate().filter_map(|(at, child)| {
                // A parent stands before its children: so there is no circle.
                let parent = child.parent?.0;
                ((parent as usize) < at).then_some((parent, index(at)))
            }),
        );
        let spawned = Groups::new(
            awaits,
            history.units.iter().enumerate().filter_map(|(at, unit)| {
                let UnitKind::Task(task) = &unit.kind else {
                    return None;
                };
                Some((task.spawned?.by.within?.0, index(at)))
            }),
        );
        let polls = Groups::new(
            awaits,
            history
                .polls
                .iter()
                .enumerate()
                .filter_map(|(at, poll)| Some((home(history, poll)?.0, index(at)))),
        );
        let roots = history
            .units
            .iter()
            .map(|unit| {
                unit.awaits.iter().copied().find(|index| {
                    let instance = history.awaits.get(index.0 as usize);
                    instance.is_some_and(|instance| instance.parent.is_none())
                })
            })
            .collect();
        Self {
            history,
            children,
            spawned,
            polls,
            roots,
        }
    }

    /// What an instance awaited, in order of start.
    pub fn children(&self, instance: AwaitIndex) -> impl Iterator<Item = AwaitIndex> + '_ {
        self.children.of(instance.0).iter().copied().map(AwaitIndex)
    }

    /// The tasks that were spawned within an instance, in order of their first event.
    pub fn spawned(&self, instance: AwaitIndex) -> impl Iterator<Item = UnitIndex> + '_ {
        self.spawned.of(instance.0).iter().copied().map(UnitIndex)
    }

    /// The polls in which an instance went on, as the innermost that is known, in order.
    pub fn polls(&self, instance: AwaitIndex) -> impl Iterator<Item = PollIndex> + '_ {
        self.polls.of(instance.0).iter().copied().map(PollIndex)
    }

    /// The instance that a task is: its first without a parent.
    #[must_use]
    pub fn root_of(&self, unit: UnitIndex) -> Option<AwaitIndex> {
        *self.roots.get(unit.0 as usize)?
    }

    /// An instance and everything below it, with the tasks spawned there and what is in them:
    /// each once, parents before children.
    pub fn below(&self, root: AwaitIndex) -> impl Iterator<Item = AwaitIndex> + '_ {
        let mut stack = vec![root];
        let mut entered: std::collections::HashSet<UnitIndex> = std::collections::HashSet::new();
        std::iter::from_fn(move || {
            let next = stack.pop()?;
            let from = stack.len();
            stack.extend(self.children(next));
            for task in self.spawned(next) {
                // A recording may say that a task spawned itself.
                if entered.insert(task)
                    && let Some(root) = self.root_of(task)
                {
                    stack.push(root);
                }
            }
            stack[from..].reverse();
            Some(next)
        })
    }

    /// What is directly inside a node, in order of start. `requests` is the list that
    /// [`Node::Request`]s index.
    #[must_use]
    pub fn inside(&self, requests: &[Request], node: Node) -> Vec<Node> {
        match node {
            Node::Request(index) => requests
                .get(index)
                .map_or_else(Vec::new, |request| self.tasks(request)),
            Node::Task { unit, root } => {
                let root = root.or_else(|| self.root_of(unit));
                root.map(Node::Await).into_iter().collect()
            }
            Node::Await(instance) => {
                let children = self.children(instance).map(Node::Await);
                let polls = self.polls(instance).map(Node::Poll);
                let mut inside: Vec<Node> = polls.chain(children).collect();
                inside.sort_by_key(|node| self.start(*node));
                inside
            }
            Node::Poll(_) => Vec::new(),
        }
    }

    /// The tasks that worked for a request: its own part of its task, and those spawned below it.
    fn tasks(&self, request: &Request) -> Vec<Node> {
        let own = Node::Task {
            unit: request.task,
            root: Some(request.root),
        };
        let mut tasks = vec![own];
        let mut last = request.task;
        for index in self.below(request.root) {
            let Some(instance) = self.history.awaits.get(index.0 as usize) else {
                continue;
            };
            // A part of another task begins with an instance without a parent.
            if instance.task != last && instance.parent.is_none() {
                tasks.push(Node::Task {
                    unit: instance.task,
                    root: Some(index),
                });
            }
            last = instance.task;
        }
        tasks[1..].sort_by_key(|node| self.start(*node));
        tasks
    }

    /// When a node began; 0 for one that does not exist.
    fn start(&self, node: Node) -> u64 {
        let history = self.history;
        let instance = |index: AwaitIndex| {
            let instance = history.awaits.get(index.0 as usize);
            instance.map_or(0, |instance| instance.start)
        };
        match node {
            Node::Request(_) => 0,
            Node::Task { unit, root } => root.map_or_else(
                || {
                    history
                        .units
                        .get(unit.0 as usize)
                        .map_or(0, |unit| unit.first)
                },
                instance,
            ),
            Node::Await(index) => instance(index),
            Node::Poll(index) => {
                let poll = history.polls.get(index.0 as usize);
                poll.map_or(0, |poll| poll.begin)
            }
        }
    }
}

/// The instance that went on in a poll: what awaited the leaf that was ready; for a first poll, the
/// task's own future.
fn home(history: &History, poll: &Poll) -> Option<AwaitIndex> {
    let leaf = |index: &&AwaitIndex| history.awaits.get(index.0 as usize);
    let ready = poll
        .waited_in
        .iter()
        .find(|index| leaf(index).is_some_and(|leaf| leaf.end == Some(poll.begin)));
    match ready.or_else(|| poll.waited_in.first()) {
        Some(index) => leaf(&index)?.parent.or(Some(*index)),
        None => {
            let unit = history.units.get(poll.task.0 as usize)?;
            unit.awaits.first().copied()
        }
    }
}

/// Numbers grouped by another number, without a vector for each.
#[derive(Debug, Default)]
struct Groups {
    ends: Vec<u32>,
    members: Vec<u32>,
}

impl Groups {
    /// Groups `pairs` of group and member; a group keeps the order of its members. Pairs of groups
    /// from `groups` on are left out.
    fn new(groups: usize, pairs: impl Iterator<Item = (u32, u32)> + Clone) -> Self {
        let pairs = pairs.filter(|(group, _)| (*group as usize) < groups);
        let mut ends = vec![0_u32; groups];
        for (group, _) in pairs.clone() {
            ends[group as usize] += 1;
        }
        let mut sum = 0;
        for end in &mut ends {
            let count = *end;
            // The begin for now; moved to the end while members come in.
            *end = sum;
            sum += count;
        }
        let mut members = vec![0; sum as usize];
        for (group, member) in pairs {
            let at = &mut ends[group as usize];
            members[*at as usize] = member;
            *at += 1;
        }
        Self { ends, members }
    }

    fn of(&self, group: u32) -> &[u32] {
        let group = group as usize;
        let Some(&end) = self.ends.get(group) else {
            return &[];
        };
        let begin = group.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.members[begin as usize..end as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyse::requests::{Patterns, find};
    use crate::analyse::sample::{Sample, task_in};

    fn sample() -> Sample {
        let mut sample = Sample::default();
        let task = sample.task("app::connection");
        let root = sample.instance(task, None, "app::connection", 0, None, (0, 500));
        let handle = sample.instance(task, Some(root), "app::handle", 3, None, (100, 300));
        let first = sample.poll(task, 100, 120);
        let child = sample.spawn("app::part", 110, task_in(task, first, handle));
        let part = sample.instance(child, None, "app::part", 0, None, (130, 210));
        sample.instance(
            child,
            Some(part),
            "dep::Sleep",
            9,
            Some("sleep"),
            (140, 200),
        );
        let join = sample.instance(task, Some(handle), "dep::Join", 4, Some("join"), (120, 250));
        let second = sample.poll(task, 250, 300);
        sample.waited(second, join);
        sample
    }

    #[test]
    fn requests_open_into_tasks_awaits_and_polls() {
        let sample = sample();
        let nesting = Nesting::new(&sample.history);
        let requests = find(&sample.history, &Patterns::new(&["handle"])).list;
        let tasks = nesting.inside(&requests, Node::Request(0));
        let (own, spawned) = (UnitIndex(0), UnitIndex(1));
        let handle = AwaitIndex(1);
        let task = |unit, root| Node::Task {
            unit,
            root: Some(root),
        };
        assert_eq!(tasks, [task(own, handle), task(spawned, AwaitIndex(2))]);
        assert_eq!(nesting.inside(&requests, tasks[0]), [Node::Await(handle)]);
        assert_eq!(
            nesting.inside(&requests, Node::Await(handle)),
            [Node::Await(AwaitIndex(4)), Node::Poll(PollIndex(1))]
        );
        assert_eq!(
            nesting.inside(&requests, Node::Await(AwaitIndex(0))),
            [Node::Poll(PollIndex(0)), Node::Await(handle)]
        );
        assert!(
            nesting
                .inside(&requests, Node::Poll(PollIndex(0)))
                .is_empty()
        );
        assert!(nesting.inside(&requests, Node::Request(7)).is_empty());
        assert!(Level::Requests < Level::Polls);
        assert_eq!(tasks[0].level(), Level::Tasks);
    }

    #[test]
    fn everything_below_comes_once_even_when_tasks_spawn_themselves() {
        let mut sample = sample();
        let below = |sample: &Sample| -> Vec<u32> {
            let nesting = Nesting::new(&sample.history);
            nesting.below(AwaitIndex(1)).map(|index| index.0).collect()
        };
        assert_eq!(below(&sample), [1, 4, 2, 3]);
        // The spawned task says that it was spawned by its own sleep.
        if let UnitKind::Task(task) = &mut sample.history.units[1].kind
            && let Some(spawn) = &mut task.spawned
        {
            spawn.by.within = Some(AwaitIndex(3));
        }
        let nesting = Nesting::new(&sample.history);
        assert!(nesting.below(AwaitIndex(2)).count() <= 4);
    }

    #[test]
    fn levels_have_words() {
        for level in Level::ALL {
            assert_eq!(level.word().parse(), Ok(level));
        }
        assert!("spans".parse::<Level>().is_err());
    }
}
