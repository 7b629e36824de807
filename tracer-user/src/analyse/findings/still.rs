//! Tasks that stood still: the same task, idle, with the same tree, in every look at memory from one
//! on, and not polled meanwhile as far as events tell.
//!
//! A single look may fall between a wake-up and the poll that follows it; two looks with nothing in
//! between may not. Nor may one look long after the last poll, where events tell of all polls and
//! wake-ups: a recording has few looks, and what began to hang in between is in the last one only.

use std::collections::HashMap;

use super::case::{Case, TaskName};
use super::past::Past;
use super::preorder::is_same;
use crate::rebuild::snapshot::{TaskInfo, TaskState};

/// So long after its last poll one look is enough, nanoseconds.
const LONG_AFTER: u64 = 1_000_000_000;

/// A task that stood still.
#[derive(Clone, Copy, Debug)]
pub(super) struct Still<'a> {
    /// Its place among the tasks of the last look.
    pub index: usize,
    /// As it was when it was first seen standing where it stands.
    pub before: &'a TaskInfo,
    /// As it is in the last look.
    pub now: &'a TaskInfo,
    /// Looks in which it stood there: two at least, or one long after its last poll.
    pub looks: usize,
    /// Time of the first of these looks, of its last poll where there is one look only:
    /// CLOCK_MONOTONIC, nanoseconds.
    pub from: u64,
    /// Time of the last one.
    pub to: u64,
    /// What events tell of it.
    pub past: Past<'a>,
    /// See [`Still::since`].
    since: Option<u64>,
}

/// All tasks that stood still.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing<'a> {
    /// In the order of the last look.
    pub tasks: Vec<Still<'a>>,
}

impl<'a> Standing<'a> {
    /// The tasks of `case` that stood still.
    pub(super) fn of(case: &Case<'a>) -> Self {
        let Some((last, earlier)) = case.moments.split_last() else {
            return Self::default();
        };
        let mut tasks: Vec<Still<'a>> = last
            .snapshot
            .tasks
            .iter()
            .enumerate()
            .filter(|(_, task)| can_stand(task))
            .map(|(index, now)| Still {
                index,
                before: now,
                now,
                looks: 1,
                from: last.time,
                to: last.time,
                past: Past::default(),
                since: None,
            })
            .collect();
        for moment in earlier.iter().rev() {
            let then: HashMap<(u64, &str), &TaskInfo> = moment
                .snapshot
                .tasks
                .iter()
                .filter(|task| can_stand(task))
                .map(|task| ((task.address.0, task.id.as_str()), task))
                .collect();
            let expected = looks_after(case, moment.time);
            for task in &mut tasks {
                let key = (task.now.address.0, task.now.id.as_str());
                let stood = then
                    .get(&key)
                    .filter(|earlier| stands_as(earlier, task.now));
                // A look in which it was elsewhere ends the row.
                if let Some(earlier) = stood.filter(|_| task.looks == expected) {
                    task.before = earlier;
                    task.looks += 1;
                    task.from = moment.time;
                }
            }
        }
        let missing = case.events_are_missing();
        if missing {
            tasks.retain(|task| task.looks >= 2);
        }
        let first_look = case.moments.first().map(|moment| moment.time);
        let units = case.units();
        for task in &mut tasks {
            let unit = units.get(&TaskName::of(task.now)).copied();
            task.past = Past::of(case, unit);
            if task.looks == 1
                && let Some(polled) = task.past.last_polled
            {
                task.from = polled.min(task.to);
            }
            task.since = match task.past.last_polled {
                Some(polled) if !missing => Some(polled),
                // It may have been polled since then.
                Some(polled) => Some(polled.max(task.from)),
                None => Some(task.from).filter(|from| Some(*from) > first_look),
            };
        }
        tasks.retain(|task| {
            let long_after = task.to.saturating_sub(task.from) >= LONG_AFTER;
            task.looks >= 2 || long_after && !task.moved()
        });
        Self { tasks }
    }
}

impl Still<'_> {
    /// Whether events tell that it was polled, or scheduled to be, since it was first seen standing
    /// there.
    pub(super) fn moved(&self) -> bool {
        self.past.moved_after(self.from)
    }

    /// Since when it is known to stand there: the end of its last poll, where all events are there,
    /// else the first look that shows it there. `None` when it stood there before anybody looked.
    pub(super) fn since(&self) -> Option<u64> {
        self.since
    }

    /// For how long it is known to have stood there, in nanoseconds.
    pub(super) fn duration(&self) -> u64 {
        let from = self.since().map_or(self.from, |since| since.min(self.from));
        self.to.saturating_sub(from)
    }
}

/// How many looks after this one there are.
fn looks_after(case: &Case<'_>, time: u64) -> usize {
    case.moments
        .iter()
        .rev()
        .take_while(|moment| moment.time > time)
        .count()
}

/// Whether a reading can be compared: idle, and not torn.
fn can_stand(task: &TaskInfo) -> bool {
    task.state == TaskState::Idle && !is_torn(task)
}

/// Whether its memory changed while it was read.
pub(in crate::analyse) fn is_torn(task: &TaskInfo) -> bool {
    let tells = |note: &String| note.starts_with("torn") || note.contains("changed while");
    task.notes.iter().any(tells)
}

fn stands_as(earlier: &TaskInfo, now: &TaskInfo) -> bool {
    match (&earlier.tree, &now.tree) {
        (Some(earlier), Some(now)) => is_same(earlier, now),
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::hand::{Hand, SECOND, body, sleep, task};
    use super::*;
    use crate::analyse::history::sample::Trace;

    fn standing(hand: &Hand) -> Vec<(String, usize)> {
        let case = hand.case();
        let standing = Standing::of(&case);
        let names = standing.tasks.iter();
        names
            .map(|task| (task.now.id.clone(), task.looks))
            .collect()
    }

    #[test]
    fn a_task_stands_still_when_nothing_of_it_changes() {
        let still = task(1, body("app::f", 3, sleep(1)));
        let moves = |line| task(2, body("app::g", line, sleep(1)));
        let hand = Hand::new()
            .look(1_000, vec![still.clone(), moves(5)])
            .look(2_000, vec![moves(6), still.clone()]);
        assert_eq!(standing(&hand), [("tokio/1".to_owned(), 2)]);
    }

    #[test]
    fn a_row_of_looks_ends_where_it_was_elsewhere() {
        let at = |line| vec![task(1, body("app::f", line, sleep(1)))];
        let hand = Hand::new()
            .look(1_000, at(3))
            .look(2_000, at(4))
            .look(3_000, at(3))
            .look(4_000, at(3));
        assert_eq!(standing(&hand), [("tokio/1".to_owned(), 2)]);
    }

    #[test]
    fn it_stands_there_since_it_was_seen_to_and_not_since_the_look_began() {
        let at = |line| vec![task(1, body("app::f", line, sleep(1)))];
        let since = |hand: &Hand| {
            let case = hand.case();
            let standing = Standing::of(&case);
            let task = standing.tasks[0];
            (task.since(), task.duration())
        };
        let hand = Hand::new()
            .look(1_000, at(4))
            .look(2_000, at(3))
            .look(3_000, at(3));
        assert_eq!(since(&hand), (Some(2_000), 1_000));
        let hand = Hand::new().look(1_000, at(3)).look(2_000, at(3));
        assert_eq!(since(&hand), (None, 1_000));
    }

    #[test]
    fn in_a_pause_it_may_have_been_polled() {
        let at = |line| vec![task(1, body("app::f", line, sleep(1)))];
        let polled = || {
            let mut trace = Trace::new();
            let worker = trace.thread(7, "worker", 0);
            let unit = trace.task(1, "app::f", 2, true);
            trace.poll(unit, worker, 500, 600, None);
            trace.history(0, 6_000)
        };
        let mut hand = Hand::new()
            .look(700, at(4))
            .look(5_000, at(3))
            .look(6_000, at(3))
            .with(polled());
        assert_eq!(Standing::of(&hand.case()).tasks[0].since(), Some(600));
        hand.history.missing.pauses = 1;
        let case = hand.case();
        let task = Standing::of(&case).tasks[0];
        assert_eq!((task.since(), task.duration()), (Some(5_000), 1_000));
    }

    #[test]
    fn one_look_tells_nothing_and_torn_or_running_tasks_neither() {
        let still = task(1, body("app::f", 3, sleep(1)));
        assert!(standing(&Hand::new().look(1_000, vec![still.clone()])).is_empty());
        let mut torn = still.clone();
        torn.notes = vec!["torn: it changed while it was read, 3 times".to_owned()];
        let mut running = still.clone();
        running.state = TaskState::Running;
        for other in [torn, running] {
            let hand = Hand::new()
                .look(1_000, vec![still.clone()])
                .look(2_000, vec![other.clone()]);
            assert!(standing(&hand).is_empty());
            let hand = Hand::new()
                .look(1_000, vec![other])
                .look(2_000, vec![still.clone()]);
            assert!(standing(&hand).is_empty());
        }
    }

    #[test]
    fn one_look_is_enough_long_after_the_last_poll() {
        let still = task(1, body("app::f", 3, sleep(1)));
        let looked = |last: u64, woken: Option<u64>| {
            let mut trace = Trace::new();
            let worker = trace.thread(7, "worker", 1);
            let unit = trace.task(1, "app::f", 2, true);
            trace.poll(unit, worker, 10 * SECOND, last, None);
            if let Some(woken) = woken {
                trace.wake(worker, unit, woken, None);
            }
            let hand = Hand::new().look(15 * SECOND, vec![still.clone()]);
            standing(&hand.with(trace.history(0, 20 * SECOND)))
        };
        assert_eq!(looked(14 * SECOND, None), [("tokio/1".to_owned(), 1)]);
        assert!(looked(14 * SECOND + 1, None).is_empty());
        assert!(looked(12 * SECOND, Some(13 * SECOND)).is_empty());
    }

    #[test]
    fn another_task_at_the_same_address_is_another_task() {
        let one = task(1, body("app::f", 3, sleep(1)));
        let mut other = one.clone();
        other.id = "tokio/9".to_owned();
        let hand = Hand::new().look(1_000, vec![one]).look(2_000, vec![other]);
        assert!(standing(&hand).is_empty());
    }
}
