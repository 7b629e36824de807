//! Long polls are told with their cause, and what looks like one is not.

use super::find;
use crate::analyse::findings::case::{Case, Moment, Thresholds};
use crate::analyse::findings::model::{Certainty, Kind, Role, Sighting};
use crate::analyse::history::{AwaitIndex, History, OffCpu, PollIndex, UnitIndex};
use crate::analyse::sample::Sample;
use crate::rebuild::event::EndSeen;
use crate::rebuild::snapshot::{Snapshot, ThreadInfo};

const MS: u64 = 1_000_000;
const CLOCK_NANOSLEEP: u32 = 230;
const FUTEX: u32 = 202;
const WRITE: u32 = 1;

struct Made {
    sample: Sample,
    worker: UnitIndex,
    task: UnitIndex,
    leaf: AwaitIndex,
    now: u64,
}

impl Made {
    fn new() -> Self {
        Self::on("tokio-rt-worker")
    }

    fn on(thread: &str) -> Self {
        let mut sample = Sample::default();
        let worker = sample.thread(thread);
        let task = sample.task("app::serve");
        let root = sample.instance(task, None, "app::serve", 0, None, (0, MS));
        let leaf = sample.instance(task, Some(root), "tokio::Sleep", 23, Some("sleep"), (0, MS));
        Self {
            sample,
            worker,
            task,
            leaf,
            now: MS,
        }
    }

    /// A poll of this length after a sleep at line 23.
    fn poll(&mut self, length: u64) -> PollIndex {
        let leaf = self.leaf;
        let poll = self.sample.poll(self.task, self.now, self.now + length);
        self.sample.waited(poll, leaf);
        self.sample.history.polls[poll.0 as usize].thread = Some(self.worker);
        self.now += length + MS;
        self.sample.history.span.end = self.now;
        poll
    }

    fn off(&mut self, poll: PollIndex, length: u64, preempted: bool, syscall: Option<u32>) {
        let row = &mut self.sample.history.polls[poll.0 as usize];
        let sum = if preempted {
            &mut row.preempted
        } else {
            &mut row.blocked
        };
        *sum += length;
        let from = row.begin + 1;
        self.sample.history.off_cpu.push(OffCpu {
            poll,
            from,
            to: from + length,
            preempted,
            syscall,
        });
    }

    fn bound(&mut self, poll: PollIndex) {
        self.sample.history.polls[poll.0 as usize].seen = EndSeen::NextEvent;
    }

    fn found(&self) -> Vec<Sighting> {
        judged(&self.sample.history, &looks(Some(0)))
    }

    /// As [`Made::surest`], on a thread that waited so long for a CPU, where that is known.
    fn surest_with(&self, run_delay: Option<u64>) -> Option<Certainty> {
        let found = judged(&self.sample.history, &looks(run_delay));
        found.iter().map(|sighting| sighting.certainty).max()
    }

    fn surest(&self) -> Option<Certainty> {
        self.found().iter().map(|sighting| sighting.certainty).max()
    }
}

/// Two looks, in between which the worker waited so long for a CPU, in 1,000 turns.
fn looks(run_delay: Option<u64>) -> Vec<Moment> {
    let look = |time: u64, delay: u64, turns: u64| Moment {
        time,
        snapshot: std::sync::Arc::new(Snapshot {
            threads: vec![ThreadInfo {
                tid: 7,
                run_delay: run_delay.map(|_| delay),
                switches: (turns, 0),
                ..ThreadInfo::default()
            }],
            ..Snapshot::empty(time)
        }),
    };
    vec![
        look(0, 5, 10),
        look(1_000_000 * MS, 5 + run_delay.unwrap_or(0), 1_010),
    ]
}

fn judged(history: &History, moments: &[Moment]) -> Vec<Sighting> {
    find(&Case {
        history,
        moments,
        thresholds: Thresholds::default(),
    })
}

#[test]
fn one_sleep_of_the_thread_is_proved_with_its_call_and_its_await() {
    let mut made = Made::new();
    for _ in 0..1_000 {
        made.poll(10_000);
    }
    let poll = made.poll(50 * MS);
    made.off(poll, 49 * MS, false, Some(CLOCK_NANOSLEEP));
    made.bound(poll);
    let found = made.found();
    let [sighting] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(
        (sighting.kind, sighting.certainty),
        (Kind::BlockedWorker, Certainty::Proved)
    );
    assert_eq!(sighting.sites[0].role, Role::BeganAt);
    assert_eq!(sighting.sites[0].line, Some(23));
    assert!(sighting.summary.contains("clock_nanosleep"), "{sighting:?}");
    assert!(
        sighting.evidence[0].contains("1 poll of 1001"),
        "{sighting:?}"
    );
}

#[test]
fn time_that_the_scheduler_took_does_not_count() {
    let mut made = Made::new();
    for _ in 0..10 {
        let poll = made.poll(60 * MS);
        made.off(poll, 55 * MS, true, None);
    }
    assert_eq!(made.surest(), None);
}

#[test]
fn a_lock_whose_holder_is_starved_now_and_then_is_possible_only() {
    let mut made = Made::new();
    for number in 0..1_000 {
        if number % 100 == 0 {
            let poll = made.poll(40 * MS);
            made.off(poll, 39 * MS, false, Some(FUTEX));
        } else {
            made.poll(50_000);
        }
    }
    assert_eq!(made.surest(), Some(Certainty::Possible));
    let mut made = Made::new();
    for _ in 0..10 {
        let poll = made.poll(40 * MS);
        made.off(poll, 39 * MS, false, Some(FUTEX));
    }
    assert_eq!(made.surest(), Some(Certainty::Proved), "it always waits");
}

#[test]
fn a_page_fault_is_possible_only() {
    let mut made = Made::new();
    for _ in 0..10 {
        let poll = made.poll(300 * MS);
        made.off(poll, 299 * MS, false, None);
    }
    assert_eq!(made.surest(), Some(Certainty::Possible));
}

#[test]
fn an_outlier_on_the_cpu_is_possible_and_what_comes_again_is_proved() {
    let mut made = Made::new();
    for _ in 0..1_000 {
        made.poll(10_000);
    }
    made.poll(14 * MS);
    assert_eq!(made.surest(), Some(Certainty::Possible));
    for _ in 0..30 {
        made.poll(14 * MS);
    }
    assert_eq!(made.surest(), Some(Certainty::Proved));
}

#[test]
fn work_in_a_call_needs_to_come_again() {
    let mut made = Made::new();
    for number in 0..1_000 {
        let poll = made.poll(20_000);
        if number == 7 {
            made.now += 20 * MS;
            let row = &mut made.sample.history.polls[poll.0 as usize];
            row.end = Some(row.begin + 20 * MS);
            made.off(poll, 19 * MS, false, Some(WRITE));
        }
    }
    assert_eq!(made.surest(), Some(Certainty::Possible));
}

#[test]
fn what_a_thread_may_do_between_polls_is_not_the_polls() {
    let mut made = Made::on("main");
    for _ in 0..10 {
        let poll = made.poll(80 * MS);
        made.bound(poll);
    }
    assert_eq!(made.surest(), Some(Certainty::Possible));
    // Something happened inside, late.
    for at in 0..made.sample.history.polls.len() {
        let end = made.sample.history.polls[at].end.unwrap();
        made.sample.history.last_inside.push(end - 1);
    }
    assert_eq!(made.surest(), Some(Certainty::Proved));
}

#[test]
fn a_bound_on_a_worker_is_likely_and_more_when_something_happened_inside() {
    let mut made = Made::new();
    for _ in 0..10 {
        let poll = made.poll(80 * MS);
        made.bound(poll);
    }
    assert_eq!(made.surest(), Some(Certainty::Likely));
}

#[test]
fn blocking_work_is_where_it_belongs() {
    let mut made = Made::new();
    made.poll(80 * MS);
    if let crate::analyse::history::UnitKind::Task(task) =
        &mut made.sample.history.units[made.task.0 as usize].kind
    {
        task.blocking = true;
    }
    assert_eq!(made.surest(), None);
}

#[test]
fn a_worker_that_is_taken_over_is_not_blocked() {
    let mut made = Made::new();
    let poll = made.poll(80 * MS);
    made.off(poll, 79 * MS, false, Some(CLOCK_NANOSLEEP));
    let begin = made.sample.history.polls[poll.0 as usize].begin;
    let other = made.sample.task(
        "tokio::runtime::blocking::task::BlockingTask<tokio::runtime::scheduler::multi_thread::worker::block_in_place::{closure#0}>",
    );
    if let crate::analyse::history::UnitKind::Task(task) =
        &mut made.sample.history.units[other.0 as usize].kind
    {
        task.blocking = true;
    }
    made.sample.poll(other, begin + 20_000, begin + 70 * MS);
    assert_eq!(made.surest(), Some(Certainty::Possible));
}

#[test]
fn a_poll_that_goes_on_is_told_as_such() {
    let mut made = Made::new();
    let poll = made.poll(200 * MS);
    made.off(poll, 199 * MS, false, Some(CLOCK_NANOSLEEP));
    made.sample.history.polls[poll.0 as usize].end = None;
    let found = made.found();
    assert_eq!(
        (found[0].certainty, found[0].ended),
        (Certainty::Proved, None)
    );
    assert!(
        found[0].evidence.contains(&"it goes on".to_owned()),
        "{found:?}"
    );
}

#[test]
fn lost_events_prove_nothing_about_an_end() {
    let mut made = Made::new();
    for _ in 0..10 {
        let poll = made.poll(80 * MS);
        made.bound(poll);
        made.sample.history.last_inside.push(made.now - 30 * MS);
    }
    assert_eq!(made.surest(), Some(Certainty::Proved));
    made.sample.history.missing.records_lost = 1;
    assert_eq!(made.surest(), Some(Certainty::Likely));
}

#[test]
fn events_that_were_not_watched_are_not_told_as_lost() {
    let mut made = Made::new();
    let poll = made.poll(80 * MS);
    made.bound(poll);
    let told = |made: &Made| {
        let found = judged(&made.sample.history, &looks(Some(0)));
        found[0].evidence.join("\n")
    };
    made.sample.history.missing.pauses = 3;
    made.sample.history.missing.unwatched_ns = 500 * MS;
    let text = told(&made);
    assert!(text.contains("not everything was watched"), "{text}");
    assert!(!text.contains("lost"), "{text}");
    made.sample.history.missing.records_lost = 1;
    assert!(told(&made).contains("events were lost"));
}

#[test]
fn sleeps_that_waits_for_a_cpu_explain_are_possible_only() {
    let mut made = Made::new();
    for _ in 0..20 {
        let poll = made.poll(14 * MS);
        made.off(poll, 13 * MS, false, Some(CLOCK_NANOSLEEP));
    }
    // 20 polls are 4 ms longer than the threshold.
    assert_eq!(made.surest_with(Some(79 * MS)), Some(Certainty::Proved));
    assert_eq!(made.surest_with(Some(81 * MS)), Some(Certainty::Possible));
    assert_eq!(made.surest_with(None), Some(Certainty::Likely), "not known");
    let poll = made.poll(200 * MS);
    made.off(poll, 199 * MS, false, Some(CLOCK_NANOSLEEP));
    assert_eq!(
        made.surest_with(None),
        Some(Certainty::Proved),
        "it is too long"
    );
    // One wait took 0.5 ms on average.
    assert_eq!(made.surest_with(Some(500 * MS)), Some(Certainty::Likely));
}

#[test]
fn a_thread_that_was_seen_aside_blocks_nobody() {
    let mut made = Made::new();
    let poll = made.poll(80 * MS);
    made.off(poll, 79 * MS, false, Some(CLOCK_NANOSLEEP));
    let mut moments = looks(Some(0));
    let time = made.sample.history.polls[poll.0 as usize].begin + 5;
    let thread = ThreadInfo {
        tid: 7,
        aside: true,
        ..ThreadInfo::default()
    };
    moments.insert(
        1,
        Moment {
            time,
            snapshot: std::sync::Arc::new(Snapshot {
                threads: vec![thread],
                ..Snapshot::empty(time)
            }),
        },
    );
    assert!(judged(&made.sample.history, &moments).is_empty());
}

#[test]
fn who_hardly_gets_a_cpu_computes_slowly() {
    // mini-redis on a machine with ten times more to do than CPUs.
    let mut made = Made::new();
    for _ in 0..1_000 {
        made.poll(10_000);
    }
    let poll = made.poll(2_200 * MS);
    made.off(poll, 1_960 * MS, true, None);
    assert_eq!(made.surest(), Some(Certainty::Possible));
    made.poll(240 * MS);
    assert_eq!(made.surest(), Some(Certainty::Proved), "it had the CPU");
}

#[test]
fn what_a_hypervisor_took_looks_like_computing() {
    let surest = |short: u64, taken: u64| {
        let mut made = Made::new();
        for _ in 0..short {
            made.poll(10_000);
        }
        for _ in 0..5 {
            made.poll(110 * MS);
        }
        let mut moments = looks(Some(0));
        for (moment, stolen) in moments.iter_mut().zip([7, 7 + taken]) {
            std::sync::Arc::make_mut(&mut moment.snapshot).stolen = Some(stolen);
        }
        let found = judged(&made.sample.history, &moments);
        found.iter().map(|sighting| sighting.certainty).max()
    };
    assert_eq!(surest(100, 500 * MS), Some(Certainty::Possible));
    assert_eq!(surest(100, 499 * MS), Some(Certainty::Proved));
    // Long more often than by accident.
    assert_eq!(surest(40, 500 * MS), Some(Certainty::Proved));
}
