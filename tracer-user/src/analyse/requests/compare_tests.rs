//! What slow requests have in common, in made-up programs.

use super::compare::{Comparison, Kind, Slow, kinds};
use super::{Patterns, find};
use crate::analyse::history::History;
use crate::analyse::levels::Nesting;
use crate::analyse::sample::Sample;

const MS: u64 = 1_000_000;

/// Requests that look something up (line 20, inside it a database of a dependency) and take a lock
/// (line 30, inside tokio): for each its start and how long both take, in milliseconds.
fn program(requests: impl IntoIterator<Item = (u64, u64, u64)>) -> Sample {
    let mut sample = Sample::default();
    for (start, look_up, lock) in requests {
        let task = sample.task("app::handle");
        let at = start * MS;
        let found = at + look_up * MS;
        let end = found + lock * MS;
        let root = sample.instance(task, None, "app::handle", 0, None, (at, end));
        let query = sample.instance(task, Some(root), "dep::query", 20, None, (at, found));
        sample.instance(task, Some(query), "dep::Io", 7, Some("io"), (at, found));
        let mutex = sample.instance(task, Some(root), "dep::Mutex::lock", 30, None, (found, end));
        let acquire = "dep::Acquire";
        sample.instance(task, Some(mutex), acquire, 8, Some("lock"), (found, end));
    }
    sample
}

fn kind(history: &History) -> Kind {
    let requests = find(history, &Patterns::new(&["handle"])).list;
    let mut kinds = kinds(history, &Nesting::new(history), &requests);
    assert_eq!(kinds.len(), 1);
    kinds.remove(0)
}

fn slow(sample: &Sample) -> Slow {
    match kind(&sample.history).slow {
        Comparison::Slow(slow) => slow,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_slow_request_is_explained_by_the_await_that_took_longer() {
    // 5 in 100 look up for 30 ms, 3 others wait for the lock for 50 ms.
    let sample = program((0..100).map(|number| {
        let look_up = if number % 20 == 7 { 30 } else { 5 };
        let lock = if number % 40 == 3 { 50 } else { 1 };
        (number * 100, look_up, lock)
    }));
    let slow = slow(&sample);
    assert_eq!(slow.requests.len(), 8);
    assert_eq!(slow.requests[..3], [4, 44, 84]);
    assert_eq!((slow.others, slow.others_median_ns), (92, 6 * MS));
    let told: Vec<_> = slow
        .because
        .iter()
        .map(|because| {
            let awaited = &because.awaited;
            (
                &*awaited.future,
                awaited.line,
                because.requests.len(),
                because.median_ns / MS,
                because.others_median_ns / MS,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("dep::query", Some(20), 5, 30, 5),
            ("dep::Mutex::lock", Some(30), 3, 50, 1)
        ]
    );
    assert_eq!(slow.unexplained, 0);
    // The largest difference of means first: 3/8 of 49 ms, 5/8 of 25 ms.
    assert_eq!(&*slow.awaits[0].awaited.future, "dep::Mutex::lock");
    assert_eq!(slow.awaits[0].slow_median_ns, MS);
    assert_eq!(&*slow.awaits[1].awaited.future, "dep::query");
    assert_eq!(slow.awaits[1].slow_median_ns, 30 * MS);
    assert_eq!(slow.awaits.len(), 2);
    assert!(slow.clusters.bursts.is_empty());
}

#[test]
fn slow_ones_of_one_moment_are_a_burst() {
    let sample = program((0..300).map(|number| {
        let look_up = if (120..132).contains(&number) { 40 } else { 5 };
        (number * 100, look_up, 1)
    }));
    let slow = slow(&sample);
    assert_eq!(slow.requests.len(), 12);
    assert_eq!(slow.clusters.bursts.len(), 1);
    let burst = &slow.clusters.bursts[0];
    assert_eq!((burst.slow, burst.requests), (12, 12));
    assert_eq!((burst.from, burst.to), (12_000 * MS, 13_100 * MS));
}

#[test]
fn equal_ones_are_not_slow_and_few_tell_nothing() {
    let equal = program((0..50).map(|number| (number * 100, 5, 1)));
    let kind_of = kind(&equal.history);
    assert_eq!(kind_of.slow, Comparison::NoneSlow);
    assert_eq!(
        (kind_of.p50_ns, kind_of.max_ns),
        (Some(6 * MS), Some(6 * MS))
    );
    let few = program((0..19).map(|number| (number * 100, number, 1)));
    assert_eq!(kind(&few.history).slow, Comparison::TooFew { needed: 20 });
    let mut nothing = program((0..50).map(|number| (number * 100, 0, 0)));
    assert_eq!(kind(&nothing.history).slow, Comparison::NoneSlow);
    // Open ones and those found half-way are not compared.
    for instance in (0..nothing.history.awaits.len()).step_by(5) {
        nothing.history.awaits[instance].at_least = true;
    }
    let kind_of = kind(&nothing.history);
    assert_eq!(
        (kind_of.requests, kind_of.whole, kind_of.p50_ns),
        (50, 0, None)
    );
}

#[test]
fn slow_ones_that_no_await_explains_are_said_to_be_so() {
    let mut sample = program((0..40).map(|number| (number * 100, 5, 1)));
    // Request 9 takes longer in many different places.
    let root = crate::analyse::history::AwaitIndex(8 * 5);
    let task = sample.history.awaits[root.0 as usize].task;
    let start = sample.history.awaits[root.0 as usize].start;
    sample.history.awaits[root.0 as usize].end = Some(start + 26 * MS);
    for part in 0..10 {
        let from = start + (6 + part * 2) * MS;
        sample.instance(
            task,
            Some(root),
            "dep::part",
            100 + part as u32,
            None,
            (from, from + 2 * MS),
        );
    }
    let slow = slow(&sample);
    assert_eq!(slow.requests, [9]);
    assert_eq!(slow.unexplained, 1);
    assert!(slow.because.is_empty());
    assert_eq!(slow.awaits.len(), 10);
}
