//! Made-up looks.

use super::*;
use crate::address::Address;
use crate::rebuild::snapshot::{Snapshot, TaskInfo, TaskState};
use crate::rebuild::tree::{AwaitNode, NodeKind, NodeState, WaitsFor};

const SECOND: u64 = 1_000_000_000;

fn leaf(path: &str, waits: WaitsFor) -> AwaitNode {
    AwaitNode {
        future: path.into(),
        kind: NodeKind::Leaf,
        state: NodeState::Suspended,
        waits_for: Some(waits),
        address: Some(Address(0x900)),
        ..AwaitNode::default()
    }
}

fn sleep(deadline: u64) -> AwaitNode {
    let waits = WaitsFor::new("sleep").with("deadline_ns", deadline);
    leaf("tokio::time::sleep::Sleep", waits)
}

fn body(path: &str, line: u32, children: Vec<AwaitNode>) -> AwaitNode {
    AwaitNode {
        future: path.into(),
        kind: NodeKind::AsyncFn,
        state: NodeState::Suspended,
        file: Some("src/main.rs".into()),
        line: Some(line),
        address: Some(Address(0x800)),
        children,
        ..AwaitNode::default()
    }
}

fn task(number: u64, tree: AwaitNode) -> TaskInfo {
    TaskInfo {
        id: format!("tokio/{number}"),
        state: TaskState::Idle,
        future: Arc::clone(&tree.future),
        tree: Some(tree),
        address: Address(0x1000 * number),
        ..TaskInfo::default()
    }
}

fn collected(looks: &[(u64, Vec<TaskInfo>)]) -> Sampled {
    let mut collector = Collector::default();
    for (time, tasks) in looks {
        let snapshot = Snapshot {
            tasks: tasks.clone(),
            ..Snapshot::empty(*time)
        };
        collector.take(&snapshot, *time);
    }
    collector.finish()
}

fn row<'a>(sampled: &'a Sampled, future: &str) -> &'a SampledAwait {
    let mut rows = sampled.awaits.iter();
    rows.find(|row| &*row.awaited.future == future).unwrap()
}

/// A task that waits in `app::wait` at line 30 of `app::serve`, which sleeps at line 40.
fn serve(number: u64, deadline: u64) -> TaskInfo {
    let wait = body("app::wait", 40, vec![sleep(deadline)]);
    task(number, body("app::serve", 30, vec![wait]))
}

#[test]
fn shares_and_times_are_those_of_the_samples() {
    let other = |number| task(number, body("app::other", 50, vec![sleep(9)]));
    let sampled = collected(&[
        (10 * SECOND, vec![serve(1, 1), serve(2, 1), other(3)]),
        (12 * SECOND, vec![serve(1, 2), serve(2, 1), other(3)]),
        (16 * SECOND, vec![serve(1, 3), other(2), other(3)]),
    ]);
    assert_eq!(sampled.looks.count, 3);
    assert_eq!(sampled.looks.per_second, Some(2.0 / 6.0));
    assert_eq!(sampled.looks.longest_between_ns, 4 * SECOND);
    assert_eq!((sampled.samples.tasks, sampled.samples.idle), (9, 9));
    let wait = row(&sampled, "app::wait");
    assert_eq!((wait.task_samples, wait.innermost_samples), (5, 0));
    assert_eq!((wait.awaited.line, wait.leaf), (Some(30), false));
    assert!((wait.share - 5.0 / 9.0).abs() < 1e-9);
    // Looks stand for 1, 3 and 2 seconds.
    assert_eq!(wait.time_ns, (2 + 6 + 2) * SECOND);
    let sleeps: Vec<_> = sampled
        .awaits
        .iter()
        .filter(|row| row.leaf)
        .map(|row| (row.awaited.line, row.task_samples, row.innermost_samples))
        .collect();
    assert_eq!(sleeps, [(Some(40), 5, 5), (Some(50), 4, 4)]);
    // All the time of three tasks in six seconds is somewhere.
    let time: u64 = sampled.stacks.iter().map(|stack| stack.time_ns).sum();
    assert_eq!(time, 18 * SECOND);
    let samples: u64 = sampled.stacks.iter().map(|stack| stack.samples).sum();
    assert_eq!(samples, 9);
}

#[test]
fn tasks_come_go_move_and_stand_still() {
    let sampled = collected(&[
        (SECOND, vec![serve(1, 1), serve(2, 1), serve(3, 1)]),
        (2 * SECOND, vec![serve(1, 1), serve(2, 2), serve(4, 1)]),
        (3 * SECOND, vec![serve(1, 1), serve(2, 2)]),
    ]);
    let changes: Vec<_> = sampled
        .by_look
        .iter()
        .map(|look| {
            let Changes {
                came,
                went,
                moved,
                still,
            } = look.changes;
            (came, went, moved, still)
        })
        .collect();
    assert_eq!(changes, [(0, 0, 0, 0), (1, 1, 1, 1), (0, 1, 0, 2)]);
    assert_eq!(sampled.changes.went, 2);
    assert_eq!(sampled.types[0].changes, sampled.changes);
    assert_eq!((sampled.types[0].now, sampled.types[0].most), (2, 3));
    let standing: Vec<_> = sampled
        .standing
        .iter()
        .map(|task| (&*task.id, task.standing_ns, task.from_before))
        .collect();
    assert_eq!(
        standing,
        [("tokio/1", 2 * SECOND, true), ("tokio/2", SECOND, false)]
    );
    assert_eq!(sampled.standing[0].at[0].line, Some(40));
}

#[test]
fn what_goes_on_around_a_new_wait_stands_on() {
    let sampled = collected(&[
        (SECOND, vec![serve(1, 1)]),
        (3 * SECOND, vec![serve(1, 2)]),
        (6 * SECOND, vec![serve(1, 3)]),
    ]);
    // The sleep is another each time, the call around it is one.
    let around = row(&sampled, "app::wait");
    assert_eq!((around.entered, around.longest_ns), (1, 5 * SECOND));
    assert!(around.longest_from_before);
    assert_eq!(around.longest_task.as_deref(), Some("tokio/1"));
    let inner = row(&sampled, "tokio::time::sleep::Sleep");
    assert_eq!((inner.entered, inner.longest_ns), (3, 0));
}

#[test]
fn only_waiting_tasks_wait_and_torn_ones_have_no_place() {
    let mut running = serve(1, 1);
    running.state = TaskState::Running;
    let mut woken = serve(2, 1);
    woken.state = TaskState::Scheduled;
    let mut torn = serve(3, 1);
    torn.notes = vec!["torn: it changed while it was read, 3 times".to_owned()];
    let mut without = serve(4, 1);
    without.tree = None;
    let tasks = vec![running, woken, torn, without];
    let sampled = collected(&[(SECOND, tasks.clone()), (2 * SECOND, tasks)]);
    assert!(sampled.awaits.is_empty());
    let samples = sampled.samples;
    assert_eq!((samples.running, samples.scheduled), (2, 2));
    assert_eq!((samples.idle, samples.idle_unplaced), (4, 4));
    // Of a torn one it is not known that it stood still; one without a tree is idle as before.
    assert_eq!((sampled.changes.moved, sampled.changes.still), (3, 1));
}

#[test]
fn branches_of_one_task_at_one_place_are_one_sample_of_it() {
    let select = AwaitNode {
        future: "core::future::poll_fn::PollFn<app::select>".into(),
        kind: NodeKind::Future,
        state: NodeState::Unknown,
        children: vec![sleep(1), sleep(2)],
        ..AwaitNode::default()
    };
    let sampled = collected(&[
        (
            SECOND,
            vec![task(1, body("app::f", 7, vec![select.clone()]))],
        ),
        (2 * SECOND, vec![task(1, body("app::f", 7, vec![select]))]),
    ]);
    let sleeps = row(&sampled, "tokio::time::sleep::Sleep");
    assert_eq!((sleeps.task_samples, sleeps.now), (2, 1));
    assert_eq!(sleeps.time_ns, SECOND);
    assert_eq!(sleeps.awaited.line, Some(7));
}

#[test]
fn a_task_that_one_look_missed_has_neither_gone_nor_come() {
    let sampled = collected(&[
        (SECOND, vec![serve(1, 1), serve(2, 1)]),
        (2 * SECOND, vec![serve(2, 1)]),
        (3 * SECOND, vec![serve(1, 1), serve(2, 1)]),
        (4 * SECOND, vec![serve(1, 1), serve(2, 1)]),
    ]);
    assert_eq!((sampled.changes.came, sampled.changes.went), (0, 0));
}

#[test]
fn looks_out_of_order_are_passed_over() {
    let sampled = collected(&[(2 * SECOND, vec![serve(1, 1)]), (SECOND, vec![serve(1, 1)])]);
    assert_eq!(sampled.looks.count, 1);
    assert_eq!(sampled.looks.per_second, None);
}
