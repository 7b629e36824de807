//! The table's arithmetic and the rarer turns, one by one.

use std::collections::HashSet;

use tracer_common::{PollEndCause, STATE_UNREADABLE};

use super::*;
use crate::rebuild::event::{Unit, WakeEffect};
use crate::rebuild::snapshot::{Coverage, DebugInfoLevel, ProcessInfo, SCHEMA, Snapshot, TaskInfo};
use crate::rebuild::suspension::{FutureState, Place, SuspendedFuture};
use crate::rebuild::tree::{NodeKind, NodeState};

const HEADER: u64 = 0x7f00_0000_1000;

/// A record of task 7 at [`HEADER`] on thread 1, outside any poll.
fn record(kind: RecordKind, time: u64) -> Record {
    Record {
        time,
        task: HEADER,
        task_id: 7,
        state: 0xc8,
        stack_pointer: 0x7000,
        tid: 1,
        kind: kind as u8,
        ..Record::default()
    }
}

fn end(time: u64, poll: u64, state: u64) -> Record {
    Record {
        poll,
        state,
        aux: PollEndCause::NextEvent as u8,
        ..record(RecordKind::PollEnd, time)
    }
}

struct Run {
    tracker: Tracker,
    events: Vec<Event>,
}

impl Run {
    fn new(options: Options) -> Self {
        Self {
            tracker: Tracker::new(options),
            events: Vec::new(),
        }
    }

    fn apply(&mut self, records: &[Record]) -> &mut Self {
        for record in records {
            self.tracker.apply(record, &mut self.events);
        }
        self
    }

    fn task(&self) -> &Task {
        self.tracker.task(&TaskKey::of(HEADER, 7)).unwrap()
    }

    /// The kinds of the events that do not describe.
    fn kinds(&self) -> Vec<&EventKind> {
        let kinds = self.events.iter().map(|event| &event.kind);
        kinds
            .filter(|kind| !matches!(kind, EventKind::Described(_)))
            .collect()
    }

    fn lost(&self) -> u64 {
        let lost = self.kinds().into_iter().map(|kind| match kind {
            EventKind::Gap { lost } => *lost,
            _ => 0,
        });
        lost.sum()
    }
}

fn snapshot(tasks: &[(&str, u64)]) -> Snapshot {
    Snapshot {
        schema: SCHEMA,
        time: 0,
        threads: Vec::new(),
        stolen: None,
        process: ProcessInfo {
            pid: 1,
            exe: "/srv/app".into(),
            build_id: None,
        },
        runtimes: Vec::new(),
        tasks: tasks
            .iter()
            .map(|(id, address)| TaskInfo {
                id: (*id).into(),
                runtime: "tokio",
                scheduler: "multi_thread",
                state: TaskState::Idle,
                future: "app::main".into(),
                tree: None,
                notes: Vec::new(),
                address: Address(*address),
                references: None,
                ..TaskInfo::default()
            })
            .collect(),
        coverage: Coverage {
            debug_info: DebugInfoLevel::Full,
            tasks_listed: tasks.len() as u64,
            tasks_counted: tasks.len() as u64,
            opaque_nodes: 0,
            torn_tasks: 0,
        },
        warnings: Vec::new(),
    }
}

#[test]
fn a_spawn_that_two_functions_saw_is_one_spawn_and_no_gap() {
    let mut run = Run::new(Options::default());
    let mut seen = record(RecordKind::Spawn, 100);
    let first = seen;
    seen.time = 101;
    run.apply(&[first, seen, record(RecordKind::PollBegin, 200)]);
    let spawns = run.kinds().into_iter();
    let spawns = spawns.filter(|kind| matches!(kind, EventKind::Spawned { .. }));
    assert_eq!((spawns.count(), run.lost()), (1, 0));
    let begin = run
        .events
        .iter()
        .find(|event| matches!(event.kind, EventKind::PollBegin { .. }));
    assert!(begin.unwrap().cause.is_some(), "the spawn scheduled it");
}

#[test]
fn time_in_polls_and_off_the_cpu_is_added_up() {
    let mut run = Run::new(Options::default());
    let inside = |kind, time, poll| Record {
        poll,
        ..record(kind, time)
    };
    run.apply(&[
        record(RecordKind::PollBegin, 100),
        Record {
            state: 35,
            ..inside(RecordKind::OffCpu, 110, 100)
        },
        inside(RecordKind::OnCpu, 140, 100),
        end(150, 100, 0xc8),
        record(RecordKind::PollBegin, 1_000),
        end(1_200, 1_000, 0xc8),
    ]);
    let task = run.task();
    assert_eq!(
        (task.polls, task.busy, task.off_cpu, task.longest_poll),
        (2, 250, 30, 200)
    );
    assert_eq!(task.state, TaskState::Idle);
    assert_eq!((task.first_seen, task.last_seen), (100, 1_200));
    assert!(
        matches!(
            run.kinds()[1..3],
            [
                EventKind::Blocked {
                    preempted: false,
                    syscall: Some(35)
                },
                EventKind::Unblocked
            ]
        ),
        "{:?}",
        run.kinds()
    );
    assert_eq!(run.lost(), 0);
}

#[test]
fn a_thread_that_came_back_unseen_is_no_loss() {
    let mut run = Run::new(Options::default());
    let off = |time, preempted: bool| Record {
        poll: 100,
        state: u64::from(!preempted) * 202,
        aux: u8::from(preempted),
        ..record(RecordKind::OffCpu, time)
    };
    run.apply(&[
        record(RecordKind::PollBegin, 100),
        // It ran on at once, as far as one can tell.
        off(110, true),
        // It slept until it left again.
        off(140, false),
        off(160, true),
        end(190, 100, 0xc8),
    ]);
    let task = run.task();
    assert_eq!((task.busy, task.off_cpu), (90, 20));
    assert_eq!(run.lost(), 0);
    let came_back: Vec<u64> = run
        .events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::Unblocked))
        .map(|event| event.time)
        .collect();
    assert_eq!(came_back, [110, 160, 160]);
}

#[test]
fn a_poll_that_goes_on_shows_since_when() {
    let mut run = Run::new(Options::default());
    run.apply(&[record(RecordKind::PollBegin, 100)]);
    assert_eq!(run.task().polled_since, Some(100));
    assert_eq!(run.task().state, TaskState::Running);
}

#[test]
fn a_lost_end_is_a_gap_and_its_poll_has_no_invented_outcome() {
    let mut run = Run::new(Options::default());
    let other = Record {
        task: HEADER + 0x100,
        task_id: 8,
        ..record(RecordKind::PollBegin, 200)
    };
    run.apply(&[record(RecordKind::PollBegin, 100), other]);
    assert_eq!(run.lost(), 1);
    assert!(run.kinds().contains(&&EventKind::PollEnd {
        outcome: Outcome::Unknown,
        seen: EndSeen::Inferred,
        began: Some(100),
    }));
}

#[test]
fn a_nested_poll_does_not_end_the_one_around_it() {
    let mut run = Run::new(Options::default());
    let nested = Record {
        task: HEADER + 0x100,
        task_id: 8,
        stack_pointer: 0x6000,
        poll: 100,
        ..record(RecordKind::PollBegin, 200)
    };
    run.apply(&[record(RecordKind::PollBegin, 100), nested]);
    assert_eq!(run.lost(), 0);
    assert_eq!(run.task().polled_since, Some(100));
}

#[test]
fn a_lost_begin_is_a_gap_told_once_but_not_before_the_attach() {
    let wake = |time, poll| Record {
        by: HEADER,
        by_id: 7,
        task: HEADER + 0x100,
        task_id: 8,
        poll,
        ..record(RecordKind::WakeByReference, time)
    };
    let options = Options {
        started: 1_000,
        ..Options::default()
    };
    let mut run = Run::new(options.clone());
    run.apply(&[wake(1_100, 900), end(1_200, 900, 0xc8)]);
    assert_eq!(run.lost(), 0, "it began before the probes were there");
    assert_eq!((run.task().polls, run.task().busy), (1, 300));

    let mut run = Run::new(options);
    run.apply(&[
        wake(1_100, 1_050),
        wake(1_110, 1_050),
        end(1_200, 1_050, 0xc8),
    ]);
    assert_eq!(run.lost(), 1);
    assert_eq!((run.task().polls, run.task().busy), (1, 150));
}

#[test]
fn a_late_record_is_a_gap_and_ends_the_trust_in_what_is_pending() {
    let mut run = Run::new(Options::default());
    let wake = Record {
        tid: 2,
        ..record(RecordKind::WakeByReference, 300)
    };
    let late = record(RecordKind::PollBegin, 50);
    run.apply(&[
        record(RecordKind::PollBegin, 100),
        end(200, 100, 0xc8),
        wake,
        late,
        record(RecordKind::PollBegin, 400),
    ]);
    assert_eq!(run.tracker.statistics().late, 1);
    assert_eq!(run.lost(), 1);
    let last = run.events.last().unwrap();
    assert!(matches!(last.kind, EventKind::PollBegin { .. }));
    assert_eq!(last.cause, None);
}

#[test]
fn an_address_used_again_is_another_task() {
    let mut run = Run::new(Options::default());
    let next = Record {
        task_id: 9,
        ..record(RecordKind::PollBegin, 300)
    };
    run.apply(&[
        record(RecordKind::PollBegin, 100),
        end(200, 100, 0xc8),
        next,
    ]);
    assert!(run.task().is_over());
    let next = run.tracker.task(&TaskKey::of(HEADER, 9)).unwrap();
    assert_ne!(next.unit, run.task().unit);
    assert_eq!(run.tracker.statistics().live, 1);
}

#[test]
fn without_ids_the_generation_tells_tasks_apart() {
    let mut run = Run::new(Options::default());
    let anonymous = |mut record: Record| {
        record.task_id = 0;
        record
    };
    run.apply(&[
        anonymous(record(RecordKind::PollBegin, 100)),
        anonymous(end(200, 100, STATE_UNREADABLE)),
        anonymous(record(RecordKind::Spawn, 300)),
        anonymous(record(RecordKind::PollBegin, 400)),
    ]);
    let generations: Vec<u32> = run
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Described(unit) => match &**unit {
                Unit::Task(task) => Some(task.generation),
                _ => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(generations, [0, 1]);
    assert!(run.events.last().unwrap().cause.is_some(), "its spawn");
}

#[test]
fn a_cancelled_task_ends_as_cancelled() {
    let mut run = Run::new(Options::default());
    let begin = Record {
        state: 0xc8 | 32 | 4,
        ..record(RecordKind::PollBegin, 100)
    };
    run.apply(&[begin, end(200, 100, 0x8a | 32)]);
    assert_eq!(
        run.kinds().last(),
        Some(&&EventKind::Finished {
            outcome: Outcome::Cancelled
        })
    );
    assert_eq!(run.tracker.statistics().over, 1);
}

#[test]
fn wake_ups_are_counted_by_what_they_do() {
    let mut run = Run::new(Options::default());
    let wake = |time, state| Record {
        state,
        ..record(RecordKind::WakeByReference, time)
    };
    let drop = record(RecordKind::WakerDrop, 130);
    let clone = record(RecordKind::WakerClone, 140);
    run.apply(&[wake(100, 0xc8), wake(110, 0xcc), drop, clone, drop]);
    let task = run.task();
    assert_eq!((task.wakes, task.redundant_wakes), (2, 1));
    let last = task.last_wake.unwrap();
    assert_eq!((last.time, last.effect), (110, WakeEffect::Redundant));
    assert!(matches!(last.by, Actor::Thread { tid: 1, .. }));
    assert_eq!(task.waker_balance, 0, "the last drop came too late");
    assert_eq!(run.tracker.statistics().late, 1);
}

#[test]
fn two_wake_ups_that_raced_are_no_cause() {
    let mut run = Run::new(Options::default());
    let other = Record {
        tid: 2,
        ..record(RecordKind::WakeByReference, 101)
    };
    run.apply(&[
        record(RecordKind::WakeByReference, 100),
        other,
        record(RecordKind::PollBegin, 200),
    ]);
    assert_eq!(run.events.last().unwrap().cause, None);
}

#[test]
fn names_come_from_probes_and_threads() {
    let mut run = Run::new(Options {
        probe_names: vec![None, Some("app::serve".into())],
        ..Options::default()
    });
    run.tracker.name_thread(1, "tokio-rt-worker".into());
    let begin = Record {
        probe: 1,
        ..record(RecordKind::PollBegin, 100)
    };
    run.apply(&[record(RecordKind::WakeByReference, 50), begin]);
    assert_eq!(run.task().future.as_deref(), Some("app::serve"));
    let described: Vec<String> = run
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Described(unit) => Some(match &**unit {
                Unit::Task(task) => format!("{:?}", task.future),
                Unit::Thread(thread) => format!("{:?}", thread.name),
                Unit::Origin(_) => String::new(),
            }),
            _ => None,
        })
        .collect();
    assert_eq!(
        described,
        ["Some(\"tokio-rt-worker\")", "None", "Some(\"app::serve\")"]
    );
}

#[test]
fn a_thread_that_gets_its_name_later_is_described_again() {
    let mut run = Run::new(Options::default());
    run.apply(&[record(RecordKind::WakeByReference, 50)]);
    run.tracker.name_thread(1, "tokio-rt-worker".into());
    run.tracker.name_thread(1, "tokio-rt-worker".into());
    run.apply(&[
        record(RecordKind::WakeByReference, 60),
        record(RecordKind::WakeByReference, 70),
    ]);
    let names: Vec<Option<&str>> = run
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Described(unit) => match &**unit {
                Unit::Thread(thread) => Some(thread.name.as_deref()),
                _ => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(names, [None, Some("tokio-rt-worker")]);
}

#[test]
fn tasks_from_memory_are_existing_ones_and_leave_when_memory_says_so() {
    let mut run = Run::new(Options {
        started: 1_000,
        ..Options::default()
    });
    let first = snapshot(&[
        ("tokio/7", HEADER),
        ("tokio/8", HEADER + 0x100),
        ("tokio/block_on/1", 0x7ffe_0000),
    ]);
    run.tracker.seed(&first, 1_500, &mut run.events);
    assert!(run.task().existing);
    assert_eq!(run.task().state, TaskState::Idle);
    run.apply(&[
        record(RecordKind::PollBegin, 1_200),
        end(1_300, 1_200, 0xc8),
    ]);
    assert_eq!(run.tracker.statistics().late, 0, "records from before it");
    assert_eq!(run.task().polls, 1);

    let second = snapshot(&[("tokio/7", HEADER), ("tokio/block_on/1", 0x7ffe_0000)]);
    run.tracker
        .reconcile(&second, &HashSet::new(), 2_000, &mut run.events);
    assert_eq!(run.tracker.statistics().live, 2);
    assert_eq!(run.tracker.statistics().over, 1);

    let mut torn = snapshot(&[]);
    torn.coverage.torn_tasks = 1;
    run.tracker
        .reconcile(&torn, &HashSet::new(), 3_000, &mut run.events);
    assert_eq!(run.tracker.statistics().live, 2, "no proof");
}

#[test]
fn a_task_that_ended_in_a_pause_is_over_as_soon_as_memory_says_so() {
    let live = |pause: bool, is_gone: bool| {
        let mut run = Run::new(Options::default());
        let listed = snapshot(&[("tokio/8", HEADER + 0x100)]);
        run.tracker.seed(&listed, 1_000, &mut run.events);
        run.apply(&[
            record(RecordKind::PollBegin, 1_200),
            end(1_300, 1_200, 0xc8),
        ]);
        if pause {
            let nothing = Watching {
                polls: false,
                ..Watching::everything(1_400)
            };
            run.tracker.watching(&nothing, &mut run.events);
            let again = Watching::everything(2_000);
            run.tracker.watching(&again, &mut run.events);
        }
        let missed = run.tracker.missed(50_000_000, 10);
        let ended = TaskKey::of(HEADER, 7);
        assert_eq!(missed.contains(&ended), pause, "{missed:?}");
        assert!(run.tracker.missed(50_000_000, 0).is_empty());
        let gone = HashSet::from_iter(is_gone.then_some(ended));
        for (time, live) in [
            (50_000_000, 2),
            (500_000_000, 2 - usize::from(pause && is_gone)),
        ] {
            run.tracker.reconcile(&listed, &gone, time, &mut run.events);
            assert_eq!(run.tracker.statistics().live, live, "it may be on its way");
        }
        let mut kinds = run.events.iter();
        kinds
            .find(|event| matches!(event.kind, EventKind::Finished { .. }))
            .map(|event| event.time)
    };
    assert_eq!(live(true, true), Some(1_300), "when it was seen last");
    assert_eq!(live(true, false), None, "memory does not prove it");
    assert_eq!(live(false, true), None, "its end would have been seen");
}

#[test]
fn the_oldest_tasks_are_forgotten_first_and_counted() {
    let mut run = Run::new(Options {
        max_tasks: 8,
        ..Options::default()
    });
    let wakes: Vec<Record> = (0..9)
        .map(|at| Record {
            task: HEADER + at * 0x100,
            task_id: 10 + at,
            ..record(RecordKind::WakeByReference, 100 + at)
        })
        .collect();
    run.apply(&wakes);
    let statistics = run.tracker.statistics();
    assert_eq!((statistics.live, statistics.forgotten), (8, 1));
    assert!(run.tracker.task(&TaskKey::of(HEADER, 10)).is_none());
    assert!(run.tracker.task(&TaskKey::of(HEADER + 0x800, 18)).is_some());
}

#[test]
fn nested_future_polls_belong_to_the_task_around_them() {
    let mut run = Run::new(Options {
        probe_names: vec![Some("app::inner".into())],
        ..Options::default()
    });
    let inner = Record {
        task: 0x5000,
        task_id: 0,
        by: HEADER,
        by_id: 7,
        poll: 100,
        aux: 2,
        ..record(RecordKind::FuturePoll, 150)
    };
    run.apply(&[record(RecordKind::PollBegin, 100), inner]);
    let event = run.events.last().unwrap();
    assert_eq!(event.id.unit, run.task().unit);
    assert_eq!(
        event.kind,
        EventKind::FuturePoll {
            future: Address(0x5000),
            name: Some("app::inner".into()),
            depth: 2
        }
    );
    assert!(event.cause.is_some());
}

#[test]
fn memory_tells_after_a_poll_that_a_task_stands_where_it_stood() {
    let mut run = Run::new(Options::default());
    let suspension = Arc::new(Suspension::unknown("a test"));
    let tell = |run: &mut Run, time| {
        let key = TaskKey::of(HEADER, 7);
        let (tracker, events) = (&mut run.tracker, &mut run.events);
        tracker.suspended(&key, &suspension, Marks::default(), time, events);
    };
    run.apply(&[record(RecordKind::PollBegin, 100), end(110, 100, 0xc8)]);
    for time in [120, 130] {
        tell(&mut run, time);
    }
    run.apply(&[record(RecordKind::PollBegin, 200), end(210, 200, 0xc8)]);
    tell(&mut run, 205);
    for time in [220, 230] {
        tell(&mut run, time);
    }
    let told = run.events.iter();
    let told = told.filter(|event| matches!(event.kind, EventKind::AwaitChanged { .. }));
    let times: Vec<u64> = told.map(|event| event.time).collect();
    assert_eq!(times, [120, 220]);
}

#[test]
fn each_future_stands_since_the_poll_that_made_it() {
    let future = |depth, place, name: &str, mark| SuspendedFuture {
        depth,
        place: Place::Inside(place),
        mark,
        state: Arc::new(FutureState {
            future: name.into(),
            kind: NodeKind::AsyncFn,
            state: NodeState::Suspended,
            file: None,
            line: None,
            waits_for: None,
        }),
    };
    let body = Arc::new(Suspension {
        futures: vec![
            future(0, 0, "app::serve", None),
            future(1, 8, "app::step", Some(0)),
            future(2, 16, "tokio::Recv", None),
        ],
        missing: None,
    });
    let mut run = Run::new(Options::default());
    let tell = |run: &mut Run, mark, time| {
        let (key, mut marks) = (TaskKey::of(HEADER, 7), Marks::default());
        marks.0[0] = mark;
        let (tracker, events) = (&mut run.tracker, &mut run.events);
        tracker.suspended(&key, &body, marks, time, events);
    };
    let ages = |run: &Run| -> Vec<(u64, bool)> {
        let standing = run.task().standing();
        standing
            .iter()
            .map(|one| (one.since, one.at_least))
            .collect()
    };
    run.apply(&[record(RecordKind::PollBegin, 100), end(110, 100, 0xc8)]);
    tell(&mut run, 1, 120);
    assert_eq!(ages(&run), [(110, false); 3]);
    // The same step again: its leaf may be another one.
    run.apply(&[record(RecordKind::PollBegin, 200), end(210, 200, 0xc8)]);
    tell(&mut run, 1, 220);
    assert_eq!(ages(&run), [(110, false), (110, false), (210, true)]);
    // Another step, by its mark.
    run.apply(&[record(RecordKind::PollBegin, 300), end(310, 300, 0xc8)]);
    tell(&mut run, 2, 320);
    assert_eq!(ages(&run)[..2], [(110, false), (310, false)]);
}
