//! Await stacks: where time went, as what awaited what.
//!
//! A stack is the chain of awaits from a task's own future down; instances with the same chain
//! count together. The time of an instance counts for its own stack while none of those it awaits
//! goes on, and for theirs while one does. So what is at the end of a stack adds up to the times of
//! its instances, as in the await profile; and time that goes by in concurrent branches counts in
//! each of them, so that a `join!` of two for a second is two seconds below it.
//!
//! An instance that is detached counts where it was awaited last. n log n; memory is that of the
//! distinct stacks and a few words an instance.

use std::collections::HashMap;
use std::sync::Arc;

use super::source::{Source, type_name};
use crate::analyse::history::{Await, AwaitIndex, Awaited, UnitHistory};
use crate::analyse::sampled::Sampled;

/// Stacks deeper than this are cut: what is below counts for the last one.
pub(super) const MAX_DEPTH: u16 = 512;

/// Which time counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Measure {
    /// Time outside polls: waiting for something.
    #[default]
    Waiting,
    /// Time inside polls of the task.
    Polled,
    /// Both, as two trees.
    Both,
}

/// What a stack has to itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Own {
    /// Await instances with exactly this stack.
    pub(super) count: u64,
    /// Nanoseconds outside polls.
    pub(super) waiting: u64,
    /// Nanoseconds inside polls.
    pub(super) polled: u64,
}

impl Own {
    fn add(&mut self, waiting: u64, polled: u64) {
        self.count += 1;
        self.waiting = self.waiting.saturating_add(waiting);
        self.polled = self.polled.saturating_add(polled);
    }
}

/// A stack: one await, and the stack above it.
#[derive(Clone, Debug)]
pub(super) struct Stack {
    /// Its place among all, always before this one's.
    pub(super) above: Option<u32>,
    /// Type of the task.
    pub(super) task: Arc<str>,
    pub(super) awaited: Arc<Awaited>,
    pub(super) depth: u16,
    /// Time that is in no stack below, or in those of instances that were cut.
    pub(super) own: Own,
    /// Time of its instances, with what they awaited: what the await profile counts.
    pub(super) whole: Own,
    /// Nanoseconds from start to end of its longest instance.
    pub(super) longest: u64,
}

/// All stacks of a history.
#[derive(Debug, Default)]
pub(super) struct Stacks {
    pub(super) all: Vec<Stack>,
    /// The stack of each await instance, where it has one.
    pub(super) of_instance: Vec<Option<u32>>,
    /// Instances below [`MAX_DEPTH`], which count for the stack above.
    pub(super) cut: u64,
    /// Tasks of which no await is known.
    pub(super) tasks_without: u64,
}

impl Stacks {
    pub(super) fn of(source: &Source<'_>) -> Self {
        if let Some(sampled) = source.sampled {
            return Self::of_samples(sampled);
        }
        let mut builder = Builder {
            stacks: Self::default(),
            known: HashMap::new(),
            awaited: HashMap::new(),
        };
        let mut of_instance: Vec<Option<u32>> = vec![None; source.history.awaits.len()];
        for (_, unit, task) in source.tasks() {
            if unit.awaits.is_empty() {
                builder.stacks.tasks_without += u64::from(!task.blocking);
                continue;
            }
            let kind = type_name(task);
            for index in &unit.awaits {
                builder.place(source, *index, &kind, &mut of_instance);
            }
            let covered = Covered::of(source, unit);
            for index in &unit.awaits {
                let (Some(instance), Some(Some(stack))) =
                    (source.instance(*index), of_instance.get(index.0 as usize))
                else {
                    continue;
                };
                let inside = covered.get(*index);
                let interval = source.await_interval(instance);
                let stack = &mut builder.stacks.all[*stack as usize];
                stack.longest = stack.longest.max(interval.end - interval.start);
                stack.whole.add(instance.waiting, instance.polled);
                stack.own.add(
                    instance.waiting.saturating_sub(inside.waiting),
                    instance.polled.saturating_sub(inside.polled),
                );
            }
        }
        builder.stacks.of_instance = of_instance;
        builder.stacks
    }

    /// Of looks at memory: a count is a task-sample, and time the estimate that it stands for.
    fn of_samples(sampled: &Sampled) -> Self {
        let mut stacks = Self::default();
        for stack in &sampled.stacks {
            let above = stack.above.and_then(|above| stacks.all.get(above as usize));
            let own = Own {
                count: stack.samples,
                waiting: stack.time_ns,
                polled: 0,
            };
            let depth = above.map_or(0, |above| above.depth.saturating_add(1));
            stacks.all.push(Stack {
                above: stack.above,
                task: Arc::clone(&stack.task),
                awaited: Arc::clone(&stack.awaited),
                depth,
                own,
                whole: own,
                longest: 0,
            });
        }
        stacks
    }

    /// A stack and those above it, outwards.
    pub(super) fn up(&self, stack: u32) -> impl Iterator<Item = u32> + '_ {
        std::iter::successors(Some(stack), |number| self.all.get(*number as usize)?.above)
    }

    /// A stack from the outermost await to itself.
    pub(super) fn chain(&self, stack: u32) -> Vec<&Stack> {
        let up = self.up(stack);
        let mut chain: Vec<&Stack> = up
            .filter_map(|number| self.all.get(number as usize))
            .collect();
        chain.reverse();
        chain
    }
}

struct Builder {
    stacks: Stacks,
    known: HashMap<(Option<u32>, Arc<str>, u32), u32>,
    awaited: HashMap<Arc<Awaited>, u32>,
}

impl Builder {
    /// Finds the stack of an instance and of all above it that have none yet.
    fn place(
        &mut self,
        source: &Source<'_>,
        index: AwaitIndex,
        task: &Arc<str>,
        of_instance: &mut [Option<u32>],
    ) {
        let mut path: Vec<(AwaitIndex, &Await)> = Vec::new();
        let mut next = Some(index);
        let mut above = None;
        while let Some(index) = next {
            if let Some(known) = of_instance.get(index.0 as usize).copied().flatten() {
                above = Some(known);
                break;
            }
            let Some(instance) = source.instance(index) else {
                break;
            };
            path.push((index, instance));
            // Its own number would come round again if parents formed a ring.
            if path.len() > source.history.awaits.len() {
                break;
            }
            next = holder(instance);
        }
        for (index, instance) in path.into_iter().rev() {
            let stack = self.stack(above, task, &instance.awaited);
            if let Some(slot) = of_instance.get_mut(index.0 as usize) {
                *slot = Some(stack);
            }
            above = Some(stack);
        }
    }

    fn stack(&mut self, above: Option<u32>, task: &Arc<str>, awaited: &Arc<Awaited>) -> u32 {
        let depth = match above.and_then(|above| self.stacks.all.get(above as usize)) {
            Some(above) => above.depth + 1,
            None => 0,
        };
        if let Some(above) = above
            && depth >= MAX_DEPTH
        {
            self.stacks.cut += 1;
            return above;
        }
        let fresh = u32::try_from(self.awaited.len()).unwrap_or(u32::MAX);
        let awaited_number = *self.awaited.entry(Arc::clone(awaited)).or_insert(fresh);
        let key = (above, Arc::clone(task), awaited_number);
        *self.known.entry(key).or_insert_with(|| {
            let number = u32::try_from(self.stacks.all.len()).unwrap_or(u32::MAX);
            self.stacks.all.push(Stack {
                above,
                task: Arc::clone(task),
                awaited: Arc::clone(awaited),
                depth,
                own: Own::default(),
                whole: Own::default(),
                longest: 0,
            });
            number
        })
    }
}

/// What awaits an instance, or did so last.
fn holder(instance: &Await) -> Option<AwaitIndex> {
    instance
        .parent
        .or_else(|| instance.former_parents.last().copied())
}

/// Time of each instance of a task during which something that it awaits went on.
struct Covered(HashMap<AwaitIndex, Own>);

impl Covered {
    fn of(source: &Source<'_>, unit: &UnitHistory) -> Self {
        let polls = Polls::of(source, unit);
        let mut children: Vec<(AwaitIndex, u64, u64)> = Vec::new();
        for index in &unit.awaits {
            let Some(instance) = source.instance(*index) else {
                continue;
            };
            let Some((parent, of)) =
                holder(instance).and_then(|parent| Some((parent, source.instance(parent)?)))
            else {
                continue;
            };
            let inner = source.await_interval(instance);
            let outer = source.await_interval(of);
            let from = inner.start.max(outer.start);
            let to = inner.end.min(outer.end);
            if from < to {
                children.push((parent, from, to));
            }
        }
        children.sort_unstable();
        let mut covered = HashMap::new();
        let mut until = 0;
        let mut last = None;
        for (parent, from, to) in children {
            if last != Some(parent) {
                last = Some(parent);
                until = 0;
            }
            let from = from.max(until);
            if from < to {
                until = to;
                let polled = polls.within(from, to);
                let own: &mut Own = covered.entry(parent).or_default();
                own.polled += polled;
                own.waiting += (to - from) - polled;
            }
        }
        Self(covered)
    }

    fn get(&self, index: AwaitIndex) -> Own {
        self.0.get(&index).copied().unwrap_or_default()
    }
}

/// The polls of a task: for each its begin, its end, and the time in those before it.
struct Polls(Vec<(u64, u64, u64)>);

impl Polls {
    fn of(source: &Source<'_>, unit: &UnitHistory) -> Self {
        let mut polls = Vec::with_capacity(unit.polls.len());
        let mut sum: u64 = 0;
        let mut until = 0;
        for poll in unit.polls.iter().filter_map(|index| source.poll(*index)) {
            let end = match poll.end {
                Some(end) => end,
                // It goes on at the end of the trace, or nothing is known of its length.
                None if unit
                    .polls
                    .last()
                    .and_then(|last| source.poll(*last))
                    .is_some_and(|last| std::ptr::eq(last, poll)) =>
                {
                    source.end()
                }
                None => poll.begin,
            };
            let begin = poll.begin.max(until);
            let end = end.max(begin);
            until = end;
            polls.push((begin, end, sum));
            sum = sum.saturating_add(end - begin);
        }
        Self(polls)
    }

    /// Time in polls before `time`.
    fn before(&self, time: u64) -> u64 {
        let next = self.0.partition_point(|(begin, _, _)| *begin < time);
        match next.checked_sub(1).and_then(|last| self.0.get(last)) {
            Some((begin, end, sum)) => sum.saturating_add(time.min(*end) - begin),
            None => 0,
        }
    }

    fn within(&self, from: u64, to: u64) -> u64 {
        self.before(to)
            .saturating_sub(self.before(from))
            .min(to - from)
    }
}
