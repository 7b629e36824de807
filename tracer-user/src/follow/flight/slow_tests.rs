//! Slow requests and awaits in made-up streams.

use super::*;
use crate::analyse::history::sample::{Trace, body, leaf, sleep};
use crate::follow::flight::trigger::Cause;
use crate::rebuild::event::Outcome;

const MS: u64 = 1_000_000;

fn slow(pattern: Option<&str>, limit: u64) -> Vec<Slow> {
    vec![Slow {
        which: Patterns::new(pattern.as_slice()),
        limit,
    }]
}

fn of_requests(pattern: Option<&str>, limit: u64) -> Watching {
    Watching {
        requests: slow(pattern, limit),
        ..Watching::default()
    }
}

fn of_awaits(pattern: Option<&str>, limit: u64) -> Watching {
    Watching {
        awaits: slow(pattern, limit),
        ..Watching::default()
    }
}

fn polls(polls: bool, time: u64) -> watching::Watching {
    watching::Watching {
        polls,
        ..watching::Watching::everything(time)
    }
}

fn found(watching: Watching, trace: &Trace, look: u64) -> Vec<Trigger> {
    let mut watcher = Watcher::new(watching);
    let mut found = Vec::new();
    for events in trace.events.chunks(3) {
        watcher.events(events, &mut found);
    }
    watcher.look(look, &mut found);
    found
}

/// A connection that handles requests of these lengths, 10 ms apart.
fn connection(lengths: &[u64]) -> Trace {
    let mut trace = Trace::new();
    let thread = trace.thread(1, "worker", 1);
    let task = trace.task(1, "app::serve", 2, true);
    let mut now = 100 * MS;
    let reads = [body(0, 0, "app::serve", 5), leaf(1, 8, "Read", "io")];
    trace.stands(task, now, &reads);
    trace.poll(task, thread, now, now + 1, None);
    for (at, length) in lengths.iter().enumerate() {
        let handles = [
            body(0, 0, "app::serve", 7),
            body(1, 8, "app::handle", 20),
            sleep(2, 16, at as u8),
        ];
        now += length;
        trace.stands(task, now, &handles);
        trace.poll(task, thread, now, now + 1, None);
        now += 10 * MS;
        trace.stands(task, now, &reads);
        trace.poll(task, thread, now, now + 1, None);
    }
    trace
}

#[test]
fn a_slow_request_is_told_when_its_task_is_polled_in_it() {
    let trace = connection(&[100 * MS, 300 * MS, 200 * MS]);
    let found = found(of_requests(Some("handle"), 250 * MS), &trace, 0);
    let why: Vec<&str> = found.iter().map(|trigger| trigger.why.as_str()).collect();
    assert_eq!(
        why,
        ["request app::handle of tokio/1 (app::serve) took 300ms, more than 250ms"]
    );
    assert_eq!(found[0].cause, Cause::Request);
    // When the poll began that ended its sleep, and what belongs to it.
    assert_eq!(found[0].at, (100 + 100 + 10 + 300) * MS + SETTLE);
}

#[test]
fn requests_are_learned_and_without_that_nothing_is_one() {
    let trace = connection(&[300 * MS]);
    assert_eq!(found(of_requests(None, 250 * MS), &trace, 0), []);
    let mut watcher = Watcher::new(of_requests(None, 250 * MS));
    watcher.requests_are(vec!["app::handle".into()]);
    let mut told = Vec::new();
    watcher.events(&trace.events, &mut told);
    assert_eq!(told.len(), 1);
}

#[test]
fn awaits_are_told_by_their_place_and_only_by_the_innermost() {
    let trace = connection(&[300 * MS]);
    let found = found(of_awaits(None, 250 * MS), &trace, 0);
    let why: Vec<&str> = found.iter().map(|trigger| trigger.why.as_str()).collect();
    assert_eq!(
        why,
        [
            "await of tokio::time::sleep::Sleep at src/main.rs:20 in tokio/1 (app::serve) took \
          299ms, more than 250ms"
        ]
    );
    let named = |pattern| super::tests::found(of_awaits(Some(pattern), 250 * MS), &trace, 0).len();
    assert_eq!(
        (named("handle"), named("db::*"), named("*Sleep")),
        (1, 0, 1)
    );
}

#[test]
fn what_was_there_before_us_and_what_a_poll_may_have_ended_is_not_slow() {
    let mut trace = Trace::new();
    let thread = trace.thread(1, "worker", 1);
    let task = trace.task(1, "app::serve", 2, true);
    let reads = [body(0, 0, "app::serve", 5), leaf(1, 8, "Read", "io")];
    // Waits since before the attach, then reads once in 100 ms: the same place, another await.
    let mut now = 900 * MS;
    trace.stands(task, now, &reads);
    for _ in 0..20 {
        trace.poll(task, thread, now, now + 1, None);
        now += 100 * MS;
    }
    assert_eq!(found(of_awaits(None, 250 * MS), &trace, now + 900 * MS), []);
    // And then once for long.
    now += 300 * MS;
    trace.poll(task, thread, now, now + 1, None);
    assert_eq!(found(of_awaits(None, 250 * MS), &trace, 0).len(), 1);
}

#[test]
fn what_hangs_is_told_by_memory_and_time() {
    let mut trace = Trace::new();
    let thread = trace.thread(1, "worker", 1);
    let (task, _) = trace.spawned(thread, 1, "app::job", 10 * MS, None);
    trace.poll(task, thread, 11 * MS, 12 * MS, None);
    let hangs = [body(0, 0, "app::job", 5), leaf(1, 8, "Recv", "channel")];
    // A look at memory.
    trace.stands(task, 200 * MS, &hangs);
    let told = |look| found(of_awaits(None, 250 * MS), &trace, look).len();
    assert_eq!((told(261 * MS), told(263 * MS)), (0, 1));
    let request = |look| found(of_requests(Some("job"), 250 * MS), &trace, look).len();
    assert_eq!((request(259 * MS), request(261 * MS)), (0, 1));
}

#[test]
fn a_task_that_ends_late_was_a_slow_request() {
    let mut trace = Trace::new();
    let thread = trace.thread(1, "worker", 1);
    for (id, length) in [(1, 100), (2, 400)] {
        let (task, _) = trace.spawned(thread, id, "app::job", 10 * MS, None);
        trace.begin(task, thread, 11 * MS, None);
        trace.end(task, 11 * MS, length * MS, Outcome::Ready);
    }
    // One that is told to stand somewhere only once is known by its spawn.
    let (task, _) = trace.spawned(thread, 3, "app::job", 500 * MS, None);
    trace.stands(task, 510 * MS, &[body(0, 0, "app::job", 5)]);
    trace.begin(task, thread, 510 * MS, None);
    trace.end(task, 510 * MS, 900 * MS, Outcome::Ready);
    let found = found(of_requests(Some("job"), 250 * MS), &trace, 0);
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn a_panic_is_told_with_its_place_and_what_it_says() {
    let mut trace = connection(&[10 * MS]);
    let location = Some(Arc::new(PanicLocation {
        file: "src/main.rs".into(),
        line: 7,
        column: 3,
    }));
    let (suspension, marks) = crate::analyse::history::sample::suspension(&[], None);
    let began = EventKind::PanicBegan {
        location,
        suspension,
        marks,
    };
    let unit = UnitId(1);
    trace.event(unit, 900 * MS, began, None);
    let watching = Watching {
        panics: true,
        requests: slow(Some("nothing"), 1),
        ..Watching::default()
    };
    let told = found(watching.clone(), &trace, 2_000 * MS);
    let panicked = "tokio/1 (app::serve) panicked at src/main.rs:7:3";
    assert_eq!(told[0].why, panicked, "without what it says, after a while");
    let message = Some("out of \x1b[31mluck".into());
    trace.event(unit, 901 * MS, EventKind::PanicRaised { message }, None);
    let told = found(watching, &trace, 2_000 * MS);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].why, format!("{panicked}: out of \\x1b[31mluck"));
    assert_eq!(found(Watching::default(), &trace, 2_000 * MS), []);
}

/// A request hangs; in the windows after the first nothing of its task is seen.
#[test]
fn what_hangs_over_pauses_is_told() {
    let mut trace = Trace::new();
    let thread = trace.thread(1, "worker", 1);
    let task = trace.task(1, "app::serve", 2, true);
    for (now, line) in [(1_000 * MS, 5), (1_001 * MS, 7)] {
        let mut standing = vec![body(0, 0, "app::serve", line)];
        if line == 7 {
            standing.push(body(1, 8, "app::handle", 20));
        }
        trace.stands(task, now, &standing);
        trace.poll(task, thread, now, now + 1, None);
    }
    trace.stands(
        task,
        1_002 * MS,
        &[body(0, 0, "app::serve", 7), body(1, 8, "app::handle", 20)],
    );
    let mut watcher = Watcher::new(of_requests(Some("app::handle"), 300 * MS));
    let mut found = Vec::new();
    watcher.events(&trace.events, &mut found);
    for window in 1..8 {
        watcher.watching(&polls(false, (window * 1_000 + 100) * MS));
        watcher.look((window * 1_000 + 900) * MS, &mut found);
        watcher.watching(&polls(true, (window * 1_000 + 950) * MS));
        watcher.look((window * 1_000 + 1_050) * MS, &mut found);
        // Less than three times 300 ms were watched: what looks the same may be another.
        assert_eq!(found.is_empty(), window < 6, "{window}: {found:?}");
    }
    assert_eq!(found.len(), 1, "{found:?}");
    let why = &found[0].why;
    assert!(
        why.contains("of what was watched, more than 300ms"),
        "{why}"
    );
}

/// Polls are not watched for most of the time: a connection that answers one request in a millisecond
/// looks the same after each pause, and nothing took long. What sleeps until the same moment does.
#[test]
fn a_pause_makes_no_request_slow_and_hides_none_that_a_deadline_tells() {
    let answers = |leaf: fn(u64) -> crate::analyse::history::sample::Future| {
        let mut trace = Trace::new();
        let thread = trace.thread(1, "worker", 1);
        let task = trace.task(1, "app::serve", 2, true);
        let mut told = Vec::new();
        for window in 1..6 {
            let start = window * 1_000 * MS;
            for now in [start, start + MS, start + 2 * MS] {
                let reads = [body(0, 0, "app::serve", 5), self::leaf(1, 8, "Read", "io")];
                let handles = [
                    body(0, 0, "app::serve", 7),
                    body(1, 8, "app::handle", 20),
                    leaf(9),
                ];
                let first = now == start && window == 1;
                let standing: &[_] = if first { &reads } else { &handles };
                trace.stands(task, now, standing);
                trace.poll(task, thread, now, now + 1, None);
            }
            told.push((trace.events.len(), start + 3 * MS));
        }
        let mut watcher = Watcher::new(of_requests(Some("app::handle"), 100 * MS));
        let (mut found, mut from) = (Vec::new(), 0);
        for (until, end) in told {
            watcher.watching(&polls(true, end - 3 * MS));
            watcher.events(&trace.events[from..until], &mut found);
            watcher.watching(&polls(false, end));
            // As memory tells it in the pause.
            let looked = end + 500 * MS;
            let mut memory = trace.clone();
            memory.events.clear();
            memory.stands(
                task,
                looked,
                &[
                    body(0, 0, "app::serve", 7),
                    body(1, 8, "app::handle", 20),
                    leaf(9),
                ],
            );
            watcher.events(&memory.events, &mut found);
            watcher.look(end + 900 * MS, &mut found);
            from = until;
        }
        found.len()
    };
    let channel = |_| leaf(2, 16, "tokio::sync::oneshot::Receiver", "oneshot");
    assert_eq!(answers(channel), 0);
    // The request is the same one in all windows.
    assert_eq!(answers(|mark| sleep(2, 16, mark as u8)), 1);
}

/// A loop sleeps for half a second again and again, and no window sees its polls: what memory tells
/// later is another sleep, which did not begin when the last poll was seen.
#[test]
fn what_is_new_after_a_pause_did_not_begin_before_it() {
    let mut trace = Trace::new();
    let thread = trace.thread(1, "worker", 1);
    let task = trace.task(1, "app::serve", 2, true);
    let standing = |mark| [body(0, 0, "app::serve", 5), sleep(1, 8, mark)];
    for (number, now) in [(1, 1_000 * MS), (2, 1_001 * MS)] {
        trace.stands(task, now, &standing(number));
        trace.poll(task, thread, now, now + 1, None);
    }
    trace.stands(task, 1_002 * MS, &standing(3));
    let awaits = Watching {
        awaits: vec![Slow {
            which: Patterns::default(),
            limit: 700 * MS,
        }],
        ..Watching::default()
    };
    let mut watcher = Watcher::new(awaits);
    let mut found = Vec::new();
    watcher.events(&trace.events, &mut found);
    for window in 1..8_u64 {
        watcher.watching(&polls(false, (window * 1_000 + 100) * MS));
        let mut memory = trace.clone();
        memory.events.clear();
        let looked = (window * 1_000 + 500) * MS;
        memory.stands(task, looked, &standing(3 + window as u8));
        watcher.events(&memory.events, &mut found);
        watcher.look((window * 1_000 + 900) * MS, &mut found);
        watcher.watching(&polls(true, (window * 1_000 + 950) * MS));
        watcher.look((window * 1_000 + 1_050) * MS, &mut found);
    }
    assert_eq!(found, []);
    // The one that the last look found stays.
    watcher.watching(&polls(false, 8_300 * MS));
    watcher.look(8_300 * MS, &mut found);
    assert_eq!(found, [], "350 ms of it were watched");
    watcher.watching(&polls(true, 9_000 * MS));
    watcher.look(10_700 * MS, &mut found);
    assert_eq!(found, [], "2,050 ms");
    watcher.look(10_800 * MS, &mut found);
    let [slow] = &found[..] else {
        panic!("{found:?}")
    };
    assert!(slow.why.contains("of what was watched"), "{slow:?}");
}
