//! A tracker fed by hand, and the tables that come of it.

use tracer_common::{PollEndCause, Record, RecordKind};

use super::*;
use crate::address::Address;
use crate::rebuild::snapshot::{
    Coverage, DebugInfoLevel, ProcessInfo, SCHEMA, TaskInfo, TaskState,
};
use crate::rebuild::tracker::Options;
use crate::rebuild::tree::{AwaitNode, NodeKind, NodeState, WaitsFor};
use crate::rebuild::watching::Watching;

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_000 * SECOND;
const HEADER: u64 = 0x7f00_0000_1000;

fn tree(line: u32) -> AwaitNode {
    AwaitNode {
        future: "app::serve".into(),
        kind: NodeKind::AsyncFn,
        state: NodeState::Suspended,
        file: Some("src/main.rs".into()),
        line: Some(line),
        waits_for: Some(WaitsFor::new("notify")),
        notes: Vec::new(),
        children: Vec::new(),
        ..AwaitNode::default()
    }
}

pub(in crate::follow) fn info(id: &str, address: u64) -> TaskInfo {
    TaskInfo {
        id: id.to_owned(),
        runtime: "tokio",
        scheduler: "multi_thread",
        state: TaskState::Idle,
        future: "app::serve".into(),
        tree: Some(tree(7)),
        notes: Vec::new(),
        address: Address(address),
        references: None,
        ..TaskInfo::default()
    }
}

pub(in crate::follow) fn snapshot(tasks: Vec<TaskInfo>) -> Snapshot {
    Snapshot {
        schema: SCHEMA,
        time: 0,
        threads: Vec::new(),
        stolen: None,
        process: ProcessInfo {
            pid: 1,
            exe: "/app".to_owned(),
            build_id: None,
        },
        runtimes: Vec::new(),
        coverage: Coverage {
            debug_info: DebugInfoLevel::Full,
            tasks_listed: tasks.len() as u64,
            tasks_counted: tasks.len() as u64,
            opaque_nodes: 0,
            torn_tasks: 0,
        },
        tasks,
        warnings: Vec::new(),
    }
}

/// A tracker and a maker that know the tasks of this snapshot.
fn seeded(snapshot: &Snapshot) -> (Tracker, TableMaker) {
    let mut tracker = Tracker::new(Options {
        started: START,
        ..Options::default()
    });
    tracker.seed(snapshot, START, &mut Vec::new());
    let mut maker = TableMaker::default();
    maker.take_snapshot(snapshot, START, &tracker);
    (tracker, maker)
}

fn record(kind: RecordKind, time: u64) -> Record {
    Record {
        time,
        task: HEADER,
        task_id: 17,
        // Idle and referenced; RUNNING is bit 0 (facts/runtimes.md).
        state: 0xcc & !4 | u64::from(kind == RecordKind::PollBegin),
        stack_pointer: 0x7fff_0000,
        tid: 99,
        kind: kind as u8,
        ..Record::default()
    }
}

fn poll(tracker: &mut Tracker, from: u64, to: u64) {
    let mut end = record(RecordKind::PollEnd, to);
    end.aux = PollEndCause::NextEvent as u8;
    end.poll = from;
    for record in [record(RecordKind::PollBegin, from), end] {
        tracker.apply(&record, &mut Vec::new());
    }
}

#[test]
fn tasks_suspended_before_the_attach_are_in_the_first_table() {
    let roots = vec![info("tokio/17", HEADER), info("tokio/block_on/1", 0x1234)];
    let (tracker, mut maker) = seeded(&snapshot(roots));
    let table = maker.make(
        &tracker,
        &NestedPolls::default(),
        Status::default(),
        START + 5 * SECOND,
    );
    assert_eq!(table.rows.len(), 2);
    let [task, root] = &table.rows[..] else {
        panic!()
    };
    assert_eq!(task.label.to_string(), "tokio/17");
    assert_eq!(task.state, TaskState::Idle);
    assert!(task.since_before_attach);
    assert_eq!(task.since, START);
    assert_eq!(task.activity.unwrap().polls, 0);
    let awaiting = task.awaiting.as_ref().unwrap();
    assert_eq!(awaiting.site.as_ref().unwrap().1, 7);
    assert!(!task.await_is_old());

    assert_eq!(root.label.to_string(), "tokio/block_on/1");
    assert_eq!(root.activity, None, "no probe sees the polls of a root");
}

#[test]
fn a_pause_is_no_idleness() {
    let (mut tracker, mut maker) = seeded(&snapshot(vec![info("tokio/17", HEADER)]));
    poll(&mut tracker, START + 10, START + 20);
    let wake = Record {
        tid: 9,
        ..record(RecordKind::WakeByReference, START + 30)
    };
    tracker.apply(&wake, &mut Vec::new());
    poll(&mut tracker, START + 40, START + 50);
    let mut row = |tracker: &Tracker, now| {
        let status = Status::default();
        let table = maker.make(tracker, &NestedPolls::default(), status, now);
        let row = table.rows[0].clone();
        let at_most = row.activity.unwrap().last_wake.unwrap().at_most;
        (row.since, row.unwatched, row.since_before_attach, at_most)
    };
    assert_eq!(row(&tracker, START + 60), (START + 50, false, false, false));
    let pause = Watching {
        polls: false,
        ..Watching::everything(START + 100)
    };
    tracker.watching(&pause, &mut Vec::new());
    let (_, unwatched, _, at_most) = row(&tracker, START + 150);
    assert!(unwatched && at_most, "nobody knows what it does");
    tracker.watching(&Watching::everything(START + 200), &mut Vec::new());
    assert_eq!(row(&tracker, START + 250), (START + 200, false, true, true));
    poll(&mut tracker, START + 300, START + 310);
    assert_eq!(
        row(&tracker, START + 350),
        (START + 310, false, false, true)
    );
}

#[test]
fn polls_make_rates_and_age_the_await() {
    let (mut tracker, mut maker) = seeded(&snapshot(vec![info("tokio/17", HEADER)]));
    maker.make(&tracker, &NestedPolls::default(), Status::default(), START);
    for poll_number in 0..10 {
        let from = START + poll_number * SECOND / 10;
        poll(&mut tracker, from, from + SECOND / 50);
    }
    let now = START + SECOND;
    let row = maker
        .make(&tracker, &NestedPolls::default(), Status::default(), now)
        .rows
        .remove(0);
    let activity = row.activity.unwrap();
    assert_eq!(activity.polls, 10);
    assert!((activity.polls_per_second - 10.0).abs() < 1e-6);
    assert!(
        (activity.busy_share - 0.2).abs() < 1e-6,
        "{}",
        activity.busy_share
    );
    assert_eq!(activity.busy, Duration::from_millis(200));
    assert_eq!(row.since, START + 9 * SECOND / 10 + SECOND / 50);
    assert!(!row.since_before_attach);
    assert!(row.await_is_old(), "it was polled since the snapshot");

    let reading = TreeReading {
        key: row.key,
        at: now,
        told: None,
        task: Ok(Arc::new(TaskInfo {
            tree: Some(tree(9)),
            ..info("tokio/17", HEADER)
        })),
    };
    maker.take_readings(HashMap::from([(row.key, reading)]), &tracker);
    let row = maker
        .make(&tracker, &NestedPolls::default(), Status::default(), now)
        .rows
        .remove(0);
    assert_eq!(row.awaiting.as_ref().unwrap().site.as_ref().unwrap().1, 9);
    assert!(!row.await_is_old());
}

#[test]
fn a_reading_from_before_the_last_poll_is_an_old_one() {
    let (mut tracker, mut maker) = seeded(&snapshot(vec![info("tokio/17", HEADER)]));
    poll(&mut tracker, START + 100, START + 200);
    let key = tracker.tasks().next().unwrap().key;
    let reading = TreeReading {
        key,
        at: START + 50,
        told: None,
        task: Ok(Arc::new(info("tokio/17", HEADER))),
    };
    maker.take_readings(HashMap::from([(key, reading)]), &tracker);
    let table = maker.make(
        &tracker,
        &NestedPolls::default(),
        Status::default(),
        START + SECOND,
    );
    assert!(table.rows[0].await_is_old());
}

#[test]
fn a_running_poll_is_busy_while_it_runs() {
    let (mut tracker, mut maker) = seeded(&snapshot(vec![info("tokio/17", HEADER)]));
    maker.make(&tracker, &NestedPolls::default(), Status::default(), START);
    let begin = record(RecordKind::PollBegin, START);
    tracker.apply(&begin, &mut Vec::new());
    let row = maker
        .make(
            &tracker,
            &NestedPolls::default(),
            Status::default(),
            START + SECOND,
        )
        .rows
        .remove(0);
    assert_eq!(row.state, TaskState::Running);
    assert_eq!(row.activity.unwrap().busy, Duration::from_secs(1));
    assert!((row.activity.unwrap().busy_share - 1.0).abs() < 1e-6);
}

#[test]
fn what_was_kept_of_tasks_that_are_gone_is_dropped() {
    let crowd = (1..=100).map(|number| info(&format!("tokio/{number}"), number << 8));
    let (_, mut maker) = seeded(&snapshot(crowd.collect()));
    assert_eq!(maker.kept.len(), 100);
    let empty = Tracker::new(Options::default());
    maker.make(&empty, &NestedPolls::default(), Status::default(), START);
    maker.make(
        &empty,
        &NestedPolls::default(),
        Status::default(),
        START + 1,
    );
    assert!(maker.kept.is_empty());
}
