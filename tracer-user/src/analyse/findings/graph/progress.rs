//! Who may still go on.
//!
//! Everything is taken to be stuck, except what stands for the outside (time, the network, threads),
//! tasks that do not stand still, and what is not known. From these the rest follows: a leaf goes on
//! when one of those who hold what it waits for may, a future when what it needs of its futures may
//! ([`operators`](super::operators)), a task when its own future may. What has not been reached in
//! the end waits in a circle, or for one that does. Each future is reached once: the time is linear.
//!
//! What is doubtful may go on ([`Rules::SURE`]), so that what is stuck then is stuck; with less strict
//! rules it is what most likely is, or may be.

use std::collections::VecDeque;

use super::facts::{Claim, Class, Facts, How, Member, On, Resource};
use super::operators::{Needs, needs};
use super::rules::Rules;

/// Who may go on by some rules.
#[derive(Clone, Debug)]
pub(in crate::analyse::findings) struct Progress {
    /// The rules.
    pub rules: Rules,
    /// Futures of all tasks in a row: whether they may go on.
    goes_on: Vec<bool>,
    /// Where a task's futures begin in that row.
    first: Vec<usize>,
    /// Tasks that may go on.
    tasks: Vec<bool>,
}

impl Progress {
    /// By `rules`.
    pub(in crate::analyse::findings) fn of(facts: &Facts<'_>, rules: Rules) -> Self {
        Spread::new(facts, rules).run()
    }

    /// Whether a task may go on.
    pub(in crate::analyse::findings) fn task(&self, task: usize) -> bool {
        self.tasks.get(task).copied().unwrap_or(true)
    }

    /// Whether the same tasks are stuck.
    pub(in crate::analyse::findings) fn is_as(&self, other: &Self) -> bool {
        self.tasks == other.tasks
    }

    /// What a stuck task waits for in the end: the leaves below what keeps it from going on.
    pub(super) fn stuck_leaves<'f>(
        &self,
        member: &'f Member<'_>,
        task: usize,
    ) -> Vec<(usize, &'f On)> {
        let first = self.first.get(task).copied().unwrap_or(0);
        let goes_on = |index: usize| self.goes_on.get(first + index).copied().unwrap_or(true);
        // An ancestor that may go on takes what is below it along.
        let is_stuck = |leaf: usize| {
            let mut at = Some(leaf);
            while let Some(index) = at {
                if goes_on(index) {
                    return false;
                }
                at = member
                    .tree
                    .futures
                    .get(index)
                    .and_then(|future| future.above);
            }
            true
        };
        member
            .waits
            .iter()
            .filter(|(leaf, _)| is_stuck(*leaf))
            .map(|(leaf, on)| (*leaf, on))
            .collect()
    }
}

/// The claims on a resource that count by these rules: those with a doubt only where there is none
/// without. A waiter in the queue holds nothing yet.
pub(in crate::analyse::findings) fn holders<'r, 'a>(
    resource: &'r Resource<'a>,
    rules: Rules,
) -> impl Iterator<Item = &'r Claim<'a>> {
    let holds = |claim: &&Claim<'_>| claim.how != How::Queued;
    let sure = resource
        .claims
        .iter()
        .any(|claim| holds(&claim) && claim.doubt.is_none());
    resource
        .claims
        .iter()
        .filter(holds)
        .filter(move |claim| claim.doubt.is_none() || !sure && rules.doubtful)
}

/// Whether one of the holders is all that there can be.
pub(in crate::analyse::findings) fn is_exclusive(resource: &Resource<'_>) -> bool {
    match resource.class {
        Class::Permits => matches!(resource.name, "mutex" | "once_cell"),
        Class::Value => true,
        Class::Messages | Class::Room => false,
    }
}

/// When a leaf that waits for a resource goes on, as far as those who hold it matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opens {
    /// At once: somebody else may have it.
    Now,
    /// When one of the holders goes on.
    WithAny,
    /// When all of them go on: a writer waits for every reader.
    WithAll,
}

struct Spread<'f, 'a> {
    facts: &'f Facts<'a>,
    progress: Progress,
    /// Futures of all tasks: how many of those below have to go on yet.
    missing: Vec<u32>,
    /// By resource: holders that have not been reached.
    stuck_holders: Vec<usize>,
    /// By task: resources that it holds, each once.
    held_by: Vec<Vec<usize>>,
    /// By task: leaves that wait for it to finish.
    joined_by: Vec<Vec<(usize, usize)>>,
    reached: VecDeque<usize>,
}

impl<'f, 'a> Spread<'f, 'a> {
    fn new(facts: &'f Facts<'a>, rules: Rules) -> Self {
        let count = facts.tasks.len();
        let mut first = Vec::with_capacity(count);
        let mut missing = Vec::new();
        for member in &facts.tasks {
            first.push(missing.len());
            for (index, at) in member.tree.futures.iter().enumerate() {
                missing.push(if at.alive && at.waits_inside {
                    let (sure, likely) = needs(&member.tree, index);
                    let needs = if rules.likely { likely } else { sure };
                    match needs {
                        Needs::Nothing => 0,
                        Needs::Any if !rules.arms => 1,
                        Needs::Any | Needs::All => {
                            let children = member.tree.live_children(index).count();
                            u32::try_from(children).unwrap_or(u32::MAX)
                        }
                    }
                } else {
                    // A leaf: decided by what it waits for.
                    1
                });
            }
        }
        let mut held_by = vec![Vec::new(); count];
        let mut stuck_holders = Vec::with_capacity(facts.resources.len());
        for (index, resource) in facts.resources.iter().enumerate() {
            let mut tasks: Vec<usize> = holders(resource, rules).map(|claim| claim.task).collect();
            tasks.sort_unstable();
            tasks.dedup();
            stuck_holders.push(tasks.len());
            for task in tasks {
                held_by[task].push(index);
            }
        }
        let mut joined_by = vec![Vec::new(); count];
        for (task, member) in facts.tasks.iter().enumerate() {
            for (leaf, on) in &member.waits {
                if let On::Tasks(targets) = on {
                    for &target in targets {
                        joined_by[target].push((task, *leaf));
                    }
                }
            }
        }
        Self {
            facts,
            progress: Progress {
                rules,
                goes_on: vec![false; missing.len()],
                first,
                tasks: vec![false; count],
            },
            missing,
            stuck_holders,
            held_by,
            joined_by,
            reached: VecDeque::new(),
        }
    }

    fn run(mut self) -> Progress {
        for (task, member) in self.facts.tasks.iter().enumerate() {
            if !self.can_be_stuck(member) {
                self.task_goes_on(task);
                continue;
            }
            for (leaf, on) in &member.waits {
                if self.is_open(member, *leaf, on) {
                    self.goes_on(task, *leaf);
                }
            }
            // Those that need nothing.
            for index in (0..member.tree.futures.len()).rev() {
                if self.missing[self.progress.first[task] + index] == 0 {
                    self.goes_on(task, index);
                }
            }
        }
        while let Some(task) = self.reached.pop_front() {
            for (waiter, leaf) in std::mem::take(&mut self.joined_by[task]) {
                self.goes_on(waiter, leaf);
            }
            for resource in std::mem::take(&mut self.held_by[task]) {
                self.released(resource);
            }
        }
        self.progress
    }

    /// Whether a task can be stuck at all: one that stood still, and whose tree is known.
    fn can_be_stuck(&self, member: &Member<'_>) -> bool {
        let rules = self.progress.rules;
        let Some(still) = &member.still else {
            return false;
        };
        !member.info.cancelled
            && !member.waits.is_empty()
            && !member.tree.cut
            && (rules.moved || !still.moved())
    }

    /// Whether a leaf goes on without any of the tasks.
    fn is_open(&self, member: &Member<'_>, leaf: usize, on: &On) -> bool {
        // Nothing of this task is left that anybody could wake.
        let nothing_left = |still: &super::super::still::Still<'_>| {
            still.now.wakers == Some(0) && still.before.wakers == Some(0)
        };
        if member.still.as_ref().is_some_and(nothing_left) {
            return false;
        }
        match on {
            On::Never => false,
            On::Outside => true,
            On::Tasks(_) => false,
            On::Resource(index) => {
                let resource = &self.facts.resources[*index];
                is_there(member, leaf) || self.opens(resource, member, leaf) == Opens::Now
            }
        }
    }

    fn opens(&self, resource: &Resource<'_>, member: &Member<'_>, leaf: usize) -> Opens {
        let rules = self.progress.rules;
        let waits = member.tree.futures.get(leaf);
        let waits = waits.and_then(|at| at.node.waits_for.as_ref());
        let held = holders(resource, rules).count();
        if held == 0 {
            return Opens::Now;
        }
        match resource.class {
            Class::Permits | Class::Value if is_exclusive(resource) => {
                // Two that both hold it: one of them does not.
                if held > 1 && !rules.likely {
                    return Opens::Now;
                }
                Opens::WithAny
            }
            Class::Permits if resource.name == "rwlock" => {
                let writes = waits.and_then(|waits| waits.text("lock")) == Some("rwlock_write");
                let written = holders(resource, rules)
                    .any(|claim| claim.what.text("lock") == Some("rwlock_write"));
                if written {
                    Opens::WithAny
                } else if writes {
                    Opens::WithAll
                } else if rules.likely {
                    // A reader behind a writer in the queue, which waits for the readers.
                    Opens::WithAny
                } else {
                    Opens::Now
                }
            }
            Class::Messages => {
                // A channel is in two minds: anybody may send, unless all senders are seen.
                let seen = u64::try_from(held).unwrap_or(u64::MAX);
                if rules.likely && !rules.arms && resource.senders == Some(seen) {
                    Opens::WithAny
                } else {
                    Opens::Now
                }
            }
            _ if rules.likely => Opens::WithAny,
            _ => Opens::Now,
        }
    }

    /// A holder of this resource may go on.
    fn released(&mut self, index: usize) {
        let stuck = &mut self.stuck_holders[index];
        *stuck = stuck.saturating_sub(1);
        let all = *stuck == 0;
        let facts = self.facts;
        let resource = &facts.resources[index];
        for &(task, leaf) in &resource.waiters {
            if self.progress.tasks[task] {
                continue;
            }
            let opens = self.opens(resource, &facts.tasks[task], leaf);
            if all || opens != Opens::WithAll {
                self.goes_on(task, leaf);
            }
        }
    }

    /// A future may go on, and with it perhaps those that hold it.
    fn goes_on(&mut self, task: usize, index: usize) {
        let facts = self.facts;
        let first = self.progress.first[task];
        let futures = &facts.tasks[task].tree.futures;
        let mut at = Some(index);
        while let Some(index) = at {
            if std::mem::replace(&mut self.progress.goes_on[first + index], true) {
                return;
            }
            let Some(above) = futures[index].above else {
                self.task_goes_on(task);
                return;
            };
            let missing = &mut self.missing[first + above];
            *missing = missing.saturating_sub(1);
            if *missing > 0 {
                return;
            }
            at = Some(above);
        }
    }

    fn task_goes_on(&mut self, task: usize) {
        if !std::mem::replace(&mut self.progress.tasks[task], true) {
            self.reached.push_back(task);
        }
    }
}

/// Whether what a leaf waits for is there in one of the two looks: then it is not kept from it.
fn is_there(member: &Member<'_>, leaf: usize) -> bool {
    let waits = member.tree.futures.get(leaf);
    let waits = waits.and_then(|at| at.node.waits_for.as_ref());
    let Some(waits) = waits else { return true };
    if waits.ready() == Some(true) {
        return true;
    }
    let enough = match (waits.number("permits_available"), waits.number("permits")) {
        (Some(available), Some(wanted)) => available >= wanted,
        _ => false,
    };
    // Behind others in the queue of a lock that is free for a reader: not free for it.
    enough && waits.text("lock") != Some("rwlock_read")
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
