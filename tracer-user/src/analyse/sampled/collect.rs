//! Looks one by one -> [`Sampled`]: tasks are followed from look to look.

mod stacks;

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use self::stacks::{Sample, Site, Stack, Stand};
use super::rows::{SampledAwait, SampledType, StandingTask};
use super::shape::{fingerprint, waiting};
use super::{Changes, Look, Looks, Sampled, Samples};
use crate::analyse::findings::still::is_torn;
use crate::analyse::history::Awaited;
use crate::rebuild::snapshot::{Snapshot, TaskInfo, TaskState};
use crate::rebuild::tracker::{TaskKey, key_of_listed};

/// Distinct chains of awaits that are kept.
const MAX_STACKS: usize = 100_000;
/// Tasks that are followed from look to look.
const MAX_TASKS: usize = 400_000;
/// Tasks that stood still which are named.
const MAX_STANDING: usize = 100;

/// Takes looks at memory, in order of time.
#[derive(Debug, Default)]
pub struct Collector {
    looks: Looks,
    samples: Samples,
    changes: Changes,
    by_look: VecDeque<Look>,
    stacks: Vec<Stack>,
    known_stacks: HashMap<(Option<u32>, u32, Arc<Awaited>), u32>,
    awaits: Vec<Site>,
    known_awaits: HashMap<Arc<Awaited>, u32>,
    types: Vec<SampledType>,
    known_types: HashMap<Arc<str>, u32>,
    tasks: HashMap<TaskKey, Known>,
    /// Samples of the last look, which stand for the time after it as well.
    last: Vec<Sample>,
    beyond: u64,
}

/// A task as it was in the last look with it.
#[derive(Debug)]
struct Known {
    id: Arc<str>,
    kind: u32,
    /// Number of the last look with it.
    look: u64,
    state: TaskState,
    /// Fingerprint of its tree.
    shape: u64,
    placed: bool,
    /// Since when it has stood still.
    since: u64,
    stands: Vec<Stand>,
}

impl Collector {
    /// Looks that are told one by one at most: the last ones.
    pub const LOOKS: usize = 10_000;

    /// Looks a second that were asked for.
    pub fn asked(&mut self, per_second: f64) {
        self.looks.asked_per_second = Some(per_second);
    }

    /// Takes the next look, and tells what changed since the one before. One that is not later than
    /// the one before is passed over.
    pub fn take(&mut self, snapshot: &Snapshot, time: u64) -> Option<Look> {
        let first = self.looks.count == 0;
        if !first && time <= self.looks.last_ns {
            return None;
        }
        if first {
            self.looks.first_ns = time;
        }
        let between = if first { 0 } else { time - self.looks.last_ns };
        self.looks.count += 1;
        self.looks.last_ns = time;
        self.looks.longest_between_ns = self.looks.longest_between_ns.max(between);
        // A sample stands for half of the time to each of its neighbours.
        for sample in std::mem::take(&mut self.last) {
            self.credit(sample, between / 2);
        }
        for site in &mut self.awaits {
            site.now = 0;
        }
        for kind in &mut self.types {
            kind.now = 0;
        }
        let mut changes = Changes::default();
        let mut last = Vec::new();
        for task in &snapshot.tasks {
            self.task(task, time, first, &mut changes, &mut last);
        }
        for sample in &last {
            self.credit(*sample, between.div_ceil(2));
        }
        self.last = last;
        for kind in &mut self.types {
            kind.most = kind.most.max(kind.now);
        }
        self.forget(&mut changes);
        self.changes.add(changes);
        let look = Look {
            time_ns: time,
            tasks: snapshot.tasks.len() as u64,
            changes,
        };
        if self.by_look.len() >= Self::LOOKS {
            self.by_look.pop_front();
        }
        self.by_look.push_back(look);
        Some(look)
    }

    /// Since when a task has stood as it does, as far as looks tell, and whether that was the first
    /// look.
    #[must_use]
    pub fn since(&self, key: &TaskKey) -> Option<(u64, bool)> {
        let known = self.tasks.get(key)?;
        Some((known.since, known.since == self.looks.first_ns))
    }

    /// How the looks were taken until now.
    #[must_use]
    pub const fn looks(&self) -> Looks {
        self.looks
    }

    /// What changed until now.
    #[must_use]
    pub const fn changes(&self) -> Changes {
        self.changes
    }

    fn task(
        &mut self,
        task: &TaskInfo,
        time: u64,
        first: bool,
        changes: &mut Changes,
        last: &mut Vec<Sample>,
    ) {
        let kind = self.kind(&task.future);
        let torn = is_torn(task);
        let idle = task.state == TaskState::Idle;
        let tree = task.tree.as_ref().filter(|_| idle && !torn);
        let shape = tree.map_or(0, fingerprint);
        let key = key_of_listed(task);
        let number = self.looks.count;
        let full = self.tasks.len() >= MAX_TASKS;
        let mut of_kind = Changes::default();
        let before = match self.tasks.entry(key) {
            Entry::Occupied(entry) => Some(entry.remove()),
            Entry::Vacant(_) => None,
        };
        let still = before.as_ref().is_some_and(|before| {
            idle && !torn && before.state == TaskState::Idle && before.shape == shape
        });
        match &before {
            // It was there all along and one look missed it: lists change while they are walked.
            Some(before) if before.look + 1 != number => {
                self.changes.went = self.changes.went.saturating_sub(1);
                if let Some(kind) = self.types.get_mut(before.kind as usize) {
                    kind.changes.went = kind.changes.went.saturating_sub(1);
                }
            }
            Some(_) if still => of_kind.still = 1,
            Some(_) => of_kind.moved = 1,
            None if first => {}
            None => of_kind.came = 1,
        }
        let (stands, since, id) = match before {
            Some(before) if still => (before.stands, before.since, before.id),
            before => {
                let id = before
                    .as_ref()
                    .map_or_else(|| task.id.as_str().into(), |before| Arc::clone(&before.id));
                let stood = before.map(|before| before.stands).unwrap_or_default();
                let waiting = tree.map(waiting).unwrap_or_default();
                (self.stands(waiting, kind, &stood, time), time, id)
            }
        };
        for stand in &stands {
            self.sample(stand, &id, time);
            last.push(stand.sample);
        }
        let mut samples = Samples {
            tasks: 1,
            ..Samples::default()
        };
        *match task.state {
            TaskState::Idle => &mut samples.idle,
            TaskState::Scheduled => &mut samples.scheduled,
            TaskState::Running => &mut samples.running,
            TaskState::Complete => &mut samples.complete,
            TaskState::Unknown => &mut samples.unknown,
        } = 1;
        samples.idle_unplaced = u64::from(idle && stands.is_empty());
        self.samples.add(samples);
        changes.add(of_kind);
        if let Some(kind) = self.types.get_mut(kind as usize) {
            kind.now += 1;
            kind.samples.add(samples);
            kind.changes.add(of_kind);
        }
        if full {
            self.beyond += 1;
            return;
        }
        let known = Known {
            id,
            kind,
            look: number,
            state: task.state,
            shape,
            placed: !stands.is_empty(),
            since,
            stands,
        };
        self.tasks.insert(key, known);
    }

    fn kind(&mut self, future: &Arc<str>) -> u32 {
        if let Some(kind) = self.known_types.get(future) {
            return *kind;
        }
        // As bounded as the symbols of a program are; a forged list of tasks is not.
        if self.types.len() >= MAX_STACKS {
            self.beyond += 1;
            return u32::MAX;
        }
        let kind = u32::try_from(self.types.len()).unwrap_or(u32::MAX);
        self.types.push(SampledType {
            future: Arc::clone(future),
            ..SampledType::default()
        });
        self.known_types.insert(Arc::clone(future), kind);
        kind
    }

    /// Tasks that were in the look before and are not in this one have gone; they are remembered for
    /// one more look, which may find that they were only missed.
    fn forget(&mut self, changes: &mut Changes) {
        let number = self.looks.count;
        let types = &mut self.types;
        self.tasks.retain(|_, known| {
            if known.look + 1 == number {
                changes.went += 1;
                if let Some(kind) = types.get_mut(known.kind as usize) {
                    kind.changes.went += 1;
                }
            }
            known.look + 1 >= number
        });
    }

    /// All of it.
    #[must_use]
    pub fn finish(self) -> Sampled {
        let mut looks = self.looks;
        let span = looks.last_ns - looks.first_ns;
        if looks.count > 1 && span > 0 {
            looks.per_second = Some((looks.count - 1) as f64 / (span as f64 / 1e9));
        }
        let standing = self.standing();
        let all = self.samples.tasks.max(1) as f64;
        let mut awaits: Vec<SampledAwait> = self
            .known_awaits
            .into_iter()
            .filter(|(awaited, _)| awaited.by.is_some())
            .filter_map(|(awaited, site)| {
                let site = self.awaits.get(site as usize)?;
                Some(SampledAwait {
                    awaited,
                    leaf: !site.inner,
                    task_samples: site.task_samples,
                    innermost_samples: site.innermost,
                    share: site.task_samples as f64 / all,
                    time_ns: site.time,
                    entered: site.entered,
                    now: site.now,
                    longest_ns: site.longest,
                    longest_task: site.longest_task.clone(),
                    longest_from_before: site.longest_from_before,
                })
            })
            .collect();
        awaits.sort_by_cached_key(|row| (Reverse(row.task_samples), Arc::clone(&row.awaited)));
        let mut types = self.types;
        types.sort_by_cached_key(|row| (Reverse(row.samples.tasks), Arc::clone(&row.future)));
        Sampled {
            looks,
            samples: self.samples,
            changes: self.changes,
            by_look: self.by_look.into(),
            awaits,
            types,
            standing,
            beyond_limits: self.beyond,
            stacks: self.stacks.into_iter().map(|stack| stack.row).collect(),
        }
    }

    fn standing(&self) -> Vec<StandingTask> {
        let last = self.looks.last_ns;
        let mut tasks: Vec<&Known> = self
            .tasks
            .values()
            .filter(|known| known.look == self.looks.count && known.since < last && known.placed)
            .collect();
        tasks.sort_unstable_by(|a, b| (a.since, &a.id).cmp(&(b.since, &b.id)));
        tasks.truncate(MAX_STANDING);
        let rows = tasks.into_iter().map(|known| StandingTask {
            id: Arc::clone(&known.id),
            future: self
                .types
                .get(known.kind as usize)
                .map(|kind| Arc::clone(&kind.future))
                .unwrap_or_default(),
            since_ns: known.since,
            standing_ns: last - known.since,
            from_before: known.since == self.looks.first_ns,
            at: known
                .stands
                .iter()
                .filter(|stand| stand.sample.innermost)
                .filter_map(|stand| self.stacks.get(stand.sample.stack as usize))
                .map(|stack| Arc::clone(&stack.row.awaited))
                .collect(),
        });
        rows.collect()
    }
}
