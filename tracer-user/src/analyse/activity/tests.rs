//! Activity of small traces made by hand.

use std::collections::HashMap;

use super::*;
use crate::address::Address;
use crate::rebuild::event::{
    EndSeen, Event, EventId, EventKind, Origin, Outcome, TaskUnit, ThreadUnit, Unit, UnitId,
    WakeEffect,
};
use crate::rebuild::snapshot::{TaskInfo, TaskState};
use crate::rebuild::tree::{AwaitNode, NodeKind, NodeState, WaitsFor};

/// A trace under construction: gives sequence numbers.
#[derive(Default)]
struct Trace {
    events: Vec<Event>,
    next: HashMap<u64, u64>,
}

impl Trace {
    fn event(&mut self, unit: u64, time: u64, kind: EventKind) -> &mut Self {
        let sequence = self.next.entry(unit).or_default();
        self.events.push(Event {
            id: EventId {
                unit: UnitId(unit),
                sequence: *sequence,
            },
            time,
            kind,
            cause: None,
        });
        *sequence += 1;
        self
    }

    fn task(&mut self, unit: u64, future: &str, id: Option<u64>, existing: bool) -> &mut Self {
        let task = Unit::Task(TaskUnit {
            runtime: "tokio".into(),
            address: Address(0x1000 * unit),
            task_id: id,
            generation: 0,
            future: Some(future.into()),
            existing,
        });
        self.event(unit, 100, EventKind::Described(Arc::new(task)))
    }

    fn thread(&mut self, unit: u64, name: &str) -> &mut Self {
        let thread = Unit::Thread(ThreadUnit {
            tid: 1_000 + unit as u32,
            name: Some(name.into()),
        });
        self.event(unit, 100, EventKind::Described(Arc::new(thread)))
    }

    fn poll(&mut self, unit: u64, thread: u64, from: u64, to: u64) -> &mut Self {
        let thread = UnitId(thread);
        self.event(unit, from, EventKind::PollBegin { thread });
        self.event(
            unit,
            to,
            EventKind::PollEnd {
                outcome: Outcome::Pending,
                seen: EndSeen::NextEvent,
                began: Some(from),
            },
        )
    }

    fn wake(&mut self, by: u64, task: u64, time: u64, effect: WakeEffect) -> &mut Self {
        let task = UnitId(task);
        self.event(
            by,
            time,
            EventKind::Wake {
                task,
                by_value: true,
                effect,
            },
        )
    }

    fn activity(&self) -> Activity {
        let mut collector = Collector::new(100);
        collector.events(&self.events);
        collector.finish()
    }
}

#[test]
fn polls_are_added_up_by_type_the_busiest_first() {
    let mut trace = Trace::default();
    trace
        .thread(0, "worker")
        .task(1, "app::a", Some(1), true)
        .task(2, "app::b", Some(2), false)
        .task(3, "app::b", Some(3), false)
        .poll(1, 0, 200, 250)
        .poll(2, 0, 300, 400)
        .poll(3, 0, 400, 600)
        .poll(3, 0, 700, 710)
        .event(
            3,
            800,
            EventKind::Finished {
                outcome: Outcome::Over,
            },
        );
    let activity = trace.activity();
    assert_eq!((activity.duration_ns, activity.polls), (700, 4));
    assert_eq!(
        (
            activity.tasks,
            activity.tasks_existing,
            activity.tasks_over,
            activity.open.len()
        ),
        (3, 1, 1, 2)
    );
    let [b, a] = &activity.types[..] else {
        panic!("{:?}", activity.types)
    };
    assert_eq!(b.future.as_deref(), Some("app::b"));
    assert_eq!(
        (b.tasks, b.open, b.polls, b.busy_ns, b.longest_poll_ns),
        (2, 1, 3, 310, 200)
    );
    assert_eq!((a.tasks, a.existing, a.busy_ns), (1, 1, 50));
    assert_eq!(activity.longest_polls[0].task, "tokio/3");
    assert_eq!(activity.longest_polls[0].began_ns, 300);
    assert_eq!(activity.longest_polls[0].thread, Some(1_000));
    assert_eq!(activity.threads[0].busy_ns, 360);
    // The task that did nothing for longest is first.
    assert_eq!(activity.open[0].task, "tokio/1");
    assert_eq!(activity.open[0].quiet_ns, Some(800 - 250));
}

#[test]
fn a_window_counts_what_happens_in_it_and_who_is_alive() {
    let mut trace = Trace::default();
    let over = EventKind::Finished {
        outcome: Outcome::Over,
    };
    trace
        .thread(0, "worker")
        .task(1, "app::a", Some(1), true)
        .task(2, "app::b", Some(2), false)
        .poll(1, 0, 200, 250)
        .event(1, 260, over)
        .poll(2, 0, 300, 400)
        .wake(0, 2, 450, WakeEffect::Scheduled)
        .poll(2, 0, 500, 530)
        .wake(0, 2, 550, WakeEffect::Scheduled)
        .poll(2, 0, 700, 790);
    let mut collector = Collector::new(100);
    collector.window(420, 600);
    collector.events(&trace.events);
    let activity = collector.finish();
    assert_eq!((activity.duration_ns, activity.events), (180, 4));
    assert_eq!((activity.tasks, activity.tasks_over), (1, 0));
    assert_eq!((activity.polls, activity.types[0].busy_ns), (1, 30));
    assert_eq!((activity.wakes.total, activity.threads[0].polls), (2, 1));
    assert_eq!(activity.longest_polls[0].began_ns, 80);
}

#[test]
fn time_off_the_cpu_is_apart_and_a_poll_that_goes_on_is_open() {
    let mut trace = Trace::default();
    trace
        .thread(0, "worker")
        .task(1, "app::a", Some(1), false)
        .event(1, 200, EventKind::PollBegin { thread: UnitId(0) })
        .event(
            1,
            210,
            EventKind::Blocked {
                preempted: false,
                syscall: None,
            },
        )
        .event(1, 240, EventKind::Unblocked)
        .event(
            1,
            250,
            EventKind::Blocked {
                preempted: true,
                syscall: None,
            },
        )
        .event(
            1,
            300,
            EventKind::PollEnd {
                outcome: Outcome::Pending,
                seen: EndSeen::ExitProbe,
                began: Some(200),
            },
        )
        .event(1, 400, EventKind::PollBegin { thread: UnitId(0) })
        .event(0, 900, EventKind::Gap { lost: 2 });
    let activity = trace.activity();
    assert_eq!(activity.types[0].off_cpu_ns, 30 + 50);
    assert_eq!(activity.types[0].busy_ns, 100);
    assert_eq!(activity.open[0].polled_for_ns, Some(500));
    assert_eq!(activity.missing.gaps, 2);
}

#[test]
fn wake_ups_are_told_apart_by_their_source() {
    let mut trace = Trace::default();
    trace
        .thread(0, "worker")
        .thread(10, "blocking")
        .task(1, "app::a", Some(1), false)
        .task(2, "app::b", Some(2), false)
        .event(
            11,
            100,
            EventKind::Described(Arc::new(Unit::Origin(Origin::Timer))),
        )
        // Before anything shows that it polls.
        .wake(0, 1, 150, WakeEffect::Scheduled)
        .poll(1, 0, 200, 250)
        .wake(1, 1, 260, WakeEffect::PollAgain)
        .wake(1, 2, 270, WakeEffect::Scheduled)
        .wake(1, 2, 271, WakeEffect::Redundant)
        .wake(10, 2, 280, WakeEffect::AlreadyOver)
        .wake(11, 2, 290, WakeEffect::Scheduled)
        .wake(99, 2, 300, WakeEffect::Unknown);
    let wakes = trace.activity().wakes;
    assert_eq!(
        (
            wakes.total,
            wakes.by_itself,
            wakes.by_tasks,
            wakes.by_runtime_threads,
            wakes.by_other_threads,
            wakes.by_origins,
            wakes.by_unknown,
        ),
        (7, 1, 2, 1, 1, 1, 1)
    );
    assert_eq!((wakes.redundant, wakes.too_late), (1, 1));
    let first = &wakes.pairs[0];
    assert_eq!(
        (&first.by, first.woken.as_deref(), first.count),
        (
            &Waker::Task {
                future: Some("app::a".into())
            },
            Some("app::b"),
            2
        )
    );
    assert_eq!(first.without_effect, 1);
}

#[test]
fn the_longest_polls_are_few_and_in_order() {
    let mut trace = Trace::default();
    trace.thread(0, "worker").task(1, "app::a", Some(1), false);
    for at in 0..100 {
        let from = 1_000 * (at + 1);
        trace.poll(1, 0, from, from + 1 + at * 7 % 100);
    }
    let longest = trace.activity().longest_polls;
    let lengths: Vec<u64> = longest.iter().map(|poll| poll.length_ns).collect();
    let expected: Vec<u64> = (81..=100).rev().collect();
    assert_eq!(lengths, expected);
}

#[test]
fn open_tasks_wait_where_the_last_snapshot_says() {
    let mut trace = Trace::default();
    trace
        .task(1, "app::a", Some(1), true)
        .task(2, "app::main", None, true)
        .task(3, "app::b", Some(3), false);
    let node = |future: &str, line: Option<u32>, children: Vec<AwaitNode>| AwaitNode {
        future: future.into(),
        kind: NodeKind::AsyncFn,
        state: NodeState::Suspended,
        file: line.map(|_| "src/main.rs".into()),
        line,
        waits_for: children.is_empty().then(|| WaitsFor::new("sleep")),
        notes: Vec::new(),
        children,
        ..AwaitNode::default()
    };
    let task = |id: &str, address, line| TaskInfo {
        id: id.into(),
        runtime: "tokio",
        scheduler: "multi_thread",
        state: TaskState::Idle,
        future: "app::a".into(),
        tree: Some(node(
            "app::a",
            Some(line),
            vec![
                node("app::mid", Some(7), vec![node("Sleep", None, Vec::new())]),
                node("Sleep", None, Vec::new()),
            ],
        )),
        notes: Vec::new(),
        address: Address(address),
        references: None,
        ..TaskInfo::default()
    };
    let mut collector = Collector::new(100);
    collector.events(&trace.events);
    let old = vec![task("tokio/1", 0x1000, 1), task("tokio/3", 0x3000, 1)];
    collector.snapshot(0, 110, true, old);
    collector.snapshot(1, 500, false, vec![task("tokio/1", 0x1000, 20)]);
    collector.snapshot(1, 500, true, vec![task("tokio/block_on/1", 0x2000, 30)]);
    collector.reached(600);
    let open = collector.finish().open;
    let of = |name: &str| open.iter().find(|task| task.task == name).unwrap();
    let waiting = of("tokio/1").waiting.as_ref().unwrap();
    assert_eq!(waiting.read_ns_before_end, 100);
    let lines: Vec<u32> = waiting.awaits.iter().map(|place| place.line).collect();
    assert_eq!(lines, [20, 7]);
    assert_eq!(waiting.waits_for.len(), 2);
    let root = of("tokio/block_on/1");
    assert!(root.waiting.is_some());
    // No probe stands where it is polled.
    assert_eq!(
        (root.polls, root.busy_ns, root.quiet_ns),
        (None, None, None)
    );
    let task = of("tokio/1");
    assert_eq!((task.polls, task.quiet_ns), (Some(0), Some(500)));
    assert!(
        of("tokio/3").waiting.is_none(),
        "the new snapshot has it not"
    );
}

#[test]
fn nothing_is_followed_beyond_its_description_and_times_may_be_anything() {
    let mut trace = Trace::default();
    trace
        .poll(5, 6, 10, 20)
        .wake(5, 7, 3, WakeEffect::Scheduled)
        .thread(0, "worker")
        .task(1, "app::a", Some(1), false)
        .poll(1, 0, u64::MAX, 0)
        .poll(1, 0, 0, u64::MAX)
        .poll(1, 0, 0, u64::MAX);
    let activity = trace.activity();
    assert_eq!(activity.tasks, 1);
    assert_eq!(activity.polls, 3);
    assert_eq!(activity.wakes.by_unknown, 1);
}

#[test]
fn a_type_of_roots_says_nothing_of_polls_that_no_probe_sees() {
    let mut trace = Trace::default();
    trace
        .task(1, "app::main", None, true)
        .task(2, "app::serve", Some(2), true);
    let activity = trace.activity();
    let told: Vec<(Option<String>, serde_json::Value)> = activity
        .types
        .iter()
        .map(|row| {
            let json = serde_json::to_value(row).unwrap();
            let future = row.future.as_deref().map(str::to_owned);
            (future, json["polls"].clone())
        })
        .collect();
    let expected = [
        (Some("app::main".to_owned()), serde_json::Value::Null),
        (Some("app::serve".to_owned()), 0.into()),
    ];
    assert_eq!(told, expected);
}
