//! What is told of units before a kept stretch.

use super::*;
use crate::analyse::history::Builder;
use crate::analyse::history::sample::{Trace, body, leaf, sleep};
use crate::rebuild::event::Event;

fn before(events: &[Event]) -> Before {
    let mut before = Before::default();
    events.iter().for_each(|event| before.take(event));
    before
}

/// A task that was spawned long ago and stands in a request since its last poll but one.
fn server() -> (Trace, UnitId, UnitId) {
    let mut trace = Trace::new();
    let thread = trace.thread(1, "worker", 10);
    let accept = trace.task(1, "app::accept", 11, true);
    let (task, _) = trace.spawned(accept, 2, "app::serve", 20, None);
    let waits = [body(0, 0, "app::serve", 5), leaf(1, 8, "Read", "io")];
    trace.poll(task, thread, 30, 31, None);
    for at in 1..50 {
        trace.stands(task, at * 100, &waits);
        trace.poll(task, thread, at * 100, at * 100 + 5, None);
    }
    let handles = [
        body(0, 0, "app::serve", 7),
        body(1, 8, "app::handle", 20),
        sleep(2, 16, 3),
    ];
    trace.stands(task, 6_000, &handles);
    trace.poll(task, thread, 6_000, 6_005, None);
    (trace, task, thread)
}

#[test]
fn a_unit_is_told_without_holes_up_to_the_first_that_is_kept() {
    let (trace, task, _) = server();
    let events = before(&trace.events).events();
    let of_task: Vec<&Event> = events
        .iter()
        .filter(|event| event.id.unit == task)
        .collect();
    let last = trace.events.iter().rfind(|event| event.id.unit == task);
    let next = last.unwrap().id.sequence + 1;
    let first = of_task[0].id.sequence;
    let numbers: Vec<u64> = of_task.iter().map(|event| event.id.sequence).collect();
    assert_eq!(numbers, (first..next).collect::<Vec<_>>());
    assert!(of_task.is_sorted_by_key(|event| event.time));
    assert!(of_task.len() <= 7, "{of_task:?}");
    assert!(matches!(of_task[0].kind, EventKind::Described(_)));
}

#[test]
fn how_long_it_stands_there_is_a_lower_bound_and_its_spawn_is_known() {
    let (mut trace, task, thread) = server();
    let kept_from = trace.events.len();
    trace.poll(task, thread, 9_000, 9_001, None);
    let mut builder = Builder::new(5);
    builder.window(7_000, u64::MAX);
    builder.events(&before(&trace.events[..kept_from]).events());
    builder.events(&trace.events[kept_from..]);
    builder.reached(10_000);
    let history = builder.finish();
    assert_eq!(
        history.missing.gaps, 0,
        "nothing is missing in what is shown"
    );
    let unit = history.units.iter().find(|unit| unit.id == task).unwrap();
    assert_eq!(unit.first, 20);
    assert_eq!(unit.task().unwrap().spawned.unwrap().time, 20);
    assert_eq!(unit.polls.len(), 1);
    let awaits: Vec<_> = unit
        .awaits
        .iter()
        .map(|at| &history[*at])
        .map(|row| (&*row.awaited.future, row.start, row.at_least))
        .collect();
    // It began in the poll at 4,900 and nothing later: after that poll it stood there.
    assert_eq!(
        awaits,
        [
            ("app::serve", 20, false),
            ("app::handle", 4_905, true),
            ("tokio::time::sleep::Sleep", 4_905, true)
        ]
    );
}

#[test]
fn a_poll_that_goes_on_keeps_its_number_and_what_happened_in_it() {
    let (mut trace, task, thread) = server();
    let begin = trace.begin(task, thread, 9_000, None);
    let other = trace.task(3, "app::other", 9_001, true);
    trace.wake(task, other, 9_010, Some(begin));
    let blocked = EventKind::Blocked {
        preempted: false,
        syscall: None,
    };
    trace.event(task, 9_020, blocked, None);
    let kept_from = trace.events.len();
    trace.wake(task, other, 9_500, Some(begin));
    let events = before(&trace.events[..kept_from]).events();
    let told = events.iter().find(|event| event.id == begin).unwrap();
    assert!(matches!(told.kind, EventKind::PollBegin { .. }));
    let mut builder = Builder::new(5);
    builder.window(9_400, u64::MAX);
    builder.events(&events);
    builder.events(&trace.events[kept_from..]);
    builder.reached(10_000);
    let history = builder.finish();
    assert_eq!((history.polls.len(), history.wakes.len()), (1, 1));
    assert_eq!(history.polls[0].begin, 9_000);
    assert_eq!(
        history.wakes[0].by.poll,
        Some(crate::analyse::history::PollIndex(0))
    );
    assert_eq!(
        history.polls[0].blocked, 980,
        "off the CPU since 9,020, until the end"
    );
}

#[test]
fn what_is_over_is_forgotten_for_good() {
    let (mut trace, task, _) = server();
    trace.end(task, 6_000, 9_000, crate::rebuild::event::Outcome::Ready);
    let what = EventKind::Described(Arc::new(Unit::Origin(crate::rebuild::event::Origin::Timer)));
    trace.event(task, 9_100, what, None);
    let before = before(&trace.events);
    assert_eq!(before.len(), 2, "the thread and the acceptor: {before:?}");
}

#[test]
fn units_are_bounded_and_origins_go_first() {
    let mut trace = Trace::new();
    for at in 0..20 {
        let origin = crate::rebuild::event::Origin::Io {
            resource: None,
            fd: Some(at),
        };
        trace.unit(u64::from(at.unsigned_abs()), Unit::Origin(origin));
    }
    for id in 0..8 {
        trace.task(id, "app::f", 100 + id, true);
    }
    let mut before = Before {
        limit: 10,
        ..Before::default()
    };
    trace.events.iter().for_each(|event| before.take(event));
    assert_eq!((before.len(), before.forgotten()), (8, 20));
}

#[test]
fn where_it_stands_is_not_told_across_what_is_missing() {
    let (mut trace, task, _) = server();
    let stands = |trace: &Trace| {
        let told = before(&trace.events).events();
        told.iter().any(|event| {
            event.id.unit == task && matches!(event.kind, EventKind::AwaitChanged { .. })
        })
    };
    assert!(stands(&trace));
    trace.event(task, 7_000, EventKind::Gap { lost: 2 }, None);
    assert!(!stands(&trace));
}
