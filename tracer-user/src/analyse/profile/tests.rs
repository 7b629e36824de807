//! Profiles of small traces made by hand.

use super::*;
use crate::analyse::history::UnitIndex;
use crate::analyse::history::sample::{Trace, body, leaf, sleep};
use crate::rebuild::event::UnitId;

/// Two tasks that sleep at the same place, for 80 and 40, and one of them still; one that waits
/// for a lock.
fn trace() -> Trace {
    let mut trace = Trace::new();
    let worker = trace.thread(7, "worker", 100);
    let mut tasks = Vec::new();
    for id in 0..3 {
        let (task, spawn) = trace.spawned(worker, id, "app::serve", 100, None);
        trace.poll(task, worker, 110 + id * 10, 120 + id * 10, Some(spawn));
        tasks.push(task);
    }
    let [first, second, third] = tasks[..] else {
        panic!()
    };
    let standing = |mark| [body(0, 0, "app::serve", 10), sleep(1, 8, mark)];
    let woken = |trace: &mut Trace, task: UnitId, at: u64, delay: u64| {
        let wake = trace.wake(worker, task, at - delay, None);
        trace.poll(task, worker, at, at + 10, Some(wake));
    };
    trace.stands(second, 170, &standing(1));
    woken(&mut trace, second, 170, 4);
    trace.stands(first, 200, &standing(1));
    woken(&mut trace, first, 200, 6);
    trace.stands(first, 500, &standing(2));
    let lock = [
        body(0, 0, "app::serve", 20),
        body(1, 8, "tokio::Mutex::lock", 5),
        leaf(2, 16, "Acquire", "lock"),
    ];
    trace.stands(third, 600, &lock);
    trace
}

#[test]
fn awaits_are_added_up_by_what_is_awaited_and_where() {
    let profile = profile(&trace().history(100, 1_000));
    let rows: Vec<_> = profile
        .awaits
        .iter()
        .map(|row| (&*row.awaited.future, row.waiting_ns, row.durations.count))
        .collect();
    assert_eq!(
        rows,
        [
            ("tokio::time::sleep::Sleep", 40 + 80 + 790, 3),
            ("Acquire", 860, 1),
            ("tokio::Mutex::lock", 860, 1),
        ]
    );
    let [slept, acquire, lock] = &profile.awaits[..] else {
        panic!()
    };
    assert_eq!((slept.durations.p50_ns, slept.durations.max_ns), (80, 790));
    assert_eq!((slept.open, slept.at_least, slept.polled_ns), (1, 0, 0));
    assert_eq!(slept.awaited.line, Some(10));
    assert_eq!((acquire.leaf, lock.leaf), (true, false));
    assert_eq!((acquire.innermost, lock.innermost), (true, false));
    // It was made at the begin of the poll.
    assert_eq!(lock.polled_ns, 10);
}

#[test]
fn delays_are_from_the_wake_up_or_the_spawn_to_the_poll() {
    let delays = profile(&trace().history(100, 1_000)).wake_to_poll;
    assert_eq!((delays.woken.count, delays.woken.total_ns), (2, 10));
    assert_eq!((delays.woken.p50_ns, delays.woken.max_ns), (4, 6));
    assert_eq!((delays.spawned.count, delays.spawned.total_ns), (3, 60));
    assert_eq!(delays.by_type[0].future.as_deref(), Some("app::serve"));
}

#[test]
fn open_awaits_are_told_in_preorder_with_their_age() {
    let history = trace().history(100, 1_000);
    let open: Vec<_> = open_awaits(&history, UnitIndex(3))
        .iter()
        .map(|node| (node.depth, node.awaited.future.to_string(), node.elapsed_ns))
        .collect();
    let expected = [
        (0, "app::serve".to_owned(), 900),
        (1, "tokio::Mutex::lock".to_owned(), 870),
        (2, "Acquire".to_owned(), 860),
    ];
    assert_eq!(open, expected);
    assert!(open_awaits(&history, UnitIndex(99)).is_empty());
}

#[test]
fn the_innermost_await_of_the_program_is_told_from_those_of_its_libraries() {
    let mut trace = Trace::new();
    trace.thread(7, "worker", 100);
    let task = trace.task(1, "app::serve", 100, true);
    let mut lock = body(1, 8, "tokio::Mutex::lock", 5);
    let state = std::sync::Arc::make_mut(&mut lock.future.state);
    state.file = Some("/home/u/.cargo/registry/src/index-1/tokio-1.40.0/src/mutex.rs".into());
    let standing = [
        body(0, 0, "app::serve", 20),
        lock,
        leaf(2, 16, "Acquire", "lock"),
    ];
    trace.stands(task, 200, &standing);
    let profile = profile(&trace.history(100, 1_000));
    let innermost: Vec<_> = profile.awaits.iter().filter(|row| row.innermost).collect();
    assert_eq!(innermost.len(), 1);
    assert_eq!(&*innermost[0].awaited.future, "tokio::Mutex::lock");
}

/// One of two instances holds nothing, as where it stood was told before it was first polled.
#[test]
fn what_most_of_the_time_was_waited_in_decides_which_await_is_the_innermost() {
    let innermost = |holding: u64, alone: u64| {
        let mut trace = Trace::new();
        trace.thread(7, "worker", 100);
        let times = [(1, holding), (2, alone)];
        for (id, from) in times {
            let task = trace.task(id, "app::serve", from, true);
            let mut standing = vec![body(0, 0, "app::serve", 20), body(1, 8, "app::read", 5)];
            if id == 1 {
                standing.push(leaf(2, 16, "Acquire", "lock"));
            }
            trace.stands(task, from, &standing);
        }
        let profile = profile(&trace.history(100, 1_000));
        let row = profile
            .awaits
            .iter()
            .find(|row| &*row.awaited.future == "app::read");
        row.map(|row| (row.innermost, row.innermost_waiting_ns))
    };
    assert_eq!(innermost(200, 900), Some((false, 100)));
    assert_eq!(innermost(900, 200), Some((true, 800)));
}
