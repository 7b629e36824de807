//! The last seconds of made-up sessions.

use super::*;
use crate::analyse::history::UnitHistory;
use crate::analyse::history::sample::{Trace, body, leaf};
use crate::rebuild::event::Outcome;

const SECOND: u64 = 1_000_000_000;

fn recent(trace: &Trace, limit: usize) -> Recent {
    let mut recent = Recent::with_limit(0, limit);
    // In portions, as a session has them.
    for events in trace.events.chunks(7) {
        recent.take(&Entry::Events(events.to_vec()));
    }
    recent
}

/// A task that is polled every half second, and one that has stood still since the first.
fn two_tasks(seconds: u64) -> Trace {
    let mut trace = Trace::new();
    let thread = trace.thread(7, "worker", 1);
    let busy = trace.task(1, "app::busy", 2, true);
    let idle = trace.task(2, "app::idle", 3, true);
    let stands = [body(0, 0, "app::idle", 12), leaf(1, 8, "Sleep", "sleep")];
    trace.poll(idle, thread, 5, 6, None);
    // As memory tells it: where a task stands after a poll is not known before its next one.
    trace.stands(idle, 7, &stands);
    for at in 1..seconds * 2 {
        let time = at * SECOND / 2;
        trace.wake(thread, busy, time, None);
        trace.poll(busy, thread, time + 10, time + 20, None);
    }
    trace
}

fn named<'h>(history: &'h History, name: &str) -> &'h UnitHistory {
    let is_it = |unit: &&UnitHistory| unit.task().is_some_and(|task| &*task.name == name);
    history.units.iter().find(is_it).unwrap()
}

#[test]
fn a_short_session_is_all_there() {
    let trace = two_tasks(10);
    let got = recent(&trace, 1_000).history();
    let whole = trace.history(0, got.span.end);
    assert_eq!(format!("{got:?}"), format!("{whole:?}"));
}

#[test]
fn of_a_long_session_the_end_is_there_and_what_was_known_before() {
    let trace = two_tasks(100);
    let recent = recent(&trace, 1_000);
    let history = recent.history();
    let end = history.span.end;
    assert_eq!(history.span.start, end - SPAN);
    assert_eq!(
        history.missing.gaps, 0,
        "no hole where events were forgotten"
    );
    // 15 s of two polls a second, and both ends.
    assert!(
        (30..=31).contains(&history.polls.len()),
        "{}",
        history.polls.len()
    );
    assert!(recent.len() < 130, "{}", recent.len());
    // A task that did nothing for a minute and a half is known, and where it stands.
    let idle = named(&history, "tokio/2");
    assert!(idle.gaps.is_empty());
    let awaits: Vec<&str> = idle
        .awaits
        .iter()
        .map(|index| &*history[*index].awaited.future)
        .collect();
    assert_eq!(awaits, ["app::idle", "Sleep"]);
    assert!(
        idle.awaits
            .iter()
            .all(|index| history[*index].end.is_none())
    );
}

#[test]
fn under_load_the_window_is_shorter_and_says_so() {
    let trace = two_tasks(10);
    let recent = recent(&trace, 20);
    let history = recent.history();
    assert_eq!(recent.len(), 20);
    assert!(history.span.start > 6 * SECOND, "{:?}", history.span);
    assert_eq!(history.missing.gaps, 0);
    assert!(
        (6..=7).contains(&history.polls.len()),
        "{}",
        history.polls.len()
    );
}

#[test]
fn a_poll_that_has_gone_on_for_longer_than_the_window_is_known() {
    let mut trace = two_tasks(4);
    let stuck = trace.task(3, "app::stuck", 4 * SECOND, false);
    let thread = trace.thread(8, "worker 2", 4 * SECOND);
    trace.begin(stuck, thread, 5 * SECOND, None);
    let busy = trace.task(4, "app::late", 6 * SECOND, false);
    for at in 0..200 {
        let time = (60 + at) * SECOND / 4 * 3;
        trace.poll(busy, thread, time, time + 1, None);
    }
    let history = recent(&trace, 1_000).history();
    let polls = &named(&history, "tokio/3").polls;
    assert_eq!(polls.len(), 1);
    let poll = &history[polls[0]];
    assert_eq!((poll.begin, poll.end), (5 * SECOND, None));
}

#[test]
fn what_is_over_is_forgotten_and_losses_with_their_time() {
    let mut trace = Trace::new();
    let thread = trace.thread(7, "worker", 1);
    for at in 0..1_000 {
        let time = at * SECOND / 10;
        let task = trace.task(at, "app::short", time, false);
        trace.begin(task, thread, time + 1, None);
        trace.end(task, time + 1, time + 2, Outcome::Ready);
    }
    let mut recent = recent(&trace, 100_000);
    assert!(recent.before.len() < 10, "{}", recent.before.len());
    let lost = |until, count| Entry::Lost {
        cpu: 0,
        count,
        until,
    };
    recent.take(&lost(SECOND, 5));
    recent.take(&lost(99 * SECOND, 7));
    assert_eq!(recent.history().missing.records_lost, 7);
}
