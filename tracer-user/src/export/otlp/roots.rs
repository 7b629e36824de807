//! Which trace each span belongs to: that of the request it was done for, across the tasks that the
//! request spawned, or else that of its task.

use std::collections::HashMap;

use super::ids::Key;
use crate::analyse::history::{AwaitIndex, UnitIndex};
use crate::export::source::Source;

/// What a trace is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    /// What belongs to no request, by task.
    Task(UnitIndex),
    /// A request, by the instance that it is.
    Request(AwaitIndex),
}

/// The root of everything.
#[derive(Debug)]
pub(super) struct Roots {
    own: Vec<Option<AwaitIndex>>,
    of_await: Vec<Option<Root>>,
    /// The number of each request that is a root.
    numbers: HashMap<AwaitIndex, u32>,
}

impl Roots {
    /// Finds all roots. Linear. A request inside another one belongs to that.
    pub(super) fn new(source: &Source<'_>) -> Self {
        let units = source.history.units.iter();
        let requests = source.requests.iter();
        let mut roots = Self {
            own: units.map(|unit| source.own_future(unit)).collect(),
            of_await: vec![None; source.history.awaits.len()],
            numbers: requests.map(|request| (request.root, request.id)).collect(),
        };
        for index in (0..).map(AwaitIndex).take(source.history.awaits.len()) {
            roots.find(source, index);
        }
        let of_await = &roots.of_await;
        roots.numbers.retain(|request, _| {
            of_await.get(request.0 as usize) == Some(&Some(Root::Request(*request)))
        });
        roots
    }

    fn find(&mut self, source: &Source<'_>, index: AwaitIndex) {
        let mut path = Vec::new();
        let mut next = Some(index);
        let mut above = None;
        while let Some(index) = next {
            let Some(instance) = source.instance(index) else {
                break;
            };
            if let Some(root) = self.of_await.get(index.0 as usize).copied().flatten() {
                above = Some(root);
                break;
            }
            path.push((index, instance.task));
            // Only a recording that was tampered with has a ring.
            if path.len() > self.of_await.len() {
                break;
            }
            next = instance.parent.or_else(|| match self.own(instance.task) {
                Some(own) if own != index => Some(own),
                _ => source.spawned_within(instance.task),
            });
        }
        for (index, task) in path.into_iter().rev() {
            let root = match above {
                Some(Root::Request(request)) => Root::Request(request),
                _ if self.numbers.contains_key(&index) => Root::Request(index),
                _ => Root::Task(task),
            };
            above = Some(root);
            if let Some(slot) = self.of_await.get_mut(index.0 as usize) {
                *slot = above;
            }
        }
    }

    /// A task's own future.
    pub(super) fn own(&self, task: UnitIndex) -> Option<AwaitIndex> {
        self.own.get(task.0 as usize).copied().flatten()
    }

    /// The span of an instance: a task's own future is the task.
    pub(super) fn key(&self, source: &Source<'_>, index: AwaitIndex) -> Key {
        match source.instance(index) {
            Some(instance) if self.own(instance.task) == Some(index) => Key::Task(instance.task),
            _ => Key::Await(index),
        }
    }

    pub(super) fn of_await(&self, source: &Source<'_>, index: AwaitIndex) -> Root {
        let known = self.of_await.get(index.0 as usize).copied().flatten();
        known.unwrap_or_else(|| {
            let task = source.instance(index).map(|instance| instance.task);
            Root::Task(task.unwrap_or(UnitIndex(u32::MAX)))
        })
    }

    pub(super) fn of_task(&self, source: &Source<'_>, task: UnitIndex) -> Root {
        let within = self.own(task).or_else(|| source.spawned_within(task));
        match within.map(|within| self.of_await(source, within)) {
            Some(Root::Request(request)) => Root::Request(request),
            _ => Root::Task(task),
        }
    }

    /// The number of the request that an instance is, if it is the root of a trace.
    pub(super) fn number(&self, index: AwaitIndex) -> Option<u32> {
        self.numbers.get(&index).copied()
    }
}
