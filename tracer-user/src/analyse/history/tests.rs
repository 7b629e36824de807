//! Histories of small traces made by hand.

use super::sample::{Trace, body, holder, leaf, marked_body, sleep};
use super::*;
use crate::rebuild::event::{EventKind, UnitId};
use crate::rebuild::tree::NodeState;
use crate::rebuild::watching::Watching;

const SELECT: &str = "core::future::poll_fn::PollFn<select>";

/// A worker and a task that it spawns at 100 and polls first from 110 to 120.
fn started() -> (Trace, UnitId, UnitId) {
    let mut trace = Trace::new();
    let worker = trace.thread(7, "worker", 100);
    let (task, spawn) = trace.spawned(worker, 17, "app::serve", 100, None);
    trace.poll(task, worker, 110, 120, Some(spawn));
    (trace, worker, task)
}

fn of<'h>(history: &'h History, future: &str) -> Vec<&'h Await> {
    let rows = history.awaits.iter();
    rows.filter(|row| row.awaited.future.contains(future))
        .collect()
}

/// Start, end, waiting, polled, polls.
fn times(row: &Await) -> (u64, Option<u64>, u64, u64, u32) {
    (row.start, row.end, row.waiting, row.polled, row.polls)
}

#[test]
fn awaits_begin_and_end_with_the_polls_that_make_and_end_them() {
    let (mut trace, worker, task) = started();
    let standing = [
        body(0, 0, "app::serve", 10),
        body(1, 8, "app::fetch", 20),
        sleep(2, 16, 1),
    ];
    trace.stands(task, 200, &standing);
    trace.poll(task, worker, 200, 205, None);
    let standing = [
        body(0, 0, "app::serve", 12),
        marked_body(1, 8, "app::store", 30, 4),
        leaf(2, 16, "Acquire", "lock"),
    ];
    trace.stands(task, 300, &standing);
    let begin = trace.begin(task, worker, 300, None);
    trace.end(task, 300, 310, Outcome::Ready);
    let history = trace.history(100, 1_000);
    assert_eq!(begin.sequence, history.polls[2].event.sequence);

    let [serve] = of(&history, "app::serve")[..] else {
        panic!()
    };
    assert_eq!(times(serve), (100, Some(310), 185, 25, 3));
    assert_eq!((serve.outcome, serve.parent), (AwaitOutcome::Ready, None));
    let [fetch] = of(&history, "app::fetch")[..] else {
        panic!()
    };
    assert_eq!(times(fetch), (110, Some(205), 80, 15, 2));
    assert_eq!(fetch.outcome, AwaitOutcome::Ready);
    assert_eq!(fetch.awaited.line, Some(10));
    assert_eq!(fetch.awaited.by.as_deref(), Some("app::serve"));
    let [slept] = of(&history, "Sleep")[..] else {
        panic!()
    };
    assert_eq!(times(slept), (120, Some(200), 80, 0, 0));
    assert_eq!(
        (slept.outcome, slept.at_least),
        (AwaitOutcome::Ready, false)
    );
    assert_eq!(slept.awaited.line, Some(20));
    let [lock] = of(&history, "Acquire")[..] else {
        panic!()
    };
    assert_eq!(times(lock), (205, Some(300), 95, 0, 0));
    assert_eq!(lock.outcome, AwaitOutcome::Ready);

    let waited: Vec<_> = history
        .polls
        .iter()
        .map(|poll| poll.waited_in.len())
        .collect();
    assert_eq!(waited, [0, 1, 1]);
    assert_eq!(history.polls[0].cause, Some(PollCause::Spawn));
    let task = history.units[1].task().unwrap();
    assert_eq!(task.end.unwrap().outcome, Outcome::Ready);
}

#[test]
fn a_mark_tells_a_loop_that_sleeps_and_no_mark_leaves_it_one_wait() {
    let (mut trace, worker, task) = started();
    for round in 0..3_u8 {
        let at = 200 + u64::from(round) * 100;
        let standing = [body(0, 0, "app::serve", 10), sleep(1, 8, round)];
        trace.stands(task, at, &standing);
        trace.poll(task, worker, at, at + 10, None);
    }
    let history = trace.history(100, 1_000);
    let sleeps = of(&history, "Sleep");
    let spans: Vec<_> = sleeps.iter().map(|row| (row.start, row.end)).collect();
    assert_eq!(
        spans,
        [(120, Some(200)), (210, Some(300)), (310, Some(400))]
    );
    // What it waits for since 410 was not told.
    assert_eq!(of(&history, "app::serve")[0].outcome, AwaitOutcome::Open);
}

#[test]
fn a_loop_that_receives_is_told_by_who_woke_it() {
    let (mut trace, worker, task) = started();
    let (sender, spawn) = trace.spawned(worker, 18, "app::send", 130, None);
    trace.poll(sender, worker, 140, 145, Some(spawn));
    let standing = [
        body(0, 0, "app::serve", 10),
        body(1, 8, "tokio::sync::mpsc::bounded::Receiver<u8>::recv", 5),
        leaf(2, 16, "core::future::poll_fn::PollFn", "channel"),
    ];
    trace.stands(task, 190, &standing);
    let poll = trace.begin(sender, worker, 180, None);
    let wake = trace.wake(sender, task, 185, Some(poll));
    trace.end(sender, 180, 188, Outcome::Pending);
    trace.poll(task, worker, 200, 210, Some(wake));
    let own = trace.begin(task, worker, 300, None);
    trace.wake(task, task, 305, Some(own));
    trace.end(task, 300, 310, Outcome::Pending);
    trace.stands(task, 350, &standing);
    let history = trace.history(100, 1_000);
    let receives = of(&history, "PollFn");
    let spans: Vec<_> = receives.iter().map(|row| (row.start, row.end)).collect();
    assert_eq!(spans, [(120, Some(200)), (210, None)]);
    assert_eq!(receives[0].outcome, AwaitOutcome::Ready);
    assert_eq!(of(&history, "recv").len(), 2);
    assert_eq!(of(&history, "app::serve").len(), 1);
    let [wake, own] = &history.wakes[..] else {
        panic!()
    };
    assert_eq!(history.polls[wake.poll.unwrap().0 as usize].begin, 200);
    assert_eq!(own.by.unit, own.task);
    let within = &history[own.by.within.unwrap()];
    assert_eq!(
        &*within.awaited.future,
        "tokio::sync::mpsc::bounded::Receiver<u8>::recv"
    );
}

#[test]
fn arms_of_a_select_end_as_the_wake_tells() {
    let (mut trace, worker, task) = started();
    let timer = trace.origin(Origin::Timer, 130);
    trace.stands(
        task,
        200,
        &[
            body(0, 0, "app::serve", 10),
            holder(1, 8, SELECT),
            sleep(2, 16, 1),
            leaf(2, 64, "tokio::sync::oneshot::Receiver", "oneshot"),
        ],
    );
    let fired = trace.event(timer, 190, EventKind::Fired, None);
    let wake = trace.wake(worker, task, 191, Some(fired));
    trace.poll(task, worker, 200, 205, Some(wake));
    trace.stands(task, 300, &[body(0, 0, "app::serve", 12), sleep(1, 8, 9)]);
    trace.begin(task, worker, 300, None);
    let history = trace.history(100, 1_000);
    let sleeps = of(&history, "Sleep");
    assert_eq!(sleeps[0].outcome, AwaitOutcome::Ready);
    assert_eq!(of(&history, "oneshot")[0].outcome, AwaitOutcome::Cancelled);
    assert_eq!(of(&history, SELECT)[0].outcome, AwaitOutcome::Ready);
    assert_eq!(history.wakes[0].by.origin, Some(UnitIndex(2)));
    // The poll that began at 300 goes on, and with it what it polls.
    assert_eq!(sleeps[1].outcome, AwaitOutcome::Open);
    let current = history.current(UnitIndex(1)).unwrap();
    assert_eq!((current.since, current.poll), (300, PollIndex(2)));
    assert_eq!(
        &*history[current.within.unwrap()].awaited.future,
        "app::serve"
    );
}

#[test]
fn a_future_kept_across_two_selects_is_one_instance_with_two_parents() {
    let (mut trace, worker, task) = started();
    let kept = |depth| [body(depth, 400, "app::work", 50), sleep(depth + 1, 408, 77)];
    let mut first = vec![body(0, 0, "app::serve", 10), holder(1, 8, SELECT)];
    first.extend(kept(2));
    first.push(sleep(2, 64, 1));
    trace.stands(task, 200, &first);
    trace.poll(task, worker, 200, 205, None);
    // Between the two it is not reached.
    trace.stands(task, 300, &[body(0, 0, "app::serve", 11), sleep(1, 8, 2)]);
    trace.poll(task, worker, 300, 305, None);
    let mut second = vec![body(0, 0, "app::serve", 12), holder(1, 8, SELECT)];
    second.extend(kept(2));
    second.push(sleep(2, 64, 3));
    trace.stands(task, 400, &second);
    trace.poll(task, worker, 400, 405, None);
    trace.stands(task, 500, &[body(0, 0, "app::serve", 14), sleep(1, 8, 5)]);
    let history = trace.history(100, 1_000);
    let [work] = of(&history, "app::work")[..] else {
        panic!("{:#?}", of(&history, "app::work"))
    };
    assert_eq!((work.start, work.end), (110, Some(405)));
    let selects = of(&history, SELECT);
    assert_eq!(selects.len(), 2);
    assert_eq!(work.former_parents.len(), 1);
    assert_eq!(history[work.former_parents[0]].start, selects[0].start);
    assert_eq!(history[work.parent.unwrap()].start, selects[1].start);
    let kept = of(&history, "Sleep");
    let kept: Vec<_> = kept.iter().filter(|row| row.start == 120).collect();
    // Its own sleep too, and the other arm's is over.
    assert_eq!(kept.len(), 2);
    assert!(kept.iter().any(|row| row.end == Some(400)));
    assert!(kept.iter().any(|row| row.end == Some(200)));
}

#[test]
fn what_is_found_suspended_is_at_least_that_old() {
    let mut trace = Trace::new();
    let worker = trace.thread(7, "worker", 100);
    let task = trace.task(1, "app::serve", 100, true);
    let standing = [body(0, 0, "app::serve", 10), sleep(1, 8, 1)];
    trace.stands(task, 150, &standing);
    trace.poll(task, worker, 400, 410, None);
    let history = trace.history(100, 1_000);
    let slept = of(&history, "Sleep")[0];
    assert!(slept.at_least && of(&history, "serve")[0].at_least);
    // It was polled once more, and then nothing was told.
    assert_eq!(
        (slept.end, slept.outcome),
        (Some(400), AwaitOutcome::Unknown)
    );
    assert_eq!((slept.start, slept.waiting), (100, 300));
}

#[test]
fn a_hole_ends_what_is_not_there_any_more_where_it_was_last_known() {
    let (mut trace, worker, task) = started();
    trace.stands(task, 200, &[body(0, 0, "app::serve", 10), sleep(1, 8, 1)]);
    trace.poll(task, worker, 200, 205, None);
    let lost = trace.events.len();
    trace.poll(task, worker, 300, 305, None);
    trace.events.truncate(lost);
    trace.stands(task, 400, &[body(0, 0, "app::serve", 12), sleep(1, 8, 2)]);
    trace.poll(task, worker, 400, 405, None);
    let history = trace.history(100, 1_000);
    let sleeps = of(&history, "Sleep");
    assert_eq!(
        (sleeps[0].end, sleeps[0].outcome),
        (Some(200), AwaitOutcome::Over)
    );
    assert_eq!((sleeps[1].start, sleeps[1].at_least), (400, true));
    assert_eq!(history.missing.gaps, 1);
}

/// Where no probe sees spawns, a task's first poll stands for its own.
#[test]
fn a_task_that_had_not_run_at_its_first_poll_began_with_that() {
    for (existing, at_least) in [(false, false), (true, true)] {
        let (mut trace, worker, _) = started();
        let task = trace.task(9, "app::connection", 190, existing);
        let mut unresumed = body(0, 0, "app::connection", 10);
        Arc::make_mut(&mut unresumed.future.state).state = NodeState::Unresumed;
        trace.stands(task, 200, &[unresumed]);
        trace.poll(task, worker, 200, 205, None);
        let standing = [body(0, 0, "app::connection", 12), sleep(1, 8, 1)];
        trace.stands(task, 300, &standing);
        trace.poll(task, worker, 300, 305, None);
        let history = trace.history(100, 1_000);
        let root = lives(&history, "app::connection");
        let begin = if existing { 190 } else { 200 };
        assert_eq!(root, [(begin, None, at_least)], "{existing}");
        let sleeps = lives(&history, "Sleep");
        assert_eq!(sleeps[0].0, 205, "{existing} {sleeps:?}");
        assert!(!sleeps[0].2, "{existing} {sleeps:?}");
    }
}

/// Polls are not watched from this time on.
fn pause_from(time: u64) -> Watching {
    Watching {
        polls: false,
        ..Watching::everything(time)
    }
}

/// Start, end, and whether the start is a bound.
fn lives(history: &History, future: &str) -> Vec<(u64, Option<u64>, bool)> {
    let rows = of(history, future);
    let lives = rows.iter().map(|row| (row.start, row.end, row.at_least));
    lives.collect()
}

/// A task that answers one request after the other, and sleeps in one that is slow.
#[test]
fn what_looks_the_same_after_a_pause_is_the_same_where_a_deadline_says_so() {
    let (mut trace, worker, task) = started();
    let quick = [
        body(0, 0, "app::serve", 10),
        body(1, 8, "app::answer", 20),
        leaf(2, 16, "tokio::sync::oneshot::Receiver", "oneshot"),
    ];
    let slow = |deadline| {
        [
            body(0, 0, "app::serve", 10),
            body(1, 8, "app::answer", 21),
            sleep(2, 16, deadline),
        ]
    };
    let mut told = Vec::new();
    for (time, standing) in [
        (200, &quick),
        (500, &quick),
        (600, &slow(7)),
        (900, &slow(7)),
    ] {
        trace.stands(task, time, standing);
        trace.poll(task, worker, time, time + 5, None);
        told.push(trace.events.len());
    }
    let mut builder = Builder::new(100);
    builder.events(&trace.events[..told[0]]);
    builder.watching(&pause_from(300));
    builder.watching(&Watching::everything(400));
    builder.events(&trace.events[told[0]..told[2]]);
    builder.watching(&pause_from(700));
    builder.watching(&Watching::everything(800));
    builder.events(&trace.events[told[2]..]);
    builder.reached(1_000);
    let history = builder.finish();
    let answers = lives(&history, "app::answer");
    // It was there at 200, and is there at 500: one or two. What sleeps until the same moment is one.
    assert_eq!(answers, [(110, Some(200), false), (500, Some(900), true)]);
    assert_eq!(of(&history, "app::serve").len(), 1);
    assert_eq!(of(&history, "Sleep").len(), 1);
}

/// Memory tells in a pause where tasks stand at that moment, and not until the end of the trace.
#[test]
fn where_a_task_was_seen_in_a_pause_it_does_not_stand_until_the_end() {
    let (mut trace, worker, task) = started();
    let waits = [
        body(0, 0, "app::serve", 10),
        body(1, 8, "app::answer", 20),
        leaf(2, 16, "tokio::sync::oneshot::Receiver", "oneshot"),
    ];
    trace.stands(task, 200, &waits);
    trace.poll(task, worker, 200, 205, None);
    let polled = trace.events.len();
    trace.stands(task, 350, &waits);
    let ends = |is_quiet: bool, until: u64| {
        let mut builder = Builder::new(100);
        builder.events(&trace.events[..polled]);
        if is_quiet {
            builder.watching(&pause_from(210));
            builder.watching(&Watching::everything(220));
        }
        builder.watching(&pause_from(300));
        builder.events(&trace.events[polled..]);
        builder.reached(until);
        let history = builder.finish();
        lives(&history, "app::answer").last().unwrap().1
    };
    let much_later = 2_000_000_000;
    assert_eq!(ends(false, much_later), Some(350));
    // Where it was the last look, and where the task was not polled in a whole window, it goes on.
    assert_eq!(ends(false, 1_000), None);
    assert_eq!(ends(true, much_later), None);
}

/// Nothing of it was seen in a whole stretch that was watched, before memory and a poll told again.
#[test]
fn what_was_not_polled_in_a_whole_window_stood_still() {
    let (mut trace, worker, task) = started();
    let hangs = [
        body(0, 0, "app::serve", 10),
        body(1, 8, "app::answer", 20),
        leaf(2, 16, "tokio::sync::oneshot::Receiver", "oneshot"),
    ];
    trace.stands(task, 200, &hangs);
    trace.poll(task, worker, 200, 205, None);
    let first = trace.events.len();
    // As memory tells it.
    trace.stands(task, 650, &hangs);
    let second = trace.events.len();
    trace.stands(task, 900, &hangs);
    trace.poll(task, worker, 900, 905, None);
    let mut builder = Builder::new(100);
    builder.events(&trace.events[..first]);
    builder.watching(&pause_from(300));
    builder.watching(&Watching::everything(400));
    builder.watching(&pause_from(600));
    builder.events(&trace.events[first..second]);
    builder.watching(&Watching::everything(800));
    builder.events(&trace.events[second..]);
    builder.reached(1_000);
    let history = builder.finish();
    let answers = lives(&history, "app::answer");
    // From 400 to 600 everything was watched, and it was not polled.
    assert_eq!(answers, [(110, Some(900), false)]);
}

#[test]
fn a_window_keeps_the_begin_of_what_goes_on_in_it() {
    let (mut trace, worker, task) = started();
    trace.stands(task, 200, &[body(0, 0, "app::serve", 10), sleep(1, 8, 1)]);
    trace.poll(task, worker, 200, 205, None);
    trace.stands(task, 400, &[body(0, 0, "app::serve", 12), sleep(1, 8, 2)]);
    trace.poll(task, worker, 400, 405, None);
    trace.stands(task, 600, &[body(0, 0, "app::serve", 14), sleep(1, 8, 3)]);
    trace.poll(task, worker, 600, 605, None);
    let mut builder = Builder::new(100);
    builder.window(300, 500);
    builder.events(&trace.events);
    let history = builder.finish();
    assert_eq!(history.span, 300..500);
    let serve = of(&history, "app::serve")[0];
    assert_eq!((serve.start, serve.outcome), (100, AwaitOutcome::Open));
    assert_eq!(history.polls.len(), 1);
    assert_eq!(history.polls[0].begin, 400);
}

/// A history of what these events tell from 300 to 500.
fn from_300_to_500(trace: &Trace) -> History {
    let mut builder = Builder::new(100);
    builder.window(300, 500);
    builder.events(&trace.events);
    builder.reached(1_000);
    builder.finish()
}

/// A loop that receives, woken by another task before the window and in it.
#[test]
fn what_woke_a_task_before_a_window_tells_its_rounds_apart() {
    let (mut trace, worker, task) = started();
    let (sender, spawn) = trace.spawned(worker, 18, "app::send", 130, None);
    let poll = trace.begin(sender, worker, 140, Some(spawn));
    let standing = [
        body(0, 0, "app::serve", 10),
        leaf(1, 8, "tokio::sync::mpsc::Receiver", "channel"),
    ];
    trace.stands(task, 190, &standing);
    let wake = trace.wake(sender, task, 195, Some(poll));
    trace.poll(task, worker, 200, 210, Some(wake));
    trace.stands(task, 290, &standing);
    // Woken before the window, polled in it.
    let wake = trace.wake(sender, task, 295, Some(poll));
    trace.poll(task, worker, 310, 320, Some(wake));
    trace.stands(task, 390, &standing);
    let wake = trace.wake(sender, task, 395, Some(poll));
    trace.poll(task, worker, 400, 410, Some(wake));
    let history = from_300_to_500(&trace);
    let receives = lives(&history, "Receiver");
    assert_eq!(
        receives,
        [(210, Some(310), false), (320, Some(400), false)],
        "neither merged nor a bound"
    );
    assert_eq!(history.wakes.len(), 1, "those before have no row");
}

/// As a kept stretch tells what was before it: one unit after the other.
#[test]
fn a_wake_up_that_is_told_before_its_task_does_not_move_the_task() {
    let (mut trace, worker, _) = started();
    let task = trace.task(18, "app::open", 130, true);
    trace.begin(task, worker, 200, None);
    trace.wake(worker, task, 250, None);
    let (of_task, mut events): (Vec<_>, Vec<_>) = trace
        .events
        .into_iter()
        .partition(|event| event.id.unit == task);
    events.extend(of_task);
    let mut builder = Builder::new(100);
    builder.window(300, 500);
    builder.events(&events);
    builder.reached(400);
    assert_eq!(builder.finish().polls[0].begin, 200);
}

#[test]
fn wake_ups_that_were_not_watched_before_a_window_tell_rounds_apart_too() {
    let (mut trace, worker, task) = started();
    let standing = [
        body(0, 0, "app::serve", 10),
        leaf(1, 8, "tokio::sync::mpsc::Receiver", "channel"),
    ];
    let mut builder = Builder::new(100);
    builder.window(300, 500);
    builder.events(&trace.events);
    builder.watching(&Watching {
        wakes: false,
        ..Watching::everything(150)
    });
    let before = trace.events.len();
    for (told, time) in [(190, 200), (290, 350)] {
        trace.stands(task, told, &standing);
        trace.poll(task, worker, time, time + 10, None);
    }
    trace.stands(task, 395, &standing);
    builder.events(&trace.events[before..]);
    let history = builder.finish();
    let receives = lives(&history, "Receiver");
    assert_eq!(receives, [(210, Some(350), false), (360, None, false)]);
}

#[test]
fn tasks_that_were_over_before_a_window_are_left_out_unless_they_are_named() {
    let (mut trace, worker, task) = started();
    let (parent, _) = trace.spawned(worker, 18, "app::parent", 130, None);
    let begin = trace.begin(parent, worker, 140, None);
    let (child, _) = trace.spawned(parent, 19, "app::child", 145, Some(begin));
    trace.end(parent, 140, 150, Outcome::Ready);
    let (gone, _) = trace.spawned(worker, 20, "app::gone", 160, None);
    trace.begin(gone, worker, 170, None);
    trace.end(gone, 170, 180, Outcome::Ready);
    let (late, _) = trace.spawned(worker, 21, "app::late", 190, None);
    trace.begin(late, worker, 310, None);
    trace.wake(late, child, 315, None);
    trace.end(late, 310, 320, Outcome::Ready);
    trace.poll(task, worker, 330, 340, None);
    let history = from_300_to_500(&trace);
    let futures: Vec<&str> = history
        .units
        .iter()
        .filter_map(|unit| unit.task()?.future.as_deref())
        .collect();
    assert_eq!(
        futures,
        ["app::serve", "app::parent", "app::child", "app::late"]
    );
    let named = |unit: UnitIndex| history.units[unit.0 as usize].id;
    let polled: Vec<UnitId> = history.polls.iter().map(|poll| named(poll.task)).collect();
    assert_eq!(polled, [late, task]);
    assert_eq!(history.polls[0].thread.map(named), Some(worker));
    assert_eq!(named(history.wakes[0].task), child);
    assert_eq!(named(history.wakes[0].by.unit), late);
    let spawned = history.units[3].task().unwrap().spawned.unwrap();
    assert_eq!(named(spawned.by.unit), parent);
}

/// As a recording does: what it counted until a time comes before the last events of that time.
#[test]
fn counts_that_run_ahead_of_events_show_nothing_from_before_a_window() {
    let (mut trace, worker, task) = started();
    let before = trace.events.len();
    trace.poll(task, worker, 280, 290, None);
    trace.poll(task, worker, 310, 320, None);
    let mut builder = Builder::new(100);
    builder.window(300, 500);
    builder.events(&trace.events[..before]);
    builder.reached(350);
    builder.events(&trace.events[before..]);
    let history = builder.finish();
    let begins: Vec<u64> = history.polls.iter().map(|poll| poll.begin).collect();
    assert_eq!((begins, history.span), (vec![310], 300..350));
}

#[test]
fn pauses_count_as_far_as_they_are_in_the_window() {
    let missing = |told: &[Watching]| {
        let mut builder = Builder::new(100);
        builder.window(300, 500);
        told.iter().for_each(|watching| builder.watching(watching));
        builder.reached(1_000);
        builder.finish().missing
    };
    let everything = Watching::everything;
    let later = missing(&[pause_from(600), everything(700)]);
    assert_eq!((later.pauses, later.unwatched_ns), (0, 0));
    let at_the_end = missing(&[pause_from(450), everything(700)]);
    assert_eq!((at_the_end.pauses, at_the_end.unwatched_ns), (1, 50));
    let at_the_begin = missing(&[pause_from(200), everything(350), pause_from(900)]);
    assert_eq!((at_the_begin.pauses, at_the_begin.unwatched_ns), (1, 50));
    let all_of_it = missing(&[pause_from(200), everything(700)]);
    assert_eq!((all_of_it.pauses, all_of_it.unwatched_ns), (1, 200));
    let before = missing(&[pause_from(200), everything(250)]);
    assert_eq!((before.pauses, before.unwatched_ns), (0, 0));
}

#[test]
fn what_is_left_out_counts_as_far_as_it_is_in_the_window() {
    let missing = |from, until| {
        let mut builder = Builder::new(100);
        builder.window(300, 500);
        builder.watching(&Watching {
            wakes: false,
            left_out: vec!["app::busy".into()],
            ..Watching::everything(from)
        });
        builder.watching(&Watching::everything(until));
        builder.reached(1_000);
        builder.finish().missing
    };
    let untouched = Missing::default();
    assert_eq!(missing(200, 250), untouched);
    assert_eq!(missing(600, 700), untouched);
    let reaches_in = missing(200, 350);
    assert!(reaches_in.wakes_left_out);
    assert_eq!(reaches_in.left_out, ["app::busy".into()]);
    assert_eq!(reaches_in.partly_ns, 50);
}

#[test]
fn where_a_task_stood_is_unknown_only_as_often_as_the_window_shows() {
    let (mut trace, worker, task) = started();
    for time in [200, 250, 350, 600] {
        trace.stands(task, time - 5, &[]);
        trace.poll(task, worker, time, time + 10, None);
    }
    assert_eq!(from_300_to_500(&trace).missing.suspensions_unknown, 1);
    assert_eq!(trace.history(100, 1_000).missing.suspensions_unknown, 4);
}

#[test]
fn blocking_work_stands_nowhere_and_nothing_is_missing() {
    let (mut trace, worker, task) = started();
    let future = "tokio::runtime::blocking::task::BlockingTask<app::read>";
    let (blocking, _) = trace.spawned(worker, 18, future, 130, None);
    for (unit, time) in [(blocking, 200), (task, 300)] {
        trace.stands(unit, time, &[]);
        trace.poll(unit, worker, time, time + 10, None);
    }
    let history = trace.history(100, 1_000);
    assert_eq!(history.missing.suspensions_unknown, 1);
}

#[test]
fn a_mark_that_agrees_by_chance_brings_nothing_back_when_the_body_around_is_over() {
    let (mut trace, worker, task) = started();
    let raced = |deadline| {
        vec![
            body(0, 0, "app::serve", 10),
            body(1, 8, "app::raced", 20),
            holder(2, 16, SELECT),
            sleep(3, 64, deadline),
            leaf(3, 128, "tokio::sync::oneshot::Receiver", "oneshot"),
        ]
    };
    trace.stands(task, 200, &raced(7));
    trace.poll(task, worker, 200, 205, None);
    trace.stands(task, 300, &[body(0, 0, "app::serve", 11), sleep(1, 8, 2)]);
    trace.poll(task, worker, 300, 305, None);
    trace.stands(task, 400, &raced(7));
    let history = trace.history(100, 1_000);
    let arms: Vec<_> = of(&history, "Sleep")
        .into_iter()
        .filter(|row| row.place == Place::Inside(64))
        .collect();
    assert_eq!(arms.len(), 2, "{arms:?}");
}

#[test]
fn what_is_done_after_an_await_is_not_done_inside_it() {
    let (mut trace, worker, task) = started();
    trace.stands(
        task,
        190,
        &[
            body(0, 0, "app::serve", 10),
            body(1, 8, "app::locked", 5),
            leaf(2, 16, "tokio::Acquire", "lock"),
        ],
    );
    let poll = trace.begin(task, worker, 200, None);
    trace.spawned(task, 18, "app::part", 205, Some(poll));
    trace.end(task, 200, 210, Outcome::Pending);
    trace.stands(
        task,
        290,
        &[
            body(0, 0, "app::serve", 10),
            body(1, 8, "app::joined", 6),
            leaf(2, 16, "tokio::JoinHandle", "join"),
        ],
    );
    trace.poll(task, worker, 300, 310, None);
    let history = trace.history(100, 1_000);
    let spawns: Vec<_> = history
        .units
        .iter()
        .filter_map(|unit| match &unit.kind {
            UnitKind::Task(task) => task.spawned,
            _ => None,
        })
        .filter_map(|spawn| spawn.by.within)
        .map(|within| history[within].awaited.future.to_string())
        .collect();
    assert_eq!(spawns, ["app::serve"], "it got its lock before it spawned");
}
