//! Which wake-ups ended which waits.

use std::collections::HashMap;

use super::ids::Key;
use crate::analyse::history::{AwaitIndex, Doer, PollCause, UnitIndex, UnitKind, WakeIndex};
use crate::export::source::Source;

/// Leaves that are searched for what they have in common. A task that waits for more than that at
/// once is woken as a whole.
const MAX_LEAVES: usize = 64;

/// How far up is searched.
const MAX_DEPTH: usize = 512;

/// Wake-ups by the span that they woke.
#[derive(Debug)]
pub(super) struct Links {
    woken: HashMap<Key, Vec<WakeIndex>>,
    own: Vec<Option<AwaitIndex>>,
}

impl Links {
    pub(super) fn new(source: &Source<'_>) -> Self {
        let units = source.history.units.iter();
        let mut links = Self {
            woken: HashMap::new(),
            own: units.map(|unit| source.own_future(unit)).collect(),
        };
        for poll in &source.history.polls {
            let Some(PollCause::Wake(wake)) = poll.cause else {
                continue;
            };
            let woken = common(source, &poll.waited_in);
            let key = woken.map_or(Key::Task(poll.task), |instance| links.key(source, instance));
            links.woken.entry(key).or_default().push(wake);
        }
        links
    }

    /// The span of an instance: a task's own future is the task.
    pub(super) fn key(&self, source: &Source<'_>, index: AwaitIndex) -> Key {
        match source.instance(index) {
            Some(instance) if self.own(instance.task) == Some(index) => Key::Task(instance.task),
            _ => Key::Await(index),
        }
    }

    /// A task's own future.
    pub(super) fn own(&self, task: UnitIndex) -> Option<AwaitIndex> {
        self.own.get(task.0 as usize).copied().flatten()
    }

    /// The span in which something was done, with its task; none for what is no task.
    pub(super) fn doer(&self, source: &Source<'_>, by: &Doer) -> Option<(UnitIndex, Key)> {
        if let Some(within) = by.within {
            let task = source.instance(within)?.task;
            return Some((task, self.key(source, within)));
        }
        matches!(source.unit(by.unit)?.kind, UnitKind::Task(_))
            .then_some((by.unit, Key::Task(by.unit)))
    }

    /// The wake-ups that ended a wait in this span, in order of time.
    pub(super) fn woken(&self, key: Key) -> &[WakeIndex] {
        self.woken.get(&key).map_or(&[], Vec::as_slice)
    }
}

/// The innermost instance that holds all of these: with one leaf the leaf itself. Which of several
/// branches a wake-up was for is not known, and not guessed.
fn common(source: &Source<'_>, leaves: &[AwaitIndex]) -> Option<AwaitIndex> {
    let (first, rest) = leaves.split_first()?;
    if rest.is_empty() {
        return Some(*first);
    }
    if leaves.len() > MAX_LEAVES {
        return None;
    }
    let chain = |leaf: AwaitIndex| {
        std::iter::successors(Some(leaf), |index| source.instance(*index)?.parent).take(MAX_DEPTH)
    };
    let shared: Vec<AwaitIndex> = chain(*first).collect();
    let place: HashMap<AwaitIndex, usize> = shared.iter().copied().zip(0..).collect();
    let mut innermost = 0;
    for leaf in rest {
        let met = chain(*leaf).find_map(|index| place.get(&index))?;
        innermost = innermost.max(*met);
    }
    shared.get(innermost).copied()
}
