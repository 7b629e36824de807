//! A task that waits is told with what ran instead; load and starved machines are not the program's.

use super::find;
use crate::address::Address;
use crate::analyse::findings::case::{Case, Thresholds};
use crate::analyse::findings::hand::{self, Hand};
use crate::analyse::findings::model::{Certainty, Sighting};
use crate::analyse::history::{UnitIndex, WakeIndex};
use crate::analyse::sample::{Sample, thread_by};
use crate::rebuild::snapshot::{TaskInfo, TaskState};

const MS: u64 = 1_000_000;

struct Made {
    sample: Sample,
    worker: UnitIndex,
}

impl Made {
    fn new() -> Self {
        let mut sample = Sample::default();
        let worker = sample.thread("tokio-rt-worker");
        Self { sample, worker }
    }

    fn poll(&mut self, task: UnitIndex, from: u64, to: u64) -> crate::analyse::history::PollIndex {
        let poll = self.sample.poll(task, from, to);
        self.sample.history.polls[poll.0 as usize].thread = Some(self.worker);
        poll
    }

    /// A task woken at 10 ms and polled at `to`.
    fn victim(&mut self, to: u64) -> WakeIndex {
        let task = self.sample.task("app::victim");
        let poll = self.poll(task, to, to + MS / 10);
        let by = thread_by(self.worker, None);
        self.sample.wake(task, 10 * MS, by, poll)
    }

    fn found(&self) -> Vec<Sighting> {
        find(&Case {
            history: &self.sample.history,
            moments: &[],
            thresholds: Thresholds::default(),
        })
    }

    fn surest(&self) -> Option<Certainty> {
        self.found().iter().map(|sighting| sighting.certainty).max()
    }
}

#[test]
fn what_a_hypervisor_took_looks_like_long_polls() {
    let surest = |punctual: u64, taken: u64| {
        let mut made = Made::new();
        for number in 0..punctual {
            made.victim(10 * MS + number * MS / 8);
        }
        let hog = made.sample.task("app::hog");
        made.poll(hog, 13 * MS, 210 * MS);
        made.victim(210 * MS);
        let mut moments = Hand::twice(Vec::new()).moments;
        for (moment, stolen) in moments.iter_mut().zip([7, 7 + taken]) {
            std::sync::Arc::make_mut(&mut moment.snapshot).stolen = Some(stolen);
        }
        let found = find(&Case {
            history: &made.sample.history,
            moments: &moments,
            thresholds: Thresholds::default(),
        });
        found.iter().map(|sighting| sighting.certainty).max()
    };
    assert_eq!(surest(20, 200 * MS), Some(Certainty::Possible));
    assert_eq!(surest(20, 199 * MS), Some(Certainty::Likely));
    // Late more often than by accident.
    assert_eq!(surest(8, 200 * MS), Some(Certainty::Likely));
}

#[test]
fn long_polls_that_ran_instead_are_likely_and_named() {
    let mut made = Made::new();
    let hog = made.sample.task("app::hog");
    for number in 0..50 {
        made.poll(hog, (10 + number * 4) * MS, (10 + number * 4 + 4) * MS);
    }
    made.victim(210 * MS);
    let found = made.found();
    let [sighting] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(sighting.certainty, Certainty::Likely);
    assert!(
        sighting.cause.contains("app::victim behind app::hog"),
        "{sighting:?}"
    );
    assert!(
        sighting
            .evidence
            .iter()
            .any(|line| line.contains("app::hog, 50 polls for 200 ms")),
        "{sighting:?}"
    );
}

#[test]
fn a_queue_of_short_polls_is_load() {
    let mut made = Made::new();
    for number in 0..2_000 {
        let task = made.sample.task("app::request");
        let begin = 10 * MS + number * MS / 10;
        made.poll(task, begin, begin + MS / 10);
    }
    made.victim(210 * MS);
    assert_eq!(made.surest(), Some(Certainty::Possible));
}

#[test]
fn a_worker_without_a_cpu_is_not_the_programs_fault() {
    let mut made = Made::new();
    made.victim(210 * MS);
    assert_eq!(made.surest(), Some(Certainty::Possible), "no poll at all");
    let mut made = Made::new();
    let task = made.sample.task("app::short");
    let poll = made.poll(task, 10 * MS, 209 * MS);
    made.sample.history.polls[poll.0 as usize].preempted = 198 * MS;
    made.victim(210 * MS);
    assert_eq!(
        made.surest(),
        Some(Certainty::Possible),
        "preempted in a poll"
    );
}

/// Polls explain most of it, not all: they are named, and so is what is left.
#[test]
fn what_explains_most_of_it_is_named_and_possible() {
    let mut made = Made::new();
    let hog = made.sample.task("app::hog");
    made.poll(hog, 10 * MS, 150 * MS);
    made.victim(210 * MS);
    let found = made.found();
    assert_eq!(found[0].certainty, Certainty::Possible);
    assert!(found[0].summary.contains("app::hog"), "{found:?}");
    let rest = "the rest of the time the workers were in no poll";
    let told = found[0].evidence.iter().any(|line| line.starts_with(rest));
    assert!(told, "{found:?}");
    let mut made = Made::new();
    let hog = made.sample.task("app::hog");
    made.poll(hog, 10 * MS, 60 * MS);
    made.victim(210 * MS);
    let found = made.found();
    assert_eq!(found[0].certainty, Certainty::Possible);
    assert!(!found[0].summary.contains("app::hog"), "{found:?}");
}

#[test]
fn what_is_polled_in_time_is_nothing() {
    let mut made = Made::new();
    made.victim(60 * MS);
    assert_eq!(made.surest(), None);
}

#[test]
fn what_was_woken_while_it_was_polled_waits_from_the_end_of_that() {
    let mut made = Made::new();
    let task = made.sample.task("app::long");
    made.poll(task, 0, 200 * MS);
    let poll = made.poll(task, 201 * MS, 202 * MS);
    let by = thread_by(made.worker, None);
    made.sample.wake(task, 10 * MS, by, poll);
    assert_eq!(made.surest(), None);
}

/// A task that was woken while another held the worker, and was not polled until the end.
fn still_waits() -> (Made, WakeIndex) {
    let mut made = Made::new();
    let hog = made.sample.task("app::hog");
    made.poll(hog, 5 * MS, 300 * MS);
    let wake = made.victim(300 * MS);
    let task = made.sample.history[wake].task;
    made.sample.history.polls.pop();
    made.sample.history.units[task.0 as usize].polls.clear();
    made.sample.history.wakes[wake.0 as usize].poll = None;
    (made, wake)
}

#[test]
fn one_that_still_waits_is_told_and_a_gap_hides_it() {
    let (mut made, wake) = still_waits();
    let task = made.sample.history[wake].task;
    let found = made.found();
    assert_eq!(
        (found[0].certainty, found[0].ended),
        (Certainty::Likely, None)
    );
    made.sample.history.units[task.0 as usize]
        .gaps
        .push(50 * MS);
    assert_eq!(made.surest(), None);
}

#[test]
fn one_may_have_been_polled_while_nothing_was_watched() {
    let (mut made, wake) = still_waits();
    let (task, woken) = (
        made.sample.history[wake].task,
        made.sample.history[wake].time,
    );
    // A pause that was over before says nothing.
    made.sample.history.watched_since = woken - 1;
    assert_eq!(made.surest(), Some(Certainty::Likely));
    made.sample.history.watched_since = woken + 1;
    assert_eq!(made.surest(), None);
    made.sample.history.watched_since = 0;
    let future = made.sample.history[task]
        .task()
        .and_then(|task| task.future.clone());
    made.sample.history.missing.left_out = future.into_iter().collect();
    assert_eq!(made.surest(), None);
}

#[test]
fn lost_events_leave_it_possible() {
    let mut made = Made::new();
    let hog = made.sample.task("app::hog");
    made.poll(hog, 10 * MS, 209 * MS);
    made.victim(210 * MS);
    assert_eq!(made.surest(), Some(Certainty::Likely));
    made.sample.history.missing.records_lost = 1;
    assert_eq!(made.surest(), Some(Certainty::Possible));
}

#[test]
fn a_lock_that_the_machine_kept_is_not_the_programs_fault() {
    let mut made = Made::new();
    let hog = made.sample.task("app::hog");
    let poll = made.poll(hog, 10 * MS, 209 * MS);
    made.sample.history.polls[poll.0 as usize].blocked = 198 * MS;
    made.sample
        .history
        .off_cpu
        .push(crate::analyse::history::OffCpu {
            poll,
            from: 10 * MS,
            to: 208 * MS,
            preempted: false,
            syscall: Some(202),
        });
    made.victim(210 * MS);
    assert_eq!(made.surest(), Some(Certainty::Possible));
    // It slept because it asked for it.
    made.sample.history.off_cpu[0].syscall = Some(230);
    assert_eq!(made.surest(), Some(Certainty::Likely));
}

#[test]
fn what_a_thread_does_unseen_is_not_the_last_polls() {
    let mut made = Made::new();
    made.worker = made.sample.thread("main");
    let last = made.sample.task("app::last");
    let poll = made.poll(last, 10 * MS, 209 * MS);
    made.sample.history.polls[poll.0 as usize].seen = crate::rebuild::event::EndSeen::NextEvent;
    made.victim(210 * MS);
    assert_eq!(made.surest(), Some(Certainty::Possible));
}

/// Where the end of a task was not seen, events alone have it wait for ever.
#[test]
fn what_memory_shows_idle_or_gone_does_not_wait() {
    let mut made = Made::new();
    let by = thread_by(made.worker, None);
    let victim = made.sample.spawn("app::victim", 10 * MS, by);
    made.sample.history.span = 0..500 * MS;
    let id = made.sample.history[victim].task().unwrap().name.to_string();
    let in_state = |state| TaskInfo {
        id: id.clone(),
        address: Address(0x1000),
        state,
        ..hand::task(1, hand::leaf("app::Leaf"))
    };
    let found = |hand: Hand| find(&hand.with(made.sample.history.clone()).case()).len();
    assert_eq!(found(Hand::new()), 1);
    assert_eq!(found(Hand::new().look(5 * MS, Vec::new())), 1);
    assert_eq!(found(Hand::new().look(400 * MS, Vec::new())), 0);
    for (state, expected) in [(TaskState::Idle, 0), (TaskState::Scheduled, 1)] {
        let look = Hand::new().look(400 * MS, vec![in_state(state)]);
        assert_eq!(found(look), expected, "{state:?}");
    }
}
