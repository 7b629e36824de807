//! Which of the things that a task awaits at once is followed.

use crate::analyse::history::{AwaitIndex, History, Poll, UnitHistory};

/// Ancestors that are looked at; no tree of a real program is deeper.
const DEPTH: usize = 256;

/// Instances that are looked at where only a guess could tell more.
const RECENT: usize = 256;

/// What a poll did for the instance that is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// This leaf ended, and what is followed went on because of it.
    Ended(AwaitIndex),
    /// The leaf that is followed went on to wait, and nothing else ended.
    Continued(AwaitIndex),
    /// Other leaves ended; the one that is followed went on to wait.
    Elsewhere,
    /// Not known.
    Unknown,
}

impl Progress {
    /// The leaf that was waited in before the poll.
    pub(super) const fn leaf(self) -> Option<AwaitIndex> {
        match self {
            Self::Ended(leaf) | Self::Continued(leaf) => Some(leaf),
            Self::Elsewhere | Self::Unknown => None,
        }
    }
}

/// What `poll` did for `follow`.
pub(super) fn progress(history: &History, poll: &Poll, follow: Option<AwaitIndex>) -> Progress {
    let ended = |leaf: &AwaitIndex| {
        history
            .awaits
            .get(leaf.0 as usize)
            .is_some_and(|leaf| leaf.end == Some(poll.begin))
    };
    let mut any_ended = false;
    let mut followed = None;
    let mut best: Option<(usize, u64, AwaitIndex)> = None;
    let line = line(history, follow);
    for leaf in &poll.waited_in {
        let has_ended = ended(leaf);
        any_ended |= has_ended;
        if Some(*leaf) == follow {
            followed = Some((*leaf, has_ended));
        }
        if has_ended && let Some(instance) = history.awaits.get(leaf.0 as usize) {
            let rank = (shared(history, *leaf, &line), instance.start, *leaf);
            best = best.max(Some(rank));
        }
    }
    match (followed, best) {
        (Some((leaf, true)), _) => Progress::Ended(leaf),
        (Some((leaf, false)), _) if !any_ended => Progress::Continued(leaf),
        (Some(_), _) => Progress::Elsewhere,
        (None, Some((_, _, leaf))) => Progress::Ended(leaf),
        (None, None) => match poll.waited_in.as_slice() {
            [] => Progress::Unknown,
            leaves => leaves
                .iter()
                .take(RECENT)
                .max_by_key(|leaf| shared(history, **leaf, &line))
                .map_or(Progress::Unknown, |leaf| Progress::Continued(*leaf)),
        },
    }
}

/// The instance and its ancestors, the outermost first.
fn line(history: &History, instance: Option<AwaitIndex>) -> Vec<AwaitIndex> {
    let mut line = Vec::new();
    let mut at = instance;
    while let Some(index) = at
        && line.len() < DEPTH
    {
        line.push(index);
        at = history
            .awaits
            .get(index.0 as usize)
            .and_then(|instance| instance.parent);
    }
    line.reverse();
    line
}

/// How deep the innermost ancestor is that an instance has in common with a line of ancestors.
fn shared(history: &History, instance: AwaitIndex, other: &[AwaitIndex]) -> usize {
    let own = line(history, Some(instance));
    own.iter()
        .zip(other)
        .take_while(|(own, other)| own == other)
        .count()
}

/// Whether `instance` is `scope` or below it.
pub(super) fn inside(history: &History, instance: AwaitIndex, scope: AwaitIndex) -> bool {
    line(history, Some(instance)).contains(&scope)
}

/// The innermost of `follow` and its ancestors that was there at `time`.
pub(super) fn standing(
    history: &History,
    follow: Option<AwaitIndex>,
    time: u64,
) -> Option<AwaitIndex> {
    line(history, follow).into_iter().rev().find(|index| {
        history
            .awaits
            .get(index.0 as usize)
            .is_some_and(|instance| instance.start <= time)
    })
}

/// The leaf at which a unit stands at the end of the trace, next to `follow`.
pub(super) fn open_leaf(
    history: &History,
    unit: &UnitHistory,
    follow: Option<AwaitIndex>,
) -> Option<AwaitIndex> {
    let line = line(history, follow);
    unit.awaits
        .iter()
        .rev()
        .take(RECENT)
        .filter_map(|&index| Some((index, history.awaits.get(index.0 as usize)?)))
        .filter(|(_, instance)| instance.end.is_none())
        .max_by_key(|&(index, instance)| (shared(history, index, &line), instance.start, index))
        .map(|(index, _)| index)
}
