//! Which of the things that a task awaits at once is followed.

use crate::analyse::history::{
    AwaitIndex, AwaitOutcome, History, Poll, PollCause, UnitHistory, UnitIndex, UnitKind,
};
use crate::rebuild::event::Origin;

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
    /// Nothing ended, and which of several leaves it was about is not known: what holds them.
    Among(AwaitIndex),
    /// Other leaves ended; the one that is followed went on to wait.
    Elsewhere,
    /// Not known.
    Unknown,
}

impl Progress {
    /// What was waited in before the poll: a leaf, where it is known which.
    pub(super) const fn leaf(self) -> Option<AwaitIndex> {
        match self {
            Self::Ended(leaf) | Self::Continued(leaf) | Self::Among(leaf) => Some(leaf),
            Self::Elsewhere | Self::Unknown => None,
        }
    }
}

/// What `poll` did for `follow`.
pub(super) fn progress(history: &History, poll: &Poll, follow: Option<AwaitIndex>) -> Progress {
    let line = line(history, follow);
    let waker = Waker::of(history, poll);
    let mut any_ended = false;
    let mut followed = None;
    let mut best: Option<(usize, u8, bool, u64, AwaitIndex)> = None;
    for &index in &poll.waited_in {
        let Some(leaf) = history.awaits.get(index.0 as usize) else {
            continue;
        };
        let has_ended = leaf.end == Some(poll.begin);
        any_ended |= has_ended;
        if Some(index) == follow {
            followed = Some((index, has_ended));
        }
        if has_ended {
            let rank = (
                shared(history, index, &line),
                likely(leaf.outcome),
                waker.fits(leaf.awaited.waits_for.as_deref()),
                leaf.start,
                index,
            );
            best = best.max(Some(rank));
        }
    }
    match (followed, best) {
        (Some((leaf, true)), _) => Progress::Ended(leaf),
        (Some((leaf, false)), _) if !any_ended => Progress::Continued(leaf),
        (Some(_), _) => Progress::Elsewhere,
        (None, Some((.., leaf))) => Progress::Ended(leaf),
        (None, None) => went_on(history, poll, &line, waker),
    }
}

/// How likely it is that the poll went on because of a leaf that ended so: the arms of a `select!`
/// that were slower are cancelled in the same poll.
const fn likely(outcome: AwaitOutcome) -> u8 {
    match outcome {
        AwaitOutcome::Ready => 2,
        AwaitOutcome::Cancelled | AwaitOutcome::Panicked => 0,
        _ => 1,
    }
}

/// A poll after which every leaf went on to wait: which one it was about is told by what woke the
/// task, if that fits one only, and otherwise only what those that fit have in common.
fn went_on(history: &History, poll: &Poll, line: &[AwaitIndex], waker: Waker) -> Progress {
    let leaves: Vec<AwaitIndex> = poll.waited_in.iter().take(RECENT).copied().collect();
    let fits = |index: &AwaitIndex| {
        let leaf = history.awaits.get(index.0 as usize);
        leaf.is_some_and(|leaf| waker.fits(leaf.awaited.waits_for.as_deref()))
    };
    let fitting: Vec<AwaitIndex> = leaves.iter().copied().filter(fits).collect();
    let candidates = if fitting.is_empty() { leaves } else { fitting };
    let depth = |index: &AwaitIndex| shared(history, *index, line);
    let deepest = candidates.iter().map(depth).max().unwrap_or(0);
    let mut near = candidates.iter().filter(|index| depth(index) == deepest);
    match (near.next(), near.next()) {
        (None, _) => Progress::Unknown,
        (Some(only), None) => Progress::Continued(*only),
        (Some(first), Some(second)) => {
            let mut common = self::line(history, Some(*first));
            for other in near.chain([second]) {
                let length = shared(history, *other, &common);
                common.truncate(length);
            }
            match common.last() {
                Some(holder) => Progress::Among(*holder),
                None => Progress::Unknown,
            }
        }
    }
}

/// What woke a task, as far as it tells which leaf was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waker {
    /// The kernel said that a file descriptor is ready.
    Io,
    /// A timer.
    Timer,
    /// A runtime's thread outside polls: one of these two.
    Driver,
    /// A task in its poll: neither.
    Task,
    /// It does not tell.
    Any,
}

impl Waker {
    fn of(history: &History, poll: &Poll) -> Self {
        let Some(PollCause::Wake(wake)) = poll.cause else {
            return Self::Any;
        };
        let Some(wake) = history.wakes.get(wake.0 as usize) else {
            return Self::Any;
        };
        let kind = |unit: UnitIndex| history.units.get(unit.0 as usize).map(|unit| &unit.kind);
        match (wake.by.origin.and_then(kind), kind(wake.by.unit)) {
            (Some(UnitKind::Origin(Origin::Io { .. })), _) => Self::Io,
            (Some(UnitKind::Origin(Origin::Timer)), _) => Self::Timer,
            (Some(UnitKind::Origin(Origin::Signal)), _) => Self::Any,
            (_, Some(UnitKind::Task(_))) if wake.by.unit != poll.task => Self::Task,
            (_, Some(UnitKind::Thread { polls_tasks, .. })) if *polls_tasks => Self::Driver,
            _ => Self::Any,
        }
    }

    fn fits(self, waits_for: Option<&str>) -> bool {
        let (io, timer) = (waits_for == Some("io"), waits_for == Some("sleep"));
        match self {
            Self::Io => io,
            Self::Timer => timer,
            Self::Driver => io || timer,
            Self::Task => !io && !timer,
            Self::Any => true,
        }
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
