//! How long threads could have run and had no CPU: a sleep that is over goes on until the scheduler
//! has a CPU for the thread, and from outside the two look like one.
//!
//! The kernel counts these waits for each thread (`/proc/PID/task/TID/schedstat`, second number), in
//! all. So what sleeps may have been longer than the program asked for is bounded, over the time
//! between two looks: when the excess of all long polls together is more than that, some of them
//! were long by themselves.

use std::collections::{BTreeSet, HashMap};

use super::length::Length;
use crate::analyse::findings::case::Case;
use crate::analyse::history::{History, UnitIndex, UnitKind};
use crate::rebuild::snapshot::ThreadInfo;

/// Whether waits for a CPU explain sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Starved {
    /// Not known.
    Unknown,
    /// There were not enough of them.
    No,
    /// There were, but they are mostly far shorter.
    Hardly,
    /// They may.
    Maybe,
}

/// A sleep that is this often as long as a thread's usual wait for a CPU is hardly one.
const HARDLY: u64 = 200;

/// What is known of one thread.
#[derive(Clone, Copy, Debug)]
struct Known {
    from: u64,
    to: u64,
    /// Nanoseconds without a CPU that were in no poll, as far as events tell.
    hidden: u64,
    /// Nanoseconds of one wait, on average.
    mean: u64,
}

/// What is known of the threads.
#[derive(Debug, Default)]
pub(super) struct Waits {
    by_thread: HashMap<UnitIndex, Known>,
}

impl Waits {
    pub(super) fn of(case: &Case<'_>) -> Self {
        let looks = looks(case);
        let history = case.history;
        let mut by_thread = HashMap::new();
        if looks.is_empty() {
            return Self { by_thread };
        }
        for (index, unit) in (0..).zip(&history.units) {
            if let UnitKind::Thread { tid, .. } = &unit.kind
                && let Some((from, first, to, last)) = looks.get(tid)
                && let (Some(before), Some(after)) = (first.run_delay, last.run_delay)
            {
                let turns =
                    |thread: &ThreadInfo| thread.switches.0.saturating_add(thread.switches.1);
                let waited = after.saturating_sub(before);
                let count = turns(last).saturating_sub(turns(first));
                let known = Known {
                    from: *from,
                    to: *to,
                    hidden: waited,
                    mean: waited / count.max(1),
                };
                by_thread.insert(UnitIndex(index), known);
            }
        }
        take_preempted(history, &mut by_thread);
        Self { by_thread }
    }

    /// Whether they explain these polls, all of one cause.
    pub(super) fn explain(&self, history: &History, polls: &[Length], threshold: u64) -> Starved {
        let mut threads = BTreeSet::new();
        let (mut excess, mut hidden) = (0_u64, 0_u64);
        let mut hardly = false;
        for length in polls {
            let poll = &history[length.poll];
            let Some((thread, known)) = poll
                .thread
                .and_then(|thread| Some((thread, self.by_thread.get(&thread)?)))
            else {
                continue;
            };
            if poll.begin < known.from || poll.end.unwrap_or(u64::MAX) > known.to {
                continue;
            }
            if threads.insert(thread) {
                hidden = hidden.saturating_add(known.hidden);
            }
            let over = length.net().saturating_sub(threshold);
            excess = excess.saturating_add(over.min(length.asleep()));
            hardly |= length.asleep() > known.mean.saturating_mul(HARDLY)
                && length.asleep() > threshold.saturating_mul(5);
        }
        match () {
            () if threads.is_empty() => Starved::Unknown,
            () if excess > hidden => Starved::No,
            () if hardly => Starved::Hardly,
            () => Starved::Maybe,
        }
    }
}

/// The first and the last look at each thread.
fn looks<'a>(case: &Case<'a>) -> HashMap<u32, (u64, &'a ThreadInfo, u64, &'a ThreadInfo)> {
    let mut looks: HashMap<u32, (u64, &ThreadInfo, u64, &ThreadInfo)> = HashMap::new();
    for moment in case.moments {
        for thread in &moment.snapshot.threads {
            let row = (moment.time, thread, moment.time, thread);
            let known = looks.entry(thread.tid).or_insert(row);
            (known.2, known.3) = (moment.time, thread);
        }
    }
    // Two looks at one time tell nothing.
    looks.retain(|_, (from, _, to, _)| from < to);
    looks
}

/// What events tell of the waits is not hidden.
fn take_preempted(history: &History, by_thread: &mut HashMap<UnitIndex, Known>) {
    for poll in history.polls.iter().filter(|poll| poll.preempted > 0) {
        let known = poll.thread.and_then(|thread| by_thread.get_mut(&thread));
        if let Some(known) = known
            && poll.begin >= known.from
            && poll.end.is_some_and(|end| end <= known.to)
        {
            known.hidden = known.hidden.saturating_sub(poll.preempted);
        }
    }
}
