//! Polls that changed nothing and had one another for their cause.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use crate::analyse::history::{
    AwaitIndex, Awaited, History, Poll, PollCause, PollIndex, UnitIndex, UnitKind,
};

/// Polls in a row from which on they count.
const MIN_RUN: u64 = 50;

/// Polls whose lengths are looked at.
const MAX_LENGTHS: usize = 65_536;

/// How a task came to be polled again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Way {
    /// It woke itself inside the poll before.
    Itself,
    /// Nobody was seen to wake it: a future that wakes its own task through the context that it was
    /// polled with may have that compiled into its poll (fat LTO), where no probe is. What wakes it
    /// from elsewhere goes through the waker's table of functions, and is seen.
    Unseen,
    /// Its worker woke it after that: it gave way, by `yield_now` or because its budget was used up
    /// (tokio 1.54: both put the waker aside for the worker, `context::defer`).
    Yielded,
}

/// Polls of one task, one after the other, that changed nothing.
#[derive(Debug, Default)]
pub(super) struct Idle {
    pub(super) polls: u64,
    pub(super) runs: u64,
    /// Nanoseconds from the begin of the first poll to the begin of the last, in all runs.
    pub(super) time: u64,
    /// Nanoseconds inside the polls, bounds included.
    pub(super) polled: u64,
    pub(super) lengths: Vec<u64>,
    pub(super) first: Option<u64>,
    pub(super) last: u64,
    /// It went on when the trace ended.
    pub(super) goes_on: bool,
}

/// The leaf, how the polls came about, and they.
pub(super) type Found = (Option<AwaitIndex>, Way, Idle);

/// The task's polls that changed nothing and that it had caused itself, by the leaf it stood in.
/// Leaves of one kind at one place count together: another instance is another round.
pub(super) fn idle_polls(history: &History, unit: UnitIndex) -> Vec<Found> {
    let polls = &history[unit].polls;
    let mut by_place: HashMap<(Option<*const Awaited>, Way), Found> = HashMap::new();
    let mut at = 0;
    while at + 1 < polls.len() {
        let begin = at;
        let mut way = None;
        while let (Some(one), Some(next)) = (polls.get(at), polls.get(at + 1))
            && let Some(how) = changed_nothing(history, *one, *next)
            && way.is_none_or(|way| way == how)
        {
            way = Some(how);
            at += 1;
        }
        let run = (at - begin) as u64;
        if run >= MIN_RUN
            && let Some(way) = way
        {
            let first = &history[polls[begin]];
            let leaf = first.waited_in.first().copied();
            let key = leaf.map(|leaf| Arc::as_ptr(&history[leaf].awaited));
            let entry = by_place.entry((key, way));
            let (_, _, idle) = entry.or_insert((leaf, way, Idle::default()));
            let last = &history[polls[at]];
            idle.polls += run;
            idle.runs += 1;
            idle.time += last.begin.saturating_sub(first.begin);
            idle.first = idle.first.or(Some(first.begin));
            idle.last = last.begin;
            idle.goes_on = at + 1 == polls.len()
                && history[unit].task().is_some_and(|task| task.end.is_none());
            for poll in &polls[begin..at] {
                let poll = &history[*poll];
                let length = length(poll).unwrap_or(0);
                idle.polled = idle.polled.saturating_add(length);
                if idle.lengths.len() < MAX_LENGTHS {
                    idle.lengths.push(length);
                }
            }
        }
        // The last poll of one run may be the first of another.
        at = at.max(begin + 1);
    }
    let mut all: Vec<_> = by_place.into_values().collect();
    all.sort_by_key(|(leaf, way, idle)| (Reverse(idle.polls), *leaf, *way != Way::Yielded));
    all
}

/// Nanoseconds of a poll that the scheduler did not take.
fn length(poll: &Poll) -> Option<u64> {
    Some(poll.length()?.saturating_sub(poll.preempted))
}

/// How the second poll came about, when that was by the first, which did not change where the task
/// stands.
fn changed_nothing(history: &History, index: PollIndex, next: PollIndex) -> Option<Way> {
    let (one, next) = (&history[index], &history[next]);
    if !one.begin_known || !next.begin_known || one.waited_in != next.waited_in {
        return None;
    }
    let wake = match next.cause {
        Some(PollCause::Wake(wake)) => &history[wake],
        None => return Some(Way::Unseen),
        Some(_) => return None,
    };
    if wake.by.unit == next.task {
        return (wake.by.poll == Some(index)).then_some(Way::Itself);
    }
    // The worker itself, right after the poll.
    let worker = matches!(
        history[wake.by.unit].kind,
        UnitKind::Thread {
            polls_tasks: true,
            ..
        }
    );
    let aside = wake.by.poll.is_none() && wake.by.origin.is_none();
    (worker && aside && Some(wake.by.unit) == one.thread).then_some(Way::Yielded)
}
