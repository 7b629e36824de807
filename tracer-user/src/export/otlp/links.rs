//! Which wake-ups ended which waits.

use std::collections::HashMap;

use super::ids::Key;
use super::roots::Roots;
use crate::analyse::history::{AwaitIndex, PollCause, WakeIndex};
use crate::export::source::Source;

/// Leaves that are searched for what they have in common. A task that waits for more than that at
/// once is woken as a whole.
const MAX_LEAVES: usize = 64;

/// How far up is searched.
const MAX_DEPTH: usize = 512;

/// Wake-ups by the span that they woke.
#[derive(Debug)]
pub(super) struct Links(HashMap<Key, Vec<WakeIndex>>);

impl Links {
    pub(super) fn new(source: &Source<'_>, roots: &Roots) -> Self {
        let mut woken: HashMap<Key, Vec<WakeIndex>> = HashMap::new();
        for poll in &source.history.polls {
            let Some(PollCause::Wake(wake)) = poll.cause else {
                continue;
            };
            let key = match common(source, &poll.waited_in) {
                Some(instance) => roots.key(source, instance),
                None => Key::Task(poll.task),
            };
            woken.entry(key).or_default().push(wake);
        }
        Self(woken)
    }

    /// The wake-ups that ended a wait in this span, in order of time.
    pub(super) fn woken(&self, key: Key) -> &[WakeIndex] {
        self.0.get(&key).map_or(&[], Vec::as_slice)
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
