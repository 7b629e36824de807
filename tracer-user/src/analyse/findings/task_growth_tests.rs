//! Tasks that only become more, and those that come and go.

use super::*;
use crate::analyse::findings::case::Thresholds;
use crate::analyse::history::{TaskEnd, UnitKind};
use crate::analyse::sample::{Sample, thread_by};
use crate::rebuild::event::Outcome;

const SECOND: u64 = 1_000_000_000;

/// Tasks that are spawned every 100 ms for 30 s and wait for this; every `finish`th finishes.
fn spawned(waits_for: &str, finish: Option<u64>, polled: bool) -> Sample {
    let mut sample = Sample::default();
    sample.history.span = 0..30 * SECOND;
    let worker = sample.thread("worker");
    for number in 0..300 {
        let time = number * SECOND / 10;
        let task = sample.spawn("app::leaked", time, thread_by(worker, None));
        let root = sample.instance(task, None, "app::leaked", 0, None, (time, 30 * SECOND));
        let leaf = sample.instance(
            task,
            Some(root),
            "tokio::Leaf",
            9,
            Some(waits_for),
            (time, 30 * SECOND),
        );
        sample.open(root);
        sample.open(leaf);
        sample.poll(task, time, time + 10);
        if polled {
            sample.poll(task, 29 * SECOND, 29 * SECOND + 10);
        }
        if finish.is_some_and(|every| number % every == 0)
            && let UnitKind::Task(task) = &mut sample.history.units[task.0 as usize].kind
        {
            task.end = Some(TaskEnd {
                time: time + SECOND / 20,
                outcome: Outcome::Ready,
                aborted: None,
            });
        }
    }
    sample
}

fn found(sample: &Sample) -> Vec<Sighting> {
    find(&Case {
        history: &sample.history,
        moments: &[],
        thresholds: Thresholds::default(),
    })
}

fn surest(sample: &Sample) -> Option<Certainty> {
    found(sample)
        .iter()
        .map(|sighting| sighting.certainty)
        .max()
}

/// As in a process with very many tasks, whose memory was not read in time.
#[test]
fn old_tasks_that_are_first_seen_when_they_are_polled_are_no_growth() {
    let mut sample = spawned("lock", None, false);
    for unit in &mut sample.history.units {
        if let UnitKind::Task(task) = &mut unit.kind {
            task.spawned = None;
        }
    }
    assert_eq!(surest(&sample), None);
}

#[test]
fn tasks_that_wait_for_a_lock_for_ever_are_likely() {
    let sample = spawned("lock", None, false);
    let found = found(&sample);
    let [sighting] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(sighting.certainty, Certainty::Likely, "{sighting:?}");
    assert_eq!(sighting.sites[0].line, Some(9));
    assert!(sighting.summary.contains("from 1 to 300"), "{sighting:?}");
}

#[test]
fn connections_timers_and_progress_are_possible_only() {
    for kind in ["io", "sleep"] {
        assert_eq!(
            surest(&spawned(kind, None, false)),
            Some(Certainty::Possible)
        );
    }
    assert_eq!(
        surest(&spawned("lock", None, true)),
        Some(Certainty::Possible)
    );
    assert_eq!(
        surest(&spawned("lock", Some(5), false)),
        Some(Certainty::Possible)
    );
}

#[test]
fn tasks_that_come_and_go_are_nothing() {
    assert_eq!(surest(&spawned("lock", Some(1), false)), None);
    let mut sample = spawned("lock", None, false);
    // All were there after half of the time.
    for unit in &mut sample.history.units {
        unit.first = unit.first.min(15 * SECOND);
    }
    assert_eq!(surest(&sample), None);
}

#[test]
fn lost_events_leave_it_possible() {
    let mut sample = spawned("lock", None, false);
    sample.history.missing.records_lost = 1;
    assert_eq!(surest(&sample), Some(Certainty::Possible));
}
