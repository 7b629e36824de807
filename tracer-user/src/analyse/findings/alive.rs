//! Whether the runtime did its work: a socket that stays readable, or a deadline that has passed, is
//! nobody's fault but that of the poll which keeps the workers, when none of them comes to look.

use super::case::{Case, Moment};
use crate::analyse::history::History;

/// What a runtime's threads did in a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runtime {
    /// A thread of it waited for work, or others were polled.
    Works,
    /// All its threads were in polls.
    Stuck,
    /// Not known.
    Unknown,
}

/// What the runtime did from `from` to the last look.
pub(super) fn runtime(case: &Case<'_>, from: u64) -> Runtime {
    let looks = || case.moments.iter().filter(|moment| moment.time >= from);
    // Whoever waits for work has looked for it. On a busy machine not every look meets one who does;
    // the first look tells only of what was before it.
    let later = || looks().skip(usize::from(looks().nth(1).is_some()));
    if later().any(has_parked) {
        return Runtime::Works;
    }
    if polls_between(case.history, from, case.end()) >= ENOUGH_POLLS {
        return Runtime::Works;
    }
    if looks().any(is_stuck) {
        return Runtime::Stuck;
    }
    Runtime::Unknown
}

/// A worker looks at its driver at least once in 61 polls (tokio 1.0 to 1.54, `event_interval`).
/// With many workers any of them may do them; this is that of 64.
const ENOUGH_POLLS: usize = 61 * 64;

fn polls_between(history: &History, from: u64, to: u64) -> usize {
    let begin = history.polls.partition_point(|poll| poll.begin <= from);
    let end = history.polls.partition_point(|poll| poll.begin < to);
    end.saturating_sub(begin)
}

fn has_parked(moment: &Moment) -> bool {
    let threads = &moment.snapshot.threads;
    threads.iter().any(|thread| thread.parked)
}

fn is_stuck(moment: &Moment) -> bool {
    let mut workers = moment
        .snapshot
        .threads
        .iter()
        .filter(|thread| thread.in_runtime)
        .peekable();
    workers.peek().is_some() && workers.all(|worker| worker.polls.is_some())
}

#[cfg(test)]
mod tests {
    use super::super::hand::{Hand, busy, parked};
    use super::*;
    use crate::rebuild::snapshot::ThreadInfo;

    fn judged(threads: Vec<ThreadInfo>) -> Runtime {
        let hand = Hand::new()
            .threads(threads)
            .look(1, Vec::new())
            .look(2, Vec::new());
        runtime(&hand.case(), 1)
    }

    #[test]
    fn one_later_look_at_a_parked_worker_is_enough() {
        let looks = |all: [ThreadInfo; 3]| {
            let of = |hand: Hand, (time, thread)| hand.threads(vec![thread]).look(time, Vec::new());
            let hand = (1..).zip(all).fold(Hand::new(), of);
            runtime(&hand.case(), 1)
        };
        assert_eq!(looks([busy(), parked(), busy()]), Runtime::Works);
        assert_eq!(looks([parked(), busy(), busy()]), Runtime::Stuck);
    }

    #[test]
    fn a_parked_worker_is_one_that_looks() {
        assert_eq!(judged(vec![busy(), parked()]), Runtime::Works);
        assert_eq!(judged(vec![busy(), busy()]), Runtime::Stuck);
        assert_eq!(judged(Vec::new()), Runtime::Unknown);
    }
}
