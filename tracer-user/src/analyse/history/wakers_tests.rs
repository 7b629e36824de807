//! Wakers are told for the task, for its last poll, and for the leaves that it stood in.

use super::sample::{Trace, body, leaf, sleep};
use super::{AwaitWakers, History, Probed, UnitIndex};
use crate::rebuild::event::{EventId, EventKind, Outcome, UnitId, WakeEffect};

fn cloned(trace: &mut Trace, by: UnitId, task: UnitId, time: u64, cause: Option<EventId>) {
    trace.event(by, time, EventKind::WakerCloned { task }, cause);
}

fn dropped(trace: &mut Trace, by: UnitId, task: UnitId, time: u64, cause: Option<EventId>) {
    trace.event(by, time, EventKind::WakerDropped { task }, cause);
}

/// A task in poll from 200 to 210 that clones its waker `clones` times.
fn polled(trace: &mut Trace, task: UnitId, worker: UnitId, at: u64, clones: usize) {
    let poll = trace.begin(task, worker, at, None);
    for _ in 0..clones {
        cloned(trace, task, task, at + 5, Some(poll));
    }
    trace.end(task, at, at + 10, Outcome::Pending);
}

fn of(history: &History, path: &str) -> Vec<AwaitWakers> {
    let rows = (0..).zip(&history.awaits);
    rows.filter(|(_, row)| row.awaited.future.contains(path))
        .map(|(at, _)| history.await_wakers(super::AwaitIndex(at)))
        .collect()
}

fn started() -> (Trace, UnitId, UnitId) {
    let mut trace = Trace::new();
    let worker = trace.thread(1, "worker", 100);
    let (task, _) = trace.spawned(worker, 17, "app::serve", 100, None);
    trace.stands(task, 200, &[]);
    (trace, worker, task)
}

#[test]
fn counts_are_of_the_task_and_of_its_last_poll() {
    let (mut trace, worker, task) = started();
    polled(&mut trace, task, worker, 200, 3);
    dropped(&mut trace, worker, task, 250, None);
    trace.wake(worker, task, 260, None);
    polled(&mut trace, task, worker, 300, 1);
    let kind = EventKind::Wake {
        task,
        by_value: false,
        effect: WakeEffect::Scheduled,
    };
    trace.event(worker, 350, kind, None);
    let history = trace.history(100, 1_000);
    let wakers = history.wakers(UnitIndex(1));
    assert_eq!((wakers.total.cloned, wakers.total.dropped), (4, 1));
    assert_eq!(
        (wakers.total.consumed, wakers.total.woken_by_reference),
        (1, 1)
    );
    assert_eq!(
        (wakers.since_poll.cloned, wakers.cloned_in_last_poll),
        (1, 1)
    );
    assert_eq!(
        (
            wakers.since_poll.consumed,
            wakers.since_poll.woken_by_reference
        ),
        (0, 1)
    );
    assert!(wakers.last_poll_seen && !wakers.gap_since_poll);
    assert_eq!(
        history.last_wake(UnitIndex(1)).map(|wake| wake.time),
        Some(350)
    );
}

#[test]
fn the_clones_of_another_are_not_the_tasks_own() {
    let (mut trace, worker, task) = started();
    polled(&mut trace, task, worker, 200, 0);
    cloned(&mut trace, worker, task, 250, None);
    let wakers = trace.history(100, 1_000).wakers(UnitIndex(1));
    assert_eq!(
        (wakers.since_poll.cloned, wakers.cloned_in_last_poll),
        (1, 0)
    );
}

#[test]
fn clones_are_told_for_the_leaf_that_is_waited_in() {
    let mut trace = Trace::new();
    let worker = trace.thread(1, "worker", 100);
    let (task, _) = trace.spawned(worker, 17, "app::serve", 100, None);
    // Not polled yet: it stands in no leaf.
    trace.stands(task, 200, &[body(0, 0, "app::serve", 10)]);
    polled(&mut trace, task, worker, 200, 2);
    let recv = [
        body(0, 0, "app::serve", 11),
        leaf(1, 8, "app::HandWritten", ""),
    ];
    trace.stands(task, 300, &recv);
    polled(&mut trace, task, worker, 300, 1);
    trace.stands(task, 400, &[body(0, 0, "app::serve", 12), sleep(1, 8, 1)]);
    polled(&mut trace, task, worker, 400, 0);
    let history = trace.history(100, 1_000);
    let [written] = of(&history, "HandWritten")[..] else {
        panic!("{:?}", history.awaits);
    };
    // The poll that ended it may have cloned for what came after it.
    assert_eq!(
        (written.cloned, written.polls, written.shared),
        (3, 2, true)
    );
}

#[test]
fn a_leaf_that_is_alone_shares_nothing_and_its_future_is_known_to_clone() {
    let mut trace = Trace::new();
    let worker = trace.thread(1, "worker", 100);
    let (task, _) = trace.spawned(worker, 17, "app::serve", 100, None);
    let stands = [
        body(0, 0, "app::serve", 11),
        leaf(1, 8, "app::HandWritten", ""),
    ];
    trace.stands(task, 200, &stands);
    polled(&mut trace, task, worker, 200, 1);
    polled(&mut trace, task, worker, 300, 2);
    trace.stands(task, 400, &stands);
    let history = trace.history(100, 1_000);
    let [written] = of(&history, "HandWritten")[..] else {
        panic!("{:?}", history.awaits);
    };
    assert_eq!(
        (written.cloned, written.polls, written.shared),
        (3, 2, false)
    );
    let by_future = history.clones_by_future();
    let clones = by_future
        .iter()
        .find(|(path, _)| path.contains("HandWritten"));
    assert_eq!(clones.map(|(_, count)| *count), Some(3));
}

#[test]
fn what_is_not_known_is_shared() {
    let mut trace = Trace::new();
    let worker = trace.thread(1, "worker", 100);
    let task = trace.task(17, "app::serve", 100, true);
    polled(&mut trace, task, worker, 200, 1);
    trace.stands(
        task,
        300,
        &[
            body(0, 0, "app::serve", 11),
            leaf(1, 8, "app::HandWritten", ""),
        ],
    );
    polled(&mut trace, task, worker, 300, 0);
    let history = trace.history(100, 1_000);
    let [written] = of(&history, "HandWritten")[..] else {
        panic!("{:?}", history.awaits);
    };
    assert!(
        written.shared,
        "where it stood before its first poll is not known: {written:?}"
    );
}

#[test]
fn a_gap_and_an_unseen_poll_are_said() {
    let (mut trace, worker, task) = started();
    polled(&mut trace, task, worker, 200, 1);
    trace.event(task, 250, EventKind::Gap { lost: 1 }, None);
    let wakers = trace.history(100, 1_000).wakers(UnitIndex(1));
    assert!(wakers.gap_since_poll && wakers.last_poll_seen);
    let mut unseen = trace.clone();
    unseen.end(task, 300, 310, Outcome::Pending);
    let wakers = unseen.history(100, 1_000).wakers(UnitIndex(1));
    assert!(!wakers.last_poll_seen);
}

#[test]
fn probes_that_were_not_there_are_known() {
    let probed = Probed::by_kinds([
        "task_poll",
        "wake_by_value",
        "wake_by_reference",
        "waker_drop",
    ]);
    assert_eq!(probed.clones, Some(false));
    assert_eq!(probed.drops, Some(true));
    assert_eq!(probed.wakes, Some(true));
    assert_eq!(Probed::default().clones, None);
}

#[test]
fn a_poll_is_known_to_go_on_until_the_last_thing_inside_it() {
    let (mut trace, worker, task) = started();
    let poll = trace.begin(task, worker, 200, None);
    cloned(&mut trace, task, task, 230, Some(poll));
    trace.event(
        task,
        240,
        EventKind::Blocked {
            preempted: false,
            syscall: None,
        },
        None,
    );
    trace.event(task, 270, EventKind::Unblocked, None);
    let kind = EventKind::PollEnd {
        outcome: Outcome::Pending,
        seen: crate::rebuild::event::EndSeen::NextEvent,
        began: Some(200),
    };
    trace.event(task, 300, kind, None);
    let history = trace.history(100, 1_000);
    assert_eq!(history.known_until(super::PollIndex(0)), 270);
    assert_eq!(history.polls[0].end, Some(300));
}
