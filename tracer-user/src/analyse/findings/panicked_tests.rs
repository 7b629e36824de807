#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use proptest::prelude::*;

use super::super::case::{Case, Thresholds};
use super::*;
use crate::analyse::history::Builder;
use crate::analyse::history::sample::{Future, Trace, body, leaf, suspension};
use crate::rebuild::event::{Event, EventId, EventKind, PanicLocation, UnitId};

fn sightings(events: &[Event]) -> Vec<Sighting> {
    let mut builder = Builder::new(0);
    builder.events(events);
    builder.reached(100_000);
    let history = builder.finish();
    find(&Case {
        history: &history,
        moments: &[],
        thresholds: Thresholds::default(),
    })
}

fn began(
    trace: &mut Trace,
    unit: UnitId,
    time: u64,
    line: u32,
    futures: &[Future],
    poll: Option<EventId>,
) {
    let (suspension, marks) = suspension(futures, None);
    let location = Some(Arc::new(PanicLocation {
        file: "src/work.rs".into(),
        line,
        column: 5,
    }));
    let kind = EventKind::PanicBegan {
        location,
        suspension,
        marks,
    };
    trace.event(unit, time, kind, poll);
    let message = Some("planned 12".into());
    trace.event(unit, time + 1, EventKind::PanicRaised { message }, poll);
}

fn stood(by: &str) -> Vec<Future> {
    vec![
        body(0, 0, "app::outer", 3),
        body(1, 8, by, 9),
        leaf(2, 16, "tokio::time::Sleep", "sleep"),
    ]
}

/// Tasks that end by a panic (lines 1 and 5), survive one (2), whose end is not seen (3), whose
/// thread ends (4), and a thread that panics outside any task (6).
fn panics() -> Trace {
    let mut trace = Trace::new();
    let worker = trace.thread(7, "worker", 0);
    let run = |trace: &mut Trace, id: u64, line: u32, by: &str, time: u64| {
        let task = trace.task(id, "app::outer", time, true);
        let begin = trace.begin(task, worker, time + 10, None);
        began(trace, task, time + 20, line, &stood(by), Some(begin));
        task
    };
    let ended = run(&mut trace, 1, 1, "app::inner", 1_000);
    trace.end(ended, 1_010, 1_500, Outcome::Panicked);
    let survived = run(&mut trace, 2, 2, "app::inner", 2_000);
    trace.end(survived, 2_010, 2_500, Outcome::Pending);
    trace.poll(survived, worker, 2_600, 2_700, None);
    run(&mut trace, 3, 3, "app::inner", 3_000);
    let aborted = run(&mut trace, 4, 4, "app::inner", 4_000);
    let end = EventKind::PollEnd {
        outcome: Outcome::Unknown,
        seen: EndSeen::ThreadExit,
        began: Some(4_010),
    };
    trace.event(aborted, 4_500, end, None);
    let by = "futures_util::future::CatchUnwind<app::inner>";
    let caught = run(&mut trace, 5, 5, by, 5_000);
    trace.end(caught, 5_010, 5_500, Outcome::Panicked);
    began(&mut trace, worker, 6_000, 6, &[], None);
    trace
}

#[test]
fn each_is_as_sure_as_what_became_of_the_task() {
    let found = sightings(&panics().events);
    let told: Vec<_> = found
        .iter()
        .map(|one| (&*one.cause, one.certainty))
        .collect();
    assert_eq!(
        told,
        [
            ("app::outer at src/work.rs:1:5", Certainty::Proved),
            ("app::outer at src/work.rs:2:5", Certainty::Possible),
            ("app::outer at src/work.rs:3:5", Certainty::Likely),
            ("app::outer at src/work.rs:4:5", Certainty::Proved),
            ("app::outer at src/work.rs:5:5", Certainty::Likely),
            ("thread worker at src/work.rs:6:5", Certainty::Possible),
        ]
    );
    let first = &found[0];
    assert_eq!(first.summary, "app::outer panicked at src/work.rs:1:5");
    assert!(
        first.evidence.contains(&"it says: planned 12".to_owned()),
        "{:?}",
        first.evidence
    );
    assert!(
        first.evidence.iter().any(|line| line.contains(
            "app::outer (src/main.rs:3) > app::inner (src/main.rs:9) > tokio::time::Sleep"
        )),
        "{:?}",
        first.evidence
    );
    let site = &first.sites[0];
    assert_eq!((&*site.future, site.line), ("app::inner", Some(1)));
    assert_eq!(found[5].tasks, []);
}

#[test]
fn a_panic_without_its_begin_was_raised_again() {
    let mut trace = Trace::new();
    let worker = trace.thread(7, "worker", 0);
    let task = trace.task(1, "app::outer", 0, true);
    let begin = trace.begin(task, worker, 10, None);
    let message = Some("planned".into());
    trace.event(task, 20, EventKind::PanicRaised { message }, Some(begin));
    trace.end(task, 10, 30, Outcome::Panicked);
    let found = sightings(&trace.events);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].certainty, Certainty::Proved);
    assert!(found[0].evidence[1].contains("resume_unwind"));
}

/// A healthy task that polls, is woken, finishes.
fn healthy(trace: &mut Trace, id: u64, steps: &[u8]) {
    let mut time = 10_000;
    let thread = trace.thread(100 + u32::try_from(id).unwrap(), "other", time);
    let task = trace.task(1_000 + id, "app::healthy", time, false);
    for step in steps {
        time += 100;
        match step % 3 {
            0 => drop(trace.poll(task, thread, time, time + 50, None)),
            1 => drop(trace.wake(thread, task, time, None)),
            _ => trace.stands(task, time, &[body(0, 0, "app::healthy", 4)]),
        }
    }
    let began = time + 100;
    trace.begin(task, thread, began, None);
    trace.end(task, began, began + 10, Outcome::Ready);
}

proptest! {
    #[test]
    fn losing_events_proves_nothing(lost in prop::collection::vec(any::<bool>(), 64)) {
        let all = panics().events;
        let proved = |events: &[Event]| -> Vec<String> {
            let sure = sightings(events).into_iter();
            let sure = sure.filter(|one| one.certainty == Certainty::Proved);
            sure.map(|one| one.cause).collect()
        };
        let before = proved(&all);
        let left: Vec<Event> = all
            .iter()
            .zip(lost.iter().cycle())
            .filter(|(event, lost)| !**lost || matches!(event.kind, EventKind::Described(_)))
            .map(|(event, _)| event.clone())
            .collect();
        for cause in proved(&left) {
            // Where only the begin is missing, it is the same panic at a place that is not known.
            let known = before.contains(&cause) || cause.ends_with("a place that is not known");
            prop_assert!(known, "{cause}");
        }
        // Without its panic no end makes a finding.
        let none: Vec<Event> = all
            .into_iter()
            .filter(|event| !matches!(
                event.kind,
                EventKind::PanicBegan { .. } | EventKind::PanicRaised { .. }
            ))
            .collect();
        prop_assert_eq!(sightings(&none), []);
    }

    #[test]
    fn unrelated_events_change_nothing(
        others in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 0..4)
    ) {
        let mut trace = panics();
        let before = sightings(&trace.events);
        for (id, steps) in (0..).zip(&others) {
            healthy(&mut trace, id, steps);
        }
        prop_assert_eq!(sightings(&trace.events), before);
    }
}
